//! Instruction sets: what the inner loops of int8 networks are made of, chip by chip.
//!
//! A board's build names its chip; the code generator packs the weights for it, and the generated network carries the
//! instruction set as a type. [`Isa`]'s provided methods are portable and define every result; an instruction set
//! replaces those that it computes faster, and gives the same bits. On a machine that lacks its instructions it falls
//! back to the portable methods on its own packing, so that any machine can run any chip's network.

mod attention;
mod depthwise;
mod finish;
mod packing;
mod portable;
mod portable_float;
mod scratch;
pub mod winograd;

mod armv6m;
mod dsp;
mod helium;
mod neon;
mod riscv32;
mod scalar;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "other instances use less of it, or there is none"))]
mod simd;
mod simd128;
mod x86;

use crate::conditioning::at;
use crate::epilogue::{AddInt8, Epilogue, FineEpilogue};
use crate::geometry::Geometry;
use crate::maps::{Code, Maps};
use crate::real::Real;
use crate::requantize::Table;
use crate::residual::Residual;
use winograd::Winograd;

pub use armv6m::Armv6m;
pub use attention::{Attention, EXP_LEN, ExpTable};
pub use depthwise::DepthwiseLoop;
pub use dsp::{Dsp, DspLoop, Operands};
pub use finish::{Channels, Finish, ToCode, ToFloat, ToInt8};
pub use helium::Helium;
pub use neon::{Neon, NeonDot};
pub use packing::Packing;
pub use riscv32::Riscv32;
pub use scratch::Scratch;
pub use simd128::Simd128;
pub use x86::{Avx2, Avx512Vnni};

/// The desktop that the program is compiled for: a network for its packing runs with `Best` where
/// [`Isa::is_native`] says so, and with `Common` everywhere.
pub mod desktop {
    #[cfg(target_arch = "x86_64")]
    pub use super::{Avx2 as Common, Avx512Vnni as Best};
    #[cfg(target_arch = "aarch64")]
    pub use super::{Neon as Common, NeonDot as Best};
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub use super::{Portable as Best, Portable as Common};
}

/// The most of [`Isa::ROWS`].
pub const MAX_ROWS: usize = 8;

/// What only this crate's instruction sets are.
mod sealed {
    pub trait Sealed {}
}
pub(crate) use sealed::Sealed;

