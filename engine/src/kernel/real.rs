//! Floating-point element types and activations. Elements are stored as f16 or f32; sums are f32.

use bytemuck::Pod;
use half::f16;

/// A type that maps and weights are stored in.
pub trait Real: Pod + Default {
    /// Exact.
    fn to_f32(self) -> f32;
    /// To the nearest, ties to even.
    fn from_f32(value: f32) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Real for f16 {
    /// As `f16::to_f32`, but without branches, because weights are widened in the innermost loop: the exponent and
    /// mantissa move into an f32's place, and a multiplication mends the bias, subnormals included. Only infinities and
    /// NaNs come out finite, at 2¹⁶ or more, and get their exponent back.
    #[inline(always)]
    fn to_f32(self) -> f32 {
        const BIAS: f32 = f32::from_bits((127 + 127 - 15) << 23);
        let bits = (i32::from(self.to_bits() as i16) << 13) as u32 & 0x8fff_e000;
        let value = f32::from_bits(bits) * BIAS;
        let exponent = if bits & 0x0f80_0000 == 0x0f80_0000 { 0x7f80_0000 } else { 0 };
        f32::from_bits(value.to_bits() | exponent)
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        f16::from_f32(value)
    }
}

/// What follows a floating-point sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// x / (1 + e⁻ˣ) (Elfwing et al. 2017), by the pinned libm.
    Silu,
    /// SiLU, but at most this.
    ClippedSilu(f32),
}

impl Activation {
    /// f(x).
    #[must_use]
    #[inline]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Identity => x,
            Self::Silu => x / (1.0 + libm::expf(-x)),
            Self::ClippedSilu(limit) => {
                let silu = Self::Silu.apply(x);
                if silu > limit { limit } else { silu }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_equals_half_on_every_f16() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let (ours, theirs) = (Real::to_f32(half), half.to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{bits:#06x}");
            assert!(<f16 as Real>::from_f32(ours) == half || half.is_nan());
        }
    }

    #[test]
    fn silu_at_known_points() {
        let silu = |x| Activation::Silu.apply(x);
        assert_eq!(silu(0.0), 0.0);
        assert!((silu(1.0) - 0.731_058_6).abs() < 1e-7);
        assert!((silu(-1.278_464_5) + 0.278_464_54).abs() < 1e-7, "the minimum");
        assert_eq!(silu(100.0), 100.0);
        assert_eq!(silu(-200.0), 0.0);
        assert_eq!(Activation::Identity.apply(-3.5), -3.5);
        let clipped = |x| Activation::ClippedSilu(4.0).apply(x);
        assert_eq!((clipped(1.0), clipped(100.0)), (silu(1.0), 4.0));
        assert!(clipped(f32::NAN).is_nan());
    }
}
