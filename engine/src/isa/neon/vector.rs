//! The kernels' vectors: two registers of four sums.

use super::intrinsics::*;
use super::{DOT, FEW, LANES, PLAIN, WIDE, detect};
use crate::isa::simd::{self, DEPTH, Products, Vector, keep, whole};
use crate::isa::{Convolution, Finish, Work};
use crate::maps::Code;

/// Every AArch64 has Neon.
#[derive(Clone, Copy)]
pub(super) struct Plain;

/// Proof that the machine has dot products, too.
#[derive(Clone, Copy)]
pub(super) struct Dot(());

impl Dot {
    #[inline]
    pub fn new() -> Option<Self> {
        detect::has_dot().then_some(Self(()))
    }

    /// See [`crate::isa::Isa::conv2d`].
    #[inline]
    pub fn conv2d<X: Code, F: Finish>(
        self,
        convolution: &Convolution<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        // SAFETY: the token exists only where the machine has the instructions.
        unsafe { conv2d_dot(self, convolution, finish, scratch, output) }
    }

    /// See [`crate::isa::Isa::vectorize`].
    #[inline]
    pub fn vectorize<W: Work>(self, work: W) -> W::Output {
        // SAFETY: the token exists only where the machine has the instructions.
        unsafe { vectorize_dot(work) }
    }
}

#[target_feature(enable = "dotprod")]
fn conv2d_dot<X: Code, F: Finish>(
    token: Dot,
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    match (X::bytes(&[]).is_some(), convolution.geometry.output.channels) {
        (true, 0..=4) => simd::conv2d::run::<_, Bytes, X, F, FEW, 0, 0>(token, convolution, finish, scratch, output),
        (true, _) => simd::conv2d::run::<_, Bytes, X, F, DOT, 1, 0>(token, convolution, finish, scratch, output),
        (false, _) => wide(convolution, finish, scratch, output),
    }
}

#[target_feature(enable = "dotprod")]
fn vectorize_dot<W: Work>(work: W) -> W::Output {
    work.run()
}

/// See [`crate::isa::Isa::conv2d`].
pub(super) fn conv2d<X: Code, F: Finish>(
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    match (X::bytes(&[]).is_some(), convolution.geometry.output.channels) {
        (true, 0..=4) => simd::conv2d::run::<_, Bytes, X, F, FEW, 0, 0>(Plain, convolution, finish, scratch, output),
        (true, _) => simd::conv2d::run::<_, Bytes, X, F, PLAIN, 1, 0>(Plain, convolution, finish, scratch, output),
        (false, _) => wide(convolution, finish, scratch, output),
    }
}

/// For int16 maps.
fn wide<X: Code, F: Finish>(
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    match convolution.geometry.output.channels {
        0..=4 => simd::conv2d::run::<_, Words, X, F, FEW, 0, 0>(Plain, convolution, finish, scratch, output),
        _ => simd::conv2d::run::<_, Words, X, F, WIDE, 1, 0>(Plain, convolution, finish, scratch, output),
    }
}

/// See [`Vector::Scale`].
pub(super) struct Scale {
    shift: int32x4_t,
    /// Half of each multiplier.
    halves: [int32x4_t; 2],
    zero_point: int32x4_t,
}