/// An instruction set; those of this crate and no others.
///
/// Whole layers, [`Self::conv2d`], [`Self::winograd`], [`Self::depthwise`], [`Self::attention`] and
/// [`Self::conv2d_float`], come from [`crate::kernel::Proved`] alone: nobody else can make a [`Convolution`] or its like.
/// So they rely on it: parameters and geometry agree, maps, a residual of its own and the output are exactly as long as the geometry says, and scratch is no
/// shorter than the method asks for. Every other method is total.
pub trait Isa: Sealed + Copy + 'static {
    /// For people.
    const NAME: &'static str;
    /// How it wants convolutions' weights, and how many pixels it works on at once.
    const PACKING: Packing;
    /// The same for [`winograd`], whose weights are int16; its pixels are blocks of 2×2 outputs.
    const WIDE: Packing = Packing { channels: 4, pixels: 1, depth: 1, interleave: 1, run: 1, tail: 0 };
    /// Bytes that buffers and constants best begin at multiples of: lines of a cache where vectors are that long.
    const ALIGN: usize = 4;
    /// Rows of weights that [`Self::weighted_rows`] does best with, up to [`MAX_ROWS`].
    const ROWS: usize = 1;
    /// How much scratch its convolutions take.
    const SCRATCH: Scratch = Scratch::Tile;

    /// Whether this machine has its instructions, so that nothing is left to the portable methods for want of them.
    #[must_use]
    fn is_native() -> bool {
        true
    }

    /// Where the weight of output channel `channel` and tap `tap` lies among [`Packing::packed_len`] elements.
    #[inline]
    #[must_use]
    fn place_weight(geometry: &Geometry, channel: usize, tap: usize) -> usize {
        Self::PACKING.place(geometry, channel, tap)
    }

    /// Changes a convolution's packed weights into what its loops read.
    #[inline]
    fn recode(geometry: &Geometry, packed: &mut [i8]) {
        let _ = (geometry, packed);
    }

    /// 32-bit words of scratch that [`Self::conv2d`] takes.
    #[inline]
    #[must_use]
    fn scratch_words(geometry: &Geometry) -> usize {
        Self::SCRATCH.words(&Self::PACKING, geometry)
    }

    /// A whole convolution: `finish` is given every pixel's sums, biases included. Scratch: [`Self::scratch_words`].
    #[inline]
    fn conv2d<X: Code, F: Finish>(
        convolution: &Convolution<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        portable::conv2d::<Self, X, F>(convolution, finish, scratch, output);
    }

    /// Writes a piece of a pixel's patch into the columns of a tile, for its pixel `pixel`: the piece's first value is
    /// tap `tap` of `taps` without gaps, and each goes to its [`Packing::column`].
    #[inline(always)]
    fn place<X: Code>(piece: &[X], columns: &mut [i16], pixel: usize, tap: usize, taps: usize) {
        portable::place(Self::PACKING, piece, columns, [pixel, tap, taps]);
    }

    /// `sums[pixel][channel] = Σ_k weights[channel][k] · columns[pixel][k]` for one tile of pixels × channels.
    ///
    /// `weights` is one block of [`Packing`], `columns` are as [`Self::place`] lays them out. No sum leaves int32.
    #[inline(always)]
    fn dot(weights: &[i8], columns: &[i16], sums: &mut [i32]) {
        portable::dot(Self::PACKING, weights, columns, sums);
    }

    /// A whole convolution, or some of its output channels. Scratch: [`winograd::scratch_words`] without a group.
    #[inline]
    fn winograd<X: Code, F: Finish>(
        winograd: &Winograd<'_, X>,
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        winograd::run::<Self, X, F>(winograd, finish, scratch, output);
    }

    /// Transforms `plain` weights of as many output channels as there are, see [`winograd::plain_place`], into
    /// `transformed` ones, see [`winograd::place`].
    #[inline]
    fn winograd_weights(geometry: &Geometry, plain: &[i8], transformed: &mut [i16]) {
        winograd::weights(Self::WIDE, geometry, plain, transformed);
    }

    /// As [`Self::dot`] for int16 weights packed as [`Self::WIDE`] says. Sums wrap.
    #[inline(always)]
    fn wide_dot(weights: &[i16], columns: &[i16], sums: &mut [i32]) {
        portable::dot(Self::WIDE, weights, columns, sums);
    }

    /// Sums of neighbouring channels of one pixel to int8, as [`Epilogue`] says. `channel` is the first's number,
    /// `index` its place in the map, for the residual.
    #[inline(always)]
    fn requantize(
        epilogue: &Epilogue<'_>,
        sums: &[i32],
        channel: usize,
        index: usize,
        residual: Residual<'_, i8>,
        output: &mut [i8],
    ) {
        portable::requantize(epilogue, sums, channel, index, residual, output);
    }

    /// As [`Self::requantize`], to codes of any type, as [`FineEpilogue`] says.
    #[inline(always)]
    fn requantize_fine<R: Code, Y: Code>(
        epilogue: &FineEpilogue<'_>,
        sums: &[i32],
        channel: usize,
        index: usize,
        residual: Residual<'_, R>,
        output: &mut [Y],
    ) {
        portable::requantize_fine(epilogue, sums, channel, index, residual, output);
    }

    /// Elements of scratch that [`Self::conv2d_float`] takes.
    #[must_use]
    fn float_scratch(geometry: &Geometry) -> usize {
        Self::SCRATCH.floats(geometry)
    }

    /// A convolution's sums in f32, from the first tap to the last.
    ///
    /// With weights in f16, products and sums are rounded apart: the same bits on every chip. With weights in f32 they
    /// may be rounded together (FMA).
    #[inline]
    fn conv2d_float<T: Real, X: Real>(
        convolution: &FloatConvolution<'_, T, X>,
        scratch: &mut [f32],
        finish: &mut impl FinishFloat,
    ) {
        portable_float::conv2d(convolution, scratch, finish);
    }

    /// Does some work with this instruction set, as far as the compiler finds use for it.
    #[inline(always)]
    fn vectorize<W: Work>(work: W) -> W::Output {
        work.run()
    }

    /// Adds two maps of the same shape.
    #[inline]
    fn add(add: &AddInt8, a: &[i8], b: Residual<'_, i8>, output: &mut [i8]) {
        portable::add(add, a, b, output);
    }

    /// The loop that [`Self::depthwise`] takes, with or without a residual.
    #[must_use]
    fn depthwise_loop(geometry: &Geometry, residual: bool) -> DepthwiseLoop {
        let _ = (geometry, residual);
        DepthwiseLoop::Plain
    }

    /// Rows and columns of the output that [`DepthwiseLoop::AnyKernel`] computes at once, for costs.
    #[must_use]
    fn depthwise_part(geometry: &Geometry) -> [usize; 2] {
        [geometry.output.height, geometry.output.width]
    }

    /// A whole depthwise convolution.
    #[inline]
    fn depthwise(depthwise: &Depthwise<'_>, finish: &ToInt8<'_>, output: &mut [i8]) {
        portable::depthwise::<Self>(depthwise, finish, output);
    }

    /// `sums[c] = Σ q`, `squares[c] = Σ q²` over the pixels of a map of as many channels as either has elements. A map of
    /// less than 2¹⁷ pixels leaves no int32, in any order.
    #[inline]
    fn channel_sums(map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
        portable::channel_sums(map, sums, squares);
    }

    /// `sums[c] = Σ q`, `squares[c] = Σ q²` over the pixels and the `len` channels from c on, of every `len`th channel c of a
    /// map of as many channels as either has elements; what the others become is of no meaning. Groups of less than 2¹⁷
    /// values leave no int32, in any order.
    #[inline]
    fn group_sums(map: &[i8], len: usize, sums: &mut [i32], squares: &mut [i32]) {
        portable::group_sums::<Self>(map, len, sums, squares);
    }

    /// √x, correctly rounded.
    #[must_use]
    #[inline(always)]
    fn sqrt(x: f32) -> f32 {
        libm::sqrtf(x)
    }

    /// In place, for every pixel of a map of as many channels as there are factors:
    /// `index = (q · factors[c] + offsets[c]) >> `[`AFFINE_FRACTION`], then the table or saturation. |factor| ≤ 2²³ and
    /// |offset| < 2³⁰.
    #[inline]
    fn affine(factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
        portable::affine(factors, offsets, table, map);
    }

    /// Attention over all positions, of queries that lie in the output. Scratch: [`Scratch::attention`].
    #[inline]
    fn attention(attention: &Attention<'_>, scratch: &mut [i32], output: &mut [i8]) {
        attention::run::<Self>(attention, scratch, output);
    }

    /// `sums[c] = Σ_j weights[j] · values[j · stride + c]` for all of the sums. |weight| is below 2¹⁵, 128 · Σ |weight|
    /// below 2³¹.
    #[inline]
    fn weighted_sums(weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
        portable::weighted_sums(weights, values, stride, sums);
    }

    /// [`Self::weighted_sums`] by each of `rows` rows of weights, at most [`Self::ROWS`], one behind the other as those of the
    /// sums.
    #[inline(always)]
    fn weighted_rows(rows: usize, weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
        if Self::ROWS == 1 {
            return Self::weighted_sums(weights, values, stride, sums);
        }
        portable::weighted_rows::<Self>(rows, weights, values, stride, sums);
    }
}

