//! Floating-point element types and activations. Elements are stored as f16 or f32; sums are f32.
//!
//! `exp` has the exponential, `sigmoid`, `tanh` and `normal` the functions that are built on it, `slope` their derivatives, and `activation` makes
//! data of these. All consist of additions, multiplications and divisions of f32, without FMA and without branches, so
//! that every chip computes the same bits, for one value or for many at once. `cos_sin` is for noise. The polynomials are
//! minimax approximations; tests derive their coefficients again and measure the functions' errors.

mod activation;
mod cos_sin;
mod exp;
mod normal;
mod sigmoid;
mod slope;
mod tanh;

#[cfg(test)]
mod accuracy;

use bytemuck::Pod;
use half::f16;

pub use activation::{Activation, Function};
pub(crate) use cos_sin::cos_sin;
pub(crate) use exp::exp;

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
    fn floors_are_libms() {
        let around = [0x4f00_0000u32, 0x4b00_0000, 0x4a80_0000, 0x3f80_0000, 0x4000_0000, 0x7f80_0000];
        let near = around.into_iter().flat_map(|bits| bits - 300..bits + 300);
        for bits in (0..u32::MAX).step_by(2039).chain(near).chain(0..300) {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                assert_eq!(floor(x), libm::floorf(x) as i32, "{x}");
            }
        }
    }
}
