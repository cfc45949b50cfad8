//! Instruction sets: what the inner loops of int8 networks are made of, chip by chip.
//!
//! A board's build names its chip; the code generator packs the weights for it, and the generated network carries the
//! instruction set as a type. [`Isa`]'s provided methods are portable and define every result; an instruction set
//! replaces those that it computes faster, and gives the same bits. On a machine that lacks its instructions it falls
//! back to the portable methods on its own packing, so that any machine can run any chip's network.

mod packing;
mod portable;
mod portable_float;
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

use core::marker::PhantomData;

use crate::conditioning::at;
use crate::epilogue::{AddInt8, Epilogue, FineEpilogue};
use crate::geometry::Geometry;
use crate::maps::{Code, Maps};
use crate::real::Real;
use crate::requantize::Table;
use crate::residual::Residual;
use simd::Vector;
use winograd::Winograd;

pub use armv6m::Armv6m;
pub use dsp::Dsp;
pub use helium::Helium;
pub use neon::{Neon, NeonDot};
pub use packing::Packing;
pub use riscv32::Riscv32;
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

/// An instruction set.
pub trait Isa: Copy + 'static {
    /// For people.
    const NAME: &'static str;
    /// How it wants convolutions' weights, and how many pixels it works on at once.
    const PACKING: Packing;
    /// The same for [`winograd`], whose weights are int16; its pixels are blocks of 2×2 outputs.
    const WIDE: Packing = Packing { channels: 4, pixels: 1, depth: 1, interleave: 1, run: 1, tail: 0 };
    /// Bytes that buffers and constants best begin at multiples of: lines of a cache where vectors are that long.
    const ALIGN: usize = 4;
    /// Rows of weights that [`Self::weighted_rows`] does best with.
    const ROWS: usize = 1;

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
        Self::PACKING.scratch_words(geometry)
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
        epilogue: &Epilogue,
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
        epilogue: &FineEpilogue,
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
        portable_float::scratch(geometry)
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

    /// In place, for every pixel of a map of as many channels as there are factors:
    /// `index = (q · factors[c] + offsets[c]) >> `[`AFFINE_FRACTION`], then the table or saturation. |factor| ≤ 2²³ and
    /// |offset| < 2³⁰.
    #[inline]
    fn affine(factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
        portable::affine(factors, offsets, table, map);
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

/// Fraction bits of [`Isa::affine`]'s factors and offsets: a factor is off by at most 2⁻¹⁵, which moves an index by
/// 128 · 2⁻¹⁵.
pub const AFFINE_FRACTION: u32 = 14;

/// A depthwise convolution's integer part, ready to run.
#[derive(Clone, Copy, Debug)]
pub struct Depthwise<'a> {
    /// Shapes; as many channels in as out.
    pub geometry: &'a Geometry,
    /// What padding holds.
    pub zero_point: i16,
    /// `[k_h][k_w][channels]`; −127 to 127.
    pub weights: &'a [i8],
    /// Two rows of biases `[channels]`, either of which may be empty.
    pub biases: [&'a [i32]; 2],
    /// The map.
    pub input: &'a [i8],
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
    pub geometry: &'a Geometry,
    /// As [`Isa::place_weight`] and [`Isa::recode`] say.
    pub weights: &'a [i8],
    /// Two rows of biases `[out_c]`, either of which may be empty.
    pub biases: [&'a [i32]; 2],
    /// What it reads.
    pub input: Maps<'a, X>,
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
    pub geometry: &'a Geometry,
    /// `[k_h][k_w][in_c][out_c]`.
    pub weights: &'a [T],
    /// What it reads.
    pub input: Maps<'a, X>,
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

/// What takes a convolution's sums.
pub trait Finish {
    /// Of the output map.
    type Element;

    /// Turns the sums of neighbouring channels of one pixel into elements of the output map, `channel` being the number
    /// of the first channel and `index` its place in the map.
    fn finish<I: Isa>(&self, sums: &[i32], channel: usize, index: usize, output: &mut [Self::Element]);

    /// The same for some neighbouring pixels, a vector of `channels` of each in `sums`. `output` begins with the first
    /// pixel's first of these channels, whose place in the map is `index`. Lanes past the last channel, and pixels past the
    /// output's end, are left out.
    fn finish_lanes<V: Vector>(
        &self,
        v: V,
        sums: &[V::Lanes],
        channels: Channels,
        index: usize,
        output: &mut [Self::Element],
    );

    /// Itself, where it is [`ToInt8`]: for instruction sets that finish many pixels at once.
    #[inline(always)]
    fn to_int8(&self) -> Option<&ToInt8<'_>> {
        None
    }

    /// The output map, where it is int8 that [`ToInt8`] makes.
    #[inline(always)]
    fn bytes(_: &mut [Self::Element]) -> Option<&mut [i8]> {
        None
    }

    /// Whether it reads what the output holds before, so that no element may be finished twice.
    fn reads_output(&self) -> bool;
}

/// Which channels of a pixel a vector holds.
#[derive(Clone, Copy, Debug)]
pub struct Channels {
    /// The number of the first.
    pub first: usize,
    /// How many of a vector's there are.
    pub count: usize,
    /// From a pixel's to the next one's.
    pub apart: usize,
}

impl Channels {
    /// Those of a vector of `lanes` from channel `first` on, of maps of `channels`.
    #[inline(always)]
    pub(crate) fn of(first: usize, lanes: usize, channels: usize) -> Self {
        Self { first, count: channels.saturating_sub(first).min(lanes), apart: channels.max(1) }
    }
}

/// Finishes vectors of channels by arrays.
#[inline(always)]
fn finish_arrays<V: Vector, F: Finish>(
    finish: &F,
    v: V,
    sums: &[V::Lanes],
    channels: Channels,
    index: usize,
    output: &mut [F::Element],
) {
    let places = (index..).step_by(channels.apart);
    for ((sums, output), index) in sums.iter().zip(output.chunks_mut(channels.apart)).zip(places) {
        let mut array = [0; 16];
        v.store(*sums, &mut array);
        let count = channels.count.min(output.len());
        finish.finish::<Portable>(&array, channels.first, index, &mut output[..count]);
    }
}

/// int8, as [`Epilogue`] says.
#[derive(Clone, Copy, Debug)]
pub struct ToInt8<'a> {
    /// The parameters.
    pub epilogue: &'a Epilogue,
    /// The second summand.
    pub residual: Residual<'a, i8>,
}

impl Finish for ToInt8<'_> {
    type Element = i8;

    #[inline(always)]
    fn finish<I: Isa>(&self, sums: &[i32], channel: usize, index: usize, output: &mut [i8]) {
        I::requantize(self.epilogue, sums, channel, index, self.residual, output);
    }

    #[inline(always)]
    fn finish_lanes<V: Vector>(&self, v: V, sums: &[V::Lanes], channels: Channels, index: usize, output: &mut [i8]) {
        simd::to_int8(v, self, sums, channels, index, output);
    }

    #[inline(always)]
    fn to_int8(&self) -> Option<&ToInt8<'_>> {
        Some(self)
    }

    #[inline(always)]
    fn bytes(output: &mut [i8]) -> Option<&mut [i8]> {
        Some(output)
    }

    #[inline(always)]
    fn reads_output(&self) -> bool {
        matches!(self.residual, Residual::InOutput)
    }
}

