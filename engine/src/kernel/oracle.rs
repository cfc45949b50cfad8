//! Convolutions as their documentation defines them, in 64 bits, on random parameters: what kernels are held to.

use super::{Bias, Condition, Conv2dInt8, Epilogue, FineEpilogue, Geometry, Proved, Sums};
use crate::isa::{Isa, Packing, Sealed};
use crate::requantize::{Requantize, Table};
use crate::shape::Shape;
use proptest::prelude::*;
use std::{vec, vec::Vec};

/// Leaks: tests make their statics as they go.
pub(super) fn leak<T: Clone>(values: &[T]) -> &'static [T] {
    values.to_vec().leak()
}

/// Packings of every kind, without instructions.
macro_rules! packings {
    ($($name:ident: $packing:expr;)*) => {$(
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;
        impl Sealed for $name {}
        impl Isa for $name {
            const NAME: &'static str = stringify!($name);
            const PACKING: Packing = $packing;
            const WIDE: Packing = $packing;
        }
    )*};
}
packings! {
    Pairs: Packing { channels: 4, pixels: 2, depth: 2, interleave: 2, run: 4, tail: 0 };
    Quads: Packing { channels: 16, pixels: 3, depth: 4, interleave: 1, run: 1, tail: 0 };
}

/// A convolution before its weights are packed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain(pub(super) Conv2dInt8<'static>);

impl Plain {
    pub(super) fn pack<I: Isa>(self) -> Proved<Conv2dInt8<'static>, I> {
        let Sums { geometry, weights, .. } = self.0.sums;
        let taps = geometry.patch_len();
        let mut packed = vec![0; I::PACKING.packed_len(&geometry)];
        for (i, weight) in weights.iter().enumerate() {
            packed[I::place_weight(&geometry, i / taps, i % taps)] = *weight;
        }
        I::recode(&geometry, &mut packed);
        Conv2dInt8 { sums: Sums { weights: packed.leak(), ..self.0.sums }, ..self.0 }.checked::<I>()
    }

    /// The sums as the documentation defines them, in 64 bits.
    pub(super) fn oracle<X: Copy + Into<i64>>(
        &self,
        condition: Condition,
        maps: [&[X]; 2],
        residual: Option<&[i8]>,
    ) -> Vec<i64> {
        let Conv2dInt8 { sums: Sums { geometry, channels, zero_points, weights, bias }, epilogue } = self.0;
        let Geometry { output, kernel, input: Shape { channels: in_c, .. }, .. } = geometry;
        let parts = [0, 1].map(|part| {
            let input = Shape { channels: channels[part], ..geometry.input };
            Geometry { input, ..geometry }
        });
        let mut accs = Vec::new();
        for (y, x) in output.positions() {
            for oc in 0..output.channels {
                let step = if bias.steps.len() == output.channels { 0 } else { condition.step };
                let mut acc = i64::from(bias.steps[step * output.channels + oc]);
                if !bias.classes.is_empty() {
                    acc += i64::from(bias.classes[condition.class * output.channels + oc]);
                }
                for (ky, kx) in (Shape { height: kernel[0], width: kernel[1], channels: 0 }).positions() {
                    for ic in 0..in_c {
                        let weight = weights[((oc * kernel[0] + ky) * kernel[1] + kx) * in_c + ic];
                        let part = usize::from(ic >= channels[0]);
                        let value = parts[part].oracle(maps[part], [y, x], [ky, kx, ic - part * channels[0]]);
                        acc += i64::from(weight) * value.map_or(i64::from(zero_points[part]), X::into);
                    }
                }
                if let Some(residual) = residual {
                    acc += i64::from(epilogue.residual_multipliers[oc]) * i64::from(residual[accs.len()]);
                }
                accs.push(acc);
            }
        }
        accs
    }
}

