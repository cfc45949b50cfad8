//! Group normalisation.

use half::f16;
use proc_macro2::TokenStream;
use quote::quote;
use serde::{Deserialize, Serialize};

use super::conv2d::kernel::PackedBias;
use super::scale_shift::{compose, pack_rows};
use super::{
    At, Donor, Evaluation, Folding, Kernel, KernelOp, LayerOp, Operation, Table, float_activation, positive,
    side_by_side, target, wrong,
};
use crate::cost::Cost;
use crate::error::{Error, Result};
use crate::fold::{FusedActivation, Layer, Node, Rows};
use crate::geometry::{dimension, engine_shape};
use crate::graph::{Function, Shape};
use crate::kernel::{Element, halves};
use crate::lower::Call;
use crate::pack::{Array, Constants, Field, Lens, Names, Packed, parameters, proved};
use crate::quantize::{Quantizer, check_stored};
use crate::run::{Operands, machine};
use crate::target::Target;

/// The channels in `groups` runs of equal length, each run shifted and scaled to mean 0 and variance 1 over all its
/// values of one picture, then times `weight` `[channels]` plus `bias` `[channels]` (Wu & He 2018):
/// (x − μ) / √(σ² + eps) · weight + bias, σ² being the mean of (x − μ)². Several inputs, of equal height and width, count
/// as one whose channels follow each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupNorm {
    /// Number of runs.
    pub groups: usize,
    /// Above 0.
    pub eps: f64,
}

impl Operation for GroupNorm {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        positive(node, "an `eps`", self.eps)?;
        let maps = side_by_side(inputs).filter(|_| inputs.iter().all(|input| matches!(input, Shape::Map(_))));
        let channels = channels(inputs);
        match maps {
            Some(maps) if self.groups > 0 && channels.is_multiple_of(self.groups) => {
                Ok(Shape::Map([dimension(node, channels)?, maps[0][1], maps[0][2]]))
            }
            _ => Err(wrong(node, inputs, "maps of equal height and width, with channels a multiple of `groups`")),
        }
    }

    fn parameters(&self, inputs: &[Shape], _: usize) -> Vec<(&'static str, Vec<usize>)> {
        let channels = channels(inputs);
        vec![("weight", vec![channels]), ("bias", vec![channels])]
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        let [weight, bias] = ["weight", "bias"].map(|kind| Rows::constant(at.parameter(kind)).at(0, 0));
        group_norm(&at.inputs.concat(), self.groups, self.eps, &weight, &bias)
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        let count = node.inputs().len();
        let maps = (0..count).map(|input| node.map(input)).collect::<Result<Vec<_>>>()?;
        let normalization = Normalization {
            node: node.name().into(),
            inputs: node.inputs().iter().cloned().zip(maps.iter().map(|[channels, ..]| *channels)).collect(),
            groups: self.groups,
            eps: self.eps,
            weight: Rows::constant(node.parameter("weight")),
            bias: Rows::constant(node.parameter("bias")),
            activation: None,
        };
        Ok(Folding::layer(normalization))
    }
}

/// Channels of all maps.
fn channels(inputs: &[Shape]) -> usize {
    inputs.iter().filter_map(|input| input.map()).map(|[channels, ..]| channels).sum()
}

/// activation((inputs − μ) / √(σ² + eps) · weight rows + bias rows).
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    /// The graph's node that the weights come from.
    pub node: String,
    /// The maps, and the channels of each.
    pub inputs: Vec<(String, usize)>,
    /// Number of groups.
    pub groups: usize,
    /// What is added to the variance.
    pub eps: f64,
    /// What every channel is multiplied by.
    pub weight: Rows,
    /// What is added then.
    pub bias: Rows,
    /// What is applied last.
    pub activation: Option<FusedActivation>,
}

impl LayerOp for Normalization {
    fn maps(&self) -> Vec<&str> {
        self.inputs.iter().map(|(input, _)| input.as_str()).collect()
    }

    fn node(&self) -> Option<&str> {
        Some(&self.node)
    }

