//! The measured values: one per round for each measurement and peer.

use std::fmt;

/// Something that is measured.
#[derive(Debug, PartialEq)]
pub struct Thing {
    pub title: &'static str,
    pub unit: &'static str,
    /// Digits after the point.
    pub digits: usize,
    pub more_is_better: bool,
}

/// The values of one thing and peer.
pub struct Row {
    pub thing: &'static Thing,
    pub peer: &'static str,
    values: Vec<f64>,
}

#[derive(Default)]
pub struct Results(Vec<Row>);

impl Results {
    pub fn add(&mut self, thing: &'static Thing, peer: &'static str, values: impl IntoIterator<Item = f64>) {
        let row = match self.0.iter().position(|row| row.thing == thing && row.peer == peer) {
            Some(at) => &mut self.0[at],
            None => {
                self.0.push(Row { thing, peer, values: Vec::new() });
                self.0.last_mut().expect("just pushed")
            }
        };
        row.values.extend(values);
    }

    pub fn of<'a>(&'a self, thing: &'static Thing) -> impl Iterator<Item = &'a Row> {
        self.0.iter().filter(move |row| row.thing == thing)
    }

    pub fn median(&self, thing: &'static Thing, peer: &str) -> Option<f64> {
        self.of(thing).find(|row| row.peer == peer).map(Row::median)
    }
}

impl Row {
    fn sorted(&self) -> Vec<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    pub fn median(&self) -> f64 {
        let values = self.sorted();
        let middle = values.len() / 2;
        if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        }
    }

    pub fn range(&self) -> (f64, f64) {
        let values = self.sorted();
        (values[0], values[values.len() - 1])
    }
}

impl fmt::Display for Row {
    /// Median (min–max).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = self.range();
        let number = |value| self.thing.number(value);
        write!(f, "{} ({}–{})", number(self.median()), number(min), number(max))
    }
}

impl Thing {
    pub fn number(&self, value: f64) -> String {
        grouped(format_args!("{value:.*}", self.digits))
    }
}

/// A number with a comma after each three digits.
pub fn grouped(number: impl fmt::Display) -> String {
    let text = number.to_string();
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && digit != '-' {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}
