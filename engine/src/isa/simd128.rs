//! WebAssembly's vectors of 128 bits.

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use super::portable;
use super::scratch::larger;
use super::simd::{self, conv2d, conv2d_pairs};
use super::{Convolution, Finish, Isa, Packing, Scratch};
use crate::geometry::Geometry;
use crate::maps::Code;
use crate::requantize::Table;

const LANES: usize = 8;

/// Pixels of tiles whose lanes are pixels.
const FEW: usize = 16;
/// Pixels of other tiles: six times two registers hold sums, two hold weights; an x86 has 16.
const MORE: usize = 6;

/// Pairs of 16-bit products: i32x4.dot_i16x8_s.
#[derive(Clone, Copy, Debug)]
pub struct Simd128;

/// See [`Isa::scratch_words`].
pub(super) const fn scratch_words(geometry: &Geometry) -> usize {
    let few = conv2d::scratch_words(geometry, LANES, FEW);
    let more = conv2d_pairs::scratch_words(geometry, LANES, MORE);
    larger(simd::packing(LANES).scratch_words(geometry), larger(few, more))
}

impl Isa for Simd128 {
    const NAME: &'static str = "simd128";
    const PACKING: Packing = simd::packing(LANES);
    const SCRATCH: Scratch = Scratch::Simd128;

    fn is_native() -> bool {
        cfg!(all(target_arch = "wasm32", target_feature = "simd128"))
    }

    #[inline]
    fn conv2d<X: Code, F: Finish>(
        convolution: &Convolution<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        vector::conv2d(convolution, finish, scratch, output);
        #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
        portable::conv2d::<Self, X, F>(convolution, finish, scratch, output);
    }

    fn channel_sums(map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        simd::maps::channel_sums(vector::Token, map, sums, squares);
        #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
        portable::channel_sums(map, sums, squares);
    }

