//! The run's metrics as JSON lines, and as a picture.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use crate::files;

/// One line of `metrics.jsonl`; means are over the updates since the line before, of one sitting.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metric {
    /// Updates made.
    pub step: u64,
    /// Mean loss.
    pub loss: f64,
    /// Learning rate of the last update.
    pub learning_rate: f64,
    /// Mean gradient norm before clipping.
    pub gradient_norm: f64,
    /// Pictures per second.
    pub samples_per_second: f64,
    /// Seconds of training, over all sittings.
    pub seconds: f64,
}

fn lines(run: &Path) -> PathBuf {
    run.join("metrics.jsonl")
}

/// Metrics up to `step`; later ones, of a sitting that was cut off before its checkpoint, are dropped from
/// the file, since they will be made again.
///
/// # Errors
/// When the file cannot be read or written.
pub fn read(run: &Path, step: u64) -> Result<Vec<Metric>> {
    let path = lines(run);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    // A line that was cut off is later than the checkpoint, too.
    let metrics: Vec<Metric> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|metric: &Metric| metric.step <= step)
        .collect();
    let kept: String = metrics.iter().map(|metric| Ok(serde_json::to_string(metric)? + "\n")).collect::<Result<_>>()?;
    files::write(&path, kept.as_bytes())?;
    Ok(metrics)
}

/// Adds a line.
///
/// # Errors
/// When the file cannot be written.
pub fn append(run: &Path, metric: &Metric) -> Result<()> {
    let path = lines(run);
    let line = serde_json::to_string(metric)? + "\n";
    let write = || OpenOptions::new().append(true).create(true).open(&path)?.write_all(line.as_bytes());
    write().with_context(|| format!("{}", path.display()))
}

/// Draws the loss over the steps, both axes logarithmic, to `loss.png`.
///
/// # Errors
/// When the picture cannot be written.
pub fn draw(run: &Path, metrics: &[Metric]) -> Result<()> {
    const SIZE: [u32; 2] = [800, 400];
    // A logarithmic axis has no place for others, and plotters never ends an axis of no length.
    let metrics: Vec<&Metric> =
        metrics.iter().filter(|metric| metric.loss > 1e-30 && metric.loss.is_finite()).collect();
    let (Some(first), Some(last)) = (metrics.first(), metrics.last()) else { return Ok(()) };
    let losses = metrics.iter().map(|metric| metric.loss);
    let (low, high) =
        losses.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), loss| (low.min(loss), high.max(loss)));
    let mut pixels = vec![0; (3 * SIZE[0] * SIZE[1]) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, SIZE.into()).into_drawing_area();
        area.fill(&WHITE)?;
        let steps = first.step as f64..(last.step + 1) as f64;
        let mut chart = ChartBuilder::on(&area)
            .margin(20)
            .build_cartesian_2d(steps.log_scale(), (low * 0.9..high * 1.1).log_scale())?;
        chart.configure_mesh().x_labels(0).y_labels(0).draw()?;
        chart.draw_series(LineSeries::new(metrics.iter().map(|metric| (metric.step as f64, metric.loss)), &BLUE))?;
        area.present()?;
    }
    files::write_png(&run.join("loss.png"), &pixels, SIZE, image::ExtendedColorType::Rgb8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_losses_make_a_curve_or_none() {
        let metric = |(i, loss): (usize, &f64)| Metric {
            step: 50 * (i as u64 + 1),
            loss: *loss,
            learning_rate: 0.0,
            gradient_norm: 0.0,
            samples_per_second: 1.0,
            seconds: 1.0,
        };
        for (losses, drawn) in [
            (&[][..], false),
            (&[0.0, 0.0], false),
            (&[f64::NAN, f64::INFINITY], false),
            (&[0.5], true),
            (&[0.5, 0.5], true),
            (&[0.5, 0.0, 1e9, f64::NAN], true),
            (&[1e-29, 1e29], true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            draw(folder.path(), &losses.iter().enumerate().map(metric).collect::<Vec<_>>()).unwrap();
            assert_eq!(folder.path().join("loss.png").exists(), drawn, "{losses:?}");
        }
    }
}
