//! How far chance may have moved a figure.

use grano::noise::Philox;
use rand_core::Rng;
use serde::{Deserialize, Serialize};

/// Holds the figure with a probability of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// From the 2.5th to the 97.5th percentile of some values, the nearest ones.
    pub fn percentiles(values: &[f64]) -> Self {
        let [low, high] = [0.025, 0.975].map(|part| quantile(values, part));
        Self { low, high }
    }
}

/// The value below which a part of the values lies; NaN if there are none.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((part * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
}

/// `count` draws of `0..count`, with replacement.
pub fn resample(rng: &mut Philox, count: u32) -> Vec<i64> {
    (0..count).map(|_| ((u64::from(rng.next_u32()) * u64::from(count)) >> 32) as i64).collect()
}

/// A mean and its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Its standard error: the values' deviation over √n; 0 for one value.
    pub standard_error: f64,
}

impl Mean {
    /// Of independent values.
    pub fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let n = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / n;
        let squares = values.map(|value| (value - mean).powi(2)).sum::<f64>();
        Self { mean, standard_error: (squares / (n - 1.0).max(1.0) / n).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_the_textbooks() {
        let values: Vec<f64> = (0..=200).rev().map(f64::from).collect();
        assert_eq!(Interval::percentiles(&values), Interval { low: 5.0, high: 195.0 });
        let mean = Mean::of([1.0, 2.0, 3.0, 4.0].into_iter());
        assert_eq!(mean.mean, 2.5);
        assert!((mean.standard_error - (5.0f64 / 3.0 / 4.0).sqrt()).abs() < 1e-12);
        let mut counts = [0; 4];
        (0..1000).flat_map(|b| resample(&mut Philox::new(0, b), 4)).for_each(|i| counts[i as usize] += 1);
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }
}