/// The epilogue as the documentation defines it.
pub(super) fn finish(epilogue: &Epilogue<'_>, accs: &[i64]) -> Vec<i8> {
    let Requantize { shift, multipliers, zero_point } = epilogue.requantize;
    let index = |(i, acc): (usize, &i64)| {
        let product = i128::from(*acc) * (1 << shift) * i128::from(multipliers[i % multipliers.len()]);
        (product + (1 << 31)).div_euclid(1 << 32) + i128::from(zero_point)
    };
    let output = accs.iter().enumerate().map(index);
    let value = |index: i128| match epilogue.table {
        Some(table) => table[(index.clamp(-512, 511) + 512) as usize],
        None => index.clamp(-128, 127) as i8,
    };
    output.map(value).collect()
}

/// The fine code of element `i` as the documentation defines it.
pub(super) fn fine(epilogue: &FineEpilogue<'_>, sum: i64, i: usize, residual: Option<i32>) -> i32 {
    let Requantize { shift, multipliers, zero_point } = epilogue.requantize;
    let channel = i % multipliers.len();
    let residual = residual.map_or(0, |residual| {
        i64::from(epilogue.residual_multipliers[channel]) * i64::from(residual - epilogue.residual_zero_point)
    });
    let product = i128::from((sum << shift) + residual) * i128::from(multipliers[channel]);
    let index = ((product + (1 << 31)) >> 32) as i64 + i64::from(zero_point);
    let Some(table) = epilogue.table else { return index as i32 };
    let place = (index + 8192).clamp(0, 16383);
    let [a, b] = [0, 1].map(|next| i64::from(table[place as usize / 64 + next]));
    (a + ((b - a) * (place % 64) + 32).div_euclid(64)) as i32
}

prop_compose! {
    pub(super) fn convolutions(geometries: impl Strategy<Value = Geometry>)(geometry in geometries)(
        weights in prop::collection::vec(any::<i8>(), geometry.output.channels * geometry.patch_len()),
        steps in prop::collection::vec(-100_000..=100_000, [1, 3][geometry.input.width % 2] * geometry.output.channels),
        classes in prop::collection::vec(-100_000..=100_000, [0, 2][geometry.input.channels % 2] * geometry.output.channels),
        second in prop_oneof![Just(0), Just(geometry.input.channels / 8 * 4), 0..geometry.input.channels],
        zero_points in [-128i16..=127, -128i16..=127],
        residual_multipliers in prop::collection::vec(-2000..=2000, geometry.output.channels),
        multipliers in prop::collection::vec((1 << 20)..=(1 << 24), geometry.output.channels),
        output_zero_point in -128..=127,
        table in prop::option::of(prop::collection::vec(any::<i8>(), 1024)),
        geometry in Just(geometry),
    ) -> Plain {
        let sums = Sums {
            geometry,
            channels: [geometry.input.channels - second, second],
            zero_points,
            weights: leak(&weights),
            bias: Bias { steps: leak(&steps), classes: leak(&classes) },
        };
        let epilogue = Epilogue {
            residual_multipliers: leak(&residual_multipliers),
            requantize: Requantize {
                shift: 3,
                multipliers: multipliers.iter().map(|m| m * 2).collect::<Vec<i32>>().leak(),
                zero_point: output_zero_point,
            },
            table: table.map(|table| <&Table>::try_from(leak(&table)).unwrap()),
        };
        Plain(Conv2dInt8 { sums, epilogue })
    }
}

/// Both maps of a convolution.
pub(super) fn maps<X>(sums: &Sums<'_>, value: impl Fn(usize) -> X + Copy) -> [Vec<X>; 2] {
    let pixels = sums.geometry.input.height * sums.geometry.input.width;
    sums.channels.map(|channels| (channels..channels * (pixels + 1)).map(value).collect())
}

/// Arbitrary int8 values, by index.
pub(super) fn bytes(seed: u64, salt: u64) -> impl Fn(usize) -> i8 + Copy {
    move |i| ((i as u64 + salt).wrapping_mul(seed | 1) >> 24) as i8
}