/// √x, correctly rounded, by the floating-point unit where code is compiled for an Arm chip that has one: noise is drawn
/// without an instruction set as a parameter.
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    #[cfg(all(target_arch = "arm", target_abi = "eabihf"))]
    return dsp::sqrt(x);
    #[cfg(not(all(target_arch = "arm", target_abi = "eabihf")))]
    libm::sqrtf(x)
}

/// Fraction bits of [`Isa::affine`]'s factors and offsets: a factor is off by at most 2⁻¹⁵, which moves an index by
/// 128 · 2⁻¹⁵.
pub const AFFINE_FRACTION: u32 = 14;

/// A depthwise convolution's integer part, ready to run.
#[derive(Clone, Copy, Debug)]
pub struct Depthwise<'a> {
    /// Shapes; as many channels in as out.
    pub(crate) geometry: &'a Geometry,
    /// What padding holds.
    pub(crate) zero_point: i16,
    /// `[k_h][k_w][channels]`; −127 to 127.
    pub(crate) weights: &'a [i8],
    /// Two rows of biases `[channels]`, either of which may be empty.
    pub(crate) biases: [&'a [i32]; 2],
    /// The map.
    pub(crate) input: &'a [i8],
}

/// A piece of plain code, for [`Isa::vectorize`].
pub trait Work {
    /// What comes of it.
    type Output;
    /// Does it; `#[inline(always)]`, and so is all that it calls, because it is compiled once an instruction set.
    fn run(self) -> Self::Output;
}

