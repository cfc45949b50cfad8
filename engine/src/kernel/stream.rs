//! Convolutions to f32 that hand their result out in strips of rows, so that the whole of it need not be anywhere: a
//! network's last layer.

use super::buffers::{Lens, are_whole};
use super::proved::{Proved, same_packing};
use super::strips::rows_of;
use super::{Conv2dFloat, Conv2dInt8Head, DepthToSpace};
use crate::conditioning::Condition;
use crate::geometry::Geometry;
use crate::isa::Isa;
use crate::maps::Code;
use crate::real::Real;
use crate::residual::Residual;
use crate::shape::Shape;

/// Takes a strip: the place of its first element in the final map, and its elements.
pub type Put<'a> = &'a mut dyn FnMut(usize, &[f32]);

/// The convolution's result strip by strip, and as pixels where channels are blocks of them.
#[derive(Clone, Copy, Debug)]
struct Stream<'a> {
    geometry: &'a Geometry,
    /// Rows of a strip; all of them where there are no more.
    rows: usize,
    to_space: Option<&'a Proved<DepthToSpace>>,
}

impl Stream<'_> {
    /// Whether there are strips: all rows at once, or rows of a geometry that [splits](Geometry::splits).
    const fn is_valid(&self) -> bool {
        let whole = self.rows >= self.geometry.output.height;
        let of_it = match self.to_space {
            Some(to_space) => to_space.parameters().input.equals(self.geometry.output),
            None => true,
        };
        of_it && self.rows > 0 && (whole || self.geometry.splits())
    }

    /// Elements of a row.
    const fn row_len(&self) -> usize {
        self.geometry.output.width * self.geometry.output.channels
    }

    /// Elements of a strip.
    const fn strip_len(&self) -> usize {
        let Shape { height, .. } = self.geometry.output;
        self.row_len() * if self.rows < height { self.rows } else { height }
    }

    /// The rows of a strip.
    const fn strip(&self, from: usize) -> [usize; 2] {
        let (end, height) = (from.saturating_add(self.rows), self.geometry.output.height);
        [from, if end < height { end } else { height }]
    }

    /// The geometry of some rows, and the rows of the input that they read.
    const fn part(&self, rows: [usize; 2]) -> Option<(Geometry, [usize; 2])> {
        if self.rows >= self.geometry.output.height {
            return Some((*self.geometry, [0, self.geometry.input.height]));
        }
        match rows_of(self.geometry, rows) {
            Some(part) => Some((part, self.geometry.rows(rows).1)),
            None => None,
        }
    }

    /// Elements of scratch: the most that a strip takes, `words` being what a geometry does, or a row of depth_to_space.
    fn scratch_len(&self, words: impl Fn(&Geometry) -> usize) -> usize {
        let row = self.to_space.map_or(0, |to_space| to_space.scratch_len());
        let strips = (0..self.geometry.output.height).step_by(self.rows.max(1));
        strips.filter_map(|from| self.part(self.strip(from))).map(|(part, _)| words(&part)).fold(row, usize::max)
    }

    /// Computes strips by `run(geometry, rows of the input, scratch, strip)`, from the top.
    #[inline(always)]
    fn run(
        &self,
        scratch: &mut [f32],
        strip: &mut [f32],
        put: Put<'_>,
        mut run: impl FnMut(Geometry, [usize; 2], &mut [f32], &mut [f32]),
    ) {
        let row_len = self.row_len();
        for from in (0..self.geometry.output.height).step_by(self.rows.max(1)) {
            let rows @ [_, to] = self.strip(from);
            let Some((part, input)) = self.part(rows) else { return };
            let Some(strip) = strip.get_mut(..(to - from) * row_len) else { return };
            run(part, input, scratch, strip);
            if let Some(to_space) = self.to_space {
                to_space.run_in_place(scratch, strip);
            }
            put(from * row_len, strip);
        }
    }

    /// The rows of both maps that a strip reads.
    #[inline(always)]
    fn maps<'b, X>(&self, channels: [usize; 2], maps: [&'b [X]; 2], [first, end]: [usize; 2]) -> [&'b [X]; 2] {
        let of = |map: &'b [X], channels: usize| {
            let len = self.geometry.input.width * channels;
            map.get(first * len..end * len).unwrap_or_default()
        };
        [of(maps[0], channels[0]), of(maps[1], channels[1])]
    }

    /// Whether strips exist and all buffers are long enough.
    fn fits(&self, lens: Lens, maps: [usize; 2], [scratch, least]: [usize; 2], strip: usize) -> bool {
        let lens = Lens { output: self.strip_len(), ..lens };
        let fits = self.is_valid() && scratch >= least && are_whole(&lens, [maps[0], maps[1], lens.output, strip]);
        debug_assert!(fits, "{self:?}: {lens:?}, {least} elements of scratch");
        fits
    }
}

