//! Two convolutions as one, so that the map between them is never whole.

use super::buffers::{Buffers, Lens, fit};
use super::proved::{Proved, provable, require};
use super::{Conv2dInt8, Sums, WinogradInRamInt8, WinogradInt8, WinogradSums};
use crate::conditioning::Condition;
use crate::geometry::Geometry;
use crate::isa::Isa;
use crate::residual::Residual;
use crate::shape::Shape;

/// A convolution of one int8 map, which can compute some of its rows alone.
pub trait Rows {
    /// Computes rows `from` up to `to` of its output, which [splits](Geometry::splits): `map` holds the rows that they read,
    /// see [`Geometry::rows`], `output` takes them. Scratch: what the instruction set says for those rows' geometry.
    fn rows<I: Isa>(
        &self,
        rows: [usize; 2],
        condition: Condition,
        map: &[i8],
        residual: Residual<'_, i8>,
        scratch: &mut [i32],
        output: &mut [i8],
    );
}

/// Some rows of a proved geometry; none where it does not split or has no such rows.
///
/// What is proved of the whole holds for them: weights and biases have no rows, the rows' maps are parts of the whole ones,
/// and as the geometry splits each row reads at least one of the input's.
#[inline]
pub(super) const fn rows_of(geometry: &Geometry, [from, to]: [usize; 2]) -> Option<Geometry> {
    let exist = from < to && to <= geometry.output.height && geometry.splits();
    debug_assert!(exist, "the geometry splits and has these rows");
    if exist { Some(geometry.rows([from, to]).0) } else { None }
}

/// The kernels differ in their sums' type alone.
macro_rules! rows {
    ($($kernel:ident: $sums:ident;)*) => {$(
        impl<P: Isa> Rows for Proved<$kernel<'_>, P> {
            fn rows<I: Isa>(
                &self,
                rows: [usize; 2],
                condition: Condition,
                map: &[i8],
                residual: Residual<'_, i8>,
                scratch: &mut [i32],
                output: &mut [i8],
            ) {
                let whole = *self.parameters();
                let Some(geometry) = rows_of(&whole.sums.geometry, rows) else { return };
                let part = Self::new($kernel { sums: $sums { geometry, ..whole.sums }, ..whole });
                part.run::<I, i8>(condition, [map, &[]], residual, scratch, output);
            }
        }
    )*};
}
rows! {
    Conv2dInt8: Sums;
    WinogradInt8: WinogradSums;
    WinogradInRamInt8: WinogradSums;
}

/// The first convolution makes as many rows as the second needs for the next `rows` of its own, and so on down the map.
///
/// Rows that the next strip reads as well stay: they move to the front of the window, and none is computed twice. Results
/// are those of one convolution after the other, to the bit. Neither enlarges its map in height. Scratch: the most that
/// either takes for a strip; window: [`Self::window_rows`] rows of the map between. Cost: that of both convolutions, and
/// their start a strip.
#[derive(Clone, Copy, Debug)]
pub struct Strips {
    /// Of the whole convolutions; the first's output is the second's input.
    pub geometries: [Geometry; 2],
    /// Rows of the second's output a strip.
    pub rows: usize,
}

/// What is done at once; rows as the first and one past the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strip {
    /// Of the map between, those that are read.
    pub read: [usize; 2],
    /// Of the map between, those that are computed: the last of `read`.
    pub made: [usize; 2],
    /// Of the result.
    pub rows: [usize; 2],
}

