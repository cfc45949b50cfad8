//! How far a training is: a bar on a terminal, elsewhere a line now and then.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::curve::Metric;

const LINE_EVERY: Duration = Duration::from_secs(30);

/// Shown on stderr.
pub struct Progress {
    bar: ProgressBar,
    steps: u64,
    last_line: Option<Instant>,
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
        Ok(Self { bar, steps, last_line: None })
    }

    /// Moves the bar.
    pub fn step(&self, step: u64) {
        self.bar.set_position(step);
    }

    /// Shows the newest metrics.
    pub fn metric(&mut self, metric: &Metric, batch: i64) {
        let message = format!("loss {:.4} · {:.0} pictures/s", metric.loss, metric.samples_per_second);
        if self.bar.is_hidden() && self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            let left = (self.steps - metric.step) as f64 * batch as f64 / metric.samples_per_second;
            let left = HumanDuration(Duration::try_from_secs_f64(left).unwrap_or_default());
            eprintln!("step {} of {} · {message} · {left} left", metric.step, self.steps);
            self.last_line = Some(Instant::now());
        }
        self.bar.set_message(message);
    }

    /// Leaves the full bar standing.
    pub fn finish(&self) {
        self.bar.finish();
    }
}
