//! Scores of given pictures: an upper bound on −log p(x_0) in bits per dimension, and denoising errors by noise.
//!
//! The bound is the variational one of the model's own schedule (Ho et al. 2020, eqs. 5 to 13), of a picture of D bytes
//! brought to [−1, 1]:
//!
//! ```text
//! bound   = L_T + Σ_{t=1..T−1} L_t + L_0                          nats; / (D·ln 2) for bits per dimension
//! L_T     = KL(N(√ᾱ_T·x_0, 1 − ᾱ_T) ‖ N(0, 1))                    exact; small, not zero
//! L_t     = ½·(SNR_{t−1} − SNR_t)·|x_0 − x̂0(x_t)|²                SNR = ᾱ/(1 − ᾱ); eq. 8 with β̃_t
//! L_0     = −Σ_d log ∫_{bin of x_0,d} N(x; x̂0(x_0')_d, β̃_1) dx     eq. 13: the bins of bytes 0 and 255 are open
//! ```
//!
//! with time indices t from 0, x_0' at index 0. x̂0 is not clipped and there is no guidance. A budget of n evaluations takes
//! one at index 0, and one in each of n − 1 parts of the others, at the part's middle, whose error stands for the part:
//! the factors of a part sum to one difference of SNRs. Noise is that of one seed for every picture, so that scores of
//! two pictures differ by the pictures alone. The sums of squares come from the engine's
//! [`grano::score`], with the same bits on every chip.

use grano::request::{Request, SampleError};
use grano::score::Errors;
use grano::{Gaussian, Hooks, Philox};

use crate::error::{Error, Result};
use crate::model::Header;
use crate::runtime::{Begin, OwnedTable, Painter};
use crate::schedule::{SamplerSpec, Table};

/// A budget of evaluations for one model's pictures.
#[derive(Clone, Debug)]
pub struct Score {
    table: Table,
    /// Of each row's squared error: the difference of SNRs of its part of time; 0 of the last.
    weights: Vec<f64>,
    /// ᾱ_T.
    last_alpha_bar: f64,
    /// Standard deviation of the last step, √β̃_1.
    deviation: f64,
}

/// A picture's score.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The bound, bits per dimension.
    pub bits: f64,
    /// Mean squares of x̂0 − x_0 by row of the table.
    pub errors: Vec<f32>,
}

impl Score {
    /// For a model, with `budget` evaluations a picture.
    ///
    /// # Errors
    /// When the budget is below 2 or more than the model has time indices, or the schedule is not sound.
    pub fn new(header: &Header, budget: usize) -> Result<Self> {
        let steps = header.schedule.steps;
        if !(2..=steps).contains(&budget) {
            return Err(Error::Model(format!("a budget of {budget} evaluations; give 2 to {steps}")));
        }
        let alpha_bars = header.schedule.alpha_bars()?;
        let all: SamplerSpec = format!("ancestral-{steps}").parse()?;
        let all = SamplerSpec { clip: None, ..all }.table(&header.schedule, header.prediction)?;
        // Row i of `all` is of index steps − 1 − i.
        let row = |t: usize| {
            let row = all.rows[steps - 1 - t];
            crate::schedule::Row { a: 0.0, b: 0.0, c: 0.0, ..row }
        };
        let snr = |t: usize| alpha_bars[t] / (1.0 - alpha_bars[t]);
        let parts = budget - 1;
        // Parts grow with t: most of the bound is where noise is low.
        let bound = |k: usize| 1 + k.max((steps - 1) * k * k / (parts * parts));
        let part = |k: usize| {
            let (low, high) = (bound(k), bound(k + 1));
            (row((low + high - 1) / 2), 0.5 * (snr(low - 1) - snr(high - 1)))
        };
        let (mut rows, mut weights): (Vec<_>, Vec<_>) = (0..parts).rev().map(part).unzip();
        rows.push(row(0));
        weights.push(0.0);
        let alpha_bar = |t: usize| alpha_bars.get(t).copied().unwrap_or_default();
        let posterior = (1.0 - alpha_bar(0)) / (1.0 - alpha_bar(1)) * (1.0 - alpha_bar(1) / alpha_bar(0));
        Ok(Self {
            table: Table { name: format!("score-{budget}"), clip: None, rows },
            weights,
            last_alpha_bar: alpha_bars[steps - 1],
            deviation: posterior.sqrt(),
        })
    }

