//! Several threads at one graph when the power goes: group commit, and a checkpoint beside writers.
//!
//! Which thread comes first is not drawn from the seed, so nobody knows the order of the commits
//! beforehand. The log has it: what a process would see of the disk at the moment of the fault is
//! opened apart, and its changes are read in order. What is left in earnest must be a prefix of
//! that, and hold every follow that was acknowledged.

use super::witness::Flaw;
use super::{Extent, ScenarioReport, chance, guarded, note, remains};
use crate::engine::{FollowGraph, Options};
use crate::error::{ErrorKind, Result};
use crate::list::Page;
use crate::testing::content::Chance;
use crate::testing::disk::{Call, Disk, Failure, Fault, Remains};
use crate::types::Change;
use std::collections::BTreeSet;
use std::time::Duration;

const WRITER_COUNT: usize = 3;
const FOLLOWS_EACH: usize = 4;
/// A run that did not come as far as the fault is repeated so often: the next may make more calls.
const MISSES_MAX: u32 = 3;
/// Which thread comes first differs, so more is drawn than of what one thread does.
const OUTCOMES_FACTOR: u64 = 3;

pub(super) struct Crowd {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Whether one more thread makes a checkpoint.
    pub(super) has_checkpoint: bool,
}

pub(super) fn crowds() -> Vec<Crowd> {
    vec![
        Crowd {
            name: "group commit",
            about: "three threads whose commits share syncs",
            has_checkpoint: false,
        },
        Crowd {
            name: "checkpoint beside writers",
            about: "the same while a checkpoint goes on",
            has_checkpoint: true,
        },
    ]
}

/// A follow: which writer, and whom it follows.
type Follow = (String, String);

impl Crowd {
    pub(super) fn report(&self, extent: Extent, sector_sizes: &[usize]) -> ScenarioReport {
        let (name, about) = (self.name.to_owned(), self.about.to_owned());
        let mut report = ScenarioReport { name, about, ..ScenarioReport::default() };
        for &sector_bytes in sector_sizes {
            for outcome in 0..extent.outcomes * OUTCOMES_FACTOR {
                self.lose_power_everywhere(extent, sector_bytes, outcome, &mut report);
                self.fail_syncs(extent, sector_bytes, outcome, &mut report);
            }
        }
        report
    }

    fn lose_power_everywhere(
        &self,
        extent: Extent,
        sector_bytes: usize,
        outcome: u64,
        report: &mut ScenarioReport,
    ) {
        let (mut at, mut misses) = (0, 0);
        while misses < MISSES_MAX {
            let mut chance = chance(extent, [50, sector_bytes as u64, outcome, at]);
            let fault = Fault::PowerLoss { at, partly: chance.below(2) == 0 };
            let tried = guarded(|| self.try_one(sector_bytes, fault, &mut chance));
            let is_missed = matches!(tried, Ok(None));
            if let Ok(None) = tried {
                misses += 1;
            } else {
                (at, misses) = (at + 1, 0);
                report.power_losses += 1;
            }
            let how = format!("sectors of {sector_bytes}, outcome {outcome}, {fault:?}");
            note(report, extent, &how, tried.map(|_| ()));
            report.changing_calls = report.changing_calls.max(at);
            report.calls = report.calls.max(if is_missed { at } else { 0 });
        }
    }

    fn fail_syncs(
        &self,
        extent: Extent,
        sector_bytes: usize,
        outcome: u64,
        report: &mut ScenarioReport,
    ) {
        for failure in [Failure::Io, Failure::IoForgotten] {
            for at in 0.. {
                let mut chance =
                    chance(extent, [51 + failure as u64, sector_bytes as u64, outcome, at]);
                let fault = Fault::ErrorOf { call: Call::LogSync, at, failure, lasting: false };
                let tried = guarded(|| self.try_one(sector_bytes, fault, &mut chance));
                if let Ok(None) = tried {
                    break;
                }
                report.errors += 1;
                let how = format!("sectors of {sector_bytes}, outcome {outcome}, {fault:?}");
                note(report, extent, &how, tried.map(|_| ()));
            }
        }
    }

    /// `None` where the run ended before the fault.
    fn try_one(
        &self,
        sector_bytes: usize,
        fault: Fault,
        chance: &mut Chance,
    ) -> std::result::Result<Option<()>, Flaw> {
        let disk = Disk::new(sector_bytes);
        prepare(&disk).map_err(|error| format!("before the fault: {error}"))?;
        disk.set_fault(fault);
        let acknowledged = match disk.open(options()) {
            Ok(graph) => self.run(&graph, &disk)?,
            Err(error) if disk.failed_calls().is_empty() => return Err(error.to_string()),
            Err(_) => Vec::new(),
        };
        if disk.failed_calls().is_empty() {
            return Ok(None);
        }
        let order = order_of(&disk.after_power_loss(Remains::Everything))
            .map_err(|error| format!("the order of the commits: {error}"))?;
        let place = |follow: &Follow| order.iter().position(|other| other == follow);
        let mut least = 0;
        for follow in &acknowledged {
            let place = place(follow).ok_or_else(|| format!("{follow:?} is not in the log"))?;
            least = least.max(place + 1);
        }
        let left = if disk.has_power() && chance.below(4) > 0 {
            disk.copy()
        } else {
            disk.after_power_loss(remains(chance))
        };
        check_left(&left, &order, least).map(Some)
    }

