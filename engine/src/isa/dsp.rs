//! ARMv7E-M and ARMv8-M with the DSP extension: two 16-bit products an instruction.
//!
//! Weights of two channels alternate, so that SXTB16 widens two taps of one for SMLAD, and the other's need no widening:
//! see `weights`. Patches are widened where they lie if channels come in quadruples; else rows of the input are, once, see
//! `halo`.
#![allow(unsafe_code)]

#[cfg(target_arch = "arm")]
mod add;
#[cfg(target_arch = "arm")]
mod conv2d;
#[cfg(target_arch = "arm")]
mod depthwise;
#[cfg(target_arch = "arm")]
mod dot;
#[cfg(target_arch = "arm")]
mod gather;
#[cfg(target_arch = "arm")]
mod halo;
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

use super::{Isa, Packing, Scratch};
use crate::geometry::Geometry;

pub use layout::{DspLoop, Operands};

/// See [`Isa::scratch_words`].
pub(super) const fn scratch_words(geometry: &Geometry) -> usize {
    layout::scratch_words(geometry)
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

    #[cfg(target_arch = "arm")]
    #[inline]
    fn depthwise(depthwise: &super::Depthwise<'_>, finish: &super::ToInt8<'_>, output: &mut [i8]) {
        depthwise::run(depthwise, finish, output);
    }
}
