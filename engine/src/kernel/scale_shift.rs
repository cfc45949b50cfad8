//! A gain and an offset a channel, chosen by step and class: feature-wise linear modulation (FiLM; Perez et al. 2018).

use super::buffers::{Buffers, Lens, fit};
use super::proved::{Proved, provable, require};
use crate::conditioning::{Bias, Condition};
use crate::isa::{AFFINE_FRACTION, Isa, Work};
use crate::real::{Activation, Real, floor, narrow, widen};
use crate::requantize::Table;
use crate::residual::Residual;
use crate::shape::Shape;

/// Units of the index a unit of the input: a map that needs more is constant but for a code or two.
pub(super) const LARGEST_GAIN: f32 = 512.0;

/// Channels that floating point is worked on together.
pub(super) const LANES: usize = 16;

/// int8 map → int8 map, q being an element of channel c:
///
/// ```text
/// gain[c]   = clamp(gains[step][c] + gains[class][c], ±512)
/// offset[c] = offsets[step][c] + offsets[class][c]
/// m[c]      = ⌊gain[c] · 2¹⁴ + ½⌋
/// o[c]      = clamp(⌊offset[c] · 2¹⁴ + ½⌋, ±(2³⁰ − 2¹⁴)) + 2¹³
/// index     = (q · m[c] + o[c]) >> 14
/// out       = table ? table[clamp(index, −512, 511) + 512] : clamp(index, −128, 127)
/// ```
///
/// Sums and roundings to fixed point are f32, operation by operation as written, the rest integers: the same bits on every
/// chip. |q · m| ≤ 2³⁰ and |o| < 2³⁰, so that no index overflows. Scratch: 2 · channels.
#[derive(Clone, Copy, Debug)]
pub struct ScaleShiftInt8<'a> {
    /// Of input and output.
    pub shape: Shape,
    /// Rows `[2][channels]`: gains in units of the output, or of the table's index, a unit of the input; then offsets in
    /// the same units, with both zero points in them.
    pub rows: Bias<'a, f32>,
    /// An activation.
    pub table: Option<&'a Table>,
}

impl ScaleShiftInt8<'_> {
    const fn check(&self) -> Result<(), &'static str> {
        require!(self.shape.is_valid(), "a dimension is 0, or a map has more elements than 32 bits count");
        require!(self.rows.is_valid(2 * self.shape.channels), "rows of a gain and an offset a channel");
        Ok(())
    }
}

impl Proved<ScaleShiftInt8<'_>> {
    /// Runs the layer on `input`, which may lie in the output.
    #[inline(never)]
    pub fn run<I: Isa>(&self, condition: Condition, input: Residual<'_, i8>, scratch: &mut [i32], output: &mut [i8]) {
        let ScaleShiftInt8 { shape, rows, table } = *self.parameters();
        let words = [scratch.len(), self.scratch_len()];
        let Some(Buffers { residual: input, output, .. }) =
            fit(Lens::equal(shape.len(), 0), [&[0i8; 0]; 2], input, words, output)
        else {
            return;
        };
        let Some((factors, rest)) = scratch.split_at_mut_checked(shape.channels) else { return };
        let Some(offsets) = rest.get_mut(..shape.channels) else { return };
        input.place(output);
        let rows = Chosen::of(&rows, condition, shape.channels);
        rows.each(0, [&mut *factors, &mut *offsets], |[factor, offset], [gain, shift]| {
            [*factor, *offset] = bytemuck::must_cast([gain.clamp(-LARGEST_GAIN, LARGEST_GAIN), shift]);
        });
        I::vectorize(Round { factors, offsets });
        I::affine(factors, offsets, table, output);
    }
}

/// The gains and offsets of one step and class.
#[derive(Clone, Copy)]
pub(super) struct Chosen<'a, T> {
    step: &'a [T],
    class: &'a [T],
    channels: usize,
}

impl<'a, T: Real> Chosen<'a, T> {
    /// Of rows `[2][channels]`: gains, then offsets.
    pub(super) fn of(rows: &Bias<'a, T>, condition: Condition, channels: usize) -> Self {
        let [step, class] = rows.rows(condition, 2 * channels);
        Self { step, class, channels }
    }

