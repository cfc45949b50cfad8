//! How much scratch an instruction set's convolutions take: a rule each, because methods of a trait are not `const`, and
//! generated code compares its buffers when it is compiled.

use super::{Packing, attention, dsp, helium, neon, portable_float, simd::conv2d, simd128, x86};
use crate::geometry::Geometry;

/// Which rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after instruction sets")]
pub enum Scratch {
    /// [`Packing::scratch_words`]: a tile at a time.
    Tile,
    Dsp,
    Helium,
    X86,
    Neon,
    Simd128,
}

impl Scratch {
    /// 32-bit words for a convolution of integers whose weights are packed so.
    #[must_use]
    pub const fn words(self, packing: &Packing, geometry: &Geometry) -> usize {
        match self {
            Self::Tile => packing.scratch_words(geometry),
            Self::Dsp => dsp::scratch_words(geometry),
            Self::Helium => helium::scratch_words(geometry),
            Self::X86 => x86::scratch_words(geometry),
            Self::Neon => neon::scratch_words(geometry),
            Self::Simd128 => simd128::scratch_words(geometry),
        }
    }

    /// Elements for a convolution in floating point.
    #[must_use]
    pub const fn floats(self, geometry: &Geometry) -> usize {
        match self {
            Self::X86 => x86::float_scratch(geometry),
            Self::Tile | Self::Dsp | Self::Helium | Self::Neon | Self::Simd128 => portable_float::scratch(geometry),
        }
    }

    /// 32-bit words for attention over so many positions, with heads of `width` channels, `rows` being [`super::Isa::ROWS`].
    #[must_use]
    pub const fn attention(self, rows: usize, positions: usize, width: usize) -> usize {
        match self {
            Self::Dsp => dsp::attention_words(positions, width),
            Self::Helium => helium::attention_words(positions, width),
            Self::Tile | Self::X86 | Self::Neon | Self::Simd128 => attention::scratch_words(rows, positions, width),
        }
    }

    /// Whether both are the same.
    #[must_use]
    pub const fn equals(self, other: Self) -> bool {
        self as u8 == other as u8
    }
}

/// The larger of two.
pub(super) const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// The most that tiles of any of so many pixels take.
pub(super) const fn most_of_tiles(geometry: &Geometry, lanes: usize, pixels: &[usize]) -> usize {
    let (mut most, mut index) = (0, 0);
    while index < pixels.len() {
        most = larger(most, conv2d::scratch_words(geometry, lanes, pixels[index]));
        index += 1;
    }
    most
}
