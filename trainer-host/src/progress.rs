//! How far a training is: a bar on a terminal, elsewhere a line now and then.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::curve::Metric;

/// Until the first line; later ones have means over many updates.
const FIRST_LINE: Duration = Duration::from_secs(2);

const LINE_EVERY: Duration = Duration::from_secs(30);

/// Shown on stderr.
pub struct Progress {
    bar: ProgressBar,
    steps: u64,
    last_line: Option<Instant>,
    begun: Instant,
}

fn message(loss: f64, samples_per_second: f64) -> String {
    format!("loss {loss:.4} · {samples_per_second:.0} pictures/s")
}

impl Progress {
    /// Of a training of `steps` updates, `step` of which were made in other sittings; shows nothing unless it is `seen`.
    ///
    /// # Errors
    /// None in practice: the bar's template is fixed.
    pub fn new(step: u64, steps: u64, seen: bool) -> Result<Self> {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} · {elapsed} spent, {eta} left")?;
        let bar = if seen { ProgressBar::new(steps) } else { ProgressBar::hidden() };
        let bar = bar.with_position(step).with_style(style);
        bar.reset_eta();
        Ok(Self { bar, steps, last_line: None, begun: Instant::now() })
    }

    /// Moves the bar; off a terminal, says how it goes as soon as that is known.
    pub fn step(&mut self, step: u64, loss: f64, samples_per_second: f64, batch: i64) {
        self.bar.set_position(step);
        if self.last_line.is_none() && self.begun.elapsed() >= FIRST_LINE {
            self.line(step, &message(loss, samples_per_second), samples_per_second, batch);
        }
    }

    fn line(&mut self, step: u64, message: &str, samples_per_second: f64, batch: i64) {
        if self.bar.is_hidden() {
            let left = (self.steps - step) as f64 * batch as f64 / samples_per_second;
            let left = HumanDuration(Duration::try_from_secs_f64(left).unwrap_or_default());
            eprintln!("step {step} of {} · {message} · {left} left", self.steps);
        }
        self.last_line = Some(Instant::now());
    }

    /// Shows the newest metrics.
    pub fn metric(&mut self, metric: &Metric, batch: i64) {
        let message = message(metric.loss, metric.samples_per_second);
        if self.bar.is_hidden() && self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.line(metric.step, &message, metric.samples_per_second, batch);
        }
        self.bar.set_message(message);
    }

    /// Leaves the full bar standing.
    pub fn finish(&self) {
        self.bar.finish();
    }
}