macro_rules! vector {
    ($($token:ty),*) => {$(
        impl Vector for $token {
            const LANES: usize = LANES;
            type Lanes = [int32x4_t; 2];
            type Scale = Scale;
            type Narrow = Bytes;
            type Wide = Words;

            #[inline(always)]
            fn load(self, values: &[i32]) -> [int32x4_t; 2] {
                bytemuck::must_cast(whole::<_, LANES>(values))
            }

            #[inline(always)]
            fn widen(self, values: &[i8]) -> [int32x4_t; 2] {
                let words = vmovl_s8(bytemuck::must_cast(whole::<_, LANES>(values)));
                [vmovl_s16(vget_low_s16(words)), vmovl_high_s16(words)]
            }

            #[inline(always)]
            fn store(self, lanes: [int32x4_t; 2], output: &mut [i32]) {
                keep::<_, LANES>(output, bytemuck::must_cast(lanes));
            }

            #[inline(always)]
            fn saturate(self, lanes: [int32x4_t; 2], output: &mut [i8]) {
                let words = vcombine_s16(vqmovn_s32(lanes[0]), vqmovn_s32(lanes[1]));
                keep::<_, LANES>(output, bytemuck::must_cast(vqmovn_s16(words)));
            }

            #[inline(always)]
            fn splat(self, value: i32) -> [int32x4_t; 2] {
                [vdupq_n_s32(value); 2]
            }

            #[inline(always)]
            fn add(self, a: [int32x4_t; 2], b: [int32x4_t; 2]) -> [int32x4_t; 2] {
                [vaddq_s32(a[0], b[0]), vaddq_s32(a[1], b[1])]
            }

            #[inline(always)]
            fn multiply(self, a: [int32x4_t; 2], b: [int32x4_t; 2]) -> [int32x4_t; 2] {
                [vmulq_s32(a[0], b[0]), vmulq_s32(a[1], b[1])]
            }

            #[inline(always)]
            fn shift_right(self, lanes: [int32x4_t; 2], by: u32) -> [int32x4_t; 2] {
                let count = vdupq_n_s32(-(by as i32));
                [vshlq_s32(lanes[0], count), vshlq_s32(lanes[1], count)]
            }

            /// SQRDMULH doubles: half the multiplier, which is even.
            #[inline(always)]
            fn scale(self, shift: u32, multipliers: [int32x4_t; 2], zero_point: i32) -> Scale {
                let halve = vdupq_n_s32(-1);
                Scale {
                    shift: vdupq_n_s32(shift as i32),
                    halves: [vshlq_s32(multipliers[0], halve), vshlq_s32(multipliers[1], halve)],
                    zero_point: vdupq_n_s32(zero_point),
                }
            }

            #[inline(always)]
            fn requantize(self, acc: [int32x4_t; 2], scale: &Scale) -> [int32x4_t; 2] {
                let requantize =
                    |acc, half| vaddq_s32(vqrdmulhq_s32(vshlq_s32(acc, scale.shift), half), scale.zero_point);
                [requantize(acc[0], scale.halves[0]), requantize(acc[1], scale.halves[1])]
            }
        }
    )*};
}
vector!(Plain, Dot);

/// Four neighbouring numbers over and over.
#[inline(always)]
fn repeat_bytes(bytes: [i8; DEPTH]) -> int8x16_t {
    bytemuck::must_cast(vdupq_n_s32(bytemuck::must_cast(bytes)))
}

/// int8 maps. A register of weights has four channels.
pub(super) struct Bytes;

/// SDOT: four channels' sums a register.
impl Products<Dot> for Bytes {
    type Element = i8;
    const OFFSET: i16 = 0;
    type Weights = [int8x16_t; 2];
    type Sums = [int32x4_t; 2];

    #[inline(always)]
    fn element(value: i16) -> i8 {
        value as i8
    }

    #[inline(always)]
    fn zero(_: Dot) -> [int32x4_t; 2] {
        [vdupq_n_s32(0); 2]
    }

    #[inline(always)]
    fn weights(_: Dot, step: &[i8]) -> [int8x16_t; 2] {
        step.first_chunk::<32>().map_or([vdupq_n_s8(0); 2], |step| bytemuck::must_cast(*step))
    }

    #[inline(always)]
    fn multiply_add(token: Dot, sums: [int32x4_t; 2], weights: [int8x16_t; 2], taps: [i8; DEPTH]) -> [int32x4_t; 2] {
        let taps = repeat_bytes(taps);
        [sdot(token, sums[0], weights[0], taps), sdot(token, sums[1], weights[1], taps)]
    }

    #[inline(always)]
    fn pixels(_: Dot, taps: &[[i8; DEPTH]]) -> [int8x16_t; 2] {
        taps.first_chunk::<8>().map_or([vdupq_n_s8(0); 2], |taps| bytemuck::must_cast(*taps))
    }

    #[inline(always)]
    fn multiply_add_pixels(
        token: Dot,
        sums: [int32x4_t; 2],
        pixels: [int8x16_t; 2],
        weights: [i8; DEPTH],
    ) -> [int32x4_t; 2] {
        Self::multiply_add(token, sums, pixels, weights)
    }

    #[inline(always)]
    fn total(_: Dot, sums: [int32x4_t; 2]) -> [int32x4_t; 2] {
        sums
    }
}