impl<P: Isa> Proved<Conv2dInt8Head<'_>, P> {
    /// Elements of scratch that [`Self::stream`] takes.
    #[must_use]
    pub fn stream_scratch(&self, rows: usize, to_space: Option<&Proved<DepthToSpace>>) -> usize {
        let stream = Stream { geometry: &self.parameters().sums.geometry, rows, to_space };
        stream.scratch_len(|part| P::scratch_words(part))
    }

    /// Runs the layer as [`Self::run`] does, `rows` rows of its output at a time, and makes pixels of channels where
    /// `to_space` says so: the same bits for any number of rows.
    ///
    /// From the top, each strip is computed into `strip`, which has room for so many rows, and handed to `put`. Where the
    /// geometry does not [split](Geometry::splits), only all rows at once are computed. Scratch: [`Self::stream_scratch`].
    #[inline(never)]
    pub fn stream<I: Isa, X: Code>(
        &self,
        condition: Condition,
        maps: [&[X]; 2],
        (rows, to_space): (usize, Option<&Proved<DepthToSpace>>),
        scratch: &mut [i32],
        strip: &mut [f32],
        put: Put<'_>,
    ) {
        same_packing!(P, I);
        let Conv2dInt8Head { sums, .. } = self.parameters();
        let stream = Stream { geometry: &sums.geometry, rows, to_space };
        let words = [scratch.len(), self.stream_scratch(rows, to_space)];
        if !stream.fits(sums.lens(), maps.map(<[X]>::len), words, strip.len()) {
            return;
        }
        stream.run(bytemuck::must_cast_slice_mut(scratch), strip, put, |part, input, scratch, strip| {
            let maps = stream.maps(sums.channels, maps, input);
            self.part(part).run::<I, X>(condition, maps, bytemuck::must_cast_slice_mut(scratch), strip);
        });
    }
}

