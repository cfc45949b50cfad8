//! The Fréchet distance between two sets of pictures: of Gaussians with the means and covariances of their features
//! (Heusel et al. 2017),
//!
//! ```text
//! FD = |μ₁ − μ₂|² + Tr(Σ₁ + Σ₂ − 2·(Σ₁Σ₂)^½)
//! ```
//!
//! in f64, covariances with divisor n − 1. The square root's trace is that of (Σ₁^½·Σ₂·Σ₁^½)^½, which is symmetric.
//!
//! A finite sample's FD is too large by about its covariance's error, in proportion to 1/n: compare sets of one size,
//! with the floor that real pictures of that number have.

use grano::noise::Philox;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::interval::{Interval, resample};

/// The real pictures' side of the distance.
pub struct Real {
    mean: Tensor,
    covariance: Tensor,
    /// Σ^½.
    root: Tensor,
}

/// A distance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Frechet {
    /// Of the set itself.
    pub fd: f64,
    /// 95 % of sets of this size: percentiles of resamples, moved so that their mean is `fd`. (A resample holds
    /// some pictures twice and others not at all, as if it were a smaller set; its FD is larger.)
    pub interval: Interval,
    /// FD of every resample, for ratios: resample b of two sets of one size holds pictures of the same numbers.
    pub resamples: Vec<f64>,
}

impl Real {
    /// From features f32 or f64 `[N, d]`.
    pub fn new(features: &Tensor) -> Self {
        let (mean, covariance) = moments(&features.to_kind(Kind::Double));
        let root = root(&covariance);
        Self { mean, covariance, root }
    }

    /// The distance of features f64 `[n, d]`.
    pub fn distance(&self, features: &Tensor) -> f64 {
        let (mean, covariance) = moments(features);
        let product = self.root.matmul(&covariance).matmul(&self.root);
        let symmetric = (&product + product.tr()) * 0.5;
        let (values, _) = symmetric.linalg_eigh("L");
        let trace_of_root = values.clamp_min(0.0).sqrt().sum(Kind::Double);
        let traces = self.covariance.trace() + covariance.trace() - trace_of_root * 2.0;
        ((&self.mean - mean).square().sum(Kind::Double) + traces).double_value(&[])
    }

    /// The distance of features f32 `[n, d]`, with an interval from `resamples` resamples.
    pub fn frechet(&self, features: &Tensor, resamples: u64) -> Frechet {
        let features = features.to_kind(Kind::Double);
        let fd = self.distance(&features);
        let again = |b| {
            let indices = resample(&mut Philox::new(0, b), features.size()[0] as u32);
            self.distance(&features.index_select(0, &Tensor::from_slice(&indices).to_device(features.device())))
        };
        let resamples: Vec<f64> = (0..resamples).map(again).collect();
        let interval = Interval::percentiles(&moved(fd, &resamples));
        Frechet { fd, interval, resamples }
    }
}

impl Frechet {
    /// This distance over another: the ratio, and an interval from pairs of resamples, moved as each one's own.
    pub fn over(&self, other: &Self) -> (f64, Interval) {
        let [mine, others] = [self, other].map(|frechet| moved(frechet.fd, &frechet.resamples));
        let ratios: Vec<f64> = mine.iter().zip(others).map(|(mine, other)| mine / other).collect();
        (self.fd / other.fd, Interval::percentiles(&ratios))
    }
}

/// Resamples moved so that their mean is the distance itself.
fn moved(fd: f64, resamples: &[f64]) -> Vec<f64> {
    let mean = resamples.iter().sum::<f64>() / resamples.len() as f64;
    resamples.iter().map(|again| again - mean + fd).collect()
}

/// Mean `[d]` and covariance `[d, d]` of f64 `[n, d]`.
fn moments(features: &Tensor) -> (Tensor, Tensor) {
    let mean = features.mean_dim(&[0i64][..], false, Kind::Double);
    let centred = features - &mean;
    let covariance = centred.tr().matmul(&centred) / (features.size()[0] - 1) as f64;
    (mean, covariance)
}

/// The symmetric square root of a covariance; what rounding took below 0 counts as 0.
fn root(covariance: &Tensor) -> Tensor {
    let (values, vectors) = covariance.linalg_eigh("L");
    (&vectors * values.clamp_min(0.0).sqrt()).matmul(&vectors.tr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use tch::Device;

    /// `[2d, d]` with mean `mean` and covariance diag(variance): ± one axis at a time.
    fn crosses(mean: &[f64], variance: &[f64]) -> Tensor {
        let d = mean.len();
        let points = (0..2 * d).flat_map(|i| {
            let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
            // Of the 2d points two have a coordinate: its variance is 2·r²/(2d − 1).
            let radius = (variance[i / 2] * (2 * d - 1) as f64 / 2.0).sqrt();
            (0..d).map(move |axis| if axis == i / 2 { sign * radius } else { 0.0 })
        });
        let points: Vec<f64> = points.collect();
        Tensor::from_slice(&points).reshape([2 * d as i64, d as i64]) + Tensor::from_slice(mean)
    }

    /// For diagonal covariances FD = Σ (m₁ − m₂)² + (s₁ − s₂)².
    #[test]
    fn diagonal_gaussians_have_a_closed_form() {
        let (m1, v1) = ([0.0, 1.0, -2.0, 0.5], [1.0f64, 4.0, 0.25, 0.0]);
        let (m2, v2) = ([1.0f64, 1.0, 1.5, 0.0], [2.0f64, 1.0, 0.5, 3.0]);
        let expected: f64 = (0..4).map(|i| (m1[i] - m2[i]).powi(2) + (v1[i].sqrt() - v2[i].sqrt()).powi(2)).sum();
        let real = Real::new(&crosses(&m1, &v1));
        assert!((real.distance(&crosses(&m2, &v2)) - expected).abs() < 1e-7);
        // Turning both sets changes nothing.
        let _alone = testing::seed(0);
        let (turn, _) = Tensor::linalg_qr(&Tensor::randn([4, 4], (Kind::Double, Device::Cpu)), "reduced");
        let turned = Real::new(&crosses(&m1, &v1).matmul(&turn));
        assert!((turned.distance(&crosses(&m2, &v2).matmul(&turn)) - expected).abs() < 1e-7);
        assert!(real.distance(&crosses(&m1, &v1)).abs() < 1e-7, "a set is at 0 from itself");
    }

    #[test]
    fn the_interval_holds_the_distance_and_a_ratio_to_itself_is_1() {
        let _alone = testing::seed(0);
        let normal = |n| Tensor::randn([n, 8], (Kind::Float, Device::Cpu));
        let frechet = Real::new(&normal(2000)).frechet(&(normal(300) + 0.5), 100);
        let Interval { low, high } = frechet.interval;
        assert!(low < frechet.fd && frechet.fd < high && low > 1.0 && high < 3.5, "{frechet:?}");
        assert_eq!(frechet.over(&frechet), (1.0, Interval { low: 1.0, high: 1.0 }));
    }
}