    fn evaluate(&self, _: &Layer, at: &Evaluation<'_>) -> Vec<f32> {
        let joined: Vec<f32> = self.inputs.iter().flat_map(|(input, _)| at.values[input].iter().copied()).collect();
        let [weight, bias] = [&self.weight, &self.bias].map(|rows| rows.at(at.step, at.class));
        group_norm(&joined, self.groups, self.eps, &weight, &bias)
    }

    fn activation(&self) -> Option<&FusedActivation> {
        self.activation.as_ref()
    }

    fn scale_and_shift(&mut self, gains: &Rows, shifts: &Rows) -> bool {
        let composed = compose([&self.weight, &self.bias], [gains, shifts]).filter(|_| self.activation.is_none());
        composed.map(|[weight, bias]| (self.weight, self.bias) = (weight, bias)).is_some()
    }

    fn unreadable(&self) -> Option<Vec<(String, usize)>> {
        (self.inputs.len() > 1).then(|| self.inputs.clone())
    }

    fn read_joined(&mut self, map: &str) {
        self.inputs = vec![(map.into(), self.inputs.iter().map(|(_, channels)| channels).sum())];
    }

    fn activate(&mut self, activation: FusedActivation) -> bool {
        self.activation.is_none() && self.activation.replace(activation).is_none()
    }

    fn float(&self, layer: &Layer, stored: Element, _: bool) -> Result<Kernel> {
        let rows = self.weight.beside(&self.bias).flat();
        rows.iter().try_for_each(|rows| check_stored(layer, "gain or bias", rows, stored))?;
        let kernel = GroupNormFloat {
            groups: self.groups,
            eps: self.eps as f32,
            channels: layer.shape[0],
            rows,
            activation: self.activation.as_ref().map(|activation| activation.function),
        };
        Ok(kernel.into())
    }

    /// The input's scale and zero point cancel, the output's go into gain and bias.
    fn integer(&self, layer: &Layer, quantizer: &Quantizer<'_>) -> Result<(Kernel, Element)> {
        let output = quantizer.output()?;
        let (target, table) = target(output, self.activation.as_ref(), quantizer.ranges)?;
        let input = quantizer.int8(&self.inputs[0].0)?;
        let count = layer.shape.iter().product::<usize>() / self.groups;
        if count >= 1 << 17 {
            return Err(Error::node(
                &self.node,
                format!("groups of {count} values; an int8 network sums up to 131071"),
            ));
        }
        let eps =
            positive(&self.node, "an `eps` in squared units of its input", self.eps / (input.scale * input.scale))?;
        let units = |v: f64| v / target.scale;
        let gains = self.weight.each(units, units);
        let offsets = self.bias.each(|v| units(v) + f64::from(target.zero_point), units);
        let rows = gains.beside(&offsets).flat();
        rows.iter()
            .try_for_each(|rows| check_stored(layer, "gain or bias in units of its output", rows, Element::F32))?;
        let kernel = GroupNormInt8 { groups: self.groups, eps: eps as f32, channels: layer.shape[0], rows, table };
        Ok((kernel.into(), Element::I8(output)))
    }
}

/// int8 group normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNormInt8 {
    /// Number of groups.
    pub groups: usize,
    /// In squared units of the input.
    pub eps: f32,
    /// Of input and output.
    pub channels: usize,
    /// Gains and offsets, `[steps][2][channels]` and `[classes + 1][2][channels]`, in units of the output, or of the
    /// table's index.
    pub rows: [Vec<f32>; 2],
    /// Index + 512 to output.
    pub table: Option<Table>,
}

/// Floating-point group normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNormFloat {
    /// Number of groups.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// Of input and output.
    pub channels: usize,
    /// Gains and offsets, `[steps][2][channels]` and `[classes + 1][2][channels]`.
    pub rows: [Vec<f32>; 2],
    /// What is applied last.
    pub activation: Option<Function>,
}

/// Elements of rows of time and class; a single row of gains and offsets is none.
fn row_elements(rows: &[Vec<f32>; 2], channels: usize) -> usize {
    let elements = rows.iter().map(Vec::len).sum();
    if elements > 2 * channels { elements } else { 0 }
}

