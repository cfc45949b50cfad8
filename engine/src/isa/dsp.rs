//! ARMv7E-M and ARMv8-M with the DSP extension: two 16-bit products an instruction.
//!
//! Weights of two channels alternate, so that SXTB16 widens two taps of one for SMLAD, and the other's need no widening:
//! see `weights`. Patches are widened where they lie if channels come in quadruples; else rows of the input are, once, see
//! `halo`.
//!
//! Functions that hold instructions are generic or `#[inline]`: they are compiled where a program calls them, and so not for
//! a Cortex-M0, whose blocks of instructions have fewer registers.
#![allow(unsafe_code)]

#[cfg(target_arch = "arm")]
mod add;
#[cfg(target_arch = "arm")]
mod attention;
#[cfg_attr(not(target_arch = "arm"), allow(dead_code, reason = "elsewhere only scratch is asked for"))]
mod attention_layout;
#[cfg(target_arch = "arm")]
mod conv2d;
#[cfg(target_arch = "arm")]
mod depthwise;
#[cfg(target_arch = "arm")]
mod depthwise_any;
#[cfg(target_arch = "arm")]
mod dot;
#[cfg(target_arch = "arm")]
mod gather;
#[cfg(target_arch = "arm")]
mod halo;
#[cfg(target_arch = "arm")]
mod lanes;
#[cfg_attr(not(target_arch = "arm"), allow(dead_code, reason = "elsewhere only scratch is asked for"))]
mod layout;
#[cfg(target_arch = "arm")]
mod one_input;
#[cfg(target_arch = "arm")]
mod one_output;
#[cfg(target_arch = "arm")]
mod one_pixel;
#[cfg(target_arch = "arm")]
mod op;
#[cfg(target_arch = "arm")]
mod outputs;
#[cfg(target_arch = "arm")]
mod patch;
#[cfg(target_arch = "arm")]
mod products;
#[cfg(target_arch = "arm")]
mod requantize;
#[cfg(target_arch = "arm")]
mod residual;
#[cfg(target_arch = "arm")]
mod rise;
#[cfg(target_arch = "arm")]
mod spread;
#[cfg_attr(not(target_arch = "arm"), allow(dead_code, reason = "elsewhere only the definition's loop reads them"))]
mod weights;
#[cfg(target_arch = "arm")]
mod widen;
#[cfg(target_arch = "arm")]
mod winograd;

#[cfg(all(target_arch = "arm", target_abi = "eabihf"))]
pub(super) use op::sqrt;

use super::depthwise as depthwise_rule;
use super::{DepthwiseLoop, Isa, Packing, Scratch};
use crate::geometry::Geometry;

pub use layout::{DspLoop, Operands};

/// See [`Isa::scratch_words`].
pub(super) const fn scratch_words(geometry: &Geometry) -> usize {
    layout::scratch_words(geometry)
}

/// See [`super::Scratch::attention`]; the definition, which other machines run, takes less.
pub(super) const fn attention_words(positions: usize, width: usize) -> usize {
    attention_layout::Layout { positions, width }.scratch_words()
}

/// Cortex-M4, M7, M33: SMLAD.
#[derive(Clone, Copy, Debug)]
pub struct Dsp;

impl Isa for Dsp {
    const NAME: &'static str = "Arm DSP";
    const PACKING: Packing = Packing { channels: 2, pixels: 4, depth: 2, interleave: 2, run: 4, tail: 0 };
    const WIDE: Packing = Packing { channels: 4, pixels: 2, depth: 2, interleave: 1, run: 4, tail: 0 };
    const SCRATCH: Scratch = Scratch::Dsp;

    #[inline]
    fn recode(_: &Geometry, packed: &mut [i8]) {
        weights::recode(packed);
    }

    #[cfg(not(target_arch = "arm"))]
    #[inline]
    fn dot(weights: &[i8], columns: &[i16], sums: &mut [i32]) {
        weights::dot(weights, columns, sums);
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn conv2d<X: super::Code, F: super::Finish>(
        convolution: &super::Convolution<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        conv2d::run(convolution, finish, scratch, output);
    }

    #[cfg(target_arch = "arm")]
    #[inline(always)]
    fn requantize(
        epilogue: &super::Epilogue<'_>,
        sums: &[i32],
        channel: usize,
        index: usize,
        residual: super::Residual<'_, i8>,
        output: &mut [i8],
    ) {
        requantize::requantize(epilogue, sums, [channel, index], residual, output);
    }

    #[cfg(target_arch = "arm")]
    #[inline(always)]
    fn requantize_fine<R: super::Code, Y: super::Code>(
        epilogue: &super::FineEpilogue<'_>,
        sums: &[i32],
        channel: usize,
        index: usize,
        residual: super::Residual<'_, R>,
        output: &mut [Y],
    ) {
        requantize::requantize_fine(epilogue, sums, [channel, index], residual, output);
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn add(add: &super::AddInt8, a: &[i8], b: super::Residual<'_, i8>, output: &mut [i8]) {
        add::run(add, a, b, output);
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn winograd<X: super::Code, F: super::Finish>(
        winograd: &super::winograd::Winograd<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        winograd::run::<Self, X, F>(winograd, finish, scratch, output);
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn winograd_weights(geometry: &super::Geometry, plain: &[i8], transformed: &mut [i16]) {
        winograd::weights::<Self>(geometry, plain, transformed);
    }

    #[cfg(all(target_arch = "arm", target_abi = "eabihf"))]
    #[inline(always)]
    fn sqrt(x: f32) -> f32 {
        sqrt(x)
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn channel_sums(map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
        lanes::channel_sums(map, sums, squares);
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn group_sums(map: &[i8], len: usize, sums: &mut [i32], squares: &mut [i32]) {
        if len.is_multiple_of(lanes::CHANNELS) {
            lanes::group_sums(map, len, sums, squares);
        } else {
            super::portable::group_sums::<Self>(map, len, sums, squares);
        }
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn affine(factors: &[i32], offsets: &[i32], table: Option<&super::Table>, map: &mut [i8]) {
        lanes::affine(factors, offsets, table, map);
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn attention(attention: &super::Attention<'_>, scratch: &mut [i32], output: &mut [i8]) {
        attention::run::<Self>(attention, scratch, output);
    }

    #[inline]
    fn depthwise_loop(geometry: &Geometry, residual: bool) -> DepthwiseLoop {
        depthwise_rule::dsp(&depthwise_rule::laid_flat(geometry), residual)
    }

    #[inline]
    fn depthwise_part(geometry: &Geometry) -> [usize; 2] {
        depthwise_rule::dsp_part(geometry)
    }

    #[cfg(target_arch = "arm")]
    #[inline]
    fn depthwise(depthwise: &super::Depthwise<'_>, finish: &super::ToInt8<'_>, output: &mut [i8]) {
        let residual = !finish.epilogue.residual_multipliers.is_empty();
        let depthwise = super::Depthwise { geometry: &depthwise_rule::laid_flat(depthwise.geometry), ..*depthwise };
        match depthwise_rule::dsp(depthwise.geometry, residual) {
            DepthwiseLoop::Plain => super::portable::depthwise::<Self>(&depthwise, finish, output),
            DepthwiseLoop::ThreeByThree => depthwise::run(&depthwise, finish, output),
            DepthwiseLoop::AnyKernel => depthwise_any::run::<Self>(&depthwise, finish, output),
        }
    }
}