impl<T: Real> Proved<Conv2dFloat<'_, T>> {
    /// Elements of scratch that [`Self::stream`] takes.
    #[must_use]
    pub fn stream_scratch<I: Isa>(&self, rows: usize, to_space: Option<&Proved<DepthToSpace>>) -> usize {
        let stream = Stream { geometry: &self.parameters().geometry, rows, to_space };
        stream.scratch_len(|part| I::float_scratch(part))
    }

    /// Runs the layer without a residual as [`Self::run`] does, in strips as
    /// [`Conv2dInt8Head`]'s `stream`.
    #[inline(never)]
    pub fn stream<I: Isa, X: Real>(
        &self,
        condition: Condition,
        maps: [&[X]; 2],
        (rows, to_space): (usize, Option<&Proved<DepthToSpace>>),
        scratch: &mut [f32],
        strip: &mut [f32],
        put: Put<'_>,
    ) {
        let Conv2dFloat { geometry, channels, .. } = self.parameters();
        let stream = Stream { geometry, rows, to_space };
        let needed = [scratch.len(), self.stream_scratch::<I>(rows, to_space)];
        if !stream.fits(self.lens(), maps.map(<[X]>::len), needed, strip.len()) {
            return;
        }
        stream.run(scratch, strip, put, |part, input, scratch, strip| {
            let maps = stream.maps(*channels, maps, input);
            self.part(part).run::<I, X, f32>(condition, maps, Residual::None, scratch, strip);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditioning::Bias;
    use crate::geometry::tests::geometries;
    use crate::isa::{Avx2, Avx512Vnni, Dsp, Helium, Portable, Simd128};
    use crate::kernel::oracle::{Plain, Quads, bytes, convolutions, leak, maps};
    use crate::real::Activation;
    use half::f16;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// A geometry and the side of its blocks of channels.
    fn blocks() -> impl Strategy<Value = (Geometry, usize)> {
        (geometries(), 1usize..=3, 1usize..=2).prop_map(|(mut geometry, block, channels)| {
            geometry.output.channels = channels * block * block;
            (geometry, block)
        })
    }

    /// What strips make up together, from the top.
    fn collect(len: usize, stream: impl FnOnce(Put<'_>)) -> Vec<u32> {
        let mut all = Vec::new();
        stream(&mut |first, values| {
            assert_eq!(first, all.len());
            all.extend(values.iter().map(|value| value.to_bits()));
        });
        assert_eq!(all.len(), len);
        all
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// Strips of so many rows; the geometry may ask for all of them.
    fn heights(geometry: &Geometry) -> impl Iterator<Item = usize> + use<> {
        let (height, splits) = (geometry.output.height, geometry.splits());
        (1..=height + 1).filter(move |rows| splits || *rows >= height)
    }

    fn check_head<I: Isa>(plain: Plain, block: usize, seed: u64) {
        let sums = plain.pack::<I>().parameters().sums;
        let scales: Vec<f32> = (0..sums.geometry.output.channels).map(|c| 0.001 + c as f32 / 300.0).collect();
        let head = Conv2dInt8Head { sums, scales: leak(&scales) }.checked::<I>();
        let (narrow, wide) = (maps(&sums, bytes(seed, 1)), maps(&sums, |i| i16::from(bytes(seed, 5)(i)) * 40));
        stream_head::<I, i8>(&head, [&narrow[0], &narrow[1]], block);
        stream_head::<I, i16>(&head, [&wide[0], &wide[1]], block);
    }

    fn stream_head<I: Isa, X: Code>(head: &Proved<Conv2dInt8Head<'_>, I>, maps: [&[X]; 2], block: usize) {
        let (condition, geometry) = (Condition { step: 0, class: 1 }, head.parameters().sums.geometry);
        let to_space = DepthToSpace { input: geometry.output, block }.checked();
        let mut whole = vec![0.0; head.output_len()];
        head.run::<I, X>(condition, maps, &mut vec![0; head.scratch_len()], &mut whole);
        let plain = bits(&whole);
        to_space.run_in_place(&mut vec![0.0; to_space.scratch_len()], &mut whole);
        for rows in heights(&geometry) {
            let mut strip = vec![f32::NAN; rows.min(geometry.output.height) * to_space.scratch_len()];
            for (to_space, expected) in [(None, &plain), (Some(&to_space), &bits(&whole))] {
                let mut scratch = vec![i32::MIN; head.stream_scratch(rows, to_space)];
                let found = collect(plain.len(), |put| {
                    head.stream::<I, X>(condition, maps, (rows, to_space), &mut scratch, &mut strip, put);
                });
                assert_eq!(found, *expected, "{rows} rows");
            }
        }
    }

    fn check_float<I: Isa, T: Real>(geometry: Geometry, block: usize, seed: u64) {
        let random = |len: usize, salt: u64| -> Vec<T> {
            (0..len).map(|i| T::from_f32(f32::from(bytes(seed, salt)(i)) / 64.0)).collect()
        };
        let out_c = geometry.output.channels;
        let conv = Conv2dFloat {
            geometry,
            channels: [geometry.input.channels, 0],
            weights: leak(&random(out_c * geometry.patch_len(), 2)),
            bias: Bias { steps: leak(&random(out_c, 3)), classes: &[] },
            activation: Activation::Identity,
        };
        let conv = conv.checked();
        let (map, condition) = (random(geometry.input.len(), 4), Condition { step: 0, class: 0 });
        let to_space = DepthToSpace { input: geometry.output, block }.checked();
        let (mut whole, mut scratch) = (vec![0.0; conv.output_len()], vec![0.0; conv.scratch_len::<I>()]);
        conv.run::<I, T, f32>(condition, [&map, &[]], Residual::None, &mut scratch, &mut whole);
        to_space.run_in_place(&mut vec![0.0; to_space.scratch_len()], &mut whole);
        for rows in heights(&geometry) {
            let mut strip = vec![f32::NAN; rows.min(geometry.output.height) * to_space.scratch_len()];
            let mut scratch = vec![f32::NAN; conv.stream_scratch::<I>(rows, Some(&to_space))];
            let found = collect(whole.len(), |put| {
                conv.stream::<I, T>(condition, [&map, &[]], (rows, Some(&to_space)), &mut scratch, &mut strip, put);
            });
            assert_eq!(found, bits(&whole), "{rows} rows");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn strips_of_any_height_are_the_whole(
            (plain, block) in blocks().prop_flat_map(|(geometry, block)| (convolutions(Just(geometry)), Just(block))),
            seed in any::<u64>(),
        ) {
            check_head::<Portable>(plain, block, seed);
            check_head::<Quads>(plain, block, seed);
            check_head::<Dsp>(plain, block, seed);
            check_head::<Helium>(plain, block, seed);
            check_head::<Avx2>(plain, block, seed);
            check_head::<Avx512Vnni>(plain, block, seed);
            check_head::<Simd128>(plain, block, seed);
        }

        #[test]
        fn in_floating_point_too((geometry, block) in blocks(), seed in any::<u64>()) {
            check_float::<Portable, f32>(geometry, block, seed);
            check_float::<Portable, f16>(geometry, block, seed);
            check_float::<Avx2, f32>(geometry, block, seed);
            check_float::<Avx512Vnni, f16>(geometry, block, seed);
        }
    }

    #[test]
    fn what_does_not_fit_is_not_begun() {
        let map = Shape { height: 4, width: 3, channels: 1 };
        let geometry =
            Geometry { input: map, output: map, kernel: [1; 2], stride: [1; 2], padding: [0; 2], upsample: [1; 2] };
        let conv = Conv2dFloat {
            geometry,
            channels: [1, 0],
            weights: &[1.0f32],
            bias: Bias { steps: &[0.0], classes: &[] },
            activation: Activation::Identity,
        };
        let enlarged = Geometry { input: Shape { height: 2, ..map }, upsample: [2, 1], ..geometry };
        let [conv, enlarged] = [conv, Conv2dFloat { geometry: enlarged, ..conv }].map(Conv2dFloat::checked);
        let blocks = DepthToSpace { input: Shape { channels: 4, ..map }, block: 2 }.checked();
        let least = conv.stream_scratch::<Portable>(2, None);
        for (layer, rows, to_space, scratch, strip) in [
            (&conv, 0, None, least, 6),
            (&conv, 2, None, least - 1, 6),
            (&conv, 2, None, least, 5),
            (&conv, 2, Some(&blocks), 100, 6),
            (&enlarged, 2, None, least, 6),
        ] {
            let mut calls = 0;
            let run = std::panic::AssertUnwindSafe(|| {
                layer.stream::<Portable, f32>(
                    Condition { step: 0, class: 0 },
                    [&[1.0; 12], &[]],
                    (rows, to_space),
                    &mut vec![0.0; scratch],
                    &mut vec![0.0; strip],
                    &mut |_, _| calls += 1,
                );
            });
            assert_eq!(std::panic::catch_unwind(run).is_err(), cfg!(debug_assertions));
            assert_eq!(calls, 0);
        }
    }
}
