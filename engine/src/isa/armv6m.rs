//! ARMv6-M: eight registers for most instructions, sums in those above.
#![allow(unsafe_code)]

#[cfg(not(all(target_arch = "arm", target_os = "none")))]
use super::portable;
use super::{Isa, Packing, scalar};
use crate::epilogue::Epilogue;
use crate::maps::Code;
use crate::residual::Residual;

/// Cortex-M0, M0+, M1.
#[derive(Clone, Copy, Debug)]
pub struct Armv6m;

impl Isa for Armv6m {
    const NAME: &'static str = "ARMv6-M";
    const PACKING: Packing = Packing { channels: 4, pixels: 1, depth: 4, interleave: 4, run: 1, tail: 0 };
    const WIDE: Packing = Self::PACKING;

    #[inline(always)]
    fn place<X: Code>(piece: &[X], columns: &mut [i16], _: usize, tap: usize, _: usize) {
        let columns = columns.get_mut(tap..).unwrap_or_default();
        columns.iter_mut().zip(piece).for_each(|(column, value)| *column = (*value).into());
    }

    #[inline(always)]
    fn dot(weights: &[i8], columns: &[i16], sums: &mut [i32]) {
        #[cfg(all(target_arch = "arm", target_os = "none"))]
        narrow(weights, columns, sums);
        #[cfg(not(all(target_arch = "arm", target_os = "none")))]
        portable::dot(Self::PACKING, weights, columns, sums);
    }

    #[inline(always)]
    fn wide_dot(weights: &[i16], columns: &[i16], sums: &mut [i32]) {
        #[cfg(all(target_arch = "arm", target_os = "none"))]
        wide(weights, columns, sums);
        #[cfg(not(all(target_arch = "arm", target_os = "none")))]
        portable::dot(Self::WIDE, weights, columns, sums);
    }

    #[inline(always)]
    fn requantize(
        epilogue: &Epilogue<'_>,
        sums: &[i32],
        channel: usize,
        index: usize,
        residual: Residual<'_, i8>,
        output: &mut [i8],
    ) {
        scalar::requantize(epilogue, sums, channel, index, residual, output, rescale);
    }
}

/// [`crate::requantize::requantize`] without the shift, from products of 16 bits: the chip has none of 64.
#[inline(always)]
fn rescale(acc: i32, multiplier: i32) -> i32 {
    let (high, low) = (acc >> 16, (acc & 0xffff) as u32);
    let (multiplier_high, multiplier_low) = (multiplier >> 16, (multiplier & 0xffff) as u32);
    // |middle| ≤ 2¹⁵ · (2¹⁶ − 1) + 2¹⁶ − 1 < 2³¹; rest is at most (2¹⁶ − 1) · (2¹⁵ − 1) + 2¹⁶ − 1 + 2¹⁵ < 2³².
    let middle = high.wrapping_mul(multiplier_low as i32).wrapping_add((low.wrapping_mul(multiplier_low) >> 16) as i32);
    let rest = low.wrapping_mul(multiplier_high as u32).wrapping_add((middle as u32 & 0xffff) + (1 << 15));
    high.wrapping_mul(multiplier_high).wrapping_add(middle >> 16).wrapping_add((rest >> 16) as i32)
}

/// One tap of the tile: its value lies at `r1 + $value`, its weights are loaded by `$load` from `r0` on.
#[cfg(all(target_arch = "arm", target_os = "none"))]
macro_rules! tap {
    ($value:literal, $load:literal, $step:literal) => {
        concat!(
            "ldrsh r2, [r1, ",
            $value,
            "]\n",
            $load,
            " r3, [r0, r4]\nmuls r3, r2, r3\nadd r8, r3\n",
            $load,
            " r3, [r0, r5]\nmuls r3, r2, r3\nadd r9, r3\n",
            $load,
            " r3, [r0, r6]\nmuls r3, r2, r3\nadd r10, r3\n",
            $load,
            " r3, [r0, r7]\nmuls r3, r2, r3\nadd r11, r3\n",
            "adds r0, #",
            $step,
            "\n",
        )
    };
}

/// A function as [`Isa::dot`] with weights that `$load` loads, each `$size` bytes: 60 instructions for the 16 products of
/// a step. Weights are `[tap][channel]` in a step. `$second` is the register that holds 2, `$step` four weights' bytes.
#[cfg(all(target_arch = "arm", target_os = "none"))]
macro_rules! dot {
    ($name:ident, $weight:ty, $load:literal, $size:literal, $second:literal, $step:literal) => {
        #[inline(never)]
        fn $name(weights: &[$weight], columns: &[i16], sums: &mut [i32]) {
            let ((weights, _), (columns, _)) = (weights.as_chunks::<16>(), columns.as_chunks::<4>());
            let steps = weights.len().min(columns.len());
            let (Some(weights), Some(sums)) = (weights.get(..steps), sums.first_chunk_mut::<4>()) else { return };
            // SAFETY: the loop reads `steps` steps of weights and as many of columns, which both slices have, and
            // writes the four sums. r6 and r7, which the compiler may need, are as they were in the end.
            unsafe {
                core::arch::asm!(
                    "push {{r6, r7}}",
                    "mov lr, r2",
                    "mov r12, r3",
                    "movs r4, #0",
                    concat!("movs r5, #", $size),
                    concat!("movs r6, #2*", $size),
                    concat!("movs r7, #3*", $size),
                    "mov r8, r4",
                    "mov r9, r4",
                    "mov r10, r4",
                    "mov r11, r4",
                    "cmp r0, r12",
                    "beq 3f",
                    "2:",
                    ".rept 2",
                    tap!("r4", $load, $step),
                    tap!($second, $load, $step),
                    "adds r1, #4",
                    ".endr",
                    "cmp r0, r12",
                    "bne 2b",
                    "3:",
                    "mov r0, lr",
                    "mov r2, r8",
                    "mov r3, r9",
                    "mov r4, r10",
                    "mov r5, r11",
                    "stmia r0!, {{r2, r3, r4, r5}}",
                    "pop {{r6, r7}}",
                    inout("r0") weights.as_ptr() => _,
                    inout("r1") columns.as_ptr() => _,
                    inout("r2") sums.as_mut_ptr() => _,
                    inout("r3") weights.as_ptr_range().end => _,
                    out("r4") _, out("r5") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _,
                    out("lr") _,
                );
            }
        }
    };
}

#[cfg(all(target_arch = "arm", target_os = "none"))]
dot!(narrow, i8, "ldrsb", "1", "r6", "4");
#[cfg(all(target_arch = "arm", target_os = "none"))]
dot!(wide, i16, "ldrsh", "2", "r5", "8");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requantize::requantize;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rescales_as_defined(acc in any::<i32>(), half in 1i32..1 << 30) {
            for acc in [acc, acc >> 16, i32::MAX, i32::MIN, -1, 0, 0xffff, -0x10000] {
                for multiplier in [2 * half, 2, i32::MAX - 1] {
                    prop_assert_eq!(rescale(acc, multiplier), requantize(acc, 0, multiplier));
                }
            }
        }
    }
}
