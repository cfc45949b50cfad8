//! The time index as waves.

use serde::{Deserialize, Serialize};

use super::{At, Folding, Operation, one, positive, wrong};
use crate::error::Result;
use crate::fold::{Node, Rows};
use crate::geometry::dimension;
use crate::graph::Shape;

/// The time index as `[sin(t·ω_0), …, cos(t·ω_0), …]`, ω_i = max_period^(−i/(dim/2))
/// (Vaswani et al. 2017, section 3.5, as laid out by DDPM).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sinusoid {
    /// Length of the output, even.
    pub dim: usize,
    /// The longest wavelength is 2π times this; above 1.
    pub max_period: f64,
}

impl Operation for Sinusoid {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        let wanted = "`t`, with an even `dim` and a `max_period` above 1";
        let Shape::Time = one(node, inputs, wanted)? else { return Err(wrong(node, inputs, wanted)) };
        if !self.dim.is_multiple_of(2) || positive(node, "a `max_period`", self.max_period)? <= 1.0 {
            return Err(wrong(node, inputs, wanted));
        }
        Ok(Shape::Vector(dimension(node, self.dim)?))
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        sinusoid(at.t, self.dim, self.max_period)
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        let row = |&t: &usize| sinusoid(t, self.dim, self.max_period).iter().map(|&v| v.into()).collect();
        Ok(Folding::Rows(Rows { steps: node.times().iter().map(row).collect(), classes: Vec::new() }))
    }
}

/// `[sin(t·ω_i)…, cos(t·ω_i)…]`, ω_i = max_period^(−i/(dim/2)).
fn sinusoid(t: usize, dim: usize, max_period: f64) -> Vec<f32> {
    let half = dim / 2;
    let angle = |i: usize| t as f64 * libm::exp(-libm::log(max_period) * i as f64 / half as f64);
    let sines = (0..half).map(|i| libm::sin(angle(i)) as f32);
    sines.chain((0..half).map(|i| libm::cos(angle(i)) as f32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_by_hand() {
        let waves = sinusoid(1, 4, 100.0);
        let expected = [1f64.sin(), 0.1f64.sin(), 1f64.cos(), 0.1f64.cos()];
        assert!(waves.iter().zip(expected).all(|(&a, b)| (f64::from(a) - b).abs() < 1e-7), "{waves:?}");
    }
}
