//! What a generated network offers to the sampler.

use crate::kernel::Condition;
use crate::shape::Shape;

/// A map of f32 of a size known at compile time.
pub trait Map: AsRef<[f32]> + AsMut<[f32]> + 'static {
    /// All 0.
    const ZERO: Self;
}

impl<const N: usize> Map for [f32; N] {
    const ZERO: Self = [0.0; N];
}

/// A network that predicts, from x at a step, what the sampler's table turns into x̂0; with its working memory.
///
/// It runs layer by layer, so that firmware can do something in between.
pub trait Denoiser: Sized {
    /// Of x and of the prediction.
    const SHAPE: Shape;
    /// Classes that can be asked for, `0..CLASSES`; class `CLASSES` stands for none.
    const CLASSES: usize;
    /// At least 2.
    const LAYERS: usize;
    /// A name a layer.
    const LAYER_NAMES: &'static [&'static str];
    /// `[f32; SHAPE.len()]`.
    type Map: Map;
    /// Where x̂0 of the step before is kept: a [`Self::Map`] when one of the network's samplers draws on it, else
    /// `[f32; 0]`, which takes no memory.
    type Previous: Map;
    /// With its memory all zero, so that a static one takes no flash.
    const NEW: Self;

    /// Runs layer `index`; from 0 to `LAYERS − 1` in turn they make one evaluation.
    ///
    /// `x` is there for the first layer, already times c_in; `out` for the last, which fills it. Otherwise they are
    /// empty, because they share a buffer. An index past the last does nothing.
    fn layer(&mut self, index: usize, condition: Condition, x: &[f32], out: &mut [f32]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_arrays() {
        let mut map = <[f32; 3]>::ZERO;
        map.as_mut()[1] = 2.0;
        assert_eq!(map.as_ref(), [0.0, 2.0, 0.0]);
    }
}
