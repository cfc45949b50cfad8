//! AArch64: one packing for both, so that a program can choose when it runs.

#![cfg_attr(target_arch = "aarch64", allow(unsafe_code))]

#[cfg(target_arch = "aarch64")]
mod detect;
#[cfg(target_arch = "aarch64")]
mod intrinsics;
#[cfg(target_arch = "aarch64")]
mod vector;

use super::scratch::{larger, most_of_tiles};
use super::simd;
use super::{Convolution, Finish, Isa, Packing, Scratch, Work, portable};
use crate::geometry::Geometry;
use crate::maps::Code;
use crate::requantize::Table;

const LANES: usize = 8;

/// Pixels of tiles whose lanes are pixels.
const FEW: usize = 16;
/// Pixels of int8 maps' tiles: four times four of 32 registers hold sums.
const PLAIN: usize = 4;
/// The same with dot products, seven times two registers: 7, 14 and 28 are common widths.
const DOT: usize = 7;
/// Pixels of int16 maps' tiles: twice eight registers.
const WIDE: usize = 2;

/// See [`Isa::scratch_words`]; the same for both.
pub(super) const fn scratch_words(geometry: &Geometry) -> usize {
    let tiles = most_of_tiles(geometry, LANES, &[FEW, PLAIN, DOT, WIDE]);
    larger(simd::packing(LANES).scratch_words(geometry), tiles)
}

/// Widening products: SMULL, SADALP.
#[derive(Clone, Copy, Debug)]
pub struct Neon;

impl Isa for Neon {
    const NAME: &'static str = "Neon";
    const PACKING: Packing = simd::packing(LANES);
    const SCRATCH: Scratch = Scratch::Neon;

    fn is_native() -> bool {
        cfg!(target_arch = "aarch64")
    }

    #[inline]
    fn conv2d<X: Code, F: Finish>(
        convolution: &Convolution<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        #[cfg(target_arch = "aarch64")]
        vector::conv2d(convolution, finish, scratch, output);
        #[cfg(not(target_arch = "aarch64"))]
        portable::conv2d::<Self, X, F>(convolution, finish, scratch, output);
    }

    fn channel_sums(map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
        #[cfg(target_arch = "aarch64")]
        simd::maps::channel_sums(vector::Plain, map, sums, squares);
        #[cfg(not(target_arch = "aarch64"))]
        portable::channel_sums(map, sums, squares);
    }

    fn affine(factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
        #[cfg(target_arch = "aarch64")]
        simd::maps::affine(vector::Plain, factors, offsets, table, map);
        #[cfg(not(target_arch = "aarch64"))]
        portable::affine(factors, offsets, table, map);
    }
}

/// Quadruples of 8-bit products: SDOT.
#[derive(Clone, Copy, Debug)]
pub struct NeonDot;

impl Isa for NeonDot {
    const NAME: &'static str = "Neon with dot products";
    const PACKING: Packing = simd::packing(LANES);
    const SCRATCH: Scratch = Scratch::Neon;

    fn is_native() -> bool {
        #[cfg(target_arch = "aarch64")]
        return detect::has_dot();
        #[cfg(not(target_arch = "aarch64"))]
        return false;
    }

    #[inline]
    fn conv2d<X: Code, F: Finish>(
        convolution: &Convolution<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        #[cfg(target_arch = "aarch64")]
        if let Some(token) = vector::Dot::new() {
            return token.conv2d(convolution, finish, scratch, output);
        }
        portable::conv2d::<Self, X, F>(convolution, finish, scratch, output);
    }

    fn channel_sums(map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
        Neon::channel_sums(map, sums, squares);
    }

    fn affine(factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
        Neon::affine(factors, offsets, table, map);
    }

    #[inline]
    fn vectorize<W: Work>(work: W) -> W::Output {
        #[cfg(target_arch = "aarch64")]
        if let Some(token) = vector::Dot::new() {
            return token.vectorize(work);
        }
        work.run()
    }
}
