//! RV32IM and RV32IMC: four channels of four pixels, every sum in a register of its own.
#![allow(unsafe_code)]

use super::{Isa, Packing, portable, scalar};
use crate::epilogue::Epilogue;
use crate::maps::Code;
use crate::requantize::requantize;
use crate::residual::Residual;

/// RV32IM and RV32IMC.
#[derive(Clone, Copy, Debug)]
pub struct Riscv32;

impl Isa for Riscv32 {
    const NAME: &'static str = "RV32IM";
    const PACKING: Packing = Packing { channels: 4, pixels: 4, depth: 4, interleave: 4, run: 1, tail: 0 };
    const WIDE: Packing = Self::PACKING;

    #[inline(always)]
    fn place<X: Code>(piece: &[X], columns: &mut [i16], pixel: usize, tap: usize, taps: usize) {
        #[cfg(target_arch = "riscv32")]
        if let Some(bytes) = X::bytes(piece).filter(|_| tap.is_multiple_of(4) && pixel < 4) {
            return place(bytes, columns.get_mut(tap * 4 + pixel * 4..).unwrap_or_default());
        }
        portable::place(Self::PACKING, piece, columns, [pixel, tap, taps]);
    }

    #[inline(always)]
    fn dot(weights: &[i8], columns: &[i16], sums: &mut [i32]) {
        #[cfg(target_arch = "riscv32")]
        narrow(weights, columns, sums);
        #[cfg(not(target_arch = "riscv32"))]
        portable::dot(Self::PACKING, weights, columns, sums);
    }

    #[inline(always)]
    fn wide_dot(weights: &[i16], columns: &[i16], sums: &mut [i32]) {
        #[cfg(target_arch = "riscv32")]
        wide(weights, columns, sums);
        #[cfg(not(target_arch = "riscv32"))]
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
        scalar::requantize(epilogue, sums, channel, index, residual, output, |acc, multiplier| {
            requantize(acc, 0, multiplier)
        });
    }
}

/// Writes bytes, as numbers of 16 bits, four by four from every sixteenth place on.
#[cfg(target_arch = "riscv32")]
#[inline(never)]
fn place(bytes: &[i8], columns: &mut [i16]) {
    let (quads, rest) = bytes.as_chunks::<4>();
    // The last quad needs no more than its own four places.
    let count = quads.len().min((columns.len() + 12) / 16);
    let quads = quads.get(..count).unwrap_or_default();
    // SAFETY: the loop reads `count` quads of bytes and writes four numbers at the start of each of as many strides of
    // sixteen, which `columns` has.
    unsafe {
        core::arch::asm!(
            "beq {quads}, {end}, 3f",
            "2:",
            "lb {a}, 0({quads})",
            "lb {b}, 1({quads})",
            "lb {c}, 2({quads})",
            "lb {d}, 3({quads})",
            "sh {a}, 0({columns})",
            "sh {b}, 2({columns})",
            "sh {c}, 4({columns})",
            "sh {d}, 6({columns})",
            "addi {quads}, {quads}, 4",
            "addi {columns}, {columns}, 32",
            "bne {quads}, {end}, 2b",
            "3:",
            quads = inout(reg) quads.as_ptr() => _,
            columns = inout(reg) columns.as_mut_ptr() => _,
            end = in(reg) quads.as_ptr_range().end,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            options(nostack),
        );
    }
    let columns = columns.get_mut(count * 16..).unwrap_or_default();
    rest.iter().zip(columns).for_each(|(byte, column)| *column = i16::from(*byte));
}