/// Adds four sums of four products; the intrinsic is not stable yet.
#[inline(always)]
fn sdot(_: Dot, mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the token exists only where the machine has the instruction.
    unsafe {
        core::arch::asm!(
            "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// SMULL, whose products fit int16, and SADALP: each lane has half of a channel's products.
impl Products<Plain> for Bytes {
    type Element = i8;
    const OFFSET: i16 = 0;
    type Weights = [int8x16_t; 2];
    type Sums = [int32x4_t; 4];

    #[inline(always)]
    fn element(value: i16) -> i8 {
        value as i8
    }

    #[inline(always)]
    fn zero(_: Plain) -> [int32x4_t; 4] {
        [vdupq_n_s32(0); 4]
    }

    #[inline(always)]
    fn weights(_: Plain, step: &[i8]) -> [int8x16_t; 2] {
        step.first_chunk::<32>().map_or([vdupq_n_s8(0); 2], |step| bytemuck::must_cast(*step))
    }

    #[inline(always)]
    fn multiply_add(_: Plain, sums: [int32x4_t; 4], weights: [int8x16_t; 2], taps: [i8; DEPTH]) -> [int32x4_t; 4] {
        let taps = repeat_bytes(taps);
        let low = |weights| vmull_s8(vget_low_s8(weights), vget_low_s8(taps));
        let high = |weights| vmull_high_s8(weights, taps);
        [
            vpadalq_s16(sums[0], low(weights[0])),
            vpadalq_s16(sums[1], high(weights[0])),
            vpadalq_s16(sums[2], low(weights[1])),
            vpadalq_s16(sums[3], high(weights[1])),
        ]
    }

    #[inline(always)]
    fn pixels(_: Plain, taps: &[[i8; DEPTH]]) -> [int8x16_t; 2] {
        taps.first_chunk::<8>().map_or([vdupq_n_s8(0); 2], |taps| bytemuck::must_cast(*taps))
    }

    #[inline(always)]
    fn multiply_add_pixels(
        token: Plain,
        sums: [int32x4_t; 4],
        pixels: [int8x16_t; 2],
        weights: [i8; DEPTH],
    ) -> [int32x4_t; 4] {
        Self::multiply_add(token, sums, pixels, weights)
    }

    #[inline(always)]
    fn total(_: Plain, [a, b, c, d]: [int32x4_t; 4]) -> [int32x4_t; 2] {
        [vpaddq_s32(a, b), vpaddq_s32(c, d)]
    }
}

/// int16 maps, by SMLAL: each lane has a quarter of a channel's products.
pub(super) struct Words;

impl<V: Vector<Lanes = [int32x4_t; 2]>> Products<V> for Words {
    type Element = i16;
    const OFFSET: i16 = 0;
    type Weights = [int16x8_t; 4];
    type Sums = [int32x4_t; LANES];

    #[inline(always)]
    fn element(value: i16) -> i16 {
        value
    }

    #[inline(always)]
    fn zero(_: V) -> [int32x4_t; LANES] {
        [vdupq_n_s32(0); LANES]
    }

    #[inline(always)]
    fn weights(_: V, step: &[i8]) -> [int16x8_t; 4] {
        let [a, b]: [int8x16_t; 2] =
            step.first_chunk::<32>().map_or([vdupq_n_s8(0); 2], |step| bytemuck::must_cast(*step));
        [vmovl_s8(vget_low_s8(a)), vmovl_high_s8(a), vmovl_s8(vget_low_s8(b)), vmovl_high_s8(b)]
    }

    #[inline(always)]
    fn multiply_add(
        _: V,
        mut sums: [int32x4_t; LANES],
        weights: [int16x8_t; 4],
        taps: [i16; DEPTH],
    ) -> [int32x4_t; LANES] {
        let taps: int16x4_t = bytemuck::must_cast(taps);
        let both = vcombine_s16(taps, taps);
        for (sums, weights) in sums.as_chunks_mut::<2>().0.iter_mut().zip(weights) {
            *sums = [vmlal_s16(sums[0], vget_low_s16(weights), taps), vmlal_high_s16(sums[1], weights, both)];
        }
        sums
    }

    #[inline(always)]
    fn pixels(_: V, taps: &[[i16; DEPTH]]) -> [int16x8_t; 4] {
        taps.first_chunk::<8>().map_or([vdupq_n_s16(0); 4], |taps| bytemuck::must_cast(*taps))
    }

    #[inline(always)]
    fn multiply_add_pixels(
        v: V,
        sums: [int32x4_t; LANES],
        pixels: [int16x8_t; 4],
        weights: [i8; DEPTH],
    ) -> [int32x4_t; LANES] {
        Self::multiply_add(v, sums, pixels, weights.map(i16::from))
    }

    #[inline(always)]
    fn total(_: V, [a, b, c, d, e, f, g, h]: [int32x4_t; LANES]) -> [int32x4_t; 2] {
        let join = |a, b, c, d| vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d));
        [join(a, b, c, d), join(e, f, g, h)]
    }
}