parameters! {
    PackedInt8 => GroupNormInt8<'a> {
        shape: grano::shape::Shape,
        groups: usize,
        eps: f32,
        rows: PackedBias<f32>,
        table: Option<Array<i8, 1024>>,
    }
}
parameters! {
    PackedFloat => GroupNormFloat<'a, T> {
        shape: grano::shape::Shape,
        groups: usize,
        eps: f32,
        rows: PackedBias<T>,
        activation: grano::kernel::Activation,
    }
}

/// Instructions on Arm DSP and on Helium: of every element, with an activation's table, then of every channel and group.
/// Counted from the loops; the rest is fitted to counts in QEMU of six shapes (within 10 %).
fn predicted(target: Target, [channels, groups, elements]: [usize; 3], has_table: bool) -> Option<f64> {
    let (words, groups_of_words) = (channels.is_multiple_of(4), (channels / groups.max(1)).is_multiple_of(4));
    let ([sums, affine, table, copy], [channel, group]) = match target {
        Target::CortexM4 | Target::CortexM7 | Target::CortexM33 => {
            ([if groups_of_words { 1.95 } else { 3.9 }, 4.6, 1.0, 0.9], [80.0, 130.0])
        }
        Target::CortexM55 => {
            // A vector of the last channels takes as long as one of four.
            let lanes = channels.next_multiple_of(4) as f64 / channels.max(1) as f64;
            let sums = if groups_of_words { 0.35 } else { 2.0 * lanes };
            let [affine, table] = if words { [1.35, 0.44] } else { [2.6 * lanes, 0.75 * lanes] };
            ([sums, affine, table, 0.75], [90.0, 110.0])
        }
        _ => return None,
    };
    let element = sums + affine + copy + if has_table { table } else { 0.0 };
    Some(elements as f64 * element + channels as f64 * channel + groups as f64 * group)
}

impl KernelOp for GroupNormInt8 {
    fn describe(&self) -> String {
        format!("normalisation of {} groups", self.groups)
    }

    fn instructions(&self, cost: &Cost, target: Target, [macs, elements]: [usize; 2]) -> u64 {
        let shape = [self.channels, self.groups, elements];
        let predicted = predicted(target, shape, self.table.is_some());
        predicted.map_or(cost.other(macs, elements), |count| count.round() as u64)
    }

    fn donor(&self) -> Donor {
        Donor::First
    }

    fn scratch(&self, [channels, ..]: [usize; 3], _: Target) -> Option<(Element, usize)> {
        Some((Element::I32, 2 * channels))
    }

    fn row_elements(&self) -> usize {
        row_elements(&self.rows, self.channels)
    }

    fn pack(&self, call: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        Box::new(PackedInt8 {
            shape: engine_shape(call.shape),
            groups: self.groups,
            eps: self.eps,
            rows: pack_rows(&self.rows, |values| constants.push(values)),
            table: self.table.as_ref().map(|table| constants.array(table)),
        })
    }
}

impl KernelOp for GroupNormFloat {
    fn describe(&self) -> String {
        format!("normalisation of {} groups", self.groups)
    }

    fn donor(&self) -> Donor {
        Donor::First
    }

    fn scratch(&self, [channels, ..]: [usize; 3], _: Target) -> Option<(Element, usize)> {
        Some((Element::F32, 2 * channels))
    }

    fn row_elements(&self) -> usize {
        row_elements(&self.rows, self.channels)
    }

    fn pack(&self, call: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        let (shape, groups, eps) = (engine_shape(call.shape), self.groups, self.eps);
        let activation = float_activation(self.activation);
        if call.element == Element::F16 {
            let rows = pack_rows(&self.rows, |values| constants.push(&halves(values)));
            Box::new(PackedFloat { shape, groups, eps, rows, activation })
        } else {
            let rows = pack_rows(&self.rows, |values| constants.push(values));
            Box::new(PackedFloat { shape, groups, eps, rows, activation })
        }
    }
}