/// A convolution's integer part, ready to run.
#[derive(Clone, Copy, Debug)]
pub struct Convolution<'a, X> {
    /// Shapes; the input's channels are those of all maps.
    pub(crate) geometry: &'a Geometry,
    /// As [`Isa::place_weight`] and [`Isa::recode`] say.
    pub(crate) weights: &'a [i8],
    /// Two rows of biases `[out_c]`, either of which may be empty.
    pub(crate) biases: [&'a [i32]; 2],
    /// What it reads.
    pub(crate) input: Maps<'a, X>,
}

/// What takes a floating-point convolution's sums.
pub trait FinishFloat {
    /// Turns the sums of B · N neighbouring channels of pixel `pixel` into elements of the output map, `channel` being
    /// the number of the first; the last may be past the map's channels.
    fn finish<const N: usize, const B: usize>(&mut self, pixel: usize, channel: usize, sums: [[f32; N]; B]);
}

/// A floating-point convolution's sums, ready to run.
#[derive(Clone, Copy, Debug)]
pub struct FloatConvolution<'a, T, X> {
    /// Shapes; the input's channels are those of all maps.
    pub(crate) geometry: &'a Geometry,
    /// `[k_h][k_w][in_c][out_c]`.
    pub(crate) weights: &'a [T],
    /// What it reads.
    pub(crate) input: Maps<'a, X>,
}

impl<X> Convolution<'_, X> {
    /// A channel's bias; 0 past the last channel.
    #[inline(always)]
    pub(crate) fn bias(&self, channel: usize) -> i32 {
        at(self.biases[0], channel).wrapping_add(at(self.biases[1], channel))
    }

    /// Adds up the rows of biases.
    #[inline]
    pub(crate) fn fill_bias(&self, bias: &mut [i32]) {
        bias.fill(0);
        for row in self.biases {
            bias.iter_mut().zip(row).for_each(|(bias, value)| *bias = bias.wrapping_add(*value));
        }
    }
}

/// Plain Rust, for any chip: the definition.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

macro_rules! seal {
    ($($name:ident)*) => {$(
        impl Sealed for $name {}
    )*};
}
seal! { Armv6m Avx2 Avx512Vnni Dsp Helium Neon NeonDot Portable Riscv32 Simd128 }

impl Isa for Portable {
    const NAME: &'static str = "portable";
    const PACKING: Packing = Packing { channels: 4, pixels: 1, depth: 1, interleave: 1, run: 1, tail: 0 };
}
