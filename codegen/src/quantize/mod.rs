//! *Quantize*: a folded network on integers.
//!
//! Weights are symmetric per output channel, activations affine per tensor, sums int32, the picture
//! int16, the last convolution's output f32. In mixed precision the maps that the model names have 12 bits in
//! int16, with 14 for the argument of an activation, and residuals are added to them as they are. Scales come
//! from all that calibration saw, never from the samplers of a build: the same file gives the same integers,
//! hence the same pictures, in every build.

mod attention;
mod conv2d;
mod group_norm;

use std::collections::BTreeMap;

use grano::requantize::{FINE_HALF, FINE_INDEX_HALF, FINE_INTERVAL, FineTable};

use conv2d::Channels;
pub(crate) use conv2d::channels_last;

use crate::error::{Error, Result};
use crate::fold::{Activation, Conv2d, Folded, Kind, Layer};
use crate::graph::{Function, X};
use crate::kernel::{Affine, Element, Kernel, Requantize, Table};
use crate::model::Ranges;

/// A picture may leave the calibrated range by this factor before int16 saturates.
const HEADROOM: f32 = 1.25;
/// No unit of a sum is finer than this share of a unit of the output: keeps multipliers and residuals in int32.
const FINEST: f64 = 1.0 / (1 << 20) as f64;
/// The ends of a table's index.
const INDEX_ENDS: [i32; 2] = [-512, 511];

/// Kernels and element types of all layers, those of the picture first.
pub type Kernels = (Vec<Kernel>, BTreeMap<String, Element>);