impl Strips {
    const fn check(&self) -> Result<(), &'static str> {
        require!(self.fits(), "one convolution reads the other's map, and every strip reads some of its rows");
        Ok(())
    }

    /// Whether the convolutions can run so.
    #[must_use]
    pub const fn fits(&self) -> bool {
        let [first, second] = &self.geometries;
        self.rows > 0
            && first.is_valid()
            && second.is_valid()
            && first.output.equals(second.input)
            && first.splits()
            && second.splits()
    }

    /// The strip whose first row of the result is `from`.
    #[must_use]
    pub const fn strip(&self, from: usize) -> Strip {
        let [_, second] = &self.geometries;
        let (end, height) = (from + self.rows, second.output.height);
        let rows = [from, if end < height { end } else { height }];
        let (_, read) = second.rows(rows);
        let made = if from == 0 { 0 } else { second.rows([0, from]).1[1] };
        Strip { read, made: [made, read[1]], rows }
    }

    /// All strips, from the top.
    pub fn strips(&self) -> impl Iterator<Item = Strip> + '_ {
        let height = self.geometries[1].output.height;
        let next = |from: &usize| Some(from + self.rows.max(1));
        core::iter::successors(Some(0), next).take_while(move |from| *from < height).map(|from| self.strip(from))
    }

    /// Rows of the map between that are there at once, at most.
    #[must_use]
    pub const fn window_rows(&self) -> usize {
        let (mut from, mut most) = (0, 0);
        while from < self.geometries[1].output.height {
            let [first, end] = self.strip(from).read;
            most = if end - first > most { end - first } else { most };
            from += self.rows;
        }
        most
    }

    /// Whether the result may take the place of the map that the first convolution reads: it is of the same shape, and no
    /// row is overwritten that is still to be read.
    #[must_use]
    pub const fn may_overwrite(&self) -> bool {
        let [first, second] = &self.geometries;
        let last = self.strip(second.output.height - 1).read[1];
        let (mut from, mut safe) = (0, first.input.equals(second.output));
        while from < second.output.height {
            let Strip { made: [_, made], rows: [_, written], .. } = self.strip(from);
            let (_, [next, _]) = first.rows([made, made + 1]);
            safe = safe && (made == last || next >= written);
            from += self.rows;
        }
        safe
    }
}

impl Proved<Strips> {
    /// Elements of the map that the first convolution reads.
    #[must_use]
    pub const fn input_len(&self) -> usize {
        self.parameters().geometries[0].input.len()
    }

    /// Elements of the result, and of what the second convolution adds.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.parameters().geometries[1].output.len()
    }

    /// Elements of the window.
    #[must_use]
    pub const fn window_len(&self) -> usize {
        let Shape { width, channels, .. } = self.parameters().geometries[0].output;
        self.parameters().window_rows() * width * channels
    }

    /// Runs both layers. `operands` are the map that the first reads, in the output if the result
    /// [may overwrite](Strips::may_overwrite) it, and what the second adds.
    #[inline(never)]
    pub fn run<I: Isa, A: Rows, B: Rows>(
        &self,
        (first, second): (&A, &B),
        condition: Condition,
        [source, residual]: [Residual<'_, i8>; 2],
        scratch: &mut [i32],
        window: &mut [i8],
        output: &mut [i8],
    ) {
        let strips = self.parameters();
        let geometries = &strips.geometries;
        let (input, reads) = match source {
            Residual::From(map) => (map, self.input_len()),
            Residual::None | Residual::InOutput => (&[][..], 0),
        };
        let lens = Lens { inputs: [reads, 0], output: self.output_len() };
        let windows = [window.len(), self.window_len()];
        let Some(Buffers { maps: [input, _], residual, output }) = fit(lens, [input, &[]], residual, windows, output)
        else {
            return;
        };
        let [source_len, row_len, out_len] =
            [geometries[0].input, geometries[0].output, geometries[1].output].map(|map| map.width * map.channels);
        let mut held = 0;
        for Strip { read, made, rows } in strips.strips() {
            let passed = (read[0] - held) * row_len;
            if (1..window.len()).contains(&passed) {
                window.copy_within(passed.., 0);
            }
            held = read[0];
            if made[0] < made[1] {
                let (_, from) = geometries[0].rows(made);
                let map = match source {
                    Residual::From(_) => input,
                    Residual::None | Residual::InOutput => &*output,
                };
                let map = map.get(from[0] * source_len..from[1] * source_len).unwrap_or_default();
                let window = window.get_mut((made[0] - held) * row_len..).unwrap_or_default();
                first.rows::<I>(made, condition, map, Residual::None, scratch, window);
            }
            let part = rows[0] * out_len..rows[1] * out_len;
            let residual = match residual {
                Residual::From(map) => Residual::From(map.get(part.clone()).unwrap_or_default()),
                other => other,
            };
            second.rows::<I>(rows, condition, window, residual, scratch, output.get_mut(part).unwrap_or_default());
        }
    }
}

