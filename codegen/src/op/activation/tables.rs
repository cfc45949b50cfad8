//! Activations on integers: tables from the code of an argument to that of the value.

use grano::requantize::{FINE_INDEX_HALF, FINE_INTERVAL, FineTable};

use super::Function;
use crate::error::Result;
use crate::fold::FusedActivation;
use crate::kernel::Affine;
use crate::model::Ranges;
use crate::quantize::{Code, INDEX_ENDS};

/// A fused activation (the engine's `requantize::Table`): entry `i` is the value at index `i − 512`.
pub type Table = [i8; 1024];

/// What a kernel's last step is to give: the code of the output itself, or that of a table's index and the table.
///
/// # Errors
/// When calibration has no range for the activation's argument.
pub(crate) fn target(
    output: Affine,
    activation: Option<&FusedActivation>,
    ranges: &Ranges,
) -> Result<(Affine, Option<Table>)> {
    let Some(FusedActivation { function, argument }) = activation else { return Ok((output, None)) };
    let range = ranges.over_all(argument)?;
    let index = index_code(useful_domain(*function, range, output), INDEX_ENDS);
    Ok((index, Some(fine_table(*function, index, output))))
}

/// As [`target`], for a fine code.
///
/// # Errors
/// As [`target`].
pub(crate) fn fine_target(
    output: Affine,
    activation: Option<&FusedActivation>,
    ranges: &Ranges,
) -> Result<(Affine, Option<FineTable>)> {
    let Some(activation) = activation else { return Ok((output, None)) };
    let index = fine_index(output, activation, ranges)?.affine;
    let knot = |knot| {
        let index_of_knot = FINE_INTERVAL * knot as i32 - FINE_INDEX_HALF;
        output.quantize_fine(activation.function.apply(index.scale * f64::from(index_of_knot - index.zero_point)))
    };
    Ok((index, Some(std::array::from_fn(knot))))
}

/// The code of an activation's argument, from which a table leads to the fine code `output`.
///
/// # Errors
/// As [`target`].
pub(crate) fn fine_index(
    output: Affine,
    FusedActivation { function, argument }: &FusedActivation,
    ranges: &Ranges,
) -> Result<Code> {
    let [low, mut high] = useful_domain(*function, ranges.over_all(argument)?, output);
    // The last knot stands where the function bends; ReLU's first does anyway.
    if let Function::ClippedSilu { limit } = *function {
        high = high.min(silu_reaches(limit) as f32);
    }
    let affine = index_code([low, high], [-FINE_INDEX_HALF, FINE_INDEX_HALF]);
    Ok(Code { affine, ends: [-FINE_INDEX_HALF, FINE_INDEX_HALF - 1] })
}

/// Every code of `from` through the function into a code of `to`.
pub(super) fn table(function: Function, from: Affine, to: Affine) -> [i8; 256] {
    std::array::from_fn(|index| to.quantize(function.apply(from.dequantize((index as i32 - 128) as i8))))
}

/// Every index through the function into a code.
pub(crate) fn fine_table(function: Function, index_code: Affine, to: Affine) -> Table {
    std::array::from_fn(|entry| {
        let index = entry as i32 - 512;
        to.quantize(function.apply(index_code.scale * f64::from(index - index_code.zero_point)))
    })
}

/// The part of an argument's range on which the function's value changes by as much as half a unit of the output:
/// elsewhere indices would be wasted.
fn useful_domain(function: Function, [low, high]: [f32; 2], output: Affine) -> [f32; 2] {
    let half = 0.5 * output.scale;
    let (left, right) = limits(function);
    let flat =
        (0..=120).map(|i| -0.25 * f64::from(120 - i)).take_while(|&x| (function.apply(x) - left).abs() < half).last();
    // A function that is clipped changes as much as anywhere up to where it is.
    let near = if let Function::ClippedSilu { .. } = function { 0.0 } else { half };
    let from_right = || (1..=4000).rev().map(|i| 0.01 * f64::from(i));
    let full = right.and_then(|right| from_right().take_while(|&x| (right - function.apply(x)).abs() <= near).last());
    [low.max(flat.unwrap_or(-30.0) as f32), high.min(full.unwrap_or(f64::MAX) as f32)]
}

/// What the function tends to on the left, and on the right where it is bounded.
fn limits(function: Function) -> (f64, Option<f64>) {
    match function {
        Function::Silu | Function::Relu | Function::Gelu | Function::GeluTanh => (0.0, None),
        Function::ClippedSilu { limit } => (0.0, Some(limit)),
        Function::Sigmoid => (0.0, Some(1.0)),
        Function::Tanh => (-1.0, Some(1.0)),
        Function::TanhSlope | Function::SigmoidSlope => (0.0, Some(0.0)),
        Function::SiluSlope | Function::ReluSlope | Function::GeluSlope | Function::GeluTanhSlope => (0.0, Some(1.0)),
    }
}