    /// What the threads were told to be durable.
    fn run(&self, graph: &FollowGraph, disk: &Disk) -> std::result::Result<Vec<Follow>, Flaw> {
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITER_COUNT)
                .map(|writer| scope.spawn(move || follow_all(graph, disk, writer)))
                .collect();
            if self.has_checkpoint
                && let Err(error) = graph.checkpoint()
                && disk.failed_calls().is_empty()
            {
                return Err(format!("a checkpoint: {error}"));
            }
            let mut acknowledged = Vec::new();
            for writer in writers {
                acknowledged.extend(writer.join().map_err(|_| "a writer panicked")??);
            }
            for (writer, followed) in &acknowledged {
                let relation = graph.relation(writer, followed);
                if !relation.is_ok_and(|relation| relation.following) {
                    return Err(format!("{writer} does not follow {followed} in the open graph"));
                }
            }
            Ok(acknowledged)
        })
    }
}

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).checkpoint_log_bytes(None)
}

fn writer_name(writer: usize) -> String {
    format!("writer{writer}")
}

fn target_name(number: usize) -> String {
    format!("target{number}")
}

fn prepare(disk: &Disk) -> Result<()> {
    let graph = disk.open(options())?;
    for writer in 0..WRITER_COUNT {
        graph.add_account(&writer_name(writer))?;
    }
    for number in 0..FOLLOWS_EACH {
        graph.add_account(&target_name(number))?;
    }
    Ok(())
}

fn follow_all(
    graph: &FollowGraph,
    disk: &Disk,
    writer: usize,
) -> std::result::Result<Vec<Follow>, Flaw> {
    let mut acknowledged = Vec::new();
    for number in 0..FOLLOWS_EACH {
        let (follower, followed) = (writer_name(writer), target_name(number));
        match graph.follow(&follower, &followed) {
            Ok(_) => acknowledged.push((follower, followed)),
            Err(error) if disk.failed_calls().is_empty() => return Err(error.to_string()),
            Err(error) if disk.has_power() && error.kind() != ErrorKind::Latched => {
                return Err(format!("not latched: {error}"));
            }
            Err(_) => break,
        }
    }
    Ok(acknowledged)
}

/// All follows that the log holds, in order.
fn order_of(disk: &Disk) -> Result<Vec<Follow>> {
    let graph = disk.open(options())?;
    let mut changes = graph.changes(0)?;
    let mut order = Vec::new();
    while let Some(commit) = changes.next(Duration::ZERO)? {
        for change in commit.changes {
            if let Change::Followed { follower, followed, .. } = change {
                order.push((graph.account_name(follower)?, graph.account_name(followed)?));
            }
        }
    }
    Ok(order)
}

/// Opens what is left: a prefix of the order, which stays.
fn check_left(disk: &Disk, order: &[Follow], least: usize) -> std::result::Result<(), Flaw> {
    let told = |error: crate::error::Error| error.to_string();
    let graph = disk.open(options()).map_err(|error| format!("cannot be opened: {error}"))?;
    let shown = follows_of(&graph).map_err(told)?;
    graph.verify().map_err(told)?;
    let is_allowed = (least..=order.len()).contains(&shown.len());
    let expected: BTreeSet<Follow> = order.iter().take(shown.len()).cloned().collect();
    if !is_allowed || shown != expected {
        return Err(format!("{shown:?} of {order:?}, of which {least} were acknowledged"));
    }
    let cut = disk.after_power_loss(Remains::Nothing);
    let graph = cut.open(options()).map_err(|error| format!("not opened again: {error}"))?;
    if follows_of(&graph).map_err(told)? != shown {
        return Err(format!("{shown:?} was shown and then lost"));
    }
    graph.follow(&target_name(0), &target_name(1)).map_err(told)?;
    graph.verify().map(drop).map_err(told)
}

fn follows_of(graph: &FollowGraph) -> Result<BTreeSet<Follow>> {
    let mut follows = BTreeSet::new();
    for writer in 0..WRITER_COUNT {
        let name = writer_name(writer);
        let list = graph.following(&name, Page::first(FOLLOWS_EACH + 1))?;
        follows.extend(list.entries.into_iter().map(|entry| (name.clone(), entry.account)));
    }
    Ok(follows)
}