provable! {
    [] Strips;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Avx2, Helium, Portable, winograd};
    use crate::kernel::oracle::{Pairs, Plain, Quads, bytes, convolutions, finish};
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn convolution(
        input: Shape,
        [kernel, k_w]: [usize; 2],
        stride: usize,
        padding: usize,
        channels: usize,
    ) -> Geometry {
        let [padding, stride] = [padding % kernel, stride.min(kernel)];
        let output = Shape {
            height: (input.height + 2 * padding).saturating_sub(kernel) / stride + 1,
            width: (input.width + k_w / 2 * 2).saturating_sub(k_w) + 1,
            channels,
        };
        Geometry {
            input,
            output,
            kernel: [kernel, k_w],
            stride: [stride, 1],
            padding: [padding, k_w / 2],
            upsample: [1; 2],
        }
    }

    /// Pairs of any kind: kernels of up to five rows, strides, odd sizes, a single row.
    fn any_pairs() -> impl Strategy<Value = [Geometry; 2]> {
        let layer = || ([1usize..=5, 1..=3], 1usize..=2, 0usize..5, 1usize..=6);
        (1usize..=9, 2usize..=5, 1usize..=6, layer(), layer()).prop_map(|(height, width, channels, a, b)| {
            let first = convolution(Shape { height, width, channels }, a.0, a.1, a.2, a.3);
            [first, convolution(first.output, b.0, b.1, b.2, b.3)]
        })
    }

    /// Pairs of 3×3, as residual blocks have them.
    fn blocks() -> impl Strategy<Value = [Geometry; 2]> {
        (1usize..=9, 2usize..=5, 1usize..=9, 1usize..=9).prop_map(|(height, width, channels, between)| {
            let first = convolution(Shape { height, width, channels }, [3; 2], 1, 1, between);
            [first, convolution(first.output, [3; 2], 1, 1, channels)]
        })
    }

    fn plains(pairs: impl Strategy<Value = [Geometry; 2]>) -> impl Strategy<Value = [Plain; 2]> {
        let one_map = |plain: Plain| {
            let Conv2dInt8 { sums, epilogue } = plain.0;
            Plain(Conv2dInt8 { sums: Sums { channels: [sums.geometry.input.channels, 0], ..sums }, epilogue })
        };
        pairs.prop_flat_map(move |[first, second]| {
            (convolutions(Just(first)), convolutions(Just(second))).prop_map(move |(a, b)| [a, b].map(one_map))
        })
    }

    /// A pair and what it must give: without and with a residual, without and with the source as residual.
    struct Case {
        strips: Proved<Strips>,
        condition: Condition,
        source: Vec<i8>,
        residual: Vec<i8>,
        expected: [Vec<i8>; 2],
        /// Where the shapes are equal.
        of_block: Option<Vec<i8>>,
    }

    impl Case {
        fn new([first, second]: &[Plain; 2], rows: usize, seed: u64) -> Self {
            let geometries = [first, second].map(|plain| plain.0.sums.geometry);
            let strips = Strips { geometries, rows }.checked();
            let condition = Condition { step: (seed % 3) as usize, class: (seed % 2) as usize };
            let source: Vec<i8> = (0..geometries[0].input.len()).map(bytes(seed, 1)).collect();
            let residual: Vec<i8> = (0..geometries[1].output.len()).map(bytes(seed, 9)).collect();
            let between = finish(&first.0.epilogue, &first.oracle(condition, [&source[..], &[]], None));
            let with = |residual| finish(&second.0.epilogue, &second.oracle(condition, [&between[..], &[]], residual));
            let of_block = (geometries[0].input == geometries[1].output).then(|| with(Some(&source)));
            Self { strips, condition, expected: [with(None), with(Some(&residual))], of_block, source, residual }
        }

        /// With exactly as much scratch and window as is said to be needed.
        fn check<I: Isa, A: Rows, B: Rows>(&self, kernels: (&A, &B), words: usize) -> Result<(), TestCaseError> {
            let mut window = vec![77; self.strips.window_len()];
            let mut run = |operands, output: &mut Vec<i8>| {
                let mut scratch = vec![i32::MIN; words];
                self.strips.run::<I, _, _>(kernels, self.condition, operands, &mut scratch, &mut window, output);
            };
            let mut output = vec![0; self.residual.len()];
            let source = Residual::From(&self.source[..]);
            run([source, Residual::None], &mut output);
            prop_assert_eq!(&output, &self.expected[0]);
            run([source, Residual::From(&self.residual)], &mut output);
            prop_assert_eq!(&output, &self.expected[1]);
            output.copy_from_slice(&self.residual);
            run([source, Residual::InOutput], &mut output);
            prop_assert_eq!(&output, &self.expected[1]);
            let Some(of_block) = &self.of_block else { return Ok(()) };
            run([source, source], &mut output);
            prop_assert_eq!(&output, of_block);
            if self.strips.parameters().may_overwrite() {
                let all = [
                    (Residual::None, &self.expected[0]),
                    (Residual::From(&self.residual[..]), &self.expected[1]),
                    (Residual::InOutput, of_block),
                ];
                for (residual, expected) in all {
                    output.copy_from_slice(&self.source);
                    run([Residual::InOutput, residual], &mut output);
                    prop_assert_eq!(&output, expected);
                }
            }
            Ok(())
        }

        fn check_direct<I: Isa>(&self, [first, second]: &[Plain; 2]) -> Result<(), TestCaseError> {
            let [a, b] = self.strips.parameters().geometries;
            let words = self.strips.parameters().strips().flat_map(|strip| {
                let made = (strip.made[0] < strip.made[1]).then(|| a.rows(strip.made).0);
                made.into_iter().chain([b.rows(strip.rows).0]).map(|geometry| I::scratch_words(&geometry))
            });
            self.check::<I, _, _>((&first.pack::<I>(), &second.pack::<I>()), words.max().unwrap_or(0))
        }

        fn check_winograd<I: Isa>(&self, [first, second]: &[Plain; 2]) -> Result<(), TestCaseError> {
            let words = self.strips.parameters().geometries.iter().flat_map(|geometry| {
                let in_ram = winograd::scratch_words(&I::WIDE, geometry, Some(I::WIDE.channels));
                [in_ram, I::scratch_words(geometry)]
            });
            let words = words.max().unwrap_or(0);
            let ((a_flash, a_ram), (b_flash, b_ram)) = (first.winograd::<I>(), second.winograd::<I>());
            self.check::<I, _, _>((&a_flash, &b_flash), words)?;
            self.check::<I, _, _>((&a_ram, &b_ram), words)?;
            self.check::<I, _, _>((&a_flash, &second.pack::<I>()), words)
        }
    }

    proptest! {
        #[test]
        fn any_pair_is_one_after_the_other(plains in plains(any_pairs()), rows in 1usize..=5, seed in any::<u64>()) {
            let case = Case::new(&plains, rows, seed);
            case.check_direct::<Portable>(&plains)?;
            case.check_direct::<Pairs>(&plains)?;
            case.check_direct::<Quads>(&plains)?;
            case.check_direct::<Helium>(&plains)?;
            case.check_direct::<Avx2>(&plains)?;
        }

        #[test]
        fn winograd_too(plains in plains(blocks()), rows in 1usize..=9, seed in any::<u64>()) {
            let case = Case::new(&plains, rows, seed);
            prop_assert!(case.strips.parameters().may_overwrite());
            case.check_direct::<Pairs>(&plains)?;
            case.check_winograd::<Portable>(&plains)?;
            case.check_winograd::<Pairs>(&plains)?;
            case.check_winograd::<Quads>(&plains)?;
        }
    }

    #[test]
    fn a_block_keeps_two_rows_and_overwrites_its_input() {
        let map = Shape { height: 7, width: 4, channels: 8 };
        let same = |kernel: usize| convolution(map, [kernel; 2], 1, kernel / 2, 8);
        let strips = Strips { geometries: [same(3); 2], rows: 3 };
        assert_eq!(strips.checked().window_len(), 5 * 4 * 8);
        assert!(strips.may_overwrite());
        assert_eq!(strips.window_rows(), 5);
        let all: Vec<Strip> = strips.strips().collect();
        let expected = [([0, 4], [0, 4], [0, 3]), ([2, 7], [4, 7], [3, 6]), ([5, 7], [7, 7], [6, 7])];
        assert_eq!(all, expected.map(|(read, made, rows)| Strip { read, made, rows }));
        // What reads no row below its own is not ahead of the first by enough.
        assert!(!Strips { geometries: [same(3), same(1)], rows: 3 }.may_overwrite());
        assert!(Strips { geometries: [same(1), same(3)], rows: 3 }.may_overwrite());
        // All rows at once are no strips: nothing is read any more when the result is written.
        assert!(Strips { geometries: [same(3), same(1)], rows: 7 }.may_overwrite());
    }

    #[test]
    fn misfits_are_found() {
        let map = Shape { height: 5, width: 2, channels: 3 };
        let same = convolution(map, [3; 2], 1, 1, 3);
        let misfits = [
            Strips { geometries: [same; 2], rows: 0 },
            Strips { geometries: [convolution(map, [3; 2], 1, 1, 4), same], rows: 1 },
            Strips { geometries: [same, Geometry { upsample: [2, 1], ..same }], rows: 1 },
            Strips { geometries: [same, Geometry { stride: [4, 1], ..same }], rows: 1 },
        ];
        for misfit in misfits {
            assert!(!misfit.fits() && misfit.proved().is_err(), "{misfit:?}");
        }
    }
}
