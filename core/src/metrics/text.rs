//! The metrics as text, in version 0.0.4 of the format of Prometheus
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::{self, Write as _};

use super::families::Sample;
use super::snapshot::Metrics;

/// Fits all metrics.
const CAPACITY: usize = 8 * 1024;

impl Metrics {
    /// The text for Prometheus. It ends with a line feed, so that it can follow and precede other metrics.
    pub(crate) fn text(&self) -> String {
        let mut text = String::with_capacity(CAPACITY);
        self.write(&mut text).expect("a String takes any text");
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        for family in self.families() {
            let (name, kind) = (family.name, family.kind.name());
            writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help)?;
            for Sample { labels, value } in &family.samples {
                text.push_str(name);
                // Neither names nor values of labels need to be escaped.
                for (number, (label, of)) in labels.iter().enumerate() {
                    let before = if number == 0 { '{' } else { ',' };
                    write!(text, "{before}{label}=\"{of}\"")?;
                }
                let after = if labels.is_empty() { "" } else { "}" };
                writeln!(text, "{after} {value}")?;
            }
        }
        Ok(())
    }
}
