//! Convolutions on vector registers: written once over [`Vector`], for instruction sets whose packing is
//! [`packing`]`(LANES)`.
//!
//! To add an instruction set:
//!
//! 1. a *token*, a `Copy` type that exists only where the instructions do (statically, or because detection said so),
//!    so that its methods are safe to call;
//! 2. [`Vector`] for it, arithmetic on one vector of sums, and [`Products`] twice: for maps of int8 and of int16 (one
//!    type may serve for both);
//! 3. a `#[target_feature]` function that takes the token and calls [`conv2d::run`] with a shape of tile, so that
//!    everything here is inlined into it; `Isa::conv2d` calls that function where there is a token. Where instructions add
//!    pairs of 16-bit products, [`Pairs`] and [`conv2d_pairs::direct`] and [`winograd`] serve better for more than a few
//!    channels;
//! 4. `Isa::scratch_words` from [`conv2d::scratch_words`] and [`conv2d_pairs::scratch_words`];
//! 5. [`Floats`] and [`conv2d_float::run`] likewise, for floating point.
//!
//! Everything is `#[inline(always)]`, because only inside such a function do the instructions exist.

pub(super) mod conv2d;
pub(super) mod conv2d_float;
pub(super) mod conv2d_pairs;
mod elements;
mod epilogue;
pub(super) mod maps;
mod padded;
mod planes;
pub(super) mod winograd;

use bytemuck::Pod;

use super::{FinishFloat, Packing, Work};
use crate::real::Real;
use crate::requantize::{TABLE_LEN, Table};

pub(super) use epilogue::to_int8;

/// Taps whose products are added up at once.
pub const DEPTH: usize = 4;

/// Vectors whose table entries are looked up at once.
pub(super) const TOGETHER: usize = 4;

/// What instruction sets of `lanes` lanes read.
pub(super) const fn packing(lanes: usize) -> Packing {
    Packing { channels: lanes, pixels: 4, depth: DEPTH, interleave: 1, run: 1, tail: 0 }
}

/// Arithmetic on a vector of sums, one a channel. A value proves that the machine has the instructions.
///
/// Slices that are shorter than a vector stand for one that is filled up with 0, or take its first elements.
pub trait Vector: Copy {
    /// Channels of a vector.
    const LANES: usize;
    /// The vector.
    type Lanes: Copy;
    /// From sums to an index or a code.
    type Scale;
    /// Products of int8 maps.
    type Narrow: Products<Self>;
    /// Products of int16 maps.
    type Wide: Products<Self>;

