//! The overview: what the project wants to reach and whether it does.

use super::peers::{BATCH, DISK, DURABLE, FOLLOW, KNOWN, LOAD, Metric, OPEN, PAGE, UNFOLLOW};
use super::{Heading, Results, Table, disturbed, figures};
use crate::peers::PeerName;
use crate::rows::{Bar, PeerRow};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const INTRODUCTION: &str = "\
What the project wants to reach, and what was measured. A ratio is taken within one run. \
[peers.md](peers.md) has the same job on other stores in full.
";

/// Where followgraph is to be ahead of every peer, and by what that is judged.
const AIMS: [(&str, &[Metric]); 6] = [
    ("reads", &[BATCH, PAGE, KNOWN]),
    ("writes", &[FOLLOW, UNFOLLOW]),
    ("durable writes", &[DURABLE]),
    ("load", &[LOAD]),
    ("size on disk", &[DISK]),
    ("open", &[OPEN]),
];

pub(super) fn render(results: &Results, heading: &Heading<'_>) -> String {
    let mut page = format!("# Benchmarks\n\n{}\n{INTRODUCTION}", heading.render());
    if !results.bars.is_empty() {
        page.push_str(&render_bars(&results.bars));
    }
    page.push_str(&render_peers(results));
    if !results.growth.is_empty() {
        page.push_str(&render_growth(results));
    }
    if !results.degrees.is_empty() {
        page.push_str(&render_degrees(results));
    }
    page
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**NOT MET**" }
}

fn render_bars(bars: &[Bar]) -> String {
    let mut table = Table::new(6, &["what", "graph", "bar", "measured", "", "note"]);
    for bar in bars {
        let measured = format!("{} {}", figures::three_digits(bar.measured), bar.unit);
        let disturbed = bar.others_processors.and_then(disturbed);
        let notes: Vec<&str> = [Some(bar.note.as_str()), disturbed.as_deref()]
            .into_iter()
            .flatten()
            .filter(|note| !note.is_empty())
            .collect();
        let notes = notes.join("; ");
        table.row(&[&bar.what, &bar.graph, &bar.wanted, &measured, verdict(bar.met), &notes]);
    }
    let met_count = bars.iter().filter(|bar| bar.met).count();
    let not_met = match bars.len() - met_count {
        0 => "",
        _ => " [not-met.md](not-met.md) says why the others are not, and what was tried.",
    };
    format!("\n## Bars\n\n{met_count} of {} are met.{not_met}\n\n{}", bars.len(), table.text)
}

/// How far followgraph is ahead of a peer: the worst of the metrics, and which one that is.
fn ahead(metrics: &[Metric], ours: &PeerRow, theirs: &PeerRow) -> Option<(f64, &'static str)> {
    let ratio = |metric: &Metric| {
        let (ours, theirs) = ((metric.value)(ours)?, (metric.value)(theirs)?);
        Some((theirs / ours, metric.name))
    };
    metrics.iter().filter_map(ratio).min_by(|one, other| one.0.total_cmp(&other.0))
}

fn render_peers(results: &Results) -> String {
    let mut text = String::from(
        "\n## Ahead of the peers\n\n\
         How many times followgraph's cost a peer's is, for the figure of each kind in which \
         followgraph fares worst.\n\n",
    );
    let mut columns = vec!["peer", "graph"];
    columns.extend(AIMS.iter().map(|(aim, _)| *aim));
    let mut table = Table::new(2, &columns);
    let (mut aim_count, mut met_count) = (0, 0);
    for graph in results.graphs() {
        let rows = results.peers_on(graph);
        let Some(ours) = rows.iter().find(|row| row.peer == PeerName::Followgraph) else {
            continue;
        };
        for theirs in rows.iter().filter(|row| row.peer != PeerName::Followgraph) {
            let mut cells = vec![theirs.peer.title().to_owned(), graph.to_owned()];
            for (_, metrics) in AIMS {
                let Some((ratio, name)) = ahead(metrics, ours, theirs) else {
                    cells.push("none".to_owned());
                    continue;
                };
                aim_count += 1;
                met_count += usize::from(ratio >= 1.0);
                let shown = figures::times(ratio);
                cells.push(match ratio {
                    1.0.. => shown,
                    _ if metrics.len() == 1 => format!("**{shown}**"),
                    _ => format!("**{shown}** ({name})"),
                });
            }
            table.row(&cells);
        }
    }
    if aim_count == 0 {
        return String::new();
    }
    let _ = write!(text, "{met_count} of {aim_count} are at least 1.\n\n{}", table.text);
    for row in &results.absent {
        let word = if row.is_skipped { "SKIPPED" } else { "FAILED" };
        let _ = write!(text, "\n**{word}: {} on {}**\n", row.peer.title(), row.graph);
    }
    text
}

fn render_growth(results: &Results) -> String {
    let mut graphs: Vec<(u64, &str)> =
        results.growth.iter().map(|row| (row.follows, row.graph.as_str())).collect();
    graphs.sort_unstable();
    graphs.dedup();
    let mut columns = vec![String::new()];
    columns.extend(
        graphs.iter().map(|(follows, graph)| {
            format!("{graph}, {} follows", figures::whole(*follows as usize))
        }),
    );
    let mut table = Table::new(1, &columns);
    let mut seen: Vec<&str> = Vec::new();
    for row in &results.growth {
        if seen.contains(&row.what.as_str()) {
            continue;
        }
        seen.push(&row.what);
        let mut cells = vec![row.what.clone()];
        for graph in &graphs {
            let mut own = results.growth.iter().filter(|other| other.what == row.what);
            let found = own.find(|other| (other.follows, other.graph.as_str()) == *graph);
            let show = |found: &crate::rows::Growth| {
                format!("{} {}", figures::three_digits(found.value), found.unit)
            };
            cells.push(found.map(show).unwrap_or_default());
        }
        table.row(&cells);
    }
    format!("\n## As the graph grows\n\n{}", table.text)
}

fn render_degrees(results: &Results) -> String {
    let mut by_followers: BTreeMap<u64, BTreeMap<&str, String>> = BTreeMap::new();
    let mut whats: Vec<&str> = Vec::new();
    for row in &results.degrees {
        if !whats.contains(&row.what.as_str()) {
            whats.push(&row.what);
        }
        let shown = format!("{} {}", figures::three_digits(row.value), row.unit);
        by_followers.entry(row.followers).or_default().insert(&row.what, shown);
    }
    let mut columns = vec!["followers of the account"];
    columns.extend(&whats);
    let mut table = Table::new(1, &columns);
    for (followers, values) in by_followers {
        let mut cells = vec![figures::whole(followers as usize)];
        cells.extend(whats.iter().map(|what| values.get(what).cloned().unwrap_or_default()));
        table.row(&cells);
    }
    format!("\n## As the degree of an account grows\n\n{}", table.text)
}