    fn affine(factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        simd::maps::affine(vector::Token, factors, offsets, table, map);
        #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
        portable::affine(factors, offsets, table, map);
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod vector {
    use core::arch::wasm32::*;

    use super::{FEW, LANES, MORE};
    use crate::isa::simd::{self, DEPTH, Pairs, Products, Vector, keep, whole};
    use crate::isa::{Convolution, Finish};
    use crate::maps::Code;

    /// See [`crate::isa::Isa::conv2d`].
    pub fn conv2d<X: Code, F: Finish>(
        convolution: &Convolution<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        match convolution.geometry.output.channels {
            0..=4 => simd::conv2d::run::<_, Quadruples, X, F, FEW, 0, 0>(Token, convolution, finish, scratch, output),
            _ if X::bytes(&[]).is_some() && simd::winograd::suits(convolution.geometry) => {
                simd::winograd::run::<_, X, F, MORE>(Token, convolution, finish, scratch, output);
            }
            _ => simd::conv2d_pairs::direct::<_, X, F, MORE>(Token, convolution, finish, scratch, output),
        }
    }

    /// The module is there only where the instructions are.
    #[derive(Clone, Copy)]
    pub struct Token;

    /// See [`Vector::Scale`].
    pub struct Scale {
        shift: u32,
        multipliers: [v128; 2],
        offset: v128,
    }

    impl Vector for Token {
        const LANES: usize = LANES;
        type Lanes = [v128; 2];
        type Scale = Scale;
        type Narrow = Quadruples;
        type Wide = Quadruples;

        #[inline(always)]
        fn load(self, values: &[i32]) -> [v128; 2] {
            bytemuck::must_cast(whole::<_, LANES>(values))
        }

        #[inline(always)]
        fn widen(self, values: &[i8]) -> [v128; 2] {
            let bytes = i64x2_splat(bytemuck::must_cast(whole::<_, LANES>(values)));
            let words = i16x8_extend_low_i8x16(bytes);
            [i32x4_extend_low_i16x8(words), i32x4_extend_high_i16x8(words)]
        }

        #[inline(always)]
        fn store(self, lanes: [v128; 2], output: &mut [i32]) {
            keep::<_, LANES>(output, bytemuck::must_cast(lanes));
        }

        #[inline(always)]
        fn saturate(self, [low, high]: [v128; 2], output: &mut [i8]) {
            let words = i16x8_narrow_i32x4(low, high);
            let bytes = i64x2_extract_lane::<0>(i8x16_narrow_i16x8(words, words));
            keep::<_, LANES>(output, bytemuck::must_cast(bytes));
        }

        #[inline(always)]
        fn splat(self, value: i32) -> [v128; 2] {
            [i32x4_splat(value); 2]
        }

        #[inline(always)]
        fn add(self, a: [v128; 2], b: [v128; 2]) -> [v128; 2] {
            [i32x4_add(a[0], b[0]), i32x4_add(a[1], b[1])]
        }

        #[inline(always)]
        fn multiply(self, a: [v128; 2], b: [v128; 2]) -> [v128; 2] {
            [i32x4_mul(a[0], b[0]), i32x4_mul(a[1], b[1])]
        }

        #[inline(always)]
        fn shift_right(self, lanes: [v128; 2], by: u32) -> [v128; 2] {
            lanes.map(|lanes| i32x4_shr(lanes, by))
        }

        #[inline(always)]
        fn scale(self, shift: u32, multipliers: [v128; 2], zero_point: i32) -> Scale {
            Scale { shift, multipliers, offset: i64x2_splat((i64::from(zero_point) << 32) + (1 << 31)) }
        }

        /// The low and the high lanes apart, in 64 bits. The zero point is added with the half of what is rounded off.
        #[inline(always)]
        fn requantize(self, acc: [v128; 2], scale: &Scale) -> [v128; 2] {
            let requantize = |acc, multipliers| {
                let acc = i32x4_shl(acc, scale.shift);
                let low = i64x2_add(i64x2_extmul_low_i32x4(acc, multipliers), scale.offset);
                let high = i64x2_add(i64x2_extmul_high_i32x4(acc, multipliers), scale.offset);
                i32x4_shuffle::<1, 3, 5, 7>(low, high)
            };
            [requantize(acc[0], scale.multipliers[0]), requantize(acc[1], scale.multipliers[1])]
        }
    }

    impl Pairs for Token {
        /// Each byte into the upper half of 16 bits, and shifted down from there.
        #[inline(always)]
        fn halves(self, step: &[[i8; DEPTH]]) -> [[v128; 2]; 2] {
            let bytes: [v128; 2] = bytemuck::must_cast(whole::<_, LANES>(step));
            let first = i8x16(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13);
            let last = i8x16(-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15);
            [first, last].map(|places| bytes.map(|bytes| i16x8_shr(i8x16_swizzle(bytes, places), 8)))
        }

        #[inline(always)]
        fn subtract(self, a: [v128; 2], b: [v128; 2]) -> [v128; 2] {
            [i32x4_sub(a[0], b[0]), i32x4_sub(a[1], b[1])]
        }

        #[inline(always)]
        fn add_halves(self, a: [v128; 2], b: [v128; 2]) -> [v128; 2] {
            [i16x8_add(a[0], b[0]), i16x8_add(a[1], b[1])]
        }

        #[inline(always)]
        fn subtract_halves(self, a: [v128; 2], b: [v128; 2]) -> [v128; 2] {
            [i16x8_sub(a[0], b[0]), i16x8_sub(a[1], b[1])]
        }

        #[inline(always)]
        fn add_pairs(self, sums: [v128; 2], weights: [v128; 2], taps: [i16; 2]) -> [v128; 2] {
            let taps = i32x4_splat(bytemuck::must_cast(taps));
            self.add(sums, weights.map(|weights| i32x4_dot_i16x8(weights, taps)))
        }
    }

    /// Each lane has half of a channel's products; four vectors have two channels each.
    pub struct Quadruples;

    impl Products<Token> for Quadruples {
        type Element = i16;
        const OFFSET: i16 = 0;
        type Weights = [v128; 4];
        type Sums = [v128; 4];

        #[inline(always)]
        fn element(value: i16) -> i16 {
            value
        }

        #[inline(always)]
        fn zero(_: Token) -> [v128; 4] {
            [i32x4_splat(0); 4]
        }

        #[inline(always)]
        fn weights(token: Token, step: &[i8]) -> [v128; 4] {
            let Some(step) = step.first_chunk::<32>() else { return Self::zero(token) };
            let [a, b]: [v128; 2] = bytemuck::must_cast(*step);
            [
                i16x8_extend_low_i8x16(a),
                i16x8_extend_high_i8x16(a),
                i16x8_extend_low_i8x16(b),
                i16x8_extend_high_i8x16(b),
            ]
        }

        #[inline(always)]
        fn multiply_add(_: Token, mut sums: [v128; 4], weights: [v128; 4], taps: [i16; DEPTH]) -> [v128; 4] {
            let taps = i64x2_splat(bytemuck::must_cast(taps));
            for (sums, weights) in sums.iter_mut().zip(weights) {
                *sums = i32x4_add(*sums, i32x4_dot_i16x8(weights, taps));
            }
            sums
        }

        #[inline(always)]
        fn pixels(token: Token, taps: &[[i16; DEPTH]]) -> [v128; 4] {
            taps.first_chunk::<8>().map_or(Self::zero(token), |taps| bytemuck::must_cast(*taps))
        }

        #[inline(always)]
        fn multiply_add_pixels(token: Token, sums: [v128; 4], pixels: [v128; 4], weights: [i8; DEPTH]) -> [v128; 4] {
            Self::multiply_add(token, sums, pixels, weights.map(i16::from))
        }

        #[inline(always)]
        fn total(_: Token, [a, b, c, d]: [v128; 4]) -> [v128; 2] {
            let join = |a, b| i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(a, b), i32x4_shuffle::<1, 3, 5, 7>(a, b));
            [join(a, b), join(c, d)]
        }
    }
}