    /// Calls `set` with each of the places and its channel's gain and offset, from channel `first` on.
    #[inline(always)]
    pub(super) fn each(
        &self,
        first: usize,
        [factors, offsets]: [&mut [i32]; 2],
        set: impl Fn([&mut i32; 2], [f32; 2]),
    ) {
        let [gains, shifts] = [first, self.channels + first].map(|first| self.step.get(first..).unwrap_or_default());
        let places = factors.iter_mut().zip(offsets).zip(gains.iter().zip(shifts));
        if self.class.is_empty() {
            for ((factor, offset), (gain, shift)) in places {
                set([factor, offset], [gain.to_f32(), shift.to_f32()]);
            }
            return;
        }
        let [more, most] = [first, self.channels + first].map(|first| self.class.get(first..).unwrap_or_default());
        for (((factor, offset), (gain, shift)), (class_gain, class_shift)) in places.zip(more.iter().zip(most)) {
            let [class_gain, class_shift] = [class_gain, class_shift].map(|class| class.to_f32());
            set([factor, offset], [gain.to_f32() + class_gain, shift.to_f32() + class_shift]);
        }
    }

    /// The gains and the offsets of neighbouring channels; what lies past the last is of no meaning.
    #[inline(always)]
    pub(super) fn lanes(&self, first: usize) -> [[f32; LANES]; 2] {
        [first, self.channels + first].map(|first| {
            let mut values = widen::<T, LANES>(self.step.get(first..));
            if !self.class.is_empty() {
                let classes = widen::<T, LANES>(self.class.get(first..));
                values.iter_mut().zip(classes).for_each(|(value, class)| *value += class);
            }
            values
        })
    }
}

/// Factors and offsets from the bits of f32 to fixed point.
pub(super) struct Round<'a> {
    pub(super) factors: &'a mut [i32],
    pub(super) offsets: &'a mut [i32],
}

impl Work for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        const LIMIT: i32 = (1 << 30) - (1 << AFFINE_FRACTION);
        for factor in self.factors {
            *factor = fixed_point(f32::from_bits(*factor as u32));
        }
        for offset in self.offsets {
            let rounded = fixed_point(f32::from_bits(*offset as u32));
            *offset = rounded.clamp(-LIMIT, LIMIT) + (1 << (AFFINE_FRACTION - 1));
        }
    }
}

/// The nearest multiple of 2⁻¹⁴, ties up, in these units; saturates.
#[inline(always)]
fn fixed_point(value: f32) -> i32 {
    floor(value * (1 << AFFINE_FRACTION) as f32 + 0.5)
}

/// f32 or f16 map → map of the same type:
/// `out = activation(x · (gains[step][c] + gains[class][c]) + (offsets[step][c] + offsets[class][c]))`.
///
/// All in f32 without FMA, rounded once.
#[derive(Clone, Copy, Debug)]
pub struct ScaleShiftFloat<'a, T> {
    /// Of input and output.
    pub shape: Shape,
    /// Rows `[2][channels]`: gains, then offsets.
    pub rows: Bias<'a, T>,
    /// The last operation.
    pub activation: Activation,
}

impl<T: Real> ScaleShiftFloat<'_, T> {
    const fn check(&self) -> Result<(), &'static str> {
        require!(self.shape.is_valid(), "a dimension is 0, or a map has more elements than 32 bits count");
        require!(self.rows.is_valid(2 * self.shape.channels), "rows of a gain and an offset a channel");
        Ok(())
    }
}

impl<T: Real> Proved<ScaleShiftFloat<'_, T>> {
    /// Runs the layer on `input`, which may lie in the output.
    pub fn run<I: Isa, X: Real>(&self, condition: Condition, input: Residual<'_, X>, output: &mut [X]) {
        let ScaleShiftFloat { shape, rows, activation } = *self.parameters();
        let Some(Buffers { residual: input, output, .. }) =
            fit(Lens::equal(shape.len(), 0), [&[0i8; 0]; 2], input, [0; 2], output)
        else {
            return;
        };
        input.place(output);
        I::vectorize(Modulate { rows: Chosen::of(&rows, condition, shape.channels), activation, output });
    }
}