/// Quantises every layer; the first kernel quantises the picture. The values `fine` are kept in int16, in the fine codes of
/// the engine's `requantize::FINE`; a convolution that makes or adds one has a kernel of its own.
///
/// # Errors
/// Names the layer that has no range, that integers cannot hold, or that has no kernel on integers.
pub fn quantize(folded: &Folded, ranges: &Ranges, fine: &[String]) -> Result<Kernels> {
    let [low, high] = ranges.over(X, ranges.times.iter().copied())?;
    let x_scale = f64::from(low.abs().max(high.abs()).max(1.0) * HEADROOM) / 32767.0;
    let mut elements = BTreeMap::from([(X.to_string(), picture(x_scale))]);
    let mut kernels = vec![Kernel::Quantize { inverse_scale: (1.0 / x_scale) as f32 }];
    let wide = wide_values(folded)?;
    check_fine(folded, &wide, fine)?;
    for layer in &folded.layers {
        let affine = || Ok::<_, Error>(Affine::of_range(ranges.over(&layer.name, ranges.times.iter().copied())?));
        let int8 = |name: &str| match elements[name] {
            Element::I8(affine) => Ok(affine),
            _ => Err(Error::node(
                &layer.name,
                format!(
                    "its input `{name}` is not an int8 map; put a convolution between, or take it from the fine maps"
                ),
            )),
        };
        let parts = |conv: &Conv2d| conv.inputs.iter().map(|(input, _)| elements[input]).collect::<Vec<_>>();
        if let Kind::Conv2d(conv) = &layer.kind
            && parts(conv).windows(2).any(|pair| pair[0].bytes() != pair[1].bytes())
        {
            return Err(Error::node(&layer.name, "it reads an int8 map and one of int16; make both fine, or neither"));
        }
        let (kernel, element) = match &layer.kind {
            Kind::Conv2d(conv) if wide.contains(&&layer.name) => {
                if conv.residual.is_some() || conv.activation.is_some() || conv.geometry.groups > 1 {
                    return Err(Error::node(
                        &layer.name,
                        "the network must end in a plain convolution, or one and depth_to_space",
                    ));
                }
                let channels = Channels::new(conv, &parts(conv), 0.0, None);
                let scales = channels.scales.iter().map(|&scale| scale as f32).collect();
                (Kernel::Conv2dInt8Head { sums: channels.sums(layer, conv)?, scales }, Element::F32)
            }
            Kind::Conv2d(conv) if fine.contains(&layer.name) || conv.adds_fine(&elements) => {
                let output = affine()?;
                let (target, table) = fine_target(output.fine(), conv.activation.as_ref(), ranges)?;
                let residual = conv.residual.as_ref().and_then(|name| match elements[name] {
                    Element::I8(affine) => Some((affine, 128)),
                    Element::I16 { affine, half } => Some((affine, half)),
                    _ => None,
                });
                let channels = Channels::new(conv, &parts(conv), target.scale, None);
                let (residual_multipliers, requantize) = channels.requantize_fine(layer, conv, target, residual)?;
                let residual_zero_point = residual.map_or(0, |(affine, _)| affine.zero_point);
                let sums = channels.sums(layer, conv)?;
                let kernel = Kernel::Conv2dFine { sums, residual_multipliers, residual_zero_point, requantize, table };
                let is_fine = fine.contains(&layer.name);
                (kernel, if is_fine { fine_element(output) } else { Element::I8(output) })
            }
            Kind::Conv2d(conv) => {
                let output = affine()?;
                let (target, table) = target(output, conv.activation.as_ref(), ranges)?;
                let residual = conv.residual.as_deref().map(int8).transpose()?;
                let channels = Channels::new(conv, &parts(conv), target.scale, residual);
                let requantize = channels.requantize(layer, conv, target)?;
                let residual_multipliers = channels.residual_multipliers.clone();
                let mut sums = channels.sums(layer, conv)?;
                let kernel = if conv.geometry.groups > 1 {
                    int8(&conv.inputs[0].0)?;
                    let taps = conv.geometry.taps();
                    let tap = |tap: usize| sums.weights.iter().skip(tap).step_by(taps).copied();
                    sums.weights = (0..taps).flat_map(tap).collect();
                    Kernel::DepthwiseInt8 { sums, residual_multipliers, requantize, table }
                } else {
                    Kernel::Conv2dInt8 { sums, residual_multipliers, requantize, table }
                };
                (kernel, Element::I8(output))
            }
            Kind::GroupNorm(norm) => {
                let output = affine()?;
                let (target, table) = target(output, norm.activation.as_ref(), ranges)?;
                (group_norm::kernel(layer, norm, int8(&norm.input)?, target, table)?, Element::I8(output))
            }
            Kind::Attention { inputs: [q, k, v], heads } => {
                let (kernel, output) = attention::kernel(layer, *heads, [int8(q)?, int8(k)?, int8(v)?], affine()?)?;
                (kernel, Element::I8(output))
            }
            Kind::Add { inputs: [a, b] } => {
                let (a, b, output) = (int8(a)?, int8(b)?, affine()?);
                // The finer input's unit keeps 15 bits.
                let unit = a.scale.max(b.scale) / f64::from(1 << 15);
                let multipliers = [a, b].map(|input| (input.scale / unit).round() as i32);
                let bias = -(multipliers[0] * a.zero_point + multipliers[1] * b.zero_point);
                let (shift, multipliers_out) =
                    multiplier(&[unit / output.scale], 1 << 25).ok_or_else(|| too_wide(layer))?;
                let requantize = Requantize { shift, multipliers: multipliers_out, zero_point: output.zero_point };
                (Kernel::AddInt8 { multipliers, bias, requantize }, Element::I8(output))
            }
            Kind::Activation { input, function } => {
                let output = affine()?;
                (Kernel::ActivationInt8 { table: table(*function, int8(input)?, output) }, Element::I8(output))
            }
            Kind::DepthToSpace { input, block } => {
                if elements[input] != Element::F32 {
                    return Err(Error::node(
                        &layer.name,
                        "depth_to_space can only be the last node of an int8 network",
                    ));
                }
                let [c, h, w] = layer.shape;
                (Kernel::DepthToSpace { input: [c * block * block, h / block, w / block], block: *block }, Element::F32)
            }
            Kind::ChannelGain { .. } | Kind::ChannelBias { .. } => return Err(Folded::unfolded(&layer.name)),
        };
        kernels.push(kernel);
        elements.insert(layer.name.clone(), element);
    }
    Ok((kernels, elements))
}

/// The code that a value of the graph goes through in an int8 network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Code {
    /// What a code stands for.
    pub affine: Affine,
    /// The least and the greatest code; values beyond take these.
    pub ends: [i32; 2],
}

/// The codes of all values that an int8 network rounds, by node: maps in memory, and the arguments of fused
/// activations, which are an index into a table. To round a float network's values to these is fake quantisation.
///
/// # Errors
/// As [`quantize`].
pub fn codes(folded: &Folded, ranges: &Ranges, fine: &[String]) -> Result<BTreeMap<String, Code>> {
    let (kernels, elements) = quantize(folded, ranges, fine)?;
    let mut codes = BTreeMap::new();
    for (name, &element) in &elements {
        let code = match element {
            Element::I8(affine) => Code { affine, ends: [-128, 127] },
            Element::I16 { affine, half } => Code { affine, ends: [-half, half - 1] },
            Element::I32 | Element::F16 | Element::F32 => continue,
        };
        codes.insert(name.clone(), code);
    }
    for (layer, kernel) in folded.layers.iter().zip(&kernels[1..]) {
        let activation = match &layer.kind {
            Kind::Conv2d(conv) => conv.activation.as_ref(),
            Kind::GroupNorm(norm) => norm.activation.as_ref(),
            _ => None,
        };
        let Some(activation) = activation else { continue };
        let code = match (kernel, elements.get(&layer.name)) {
            (Kernel::Conv2dFine { .. }, Some(Element::I16 { affine, .. })) => fine_index(*affine, activation, ranges)?,
            (Kernel::Conv2dFine { .. }, Some(Element::I8(output))) => fine_index(output.fine(), activation, ranges)?,
            (_, Some(&Element::I8(output))) => {
                Code { affine: target(output, Some(activation), ranges)?.0, ends: INDEX_ENDS }
            }
            _ => continue,
        };
        codes.insert(activation.argument.clone(), code);
    }
    Ok(codes)
}

