//! RV32IM and RV32IMC: four channels of four pixels, every sum in a register of its own.
#![allow(unsafe_code)]

use super::{Isa, Packing, portable, scalar};
use crate::maps::Code;

/// RV32IM and RV32IMC.
#[derive(Clone, Copy, Debug)]
pub struct Riscv32;

impl Isa for Riscv32 {
    const NAME: &'static str = "RV32IM";
    const PACKING: Packing = Packing { channels: 4, pixels: 4, depth: 4, interleave: 4 };

    #[inline(always)]
    fn place<X: Code>(piece: &[X], columns: &mut [i16], pixel: usize, tap: usize) {
        scalar::place_quads::<4, X>(piece, columns, pixel, tap);
    }

    #[inline(always)]
    fn dot(weights: &[i8], columns: &[i16], sums: &mut [i32]) {
        #[cfg(target_arch = "riscv32")]
        if let Some((weights, columns, sums)) = tile(weights, columns, sums) {
            return narrow(weights, columns, sums);
        }
        portable::dot(Self::PACKING, weights, columns, sums);
    }
}

/// Steps of weights `[tap][channel]`, as many steps of columns `[pixel][tap]`, and sums `[pixel][channel]`.
#[cfg(target_arch = "riscv32")]
type Tile<'a, W> = (&'a [[W; 16]], &'a [[i16; 16]], &'a mut [i32; 16]);

/// A tile, if it is whole and there is something to add up.
#[cfg(target_arch = "riscv32")]
#[inline(always)]
fn tile<'a, W>(weights: &'a [W], columns: &'a [i16], sums: &'a mut [i32]) -> Option<Tile<'a, W>> {
    let ((weights, _), (columns, _)) = (weights.as_chunks(), columns.as_chunks());
    let columns = columns.get(..weights.len())?;
    (!weights.is_empty()).then_some((weights, columns, sums.first_chunk_mut()?))
}

/// Channel `$channel` of a tap: its weight, and the products with four pixels' values.
#[cfg(target_arch = "riscv32")]
macro_rules! channel {
    ($load:literal, $size:literal, $channel:literal, $sums:literal) => {
        concat!(
            $load, " {weight}, (\\tap*4+", $channel, ")*", $size, "({weights})\n",
            "mul {product}, {weight}, {x0}\nadd {", $sums, "0}, {", $sums, "0}, {product}\n",
            "mul {product}, {weight}, {x1}\nadd {", $sums, "1}, {", $sums, "1}, {product}\n",
            "mul {product}, {weight}, {x2}\nadd {", $sums, "2}, {", $sums, "2}, {product}\n",
            "mul {product}, {weight}, {x3}\nadd {", $sums, "3}, {", $sums, "3}, {product}\n",
        )
    };
}

/// The tile's sums, with weights of `$size` bytes that `$load` loads: 163 instructions for the 64 products of a step.
#[cfg(target_arch = "riscv32")]
macro_rules! dot {
    ($name:ident, $weight:ty, $load:literal, $size:literal) => {
        #[inline(always)]
        fn $name(weights: &[[$weight; 16]], columns: &[[i16; 16]], sums: &mut [i32; 16]) {
            let [mut a0, mut a1, mut a2, mut a3] = [0; 4];
            let [mut b0, mut b1, mut b2, mut b3] = [0; 4];
            let [mut c0, mut c1, mut c2, mut c3] = [0; 4];
            let [mut d0, mut d1, mut d2, mut d3] = [0; 4];
            // SAFETY: the loop reads the weights from their start to their end and as many steps of columns, of which
            // `tile` has made the same number, at least one. It writes nothing.
            unsafe {
                core::arch::asm!(
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