    /// From memory.
    fn load(self, values: &[i32]) -> Self::Lanes;
    /// From memory, sign-extended.
    fn widen(self, values: &[i8]) -> Self::Lanes;
    /// To memory.
    fn store(self, lanes: Self::Lanes, output: &mut [i32]);
    /// To memory, held to −128 … 127.
    fn saturate(self, lanes: Self::Lanes, output: &mut [i8]);
    /// The same value in every lane.
    fn splat(self, value: i32) -> Self::Lanes;
    /// Sum, without its carry.
    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// Low half of the product.
    fn multiply(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// Each lane ⌊/ 2^by⌋.
    fn shift_right(self, lanes: Self::Lanes, by: u32) -> Self::Lanes;
    /// What [`Self::requantize`] wants of a shift, multipliers and a zero point.
    fn scale(self, shift: u32, multipliers: Self::Lanes, zero_point: i32) -> Self::Scale;
    /// [`crate::requantize::requantize`] and the zero point.
    fn requantize(self, acc: Self::Lanes, scale: &Self::Scale) -> Self::Lanes;

    /// Does some work with its instructions, perhaps in a function of its own, where it need not share registers.
    #[inline(always)]
    fn call<W: Work>(self, work: W) -> W::Output {
        work.run()
    }

    /// [`look_up`](crate::requantize::look_up).
    #[inline(always)]
    fn look_up(self, table: &Table, indices: Self::Lanes, output: &mut [i8]) {
        let mut array = [0; 16];
        self.store(indices, &mut array);
        // Held within the table first, in vectors; then look-ups need no branches.
        const HALF: i32 = TABLE_LEN as i32 / 2;
        let entries = array.map(|index| index.clamp(-HALF, HALF - 1) + HALF);
        let values: [i8; 16] = entries.map(|entry| table[entry as usize % TABLE_LEN]);
        match output.first_chunk_mut::<16>() {
            Some(output) if Self::LANES == 16 => *output = values,
            _ => output.iter_mut().zip(values).take(Self::LANES).for_each(|(to, from)| *to = from),
        }
    }

    /// The same for some vectors, whose values lie one behind the other.
    #[inline(always)]
    fn look_up_all(self, table: &Table, indices: [Self::Lanes; TOGETHER], output: &mut [i8]) {
        for (indices, output) in indices.iter().zip(output.chunks_mut(Self::LANES)) {
            self.look_up(table, *indices, output);
        }
    }
}

/// Sums of two products at once.
pub trait Pairs: Vector {
    /// The first two of each lane's weights as int16, and the last two.
    fn halves(self, step: &[[i8; DEPTH]]) -> [Self::Lanes; 2];
    /// Difference, without its carry.
    fn subtract(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// Sums of the int16 of each lane, without carries.
    fn add_halves(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// Differences likewise.
    fn subtract_halves(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// Adds the products of the int16 that `taps` and each lane of `weights` hold, without carries.
    fn add_pairs(self, sums: Self::Lanes, weights: Self::Lanes, taps: [i16; 2]) -> Self::Lanes;
}

/// Sums of products of a vector of channels and one pixel.
pub trait Products<V: Vector>: 'static {
    /// An activation as the products want it: the map's value plus [`Self::OFFSET`].
    type Element: Pod;
    /// What is added to activations.
    const OFFSET: i16;
    /// One step of weights, `[LANES][DEPTH]`.
    type Weights: Copy;
    /// Sums on the way: perhaps several a channel.
    type Sums: Copy;

    /// The value plus the offset.
    fn element(value: i16) -> Self::Element;
    /// No products.
    fn zero(v: V) -> Self::Sums;
    /// From memory; zero where a whole step is not there.
    fn weights(v: V, step: &[i8]) -> Self::Weights;
    /// Adds each channel's four products, without carries.
    fn multiply_add(v: V, sums: Self::Sums, weights: Self::Weights, taps: [Self::Element; DEPTH]) -> Self::Sums;
    /// From memory, [`Vector::LANES`] neighbouring pixels' taps in place of weights.
    fn pixels(v: V, taps: &[[Self::Element; DEPTH]]) -> Self::Weights;
    /// As [`Self::multiply_add`], the lanes being pixels that all meet the same weights.
    fn multiply_add_pixels(v: V, sums: Self::Sums, pixels: Self::Weights, weights: [i8; DEPTH]) -> Self::Sums;
    /// One sum a lane.
    fn total(v: V, sums: Self::Sums) -> V::Lanes;
}

/// Arithmetic on a vector of f32. A value proves that the machine has the instructions.
pub trait Floats: Copy {
    /// Elements of a vector.
    const LANES: usize;
    /// The vector.
    type Lanes: Copy;

    /// From memory, widened, filled up with 0.
    fn load<T: Real>(self, values: &[T]) -> Self::Lanes;
    /// To memory.
    fn store(self, lanes: Self::Lanes, output: &mut [f32]);
    /// Hands them over, as arrays.
    fn finish<const B: usize>(self, lanes: [Self::Lanes; B], to: &mut impl FinishFloat, pixel: usize, channel: usize);
    /// The same value in every lane.
    fn splat(self, value: f32) -> Self::Lanes;
    /// `sum + a · b`, rounded once.
    fn fused(self, sum: Self::Lanes, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// `sum + a · b`, both rounded.
    fn add_product(self, sum: Self::Lanes, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
}

/// The first values.
#[inline(always)]
pub(super) fn keep<T: Copy, const N: usize>(output: &mut [T], values: [T; N]) {
    match output.first_chunk_mut::<N>() {
        Some(output) => *output = values,
        None => output.iter_mut().zip(values).for_each(|(to, from)| *to = from),
    }
}

/// A whole vector's values, filled up with 0.
#[inline(always)]
pub(super) fn whole<T: Copy + Default, const N: usize>(values: &[T]) -> [T; N] {
    match values.first_chunk::<N>() {
        Some(values) => *values,
        None => core::array::from_fn(|i| values.get(i).copied().unwrap_or_default()),
    }
}
