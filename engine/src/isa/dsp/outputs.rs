//! Winograd's way from results along rows to the outputs of two tiles, four channels at a time.

use super::Dsp;
use super::gather::{Corners, Gather};
use super::residual::{self, Residuals};
use crate::conditioning::at;
use crate::epilogue::Epilogue;
use crate::geometry::Geometry;
use crate::isa::{Finish, ToInt8};
use crate::requantize::TABLE_LEN;
use crate::residual::Residual;
use crate::shape::Shape;

/// Output channels of a block.
pub(super) const CHANNELS: usize = 4;
/// Tiles at once.
pub(super) const TILES: usize = 2;
/// Sums are 2^this times the results.
pub(super) const fn shift(enlarged: bool) -> u32 {
    if enlarged { 0 } else { 2 }
}

/// A [`super::gather::tiles`].
pub(super) type Finisher = unsafe fn(&mut Gather);

/// A tile's place in the map: its upper left pixel's first channel; its lower left one's, the same where there is none; and
/// from a pixel to the next, 0 where there is none.
#[derive(Clone, Copy)]
pub(super) struct Place {
    above: usize,
    below: usize,
    pixel: usize,
}

impl Place {
    #[inline(always)]
    pub(super) fn of(geometry: &Geometry, (y, x): (usize, usize), channel: usize) -> Self {
        let Shape { height, width, channels: out_c } = geometry.output;
        let above = (2 * y * width + 2 * x) * out_c + channel;
        let below = if 2 * y + 1 < height { above + width * out_c } else { above };
        Self { above, below, pixel: if 2 * x + 1 < width { out_c } else { 0 } }
    }

    /// Of the four pixels; those that are in the place of others come first.
    fn pixels(self) -> [usize; 4] {
        [self.below + self.pixel, self.above + self.pixel, self.below, self.above]
    }
}

/// Where tiles are in a map.
#[inline(always)]
fn corners(places: &[Option<Place>; TILES], map: *mut i8) -> [Corners; TILES + 1] {
    let mut corners = [Corners::NONE; TILES + 1];
    for (corners, place) in corners.iter_mut().zip(places.iter().flatten()) {
        let [above, below] = [place.above, place.below].map(|place| map.wrapping_add(place));
        *corners = Corners { above, below, pixel: place.pixel };
    }
    corners
}

/// What finishes the blocks of a pair of tiles.
pub(super) struct Outputs {
    enlarged: bool,
    residuals: Option<Residuals>,
    gather: Gather,
    finish: Finisher,
}

impl Outputs {
    #[inline(always)]
    pub(super) fn of(
        to: &ToInt8<'_>,
        enlarged: bool,
        finish: Finisher,
        places: &[Option<Place>; TILES],
        channel: usize,
        rows: &mut [i32; 64],
        output: *mut i8,
    ) -> Self {
        let Epilogue { residual_multipliers: factors, requantize, table } = to.epilogue;
        let map = match to.residual {
            Residual::None => None,
            Residual::InOutput => Some(output),
            Residual::From(map) => Some(map.as_ptr().cast_mut()),
        };
        let rows = rows.as_mut_ptr();
        let residuals = map.filter(|_| !factors.is_empty()).map(|map| Residuals {
            factors: factors.as_ptr().wrapping_add(channel),
            rows: rows.wrapping_add(if enlarged { 16 } else { 32 }),
            corners: corners(places, map),
        });
        let gather = Gather {
            multipliers: requantize.multipliers.as_ptr().wrapping_add(channel),
            table: table.map_or(core::ptr::null(), |table| table.as_ptr().wrapping_add(TABLE_LEN / 2)),
            shift: requantize.shift.abs_diff(shift(enlarged)),
            zero_point: requantize.zero_point as u32,
            rows,
            corners: corners(places, output),
        };
        Self { enlarged, residuals, gather, finish }
    }

    /// Finishes the next four channels.
    ///
    /// # Safety
    /// They are there, and the pixels are.
    #[inline(always)]
    pub(super) unsafe fn four(&mut self) {
        if let Some(residuals) = &mut self.residuals {
            if self.enlarged {
                // SAFETY: as the caller says.
                unsafe { residual::add::<{ shift(true) }>(residuals) };
            } else {
                // SAFETY: as the caller says.
                unsafe { residual::add::<{ shift(false) }>(residuals) };
            }
            residuals.factors = residuals.factors.wrapping_add(CHANNELS);
        }
        // SAFETY: as the caller says.
        unsafe { (self.finish)(&mut self.gather) };
        self.gather.multipliers = self.gather.multipliers.wrapping_add(CHANNELS);
    }