/// Codes Y of a residual of codes R, as [`FineEpilogue`] says.
#[derive(Clone, Copy, Debug)]
pub struct ToCode<'a, R, Y> {
    /// The parameters.
    pub epilogue: &'a FineEpilogue,
    /// The second summand.
    pub residual: Residual<'a, R>,
    /// The type of the output.
    pub output: PhantomData<Y>,
}

impl<R: Code, Y: Code> Finish for ToCode<'_, R, Y> {
    type Element = Y;

    #[inline(always)]
    fn finish<I: Isa>(&self, sums: &[i32], channel: usize, index: usize, output: &mut [Y]) {
        I::requantize_fine(self.epilogue, sums, channel, index, self.residual, output);
    }

    #[inline(always)]
    fn finish_lanes<V: Vector>(&self, v: V, sums: &[V::Lanes], channels: Channels, index: usize, output: &mut [Y]) {
        finish_arrays(self, v, sums, channels, index, output);
    }

    #[inline(always)]
    fn reads_output(&self) -> bool {
        matches!(self.residual, Residual::InOutput)
    }
}

/// f32: `out = sum as f32 · scales[channel]`.
#[derive(Clone, Copy, Debug)]
pub struct ToFloat<'a> {
    /// `[out_c]`.
    pub scales: &'a [f32],
}

impl Finish for ToFloat<'_> {
    type Element = f32;

    #[inline(always)]
    fn finish<I: Isa>(&self, sums: &[i32], channel: usize, _: usize, output: &mut [f32]) {
        for (offset, (sum, out)) in sums.iter().zip(output).enumerate() {
            *out = *sum as f32 * at(self.scales, channel + offset);
        }
    }

    #[inline(always)]
    fn finish_lanes<V: Vector>(&self, v: V, sums: &[V::Lanes], channels: Channels, index: usize, output: &mut [f32]) {
        finish_arrays(self, v, sums, channels, index, output);
    }

    #[inline(always)]
    fn reads_output(&self) -> bool {
        false
    }
}

/// Plain Rust, for any chip: the definition.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Isa for Portable {
    const NAME: &'static str = "portable";
    const PACKING: Packing = Packing { channels: 4, pixels: 1, depth: 1, interleave: 1, run: 1, tail: 0 };
}
