//! Floating-point element types and activations. Elements are stored as f16 or f32; sums are f32.

use bytemuck::Pod;
use half::f16;

/// A type that maps and weights are stored in.
pub trait Real: Pod + Default {
    /// Exact.
    fn to_f32(self) -> f32;
    /// The slice itself, where the elements are f32.
    fn floats(values: &[Self]) -> Option<&[f32]>;
    /// To the nearest, ties to even.
    fn from_f32(value: f32) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn floats(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }

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
    #[inline(always)]
    fn floats(_: &[Self]) -> Option<&[f32]> {
        None
    }

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

    /// As `f16::from_f32`, but without branches, so that many are narrowed at once: an addition rounds the mantissa of
    /// a normal number to 10 bits, ties to even; adding a power of two rounds a subnormal in the adder.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        const SUBNORMAL: u32 = (127 - 15 + 23 - 10 + 1) << 23;
        let bits = value.to_bits();
        let (sign, bits) = ((bits >> 16) as u16 & 0x8000, bits & 0x7fff_ffff);
        let odd = bits >> 13 & 1;
        let normal = (bits.wrapping_add(0xfff + odd).wrapping_sub((127 - 15) << 23) >> 13) as u16;
        let subnormal = (f32::from_bits(bits) + f32::from_bits(SUBNORMAL)).to_bits().wrapping_sub(SUBNORMAL) as u16;
        let finite = if bits < (127 - 14) << 23 { subnormal } else { normal };
        let large = if bits > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
        f16::from_bits(sign | if bits < (127 + 16) << 23 { finite } else { large })
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
    /// f(x) of every element, the same bits as one by one.
    #[must_use]
    #[inline(always)]
    pub fn apply_all<const N: usize>(self, values: [f32; N]) -> [f32; N] {
        let mut values = values;
        if N < 8 {
            values.iter_mut().for_each(|x| *x = self.apply(*x));
        } else if self != Self::Identity {
            values.iter_mut().for_each(|x| *x /= 1.0 + exp(-*x));
            if let Self::ClippedSilu(limit) = self {
                values.iter_mut().for_each(|x| *x = if *x > limit { limit } else { *x });
            }
        }
        values
    }

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

/// The first N elements, filled up with 0.
#[inline(always)]
pub(crate) fn widen<T: Real, const N: usize>(values: Option<&[T]>) -> [f32; N] {
    let values = values.unwrap_or_default();
    let mut wide = [0.0; N];
    match values.first_chunk::<N>() {
        Some(values) => wide.iter_mut().zip(values).for_each(|(wide, value)| *wide = value.to_f32()),
        None => wide.iter_mut().zip(values).for_each(|(wide, value)| *wide = value.to_f32()),
    }
    wide
}

/// As many elements as fit.
#[inline(always)]
pub(crate) fn narrow<T: Real, const N: usize>(values: [f32; N], output: &mut [T]) {
    let mut narrow = [T::default(); N];
    narrow.iter_mut().zip(values).for_each(|(to, from)| *to = T::from_f32(from));
    match output.first_chunk_mut::<N>() {
        Some(output) => *output = narrow,
        None => output.iter_mut().zip(narrow).for_each(|(to, from)| *to = from),
    }
}

/// eˣ: `libm::expf`'s bits without its branches, so that many are computed at once.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Constants and steps of FreeBSD's e_expf.c, which libm follows: x = k · ln 2 + r, and a rational function of r.
    const LN2: [f32; 2] = [f32::from_bits(0x3f31_7200), f32::from_bits(0x35bf_be8e)];
    const INVERSE_LN2: f32 = f32::from_bits(0x3fb8_aa3b);
    const P: [f32; 2] = [1.666_662_5e-1, -2.766_733_3e-3];
    let size = x.to_bits() & 0x7fff_ffff;
    let low = if x > -104.0 { x } else { -104.0 };
    let clamped = if low < 89.0 { low } else { 89.0 };
    let sign = if x < 0.0 { -1.0 } else { 1.0 };
    // ⌊|x| / ln 2 + ½⌋: adding 2²³ rounds to the nearest, which may be one too many.
    const ONES: f32 = (1 << 23) as f32;
    let quotient = (INVERSE_LN2 * clamped + 0.5 * sign) * sign;
    let rounded = (quotient + ONES) - ONES;
    let far = if rounded > quotient { rounded - 1.0 } else { rounded };
    let near = if size > 0x3eb1_7218 { 1.0 } else { 0.0 };
    let steps = if size > 0x3f85_1592 { far } else { near };
    let multiple = steps * sign;
    let k = (multiple + 1.5 * ONES).to_bits() as i32 - (1.5 * ONES).to_bits() as i32;
    let hi = clamped - multiple * LN2[0];
    let lo = multiple * LN2[1];
    let r = hi - lo;
    let square = r * r;
    let c = r - square * (P[0] + square * P[1]);
    let y = 1.0 + (r * c / (2.0 - c) - lo + hi);
    let y = if size > 0x3900_0000 { y } else { 1.0 + x };
    // Twice half of the exponent: the first product is exact, the second may be subnormal.
    let half = k >> 1;
    let power = |k: i32| f32::from_bits(((k + 127) << 23) as u32);
    let y = y * power(half) * power(k - half);
    let y = if x <= -103.972_084 { 0.0 } else { y };
    if x.is_nan() { x } else { y }
}

/// ⌊x⌋, held to an i32; 0 for NaN.
#[inline(always)]
pub(crate) fn floor(x: f32) -> i32 {
    let towards_zero = x as i32;
    if towards_zero as f32 > x { towards_zero.saturating_sub(1) } else { towards_zero }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_equal_halfs_on_every_f16() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let (ours, theirs) = (Real::to_f32(half), half.to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{bits:#06x}");
            assert!(<f16 as Real>::from_f32(ours) == half || half.is_nan());
            // Halfway between neighbours, and next to it on either side.
            let next = f16::from_bits(bits ^ 1).to_f32();
            let middle = (ours + next) / 2.0;
            for value in [middle, middle.next_up(), middle.next_down(), ours.next_up(), ours.next_down()] {
                let (ours, theirs) = (<f16 as Real>::from_f32(value), f16::from_f32(value));
                assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{value}");
            }
        }
    }

    #[test]
    fn exponentials_are_libms() {
        let around =
            [0x4cf1_b500u32, 0x42b1_7218, 0x42cf_f1b5, 0x42ae_ac50, 0x3f85_1592, 0x3eb1_7218, 0x3900_0000, 0x7f80_0000];
        let near = around.into_iter().flat_map(|bits| bits - 300..bits + 300);
        for bits in (0..u32::MAX).step_by(2039).chain(near) {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                let (ours, theirs) = (exp(x), libm::expf(x));
                assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{x} {ours} {theirs}");
            }
        }
    }

    #[test]
    fn floors_are_libms() {
        let around = [0x4f00_0000u32, 0x4b00_0000, 0x4a80_0000, 0x3f80_0000, 0x4000_0000, 0x7f80_0000];
        let near = around.into_iter().flat_map(|bits| bits - 300..bits + 300);
        for bits in (0..u32::MAX).step_by(2039).chain(near).chain(0..300) {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                assert_eq!(floor(x), libm::floorf(x) as i32, "{x}");
            }
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
