//! x86-64: one packing for both, so that a program can choose when it runs.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod detect;

use super::simd::{self, conv2d};
use super::{Convolution, Finish, Isa, Packing, Work, portable};
use crate::geometry::Geometry;
use crate::maps::Code;
use crate::requantize::Table;

const LANES: usize = 16;

/// Pixels of the largest tile.
const PIXELS: usize = 32;

/// Pairs of 16-bit products: VPMADDWD.
#[derive(Clone, Copy, Debug)]
pub struct Avx2;

impl Isa for Avx2 {
    const NAME: &'static str = "AVX2";
    const PACKING: Packing = simd::packing(LANES);

    fn is_native() -> bool {
        #[cfg(target_arch = "x86_64")]
        return avx2::Token::new().is_some();
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    fn scratch_words(geometry: &Geometry) -> usize {
        conv2d::scratch_words(geometry, LANES, PIXELS).max(Self::PACKING.scratch_words(geometry))
    }

    #[inline]
    fn conv2d<X: Code, F: Finish>(
        convolution: &Convolution<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx2::Token::new() {
            return token.conv2d(convolution, finish, scratch, output);
        }
        portable::conv2d::<Self, X, F>(convolution, finish, scratch, output);
    }

    fn channel_sums(map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx2::Token::new() {
            return token.channel_sums(map, sums, squares);
        }
        portable::channel_sums(map, sums, squares);
    }

    fn affine(factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx2::Token::new() {
            return token.affine(factors, offsets, table, map);
        }
        portable::affine(factors, offsets, table, map);
    }

    #[inline]
    fn vectorize<W: Work>(work: W) -> W::Output {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx2::Token::new() {
            return token.vectorize(work);
        }
        work.run()
    }
}

/// Quadruples of 8-bit products, VPDPBUSD, and look-up by bytes, VPERMI2B: AVX-512 F, BW, DQ, VL, VBMI and VNNI, as Ice
/// Lake, Zen 4 and later have them.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Vnni;

impl Isa for Avx512Vnni {
    const NAME: &'static str = "AVX-512 VNNI";
    const PACKING: Packing = simd::packing(LANES);

    fn is_native() -> bool {
        #[cfg(target_arch = "x86_64")]
        return avx512::Token::new().is_some();
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    fn scratch_words(geometry: &Geometry) -> usize {
        Avx2::scratch_words(geometry)
    }

    #[inline]
    fn conv2d<X: Code, F: Finish>(
        convolution: &Convolution<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx512::Token::new() {
            return token.conv2d(convolution, finish, scratch, output);
        }
        portable::conv2d::<Self, X, F>(convolution, finish, scratch, output);
    }

    fn channel_sums(map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx512::Token::new() {
            return token.channel_sums(map, sums, squares);
        }
        portable::channel_sums(map, sums, squares);
    }

    fn affine(factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx512::Token::new() {
            return token.affine(factors, offsets, table, map);
        }
        portable::affine(factors, offsets, table, map);
    }

    #[inline]
    fn vectorize<W: Work>(work: W) -> W::Output {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx512::Token::new() {
            return token.vectorize(work);
        }
        work.run()
    }
}

/// The first values.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn keep<T: Copy>(output: &mut [T], values: [T; LANES]) {
    match output.first_chunk_mut::<LANES>() {
        Some(output) => *output = values,
        None => output.iter_mut().zip(values).for_each(|(to, from)| *to = from),
    }
}

/// A whole vector's values, filled up with 0.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn whole<T: Copy + Default>(values: &[T]) -> [T; LANES] {
    match values.first_chunk::<LANES>() {
        Some(values) => *values,
        None => core::array::from_fn(|i| values.get(i).copied().unwrap_or_default()),
    }
}
