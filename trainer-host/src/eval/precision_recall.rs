//! Precision and recall of drawn pictures (Kynkäänniemi et al. 2019): a set's region is the union of balls around its
//! pictures' features, each as large as the distance to the k-th nearest other picture of the set. Precision is the
//! part of drawn pictures in the real ones' region, recall the part of real pictures in the drawn ones'.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// k, as in the paper.
pub const NEIGHBOUR: i64 = 3;

/// Both parts, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrecisionRecall {
    /// Of what is drawn, what looks real.
    pub precision: f64,
    /// Of what is real, what may be drawn.
    pub recall: f64,
}

/// Of features f32 `[n, d]` of either kind; more than [`NEIGHBOUR`] of each.
pub fn precision_recall(drawn: &Tensor, real: &Tensor) -> PrecisionRecall {
    let (drawn, real) = (drawn.to_kind(Kind::Double), real.to_kind(Kind::Double));
    PrecisionRecall { precision: inside(&real, &drawn), recall: inside(&drawn, &real) }
}

/// The part of `points` in the region of `set`.
fn inside(set: &Tensor, points: &Tensor) -> f64 {
    // The nearest one of the set is the picture itself, at 0.
    let own = Tensor::cdist(set, set, 2.0, 2);
    let (nearest, _) = own.topk(NEIGHBOUR + 1, 1, false, true);
    let radius = nearest.select(1, NEIGHBOUR);
    // Exact differences, not the faster product, so that a point of the set itself is at 0.
    let hit = Tensor::cdist(points, set, 2.0, 2).le_tensor(&radius).any_dim(1, false);
    hit.to_kind(Kind::Double).mean(Kind::Double).double_value(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use tch::Device;

    #[test]
    fn equal_sets_have_all_and_distant_ones_nothing() {
        let _alone = testing::seed(0);
        let a = Tensor::randn([200, 6], (Kind::Float, Device::Cpu));
        assert_eq!(precision_recall(&a, &a), PrecisionRecall { precision: 1.0, recall: 1.0 });
        assert_eq!(precision_recall(&(&a + 100.0), &a), PrecisionRecall { precision: 0.0, recall: 0.0 });
    }

    #[test]
    fn a_part_of_the_set_is_precise_and_misses_the_rest() {
        let _alone = testing::seed(0);
        let a = Tensor::randn([100, 6], (Kind::Float, Device::Cpu));
        let real = Tensor::cat(&[&a, &(&a + 50.0)], 0);
        let PrecisionRecall { precision, recall } = precision_recall(&a, &real);
        assert_eq!((precision, recall), (1.0, 0.5));
    }
}