/// Channel `$channel` of a tap: its weight, and the products with four pixels' values.
#[cfg(target_arch = "riscv32")]
macro_rules! channel {
    ($load:literal, $size:literal, $channel:literal, $sums:literal) => {
        concat!(
            $load,
            " {weight}, (\\tap*4+",
            $channel,
            ")*",
            $size,
            "({weights})\n",
            "mul {product}, {weight}, {x0}\nadd {",
            $sums,
            "0}, {",
            $sums,
            "0}, {product}\n",
            "mul {product}, {weight}, {x1}\nadd {",
            $sums,
            "1}, {",
            $sums,
            "1}, {product}\n",
            "mul {product}, {weight}, {x2}\nadd {",
            $sums,
            "2}, {",
            $sums,
            "2}, {product}\n",
            "mul {product}, {weight}, {x3}\nadd {",
            $sums,
            "3}, {",
            $sums,
            "3}, {product}\n",
        )
    };
}

/// A function as [`Isa::dot`] with weights of `$size` bytes that `$load` loads: 163 instructions for the 64 products of
/// a step. Weights are `[tap][channel]` in a step, columns `[pixel][tap]`, sums `[pixel][channel]`.
#[cfg(target_arch = "riscv32")]
macro_rules! dot {
    ($name:ident, $weight:ty, $load:literal, $size:literal) => {
        #[inline(never)]
        fn $name(weights: &[$weight], columns: &[i16], sums: &mut [i32]) {
            let ((weights, _), (columns, _)) = (weights.as_chunks::<16>(), columns.as_chunks::<16>());
            let steps = weights.len().min(columns.len());
            let (Some(weights), Some(sums)) = (weights.get(..steps), sums.first_chunk_mut::<16>()) else { return };
            let [mut a0, mut a1, mut a2, mut a3] = [0; 4];
            let [mut b0, mut b1, mut b2, mut b3] = [0; 4];
            let [mut c0, mut c1, mut c2, mut c3] = [0; 4];
            let [mut d0, mut d1, mut d2, mut d3] = [0; 4];
            // SAFETY: the loop reads `steps` steps of weights and as many of columns, which both slices have. It writes
            // nothing.
            unsafe {
                core::arch::asm!(
                    "beq {weights}, {end}, 3f",
                    "2:",
                    ".irp tap,0,1,2,3",
                    "lh {x0}, 0+\\tap*2({columns})",
                    "lh {x1}, 8+\\tap*2({columns})",
                    "lh {x2}, 16+\\tap*2({columns})",
                    "lh {x3}, 24+\\tap*2({columns})",
                    channel!($load, $size, "0", "a"),
                    channel!($load, $size, "1", "b"),
                    channel!($load, $size, "2", "c"),
                    channel!($load, $size, "3", "d"),
                    ".endr",
                    concat!("addi {weights}, {weights}, 16*", $size),
                    "addi {columns}, {columns}, 32",
                    "bne {weights}, {end}, 2b",
                    "3:",
                    weights = inout(reg) weights.as_ptr() => _,
                    columns = inout(reg) columns.as_ptr() => _,
                    end = in(reg) weights.as_ptr_range().end,
                    weight = out(reg) _,
                    product = out(reg) _,
                    x0 = out(reg) _, x1 = out(reg) _, x2 = out(reg) _, x3 = out(reg) _,
                    a0 = inout(reg) a0, a1 = inout(reg) a1, a2 = inout(reg) a2, a3 = inout(reg) a3,
                    b0 = inout(reg) b0, b1 = inout(reg) b1, b2 = inout(reg) b2, b3 = inout(reg) b3,
                    c0 = inout(reg) c0, c1 = inout(reg) c1, c2 = inout(reg) c2, c3 = inout(reg) c3,
                    d0 = inout(reg) d0, d1 = inout(reg) d1, d2 = inout(reg) d2, d3 = inout(reg) d3,
                    options(readonly, nostack),
                );
            }
            *sums = [a0, b0, c0, d0, a1, b1, c1, d1, a2, b2, c2, d2, a3, b3, c3, d3];
        }
    };
}

#[cfg(target_arch = "riscv32")]
dot!(narrow, i8, "lb", "1");
#[cfg(target_arch = "riscv32")]
dot!(wide, i16, "lh", "2");
