//! AArch64: one packing for both, so that a program can choose when it runs.

#![cfg_attr(target_arch = "aarch64", allow(unsafe_code))]

#[cfg(target_arch = "aarch64")]
mod detect;
#[cfg(target_arch = "aarch64")]
mod vector;

use super::simd::{self, conv2d};
use super::{Convolution, Finish, Isa, Packing, portable};
use crate::geometry::Geometry;
use crate::maps::Code;

const LANES: usize = 8;

/// Tiles of a few channels, of int8 maps without and with dot products, and of int16 maps, in pixels.
const PIXELS: [usize; 4] = [16, 4, 7, 2];

/// See [`Isa::scratch_words`]; the same for both.
fn scratch_words(geometry: &Geometry) -> usize {
    let tiles = PIXELS.into_iter().map(|pixels| conv2d::scratch_words(geometry, LANES, pixels));
    tiles.fold(simd::packing(LANES).scratch_words(geometry), usize::max)
}

/// Widening products: SMULL, SADALP.
#[derive(Clone, Copy, Debug)]
pub struct Neon;

impl Isa for Neon {
    const NAME: &'static str = "Neon";
    const PACKING: Packing = simd::packing(LANES);

    fn is_native() -> bool {
        cfg!(target_arch = "aarch64")
    }

    fn scratch_words(geometry: &Geometry) -> usize {
        scratch_words(geometry)
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
}

/// Quadruples of 8-bit products: SDOT.
#[derive(Clone, Copy, Debug)]
pub struct NeonDot;

impl Isa for NeonDot {
    const NAME: &'static str = "Neon with dot products";
    const PACKING: Packing = simd::packing(LANES);

    fn is_native() -> bool {
        #[cfg(target_arch = "aarch64")]
        return detect::has_dot();
        #[cfg(not(target_arch = "aarch64"))]
        return false;
    }

    fn scratch_words(geometry: &Geometry) -> usize {
        scratch_words(geometry)
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
}