impl Packed for PackedInt8 {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("GroupNormInt8", None, &self.tokens(), None)
    }

    fn call(&self, Names { source, scratch, output, .. }: &Names) -> TokenStream {
        quote!(KERNEL.run::<I>(condition, #source, #scratch, #output))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let parts = operands.parts::<i8, i8, i32, i8>();
        let kernel = self.bind(constants).checked();
        machine!(parts.machine, I => kernel.run::<I>(parts.condition, parts.source, parts.scratch, parts.output));
    }

    fn is_conditioned(&self) -> bool {
        true
    }

    fn states(&self) -> Lens {
        Lens::Map
    }
}

macro_rules! packed_float {
    ($($element:ident),*) => {$(
        impl Packed for PackedFloat<$element> {
            fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
                proved("GroupNormFloat", Some(stringify!($element)), &self.tokens(), None)
            }

            fn call(&self, Names { source, scratch, output, .. }: &Names) -> TokenStream {
                quote!(KERNEL.run::<I, _>(condition, #source, #scratch, #output))
            }

            fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
                self.bind(constants).proved().map(drop)
            }

            fn run(&self, constants: &[u8], operands: Operands<'_>) {
                let parts = operands.parts::<$element, $element, f32, $element>();
                let kernel = self.bind(constants).checked();
                machine!(parts.machine, I => {
                    kernel.run::<I, $element>(parts.condition, parts.source, parts.scratch, parts.output);
                });
            }

            fn is_conditioned(&self) -> bool {
                true
            }
        }
    )*};
}
packed_float!(f16, f32);

/// (x − μ) / √(σ² + eps) · weight + bias per run of channels, `x` `[channels, height, width]`.
fn group_norm(x: &[f32], groups: usize, eps: f64, weight: &[f64], bias: &[f64]) -> Vec<f32> {
    let channels = weight.len();
    let area = x.len() / channels;
    let mut output = Vec::with_capacity(x.len());
    for (group, values) in x.chunks_exact(x.len() / groups).enumerate() {
        let count = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let variance = values.iter().map(|&v| (f64::from(v) - mean) * (f64::from(v) - mean)).sum::<f64>() / count;
        let reciprocal = 1.0 / libm::sqrt(variance + eps);
        for (plane, values) in values.chunks_exact(area).enumerate() {
            let channel = group * (channels / groups) + plane;
            let (weight, bias) = (weight[channel], bias[channel]);
            output.extend(values.iter().map(|&v| ((f64::from(v) - mean) * reciprocal * weight + bias) as f32));
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What QEMU counted on a Cortex-M4F and a Cortex-M55.
    #[test]
    fn predictions_are_near_the_counts() {
        let counted = [
            ([128, 32, 64], [74_766, 34_584]),
            ([64, 8, 196], [99_534, 38_832]),
            ([32, 1, 196], [49_324, 18_989]),
            ([16, 16, 196], [33_564, 17_337]),
            ([24, 8, 196], [47_540, 23_393]),
            ([14, 2, 196], [30_123, 19_106]),
        ];
        for ([channels, groups, pixels], counts) in counted {
            for (target, counted) in [Target::CortexM4, Target::CortexM55].into_iter().zip(counts) {
                let predicted = predicted(target, [channels, groups, channels * pixels], false).unwrap();
                let ratio = predicted / f64::from(counted);
                assert!((0.85..=1.15).contains(&ratio), "{channels} channels, {groups} groups, {target:?}: {ratio}");
            }
        }
    }

    #[test]
    fn groups_by_hand() {
        // Mean 2, variance 1; and a constant group.
        let x = [1.0, 3.0, 1.0, 3.0, 5.0, 5.0, 5.0, 5.0];
        let out = group_norm(&x, 2, 1e-12, &[2.0, 1.0, 1.0, 9.0], &[0.5, 0.0, 0.25, -1.0]);
        let expected = [-1.5, 2.5, -1.0, 1.0, 0.25, 0.25, -1.0, -1.0];
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{out:?}");
    }
}
