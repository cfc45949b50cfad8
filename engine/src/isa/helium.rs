//! Helium, the vector extension of ARMv8.1-M (MVE): sixteen 8-bit products an instruction.
//!
//! VMLADAVA adds sixteen products to a general register, and only to an even one: eight sums, of two channels × four
//! pixels, are all that fit. The way of an int8 convolution:
//!
//! - [`layout`]: which loop a convolution takes, how that wants its weights, what scratch it needs;
//! - `halo`: rows of the map with their padding, so that the loops never meet a border;
//! - `windows`, `slabs`, `columns`: the loops, from halo or columns and weights to sums;
//! - `finish`: from sums to int8.
//!
//! The predicate P0 (VPR) is no register that a block can name as overwritten: blocks that set it put it back. Tail-predicated
//! loops (DLSTP, WLSTP, LETP) leave it alone; they set LTPSIZE, and put that back themselves.
//!
//! Every block of instructions names its processor (`.cpu`), so that the compiler needs no flags; none is assembled
//! unless a program uses [`Helium`].

#![allow(unsafe_code)]

mod attention_layout;
mod definition;
mod layout;

#[cfg(target_arch = "arm")]
mod add;
#[cfg(target_arch = "arm")]
mod attention;
#[cfg(target_arch = "arm")]
mod columns;
#[cfg(target_arch = "arm")]
mod conv2d;
#[cfg(target_arch = "arm")]
mod copy;
#[cfg(target_arch = "arm")]
mod depthwise;
#[cfg(target_arch = "arm")]
mod finish;
#[cfg(target_arch = "arm")]
mod halo;
#[cfg(target_arch = "arm")]
mod lanes;
#[cfg(target_arch = "arm")]
mod planes;
#[cfg(target_arch = "arm")]
mod requantize;
#[cfg(target_arch = "arm")]
mod slabs;
#[cfg(target_arch = "arm")]
mod windows;

use super::depthwise as depthwise_rule;
use super::{Convolution, DepthwiseLoop, Finish, Isa, Packing, Scratch};
use crate::geometry::Geometry;
use crate::maps::Code;
use layout::Layout;

#[cfg(target_arch = "arm")]
/// Loads the next sixteen weights.
macro_rules! weights {
    ($register:literal) => {
        concat!("vldrb.u8 ", $register, ", [r3], #16\n")
    };
}
#[cfg(target_arch = "arm")]
use weights;

/// See [`Isa::scratch_words`].
pub(super) const fn scratch_words(geometry: &Geometry) -> usize {
    Layout::of(geometry).scratch_words()
}

/// See [`super::Scratch::attention`]; the definition, which other machines run, takes less.
pub(super) const fn attention_words(positions: usize, width: usize) -> usize {
    attention_layout::Layout { positions, width }.scratch_words()
}

/// Cortex-M55, M85.
#[derive(Clone, Copy, Debug)]
pub struct Helium;

impl Isa for Helium {
    const NAME: &'static str = "Arm Helium";
    const PACKING: Packing = Packing { channels: 2, pixels: 4, depth: 16, interleave: 1, run: 1, tail: 0 };
    const SCRATCH: Scratch = Scratch::Helium;

    #[inline]
    fn place_weight(geometry: &Geometry, channel: usize, tap: usize) -> usize {
        Layout::of(geometry).place(channel, tap)
    }

    #[inline]
    fn conv2d<X: Code, F: Finish>(
        convolution: &Convolution<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        #[cfg(target_arch = "arm")]
        if conv2d::conv2d(convolution, finish, scratch, output).is_some() {
            return;
        }
        #[cfg(not(target_arch = "arm"))]
        let _ = scratch;
        definition::conv2d(convolution, finish, output);
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn requantize(
        epilogue: &crate::epilogue::Epilogue<'_>,
        sums: &[i32],
        channel: usize,
        index: usize,
        residual: crate::residual::Residual<'_, i8>,
        output: &mut [i8],
    ) {
        if requantize::requantize(epilogue, sums, channel, index, residual, output).is_none() {
            super::portable::requantize(epilogue, sums, channel, index, residual, output);
        }
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn add(add: &crate::epilogue::AddInt8, a: &[i8], b: crate::residual::Residual<'_, i8>, output: &mut [i8]) {
        add::add(add, a, b, output);
    }

    #[inline]
    fn depthwise_loop(geometry: &Geometry, _: bool) -> DepthwiseLoop {
        depthwise_rule::helium(&depthwise_rule::laid_flat(geometry))
    }

    #[inline]
    fn depthwise_part(geometry: &Geometry) -> [usize; 2] {
        depthwise_rule::helium_part(geometry)
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn depthwise(depthwise: &super::Depthwise<'_>, finish: &super::ToInt8<'_>, output: &mut [i8]) {
        let depthwise = super::Depthwise { geometry: &depthwise_rule::laid_flat(depthwise.geometry), ..*depthwise };
        match depthwise_rule::helium(depthwise.geometry) {
            DepthwiseLoop::Plain => super::portable::depthwise::<Self>(&depthwise, finish, output),
            DepthwiseLoop::ThreeByThree => depthwise::run(&depthwise, finish, output),
            DepthwiseLoop::AnyKernel => planes::run::<Self>(&depthwise, finish, output),
        }
    }

    #[cfg(all(target_arch = "arm", target_abi = "eabihf"))]
    #[inline(always)]
    fn sqrt(x: f32) -> f32 {
        <super::Dsp as Isa>::sqrt(x)
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn group_sums(map: &[i8], len: usize, sums: &mut [i32], squares: &mut [i32]) {
        if lanes::group_sums(map, len, sums, squares).is_none() {
            super::portable::group_sums::<Self>(map, len, sums, squares);
        }
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn channel_sums(map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
        lanes::channel_sums(map, sums, squares);
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn affine(factors: &[i32], offsets: &[i32], table: Option<&crate::requantize::Table>, map: &mut [i8]) {
        lanes::affine(factors, offsets, table, map);
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn attention(attention: &super::Attention<'_>, scratch: &mut [i32], output: &mut [i8]) {
        attention::run::<Self>(attention, scratch, output);
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn weighted_sums(weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
        lanes::weighted_sums(weights, values, stride, sums);
    }
}
