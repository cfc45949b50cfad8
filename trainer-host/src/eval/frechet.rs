//! The Fréchet distance of a set of pictures to the real ones ([`Real`] says what it is), and how sure it is.
//!
//! A finite sample's FD is too large by about its covariance's error, in proportion to 1/n: compare sets of one size,
//! with the floor that real pictures of that number have.

use grano::noise::Philox;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::interval::{Interval, resample};
use crate::moments::{Moments, Real};

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

impl Frechet {
    /// The distance from `real` of features f32 `[n, d]`, with an interval from `resamples` resamples.
    pub fn of(features: &Tensor, real: &Real, resamples: u64) -> Self {
        let features = features.to_kind(Kind::Double);
        let again = |b| {
            let indices = resample(&mut Philox::new(0, b), features.size()[0] as u32);
            let indices = Tensor::from_slice(&indices).to_device(features.device());
            real.distance(&Moments::of(&features.index_select(0, &indices)))
        };
        Self::from_moments(&Moments::of(&features), real, (0..resamples).map(again).collect())
    }

    /// The distance from `real` of a set that has these moments, and of its resamples these FDs.
    pub fn from_moments(moments: &Moments, real: &Real, resamples: Vec<f64>) -> Self {
        let fd = real.distance(moments);
        let interval = Interval::percentiles(&moved(fd, &resamples));
        Self { fd, interval, resamples }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use tch::Device;

    #[test]
    fn the_interval_holds_the_distance_and_a_ratio_to_itself_is_1() {
        let _alone = testing::seed(0);
        let normal = |n| Tensor::randn([n, 8], (Kind::Float, Device::Cpu));
        let frechet = Frechet::of(&(normal(300) + 0.5), &Real::new(Moments::of(&normal(2000))), 100);
        let Interval { low, high } = frechet.interval;
        assert!(low < frechet.fd && frechet.fd < high && low > 1.0 && high < 3.5, "{frechet:?}");
        assert_eq!(frechet.over(&frechet), (1.0, Interval { low: 1.0, high: 1.0 }));
    }
}