/// A layer at work on what lies in the output.
struct Modulate<'a, T, X> {
    rows: Chosen<'a, T>,
    activation: Activation,
    output: &'a mut [X],
}

impl<T: Real, X: Real> Work for Modulate<'_, T, X> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { rows, activation, output } = self;
        let channels = rows.channels.max(1);
        for first in (0..channels).step_by(LANES) {
            let [gains, offsets] = rows.lanes(first);
            for pixel in output.chunks_exact_mut(channels) {
                let pixel = pixel.get_mut(first..).unwrap_or_default();
                let mut values = widen::<X, LANES>(Some(pixel));
                for (c, x) in values.iter_mut().enumerate() {
                    *x = *x * gains[c] + offsets[c];
                }
                narrow(activation.apply_all(values), pixel);
            }
        }
    }
}

impl Proved<ScaleShiftInt8<'_>> {
    /// Elements of input and output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.parameters().shape.len()
    }

    /// Words of scratch.
    #[must_use]
    pub const fn scratch_len(&self) -> usize {
        2 * self.parameters().shape.channels
    }
}

impl<T: Real> Proved<ScaleShiftFloat<'_, T>> {
    /// Elements of input and output.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.parameters().shape.len()
    }
}

provable! {
    ['a] ScaleShiftInt8<'a>;
    ['a, T: Real] ScaleShiftFloat<'a, T>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Avx2, Avx512Vnni, Dsp, Helium, Portable};
    use half::f16;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn leak<T: Clone>(values: &[T]) -> &'static [T] {
        values.to_vec().leak()
    }

    /// Element `i`'s gain and offset, in f64.
    fn oracle_row(rows: &Bias<'_, f32>, condition: Condition, channels: usize, i: usize) -> [f64; 2] {
        [i % channels, channels + i % channels].map(|index| {
            let step = if rows.steps.len() == 2 * channels { 0 } else { condition.step };
            let class =
                if rows.classes.is_empty() { 0.0 } else { rows.classes[condition.class * 2 * channels + index] };
            f64::from(rows.steps[step * 2 * channels + index]) + f64::from(class)
        })
    }

    prop_compose! {
        fn layers()(
            height in 1usize..=4, width in 1usize..=6, channels in 1usize..=40, steps in 1usize..=3, classes in 0usize..=2,
        )(
            gains in prop::collection::vec(-3.0f32..3.0, (steps + classes) * 2 * channels),
            offsets in prop::collection::vec(-90.0f32..90.0, (steps + classes) * 2 * channels),
            shape in Just(Shape { height, width, channels }),
            steps in Just(steps),
            condition in (0..steps, 0..classes.max(1)),
        ) -> (Shape, Bias<'static, f32>, Condition) {
            let mixed = |i: usize| if (i / shape.channels).is_multiple_of(2) { gains[i] } else { offsets[i] };
            let rows: Vec<f32> = (0..gains.len()).map(mixed).collect();
            let (steps, classes) = rows.split_at(steps * 2 * shape.channels);
            let condition = Condition { step: condition.0, class: condition.1 };
            (shape, Bias { steps: leak(steps), classes: leak(classes) }, condition)
        }
    }

    proptest! {
        #[test]
        fn int8_is_near_the_real_numbers((shape, rows, condition) in layers(), seed in any::<u64>(), fused in any::<bool>()) {
            let input: Vec<i8> = (0..shape.len()).map(|i| ((i as u64).wrapping_mul(seed | 1) >> 24) as i8).collect();
            let table: Table = core::array::from_fn(|i| (i as i32 / 4 - 128) as i8);
            let layer = ScaleShiftInt8 { shape, rows, table: fused.then(|| &leak(&[table])[0]) }.checked();
            let mut scratch = vec![0; layer.scratch_len()];
            let mut output = vec![0; layer.output_len()];
            layer.run::<Portable>(condition, Residual::From(&input), &mut scratch, &mut output);
            for (i, (q, out)) in input.iter().zip(&output).enumerate() {
                let [gain, offset] = oracle_row(&rows, condition, shape.channels, i);
                let real = f64::from(*q) * gain + offset;
                let real = if fused { real.clamp(-512.0, 511.0) / 4.0 - 0.375 } else { real.clamp(-128.0, 127.0) };
                // Half a unit, and what f32 and 14 bits of fraction lose.
                prop_assert!((f64::from(*out) - real).abs() <= 0.51, "{} {}", out, real);
            }
            type Layer = Proved<ScaleShiftInt8<'static>>;
            for run in [
                Layer::run::<Portable>, Layer::run::<Avx2>, Layer::run::<Avx512Vnni>, Layer::run::<Dsp>, Layer::run::<Helium>,
            ] {
                let mut in_place = input.clone();
                run(&layer, condition, Residual::InOutput, &mut scratch, &mut in_place);
                prop_assert_eq!(&in_place, &output);
            }
        }

        #[test]
        fn floats_equal_the_definition((shape, rows, condition) in layers(), seed in any::<u64>()) {
            let input: Vec<f32> =
                (0..shape.len()).map(|i| f32::from(((i as u64).wrapping_mul(seed | 1) >> 24) as i8) / 32.0).collect();
            let layer = ScaleShiftFloat { shape, rows, activation: Activation::Identity }.checked();
            let mut output = vec![0.0; layer.output_len()];
            layer.run::<Portable, f32>(condition, Residual::From(&input), &mut output);
            for (i, (x, out)) in input.iter().zip(&output).enumerate() {
                let [gain, offset] = oracle_row(&rows, condition, shape.channels, i);
                prop_assert!((f64::from(*out) - (f64::from(*x) * gain + offset)).abs() <= 1e-4);
            }
            type Layer = Proved<ScaleShiftFloat<'static, f32>>;
            for run in [Layer::run::<Avx2, f32>, Layer::run::<Avx512Vnni, f32>] {
                let mut in_place = input.clone();
                run(&layer, condition, Residual::InOutput, &mut in_place);
                prop_assert_eq!(&in_place, &output);
            }
        }
    }

    #[test]
    fn extremes_saturate() {
        let shape = Shape { height: 1, width: 2, channels: 2 };
        let rows = Bias { steps: &[f32::MAX, -1e30, 1e30, -1e30], classes: &[] };
        let layer = ScaleShiftInt8 { shape, rows, table: None }.checked();
        let mut output = [-128, 127, 127, -128];
        let condition = Condition { step: 0, class: 0 };
        layer.run::<Portable>(condition, Residual::InOutput, &mut [0; 4], &mut output);
        // 512 · q, and an offset that is as far away.
        assert_eq!(output, [-1, -128, 127, 1]);
    }

    #[test]
    fn halves_round_once_and_activations_apply() {
        let shape = Shape { height: 1, width: 1, channels: 2 };
        let [steps, classes] = [[1.5, 1.0, 0.0, 0.25], [0.5, 0.0, -1.0, 0.0]].map(|row| leak(&row.map(f16::from_f32)));
        let layer = ScaleShiftFloat { shape, rows: Bias { steps, classes }, activation: Activation::Silu }.checked();
        let mut map = [f16::from_f32(2.0), f16::from_f32(-1.0)];
        layer.run::<Portable, f16>(Condition { step: 0, class: 0 }, Residual::InOutput, &mut map);
        assert_eq!(map, [3.0, -0.75].map(|x| f16::from_f32(Activation::Silu.apply(x))));
    }

    #[test]
    fn misfits_are_found() {
        let shape = Shape { height: 1, width: 1, channels: 2 };
        let rows = Bias { steps: &[1.0; 4], classes: &[] };
        let layer = ScaleShiftInt8 { shape, rows, table: None };
        assert!(layer.proved().is_ok());
        for rows in [Bias { steps: &[1.0; 2], classes: &[] }, Bias { steps: &[1.0; 4], classes: &[1.0; 3] }] {
            assert!(ScaleShiftInt8 { rows, ..layer }.proved().is_err());
        }
        assert!(ScaleShiftInt8 { shape: Shape { height: 0, ..shape }, ..layer }.proved().is_err());
    }
}