/// The code of the picture: int16 around 0.
fn picture(scale: f64) -> Element {
    Element::I16 { affine: Affine { scale, zero_point: 0 }, half: 1 << 15 }
}

/// The code of a fine map that would be `output` in int8.
fn fine_element(output: Affine) -> Element {
    Element::I16 { affine: output.fine(), half: FINE_HALF }
}

/// Whether kernels can make all that should be fine; `wide` are kept in f32.
fn check_fine(folded: &Folded, wide: &[&String], fine: &[String]) -> Result<()> {
    for name in fine {
        let layer = folded.layers.iter().find(|layer| layer.name == *name);
        let is_sum = layer.is_some_and(|layer| matches!(&layer.kind, Kind::Conv2d(conv) if conv.geometry.groups == 1));
        if !is_sum || wide.contains(&name) {
            return Err(Error::Model(format!(
                "`{name}` cannot be a fine map: it is no result of a convolution inside the network, or not the last step of one"
            )));
        }
    }
    Ok(())
}

impl Conv2d {
    /// Whether it adds a map of int16.
    fn adds_fine(&self, elements: &BTreeMap<String, Element>) -> bool {
        self.residual.as_ref().is_some_and(|residual| matches!(elements[residual], Element::I16 { .. }))
    }
}

/// As [`target`], for a fine code.
fn fine_target(
    output: Affine,
    activation: Option<&Activation>,
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
fn fine_index(output: Affine, Activation { function, argument }: &Activation, ranges: &Ranges) -> Result<Code> {
    let range = ranges.over(argument, ranges.times.iter().copied())?;
    let [low, mut high] = useful_domain(*function, range, output);
    // The last knot stands where the function bends.
    if let Function::ClippedSilu { limit } = *function {
        high = high.min(silu_reaches(limit) as f32);
    }
    let affine = index_code([low, high], [-FINE_INDEX_HALF, FINE_INDEX_HALF]);
    Ok(Code { affine, ends: [-FINE_INDEX_HALF, FINE_INDEX_HALF - 1] })
}

/// The values kept in f32: the output, and what depth_to_space makes it from.
fn wide_values(folded: &Folded) -> Result<Vec<&String>> {
    let last = folded.layers.last().ok_or_else(|| Error::Model("the network has no layers".into()))?;
    let values = match &last.kind {
        Kind::Conv2d(_) => vec![&last.name],
        Kind::DepthToSpace { input, .. } => vec![input, &last.name],
        _ => {
            return Err(Error::node(
                &last.name,
                "an int8 network must end in a convolution, or one and depth_to_space",
            ));
        }
    };
    match values.iter().find(|&&value| folded.uses()[value] != 1) {
        Some(value) => Err(Error::node(value, "the network's output is also read inside it")),
        None => Ok(values),
    }
}

/// What a kernel's last step is to give: the code of the output itself, or that of a table's index and the table.
fn target(output: Affine, activation: Option<&Activation>, ranges: &Ranges) -> Result<(Affine, Option<Table>)> {
    let Some(Activation { function, argument }) = activation else { return Ok((output, None)) };
    let range = ranges.over(argument, ranges.times.iter().copied())?;
    let index = index_code(useful_domain(*function, range, output), INDEX_ENDS);
    Ok((index, Some(fine_table(*function, index, output))))
}

/// The part of an argument's range on which the function's value changes by as much as half a unit of the output:
/// elsewhere indices would be wasted.
fn useful_domain(function: Function, [low, high]: [f32; 2], output: Affine) -> [f32; 2] {
    let half = 0.5 * output.scale;
    let flat = (2..=120).map(|i| -0.25 * f64::from(i)).find(|&x| function.apply(x).abs() < half).unwrap_or(-30.0);
    let full = (1..=4000)
        .map(|i| 0.01 * f64::from(i))
        .find(|&x| matches!(function, Function::ClippedSilu { limit } if function.apply(x) >= limit));
    [low.max(flat as f32), high.min(full.unwrap_or(f64::MAX) as f32)]
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

/// Every index through the function into a code.
fn fine_table(function: Function, index_code: Affine, to: Affine) -> Table {
    std::array::from_fn(|entry| {
        let index = entry as i32 - 512;
        to.quantize(function.apply(index_code.scale * f64::from(index - index_code.zero_point)))
    })
}

/// Every code of `from` through the function into a code of `to`.
fn table(function: Function, from: Affine, to: Affine) -> [i8; 256] {
    std::array::from_fn(|index| to.quantize(function.apply(from.dequantize((index as i32 - 128) as i8))))
}

/// `(shift, multipliers)` so that `((sum << shift)·m + 2³¹) >> 32` is about `ratio·sum`; `None` when no
/// shift serves for sums up to `bound`.
fn multiplier(ratios: &[f64], bound: i64) -> Option<(u32, Vec<i32>)> {
    let shift = (0..31u32).find(|&shift| is_small(ratios, shift))?;
    Some((shift, multiplier_at(ratios, bound, shift)?))
}

/// The same with a given shift.
fn multiplier_at(ratios: &[f64], bound: i64, shift: u32) -> Option<Vec<i32>> {
    let even = |ratio: f64| 2 * (ratio * f64::from(2.0f32.powi(31 - shift as i32))).round() as i32;
    let fits = is_small(ratios, shift) && bound.checked_shl(shift)? <= i64::from(i32::MAX);
    fits.then(|| ratios.iter().map(|&ratio| even(ratio).max(2)).collect())
}

/// Whether multipliers of sums that are shifted so far fit int32.
fn is_small(ratios: &[f64], shift: u32) -> bool {
    let largest = ratios.iter().fold(0.0, |a: f64, &b| a.max(b));
    largest * f64::from(2.0f32.powi(32 - shift as i32)) < f64::from(i32::MAX - 1)
}

fn too_wide(layer: &Layer) -> Error {
    Error::node(&layer.name, "its sums do not fit into int32; its weights or biases are far larger than its output")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;
    use crate::fold::tests::network;

    #[test]
    fn multipliers_are_even_and_close() {
        for ratio in [1e-5, 0.001, 0.3, 0.499, 0.7, 3.0] {
            let (shift, multipliers) = multiplier(&[ratio], 1 << 20).unwrap();
            let represented = f64::from(multipliers[0]) * f64::from(1u32 << shift) / 4_294_967_296.0;
            assert!(
                multipliers[0] % 2 == 0 && (represented / ratio - 1.0).abs() < 1e-4,
                "{ratio} became {represented}"
            );
        }
        assert!(multiplier(&[1000.0], 1 << 30).is_none());
    }

    #[test]
    fn ranges_hold_zero_exactly() {
        let affine = Affine::of_range([0.5, 2.0]);
        assert_eq!((affine.zero_point, affine.quantize(0.0), affine.quantize(2.0)), (-128, -128, 127));
        let affine = Affine::of_range([-1.0, 1.0]);
        assert_eq!(affine.dequantize(affine.quantize(0.0)), 0.0);
    }

    #[test]
    fn tables_follow_the_function() {
        let (from, to) = (Affine::of_range([-6.0, 6.0]), Affine::of_range([-0.3, 6.0]));
        for (index, &code) in table(Function::Silu, from, to).iter().enumerate() {
            let x = from.dequantize((index as i32 - 128) as i8);
            assert!((to.dequantize(code) - Function::Silu.apply(x)).abs() <= to.scale * 0.501);
        }
        let index = index_code([-6.0, 6.0], INDEX_ENDS);
        for (entry, &code) in fine_table(Function::Silu, index, to).iter().enumerate() {
            let x = index.scale * f64::from(entry as i32 - 512 - index.zero_point);
            assert!((to.dequantize(code) - Function::Silu.apply(x)).abs() <= to.scale * 0.501);
        }
    }

    #[test]
    fn what_cannot_be_fine_is_named() {
        let folded = fold(&network(), &[0, 1]).unwrap();
        let wide = wide_values(&folded).unwrap();
        let check = |name: &str| check_fine(&folded, &wide, &[name.to_string()]);
        assert!(check("h").is_ok() && check("block").is_ok());
        // No value, one that is fused into another, and what stays in f32.
        for name in ["nothing", "stem", "head", "out"] {
            assert!(check(name).unwrap_err().to_string().contains(&format!("`{name}`")));
        }
    }

    #[test]
    fn fine_tables_follow_the_function_and_its_bend() {
        let function = Function::ClippedSilu { limit: 4.0 };
        let values = BTreeMap::from([("a".to_string(), vec![[-14.0, 9.0]])]);
        let ranges = Ranges { times: vec![0], values, fine: Vec::new() };
        let activation = Activation { function, argument: "a".into() };
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
    fn indices_are_spent_where_the_function_changes() {
        let clipped = Function::ClippedSilu { limit: 4.0 };
        let [low, high] = useful_domain(clipped, [-24.0, 40.0], Affine::of_range([-0.28, 4.0]));
        assert!((-8.0..-5.0).contains(&low) && (4.0..4.2).contains(&high), "{low} {high}");
    }
}
