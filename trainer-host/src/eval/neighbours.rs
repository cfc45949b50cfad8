//! Nearest training pictures: whether what is drawn is a copy.
//!
//! A copy would lie closer to a training picture than pictures do that the training never saw. So the distances of
//! drawn pictures to their nearest training pictures are held against those of test pictures, and the part is given
//! that lies closer than all but one in a hundred of those.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::interval::quantile;

/// The nearest training picture of every picture.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nearest {
    /// Its place in the training set.
    pub index: Vec<i64>,
    /// Its Euclidean distance.
    pub distance: Vec<f64>,
}

/// How close pictures come to the training set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Closeness {
    /// Median distance to the nearest training picture.
    pub median: f64,
    /// Least distance.
    pub least: f64,
    /// Part of the pictures that lie closer than the nearest hundredth of test pictures: 0.01 is what chance gives.
    pub suspicious: f64,
}

/// Of `points` f32 `[n, d]` among `training` f32 `[N, d]`.
///
/// # Errors
/// When libtorch cannot hand the numbers over.
pub fn nearest(points: &Tensor, training: &Tensor) -> Result<Nearest> {
    /// Points at once: 24 MB of distances to 60,000 pictures.
    const BATCH: i64 = 100;
    let squares = |x: &Tensor| x.square().sum_dim_intlist(&[-1i64][..], false, Kind::Float);
    let of_training = squares(training);
    let transposed = training.tr();
    let (mut index, mut distance) = (Vec::new(), Vec::new());
    for points in points.split(BATCH, 0) {
        // |p − t|² but for |p|², which is the same for all t.
        let (_, least) = (&of_training - points.matmul(&transposed) * 2.0).min_dim(1, false);
        // The distance itself from differences: the product's cancellation would drown a copy's.
        let exact = squares(&(&points - training.index_select(0, &least))).sqrt();
        index.extend(Vec::<i64>::try_from(&least)?);
        distance.extend(Vec::<f64>::try_from(exact.to_kind(Kind::Double))?);
    }
    Ok(Nearest { index, distance })
}

/// Distances of a set against those of test pictures.
pub fn closeness(set: &Nearest, test: &Nearest) -> Closeness {
    let close = quantile(&test.distance, 0.01);
    let suspicious = set.distance.iter().filter(|distance| **distance < close).count();
    Closeness {
        median: quantile(&set.distance, 0.5),
        least: quantile(&set.distance, 0.0),
        suspicious: suspicious as f64 / set.distance.len() as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use tch::Device;

    #[test]
    fn copies_are_found_and_others_are_not() {
        let _alone = testing::seed(0);
        let normal = |n| Tensor::randn([n, 8], (Kind::Float, Device::Cpu));
        let (training, test) =
            (normal(500), nearest(&normal(300), &Tensor::zeros([1, 8], (Kind::Float, Device::Cpu))).unwrap());
        assert!(test.index.iter().all(|index| *index == 0));
        let copies = nearest(&training.narrow(0, 100, 150), &training).unwrap();
        assert_eq!(copies.index, (100..250).collect::<Vec<i64>>());
        assert!(copies.distance.iter().all(|distance| *distance == 0.0));
        let unseen = nearest(&normal(300), &training).unwrap();
        assert_eq!(closeness(&copies, &unseen).suspicious, 1.0);
        assert!(closeness(&unseen, &unseen).suspicious <= 0.01);
    }
}
