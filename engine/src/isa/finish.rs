//! What becomes of a convolution's sums: int8, fine codes or f32.

use core::marker::PhantomData;

use super::simd::{self, Vector};
use super::{Isa, Portable};
use crate::conditioning::at;
use crate::epilogue::{Epilogue, FineEpilogue};
use crate::maps::Code;
use crate::residual::Residual;

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
    pub epilogue: &'a Epilogue<'a>,
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
    pub epilogue: &'a FineEpilogue<'a>,
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