    /// Finishes the last channels, fewer than four, in a copy of their outputs that has room for four.
    #[inline(never)]
    pub(super) fn rest(
        &mut self,
        to: &ToInt8<'_>,
        places: &[Option<Place>; TILES],
        [first, done, count]: [usize; 3],
        output: &mut [i8],
    ) {
        let four = |values: &[i32]| core::array::from_fn::<_, CHANNELS, _>(|index| at(values, first + done + index));
        let [factors, multipliers] = [to.epilogue.residual_multipliers, to.epilogue.requantize.multipliers].map(four);
        let mut copy = [0; TILES * 4 * CHANNELS];
        let copies = [0, 1].map(|tile| {
            let above = tile * 4 * CHANNELS;
            at(places, tile).map(|_| Place { above, below: above + 2 * CHANNELS, pixel: CHANNELS })
        });
        if self.residuals.is_some() {
            let map = if let Residual::From(map) = to.residual { map } else { &*output };
            each_pixel(places, &copies, |start, copied| {
                let copy = copy.get_mut(copied..).unwrap_or_default();
                let map = map.get(start + done..start + done + count).unwrap_or_default();
                copy.iter_mut().zip(map).for_each(|(copy, value)| *copy = *value);
            });
        }
        let start = copy.as_mut_ptr();
        if let Some(residuals) = &mut self.residuals {
            (residuals.factors, residuals.corners) = (factors.as_ptr(), corners(&copies, start));
        }
        (self.gather.multipliers, self.gather.corners) = (multipliers.as_ptr(), corners(&copies, start));
        // SAFETY: four factors and multipliers have just been made, and a place for four channels of each pixel.
        unsafe { self.four() };
        each_pixel(places, &copies, |start, copied| {
            let outs = output.get_mut(start + done..start + done + count).unwrap_or_default();
            let copy = copy.get(copied..).unwrap_or_default();
            outs.iter_mut().zip(copy).for_each(|(out, copy)| *out = *copy);
        });
    }
}

/// Finishes `count` channels after `first` + `done`, up to four, of two tiles to codes that are no plain int8's, or whose
/// biases are `late`: not in the rows.
#[inline(never)]
pub(super) fn one_by_one<F: Finish, const ENLARGED: bool>(
    finish: &F,
    places: &[Option<Place>; TILES],
    [first, done, count]: [usize; 3],
    rows: &[i32; 64],
    late: Option<[i32; CHANNELS]>,
    output: &mut [F::Element],
) {
    let rows = rows.as_chunks::<{ 2 * TILES * CHANNELS }>().0;
    for (tile, place) in places.iter().enumerate() {
        let Some(Place { above, below, pixel }) = *place else { continue };
        for right in 0..=usize::from(pixel > 0) {
            let place = (right * TILES + tile) * CHANNELS;
            let [upper, lower]: [[i32; CHANNELS]; 2] = core::array::from_fn(|lower| {
                core::array::from_fn(|channel| {
                    let result = |row: usize| rows.get(row).map_or(0, |row| at(row, place + channel));
                    let [a, b, c, d] = [0, 1, 2, 3].map(result);
                    match (ENLARGED, lower) {
                        (true, 0) => a.wrapping_add(b),
                        (true, _) => a.wrapping_add(c),
                        (false, 0) => a.wrapping_add(b).wrapping_add(c) >> 2,
                        (false, _) => a.wrapping_sub(b).wrapping_add(d) >> 2,
                    }
                })
            });
            let pixels = [above, below].into_iter().take(1 + usize::from(below != above));
            for (start, mut sums) in pixels.zip([upper, lower]) {
                if let Some(biases) = late {
                    sums.iter_mut().zip(biases).for_each(|(sum, bias)| *sum = sum.wrapping_add(bias));
                }
                let index = start + right * pixel + done;
                let outs = output.get_mut(index..).unwrap_or_default();
                let len = outs.len().min(count);
                finish.finish::<Dsp>(&sums, first + done, index, outs.get_mut(..len).unwrap_or_default());
            }
        }
    }
}

/// Calls `take(pixel, copy)` for the pixels of the tiles and those of their copies.
#[inline(always)]
fn each_pixel(places: &[Option<Place>; TILES], copies: &[Option<Place>; TILES], mut take: impl FnMut(usize, usize)) {
    for (place, copy) in places.iter().flatten().zip(copies.iter().flatten()) {
        for (pixel, copy) in place.pixels().into_iter().zip(copy.pixels()) {
            take(pixel, copy);
        }
    }
}
