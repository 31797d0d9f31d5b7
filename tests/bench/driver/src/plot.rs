//! The main figures as an SVG: one panel each, a bar for the median of each peer, a line from its minimum to
//! its maximum.

use std::fmt::Write as _;

use crate::measure::register::REGISTER;
use crate::measure::serve::{CALLBACKS, HEALTH};
use crate::measure::{cold, read};
use crate::results::{Results, Row, Thing};

/// The figures in the drawing.
pub const PANELS: &[&Thing] = &[&REGISTER, &CALLBACKS, &HEALTH, &read::STATUS, &cold::PYTHON, &cold::NODE];

const WIDTH: f64 = 860.0;
const LEFT: f64 = 300.0;
const RIGHT: f64 = 90.0;
const BAR: f64 = 20.0;
const TITLE: f64 = 40.0;

/// Readable on white and on black.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:14px}\
.bar{fill:#8c959f}.ours{fill:#2f81f7}.floor{fill:#b08800}.range{stroke:#57606a;stroke-width:1.5}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.bar{fill:#6e7681}.range{stroke:#c9d1d9}}";

pub fn svg(results: &Results) -> String {
    let (mut body, mut y) = (String::new(), 0.0);
    for thing in PANELS {
        let rows: Vec<_> = results.of(thing).collect();
        if !rows.is_empty() {
            y = panel(&mut body, thing, &rows, y);
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" \
         role=\"img\"><title>What this library costs, compared with others</title><style>{STYLE}</style>\n{body}</svg>\n"
    )
}

/// Draws one panel and returns where the next one begins.
fn panel(out: &mut String, thing: &Thing, rows: &[&Row], top: f64) -> f64 {
    let better = if thing.more_is_better { "longer is better" } else { "shorter is better" };
    let _ = writeln!(
        out,
        "<text class=\"title\" x=\"8\" y=\"{}\">{} ({}, {better})</text>",
        top + 24.0,
        thing.title,
        thing.unit
    );
    // A peer that is far off would squeeze all the others into one pixel: its bar is cut off, its number is not.
    let scale = cut(rows);
    let x = |value: f64| LEFT + (value / scale).min(1.0) * (WIDTH - LEFT - RIGHT);
    let mut y = top + TITLE;
    for row in rows {
        let class = match row.peer {
            peer if peer.contains("ours") => "ours",
            peer if peer.starts_with("floor") => "floor",
            _ => "bar",
        };
        let (median, (min, max)) = (row.median(), row.range());
        let (middle, end) = (y + BAR / 2.0 - 2.0, x(median));
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{}\"/>\
             <line class=\"range\" x1=\"{:.1}\" y1=\"{middle}\" x2=\"{:.1}\" y2=\"{middle}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{}{}</text>",
            LEFT - 8.0,
            middle + 4.0,
            row.peer.replace(['*', '`'], ""),
            end - LEFT,
            BAR - 4.0,
            x(min),
            x(max),
            x(max).max(end) + 6.0,
            middle + 4.0,
            if median > scale { "… " } else { "" },
            thing.number(median),
        );
        y += BAR;
    }
    y + 8.0
}

/// The largest value that is drawn in full: the longest bar, or four times the median one.
fn cut(rows: &[&Row]) -> f64 {
    let mut medians: Vec<_> = rows.iter().map(|row| row.median()).collect();
    medians.sort_by(f64::total_cmp);
    let longest = medians[medians.len() - 1];
    longest.min(medians[medians.len() / 2] * 4.0).max(f64::MIN_POSITIVE)
}