    /// The noise at which errors are taken, most first.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Scores a picture, bytes `[height][width][channels]`. `table` is this one's, for the painter's runtime.
    ///
    /// # Errors
    /// When the picture is not of the painter's shape, or the label is unknown.
    pub fn run(
        &self,
        painter: &mut Painter<'_>,
        table: &OwnedTable,
        bytes: &[u8],
        label: Option<usize>,
    ) -> Result<Scored, SampleError> {
        let x0: Vec<f32> = bytes.iter().map(|&byte| grano::picture::from_u8(byte)).collect();
        let (mut errors, mut x, mut estimate) = (vec![0.0; table.steps()], vec![0.0; x0.len()], vec![0.0; x0.len()]);
        let noise = || Gaussian(Philox::new(0, 0));
        let mut observe = Errors::new(&x0, noise(), &mut errors);
        table.view().rows.first().into_iter().for_each(|row| observe.begin(row, &mut x));
        let last = table.steps() - 1;
        let watch = |at: &grano::hooks::At<'_>, first: usize, x0: &[f32]| {
            if at.step == last {
                estimate[first..][..x0.len()].copy_from_slice(x0);
            }
        };
        let mut hooks = Hooks { guide: (), observe, watch };
        let request = Request { label, guidance: 1.0 };
        painter.draw_with(Begin::At(&x), table, noise(), request, &mut hooks, &mut |_| {})?;
        let bits = self.bits(bytes, &errors, &estimate);
        errors.iter_mut().for_each(|error| *error /= bytes.len() as f32);
        Ok(Scored { bits, errors })
    }

    /// The bound of a picture whose sums of squared errors and whose x̂0 at index 0 are these.
    fn bits(&self, bytes: &[u8], errors: &[f32], estimate: &[f32]) -> f64 {
        let alpha_bar = self.last_alpha_bar;
        let prior = |&byte: &u8| {
            let x0 = f64::from(byte) / 127.5 - 1.0;
            0.5 * (alpha_bar * x0 * x0 - alpha_bar - libm::log1p(-alpha_bar))
        };
        let prior: f64 = bytes.iter().map(prior).sum();
        let denoising: f64 = self.weights.iter().zip(errors).map(|(weight, &error)| weight * f64::from(error)).sum();
        let bin = |(&byte, &mean): (&u8, &f32)| -log_bin(byte, mean.into(), self.deviation);
        let reconstruction: f64 = bytes.iter().zip(estimate).map(bin).sum();
        (prior + denoising + reconstruction) / (bytes.len() as f64 * std::f64::consts::LN_2)
    }
}

/// log of the probability that a draw of N(mean, deviation²) rounds to a byte.
fn log_bin(byte: u8, mean: f64, deviation: f64) -> f64 {
    let edge = |position: f64| ((position * 2.0 / 255.0 - 1.0) - mean) / deviation;
    let low = if byte == 0 { f64::NEG_INFINITY } else { edge(f64::from(byte) - 0.5) };
    let high = if byte == 255 { f64::INFINITY } else { edge(f64::from(byte) + 0.5) };
    // In the tail below 0, where differences of small numbers are accurate.
    let (low, high) = if low > 0.0 { (-high, -low) } else { (low, high) };
    let below = |z: f64| 0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2);
    let probability = below(high) - below(low);
    if probability > 1e-290 {
        return libm::log(probability);
    }
    // The tail beyond z < 0 is φ(z)/|z|, nearly (Mills' ratio); the far edge adds nothing.
    -0.5 * high * high - libm::log(-high) - 0.5 * libm::log(std::f64::consts::TAU)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes' probabilities sum to 1, and the far tail goes on where numbers end.
    #[test]
    fn bins_fill_the_line() {
        for (mean, deviation) in [(0.0, 0.01), (-0.999, 0.002), (1.0, 0.3), (0.3, 10.0), (-5.0, 0.7)] {
            let sum: f64 = (0..=255).map(|byte| log_bin(byte, mean, deviation).exp()).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{mean} {deviation}: {sum}");
        }
        for mean in [-3.0, 3.0] {
            let far: Vec<f64> = (1..=254).map(|byte| log_bin(byte, mean, 0.1)).collect();
            assert!(far.iter().all(|log| log.is_finite()));
            let falls = |pair: &[f64]| (pair[1] - pair[0]) * mean > 0.0;
            assert!(far.windows(2).all(falls), "{mean}");
        }
    }
}
