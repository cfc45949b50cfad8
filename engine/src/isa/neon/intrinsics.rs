//! Neon's instructions that the kernels use, by their C names: every AArch64 has them, so that calling them is safe.

use core::arch::aarch64;
pub(super) use core::arch::aarch64::{int8x8_t, int8x16_t, int16x4_t, int16x8_t, int32x4_t};

macro_rules! safe {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {$(
        #[inline(always)]
        pub(super) fn $name($($argument: $type),*) -> $output {
            // SAFETY: it computes a value from values, on any AArch64.
            unsafe { aarch64::$name($($argument),*) }
        }
    )*};
}

safe! {
    vaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vcombine_s16(low: int16x4_t, high: int16x4_t) -> int16x8_t;
    vdupq_n_s16(value: i16) -> int16x8_t;
    vdupq_n_s32(value: i32) -> int32x4_t;
    vdupq_n_s8(value: i8) -> int8x16_t;
    vget_low_s16(a: int16x8_t) -> int16x4_t;
    vget_low_s8(a: int8x16_t) -> int8x8_t;
    vmlal_high_s16(sums: int32x4_t, a: int16x8_t, b: int16x8_t) -> int32x4_t;
    vmlal_s16(sums: int32x4_t, a: int16x4_t, b: int16x4_t) -> int32x4_t;
    vmovl_high_s16(a: int16x8_t) -> int32x4_t;
    vmovl_high_s8(a: int8x16_t) -> int16x8_t;
    vmovl_s16(a: int16x4_t) -> int32x4_t;
    vmovl_s8(a: int8x8_t) -> int16x8_t;
    vmull_high_s8(a: int8x16_t, b: int8x16_t) -> int16x8_t;
    vmull_s8(a: int8x8_t, b: int8x8_t) -> int16x8_t;
    vmulq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vpadalq_s16(sums: int32x4_t, a: int16x8_t) -> int32x4_t;
    vpaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vqmovn_s16(a: int16x8_t) -> int8x8_t;
    vqmovn_s32(a: int32x4_t) -> int16x4_t;
    vqrdmulhq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    vshlq_s32(a: int32x4_t, count: int32x4_t) -> int32x4_t;
}
