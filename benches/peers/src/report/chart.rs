//! The chart: the latency of a batch against the size of the graph, both logarithmic.

use super::figures;
use crate::peers::PeerName;
use crate::rows::PeerRow;
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::collections::BTreeMap;

const WIDTH: u32 = 960;
const HEIGHT: u32 = 600;
/// Room for the names of the lines beside them.
const LABELS_WIDTH: i32 = 190;
const LABEL_HEIGHT: i32 = 19;
const FONT: &str = "sans-serif";
const MARGIN: i32 = 16;
const DOT_RADIUS: i32 = 4;

/// A colour for each peer that stays apart from the others on white, also for the colour-blind.
fn color(peer: PeerName) -> RGBColor {
    match peer {
        PeerName::Followgraph => RGBColor(0, 0, 0),
        PeerName::Obvious => RGBColor(128, 128, 128),
        PeerName::Lmdb => RGBColor(0, 114, 178),
        PeerName::Redb => RGBColor(213, 94, 0),
        PeerName::Fjall => RGBColor(0, 158, 115),
        PeerName::Rocksdb => RGBColor(204, 121, 167),
        PeerName::Sqlite => RGBColor(86, 180, 233),
        PeerName::Redis => RGBColor(178, 24, 43),
    }
}

/// For each peer, follows and microseconds, the smallest graph first.
type Lines = BTreeMap<PeerName, Vec<(f64, f64)>>;

fn lines(rows: &[PeerRow]) -> Lines {
    let mut lines = Lines::new();
    for row in rows {
        if let Some(batch) = &row.answered.batch {
            let point = (row.follow_count as f64, batch.p50_ns as f64 / 1e3);
            lines.entry(row.peer).or_default().push(point);
        }
    }
    for points in lines.values_mut() {
        points.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
    }
    lines
}

/// The power of ten at or below, and at or above, all values.
fn decades(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (low, high) = (values.clone().fold(f64::MAX, f64::min), values.fold(f64::MIN, f64::max));
    (10f64.powf(low.log10().floor()), 10f64.powf((high.log10() + 0.01).ceil()))
}

pub(super) fn render(rows: &[PeerRow]) -> Result<String> {
    let lines = lines(rows);
    let mut svg = String::new();
    if lines.is_empty() {
        return Ok(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>"
        ));
    }
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area, &lines).map_err(|error| anyhow!("{error}"))?;
        area.present()?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawResult = Result<(), Box<dyn std::error::Error>>;

fn draw(area: &Area<'_>, lines: &Lines) -> DrawResult {
    let points = || lines.values().flatten();
    let (x_min, _) = decades(points().map(|point| point.0));
    let x_max = points().map(|point| point.0).fold(0.0, f64::max) * 1.15;
    let (y_min, y_max) = decades(points().map(|point| point.1));
    let mut chart = ChartBuilder::on(area)
        .margin(MARGIN)
        .margin_right(LABELS_WIDTH)
        .caption("Counts of 20 random accounts by name, in one call", (FONT, 20))
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d((x_min..x_max).log_scale(), (y_min..y_max).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(RGBColor(240, 240, 240))
        .bold_line_style(RGBColor(220, 220, 220))
        .x_desc("follows in the graph")
        .y_desc("median latency in microseconds")
        .x_label_formatter(&|value| short(*value))
        .y_label_formatter(&|value| format!("{value}"))
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .draw()?;
    let mut labels = Vec::new();
    for (&peer, points) in lines {
        let color = color(peer);
        let width = if peer == PeerName::Followgraph { 3 } else { 2 };
        let style = color.stroke_width(width);
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        let dot = |&point: &(f64, f64)| Circle::new(point, DOT_RADIUS, color.filled());
        chart.draw_series(points.iter().map(dot))?;
        if let Some(&last) = points.last() {
            labels.push((peer, chart.backend_coord(&last), last.1));
        }
    }
    draw_labels(area, labels)
}

/// The name and the last value of each line, to its right, moved apart where they would touch.
fn draw_labels(area: &Area<'_>, mut labels: Vec<(PeerName, (i32, i32), f64)>) -> DrawResult {
    labels.sort_unstable_by_key(|label| label.1.1);
    let mut free_from = i32::MIN;
    let left = WIDTH as i32 - LABELS_WIDTH + MARGIN;
    for (peer, (x, y), value) in labels {
        let place = y.max(free_from);
        free_from = place + LABEL_HEIGHT;
        let color = color(peer);
        let leader = [(x + DOT_RADIUS, y), (left - 4, place)];
        area.draw(&PathElement::new(leader, color.mix(0.5).stroke_width(1)))?;
        let text = format!("{} {}", peer.title(), figures::nanoseconds(value * 1e3));
        let style = (FONT, 15).into_font().color(&color);
        area.draw(&Text::new(text, (left, place - LABEL_HEIGHT / 2), style))?;
    }
    Ok(())
}

fn short(value: f64) -> String {
    if value >= 1e6 { format!("{} M", value / 1e6) } else { format!("{} k", value / 1e3) }
}