/// Where SiLU takes a value above 0.
fn silu_reaches(value: f64) -> f64 {
    // x/2 ≤ SiLU(x) ≤ x there.
    let mut ends = [value, 2.0 * value];
    for _ in 0..60 {
        let middle = 0.5 * (ends[0] + ends[1]);
        ends[usize::from(Function::Silu.apply(middle) >= value)] = middle;
    }
    ends[1]
}

/// The code in which two indices stand for the ends of a range.
fn index_code([low, high]: [f32; 2], [first, last]: [i32; 2]) -> Affine {
    let scale = ((f64::from(high.max(0.0)) - f64::from(low.min(0.0))) / f64::from(last - first)).max(1e-9);
    Affine { scale, zero_point: (f64::from(first) - f64::from(low.min(0.0)) / scale).round() as i32 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn tables_follow_the_function() {
        let (from, to) = (Affine::of_range([-6.0, 6.0]), Affine::of_range([-1.0, 6.0]));
        let index = index_code([-6.0, 6.0], INDEX_ENDS);
        let all =
            [Function::Silu, Function::Relu, Function::Tanh, Function::Sigmoid, Function::Gelu, Function::GeluTanh];
        for function in all {
            for (index, &code) in table(function, from, to).iter().enumerate() {
                let x = from.dequantize((index as i32 - 128) as i8);
                assert!((to.dequantize(code) - function.apply(x)).abs() <= to.scale * 0.501);
            }
            for (entry, &code) in fine_table(function, index, to).iter().enumerate() {
                let x = index.scale * f64::from(entry as i32 - 512 - index.zero_point);
                assert!((to.dequantize(code) - function.apply(x)).abs() <= to.scale * 0.501);
            }
        }
    }

    #[test]
    fn fine_tables_follow_the_function_and_its_bend() {
        let function = Function::ClippedSilu { limit: 4.0 };
        let values = BTreeMap::from([("a".to_string(), vec![[-14.0, 9.0]])]);
        let ranges = Ranges { times: vec![0], values, fine: Vec::new() };
        let activation = FusedActivation { function, argument: "a".into() };
        let output = Affine::of_range([-0.28, 4.0]).fine();
        let (index, table) = fine_target(output, Some(&activation), &ranges).unwrap();
        let table = table.unwrap();
        for place in -FINE_INDEX_HALF..FINE_INDEX_HALF {
            let exact = function.apply(index.scale * f64::from(place - index.zero_point));
            let fine = grano::requantize::interpolate(&table, place);
            let error = exact / output.scale - f64::from(fine - output.zero_point);
            assert!(error.abs() < 1.2, "{place}: {error}");
        }
    }

    #[test]
    fn no_index_is_spent_where_a_function_is_flat() {
        let output = Affine::of_range([-1.0, 1.0]);
        let domain = |function| useful_domain(function, [-90.0, 90.0], output);
        assert_eq!(domain(Function::Relu), [0.0, 90.0]);
        for (function, ends) in [
            (Function::Silu, [-8.0, 90.0]),
            (Function::Gelu, [-3.25, 90.0]),
            (Function::GeluTanh, [-3.25, 90.0]),
            (Function::Tanh, [-3.25, 3.25]),
            (Function::Sigmoid, [-6.0, 6.0]),
        ] {
            let [low, high] = domain(function);
            assert!((low - ends[0]).abs() < 0.6 && (high - ends[1]).abs() < 0.6, "{function:?}: {low} {high}");
            // What is left out, to either side, is within half a unit of the ends.
            for x in [-90.0, -20.0, f64::from(low) - 0.01].into_iter().chain((high < 90.0).then_some(20.0)) {
                let end = f64::from(low).max(x.min(f64::from(high)));
                let change = (function.apply(x) - function.apply(end)).abs();
                assert!(change < 0.5 * output.scale, "{function:?} at {x}: {change}");
            }
        }
    }

    #[test]
    fn indices_are_spent_where_the_function_changes() {
        let clipped = Function::ClippedSilu { limit: 4.0 };
        let [low, high] = useful_domain(clipped, [-24.0, 40.0], Affine::of_range([-0.28, 4.0]));
        assert!((-8.0..-5.0).contains(&low) && (4.0..4.2).contains(&high), "{low} {high}");
    }
}
