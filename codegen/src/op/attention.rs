//! Attention over all positions.

use grano::kernel::{EXP_LEN, ExpTable};
use proc_macro2::TokenStream;
use quote::quote;
use serde::{Deserialize, Serialize};

use super::{At, Donor, Evaluation, Folding, Kernel, KernelOp, LayerOp, Operation, wrong};
use crate::cost::Cost;
use crate::error::{Error, Result};
use crate::fold::{Layer, Node};
use crate::geometry::engine_shape;
use crate::graph::Shape;
use crate::kernel::{Affine, Element};
use crate::lower::Call;
use crate::pack::{Array, Constants, Field, Names, Packed, parameters, proved};
use crate::quantize::{Quantizer, multiplier, too_wide};
use crate::run::{Operands, float, machine};
use crate::target::Target;

/// Scaled dot-product attention over all positions (Vaswani et al. 2017, section 3.2), of three maps of equal
/// shape, `q`, `k` and `v`. The channels in `heads` runs of d each, head by head and position i:
/// out_i = Σ_j softmax_j(q_i · k_j / √d) · v_j.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Number of runs.
    pub heads: usize,
}

impl Operation for Attention {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        let heads = self.heads;
        match inputs {
            [q @ Shape::Map([c, ..]), k, v] if q == k && q == v => {
                if heads == 0 || c % heads != 0 {
                    return Err(Error::node(node, format!("{heads} heads of {c} channels; give a divisor")));
                }
                Ok(*q)
            }
            _ => Err(wrong(node, inputs, "three maps of equal shape: q, k and v")),
        }
    }

    fn macs(&self, _: &[Shape], output: Shape) -> u64 {
        let [channels, height, width] = output.map().unwrap_or_default().map(|side| side as u64);
        2 * channels * (height * width) * (height * width)
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        attention([at.inputs[0], at.inputs[1], at.inputs[2]], at.channels(0)[0], self.heads)
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        let inputs = [0, 1, 2].map(|input| node.input(input).into());
        Ok(Folding::layer(Attend { inputs, heads: self.heads }))
    }
}

/// softmax(qᵀk / √d) · v.
#[derive(Clone, Debug, PartialEq)]
pub struct Attend {
    /// q, k and v.
    pub inputs: [String; 3],
    /// Number of heads.
    pub heads: usize,
}

impl LayerOp for Attend {
    fn maps(&self) -> Vec<&str> {
        self.inputs.iter().map(String::as_str).collect()
    }

    /// Scores and weighted sums: each position meets each.
    fn macs(&self, [channels, height, width]: [usize; 3]) -> usize {
        2 * channels * (height * width) * (height * width)
    }

    fn evaluate(&self, layer: &Layer, at: &Evaluation<'_>) -> Vec<f32> {
        attention(self.inputs.each_ref().map(|input| &at.values[input][..]), layer.shape[0], self.heads)
    }

    fn float(&self, layer: &Layer, _: Element, _: bool) -> Result<Kernel> {
        let scale = (1.0 / libm::sqrt((layer.shape[0] / self.heads) as f64)) as f32;
        Ok(AttentionFloat { heads: self.heads, scale }.into())
    }

    fn integer(&self, layer: &Layer, quantizer: &Quantizer<'_>) -> Result<(Kernel, Element)> {
        let [q, k, v] = &self.inputs;
        let codes = [quantizer.int8(q)?, quantizer.int8(k)?, quantizer.int8(v)?];
        let (kernel, output) = integer(layer, self.heads, codes, quantizer.output()?)?;
        Ok((kernel.into(), Element::I8(output)))
    }
}

/// Fall of the exponent from one entry of the table to the next: the last entry is 2⁻¹⁶ of the first, which an int16
/// no longer holds. Rounding to whole entries is off by 0.6 % of a weight, root mean square.
const STEP: f64 = 16.0 * std::f64::consts::LN_2 / EXP_LEN as f64;
/// A unit of v is at most so many units of the output: a row's factor then stays within int32.
const FINEST_OUTPUT: f64 = 16.0;

/// The kernel, and the output's code: that of its range, or a coarser one.
fn integer(layer: &Layer, heads: usize, [q, k, v]: [Affine; 3], output: Affine) -> Result<(AttentionInt8, Affine)> {
    let [channels, height, width] = layer.shape;
    let (depth, positions) = (channels / heads, height * width);
    let coarser = (v.scale / FINEST_OUTPUT / output.scale).max(1.0);
    let output =
        Affine { scale: output.scale * coarser, zero_point: (f64::from(output.zero_point) / coarser).round() as i32 };
    // Sums of v's codes, 128 at most, times weights.
    let peak = (i32::MAX as usize / 128 / positions).min(i16::MAX as usize);
    if peak < 1 << 13 {
        return Err(Error::node(&layer.name, format!("attention over {positions} positions; int8 sums hold 2047")));
    }
    let exp = std::array::from_fn(|i| (peak as f64 * libm::exp(-STEP * i as f64)).round() as i16);
    let ratio = q.scale * k.scale / libm::sqrt(depth as f64) / STEP;
    let bound = (depth as i64) << 16;
    let (shift, multipliers) = multiplier(&[ratio], bound).ok_or_else(|| too_wide(layer))?;
    let ratio = v.scale / output.scale;
    let offset = f64::from(output.zero_point) - f64::from(v.zero_point) * ratio;
    let kernel = AttentionInt8 {
        heads,
        q_zero_point: q.zero_point,
        score: (shift, multipliers[0]),
        exp,
        ratio: (ratio * libm::exp2(40.0)) as f32,
        offset: (offset * 256.0).round() as i32 + 128,
    };
    Ok((kernel, output))
}

/// int8 attention.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionInt8 {
    /// Number of heads.
    pub heads: usize,
    /// Of q.
    pub q_zero_point: i32,
    /// From scores to steps of the table: left shift and multiplier.
    pub score: (u32, i32),
    /// The exponential.
    pub exp: ExpTable,
    /// 2⁴⁰ times v's scale through the output's.
    pub ratio: f32,
    /// Zero points and rounding, in 1/256.
    pub offset: i32,
}

/// Floating-point attention.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionFloat {
    /// Number of heads.
    pub heads: usize,
    /// Of the products.
    pub scale: f32,
}

parameters! {
    PackedInt8 => AttentionInt8<'a> {
        shape: grano::shape::Shape,
        heads: usize,
        q_zero_point: i32,
        shift: u32,
        multiplier: i32,
        exp: Array<i16, EXP_LEN>,
        ratio: f32,
        offset: i32,
    }
}
parameters! {
    PackedFloat => AttentionFloat { shape: grano::shape::Shape, heads: usize, scale: f32, }
}

/// Instructions of so many positions and heads of `width` channels on Arm DSP and on Helium: four rows at a time are
/// multiplied by pairs of keys and by pairs of channels. Counted from the loops; the rest is fitted to counts in QEMU of five
/// shapes (within 10 %).
fn predicted(target: Target, [positions, heads, width]: [usize; 3]) -> Option<f64> {
    let (blocks, keys, channels) = (positions.div_ceil(4), positions.div_ceil(2), width.div_ceil(2));
    let (products, [score, element, row]) = match target {
        Target::CortexM4 | Target::CortexM7 | Target::CortexM33 => {
            let pairs = |pairs: usize, taps: usize| pairs * (26 * taps.div_ceil(4) + 17);
            (pairs(keys, width) + pairs(channels, positions), [14.5, 14.0, 260.0])
        }
        Target::CortexM55 => {
            let pairs = |pairs: usize, taps: usize, step: usize, group: usize| {
                pairs * (step * taps.div_ceil(16) + group * taps.div_ceil(128))
            };
            (pairs(keys, width, 14, 2) + pairs(channels, positions, 30, 7), [3.8, 5.0, 130.0])
        }
        _ => return None,
    };
    let per_row = positions as f64 * score + width as f64 * element + row;
    Some(heads as f64 * ((blocks * products) as f64 + positions as f64 * per_row))
}

impl KernelOp for AttentionInt8 {
    fn describe(&self) -> String {
        format!("attention, heads: {}", self.heads)
    }

    /// Every position meets each twice, in all channels.
    fn instructions(&self, cost: &Cost, target: Target, [macs, elements]: [usize; 2]) -> u64 {
        let positions = macs / (2 * elements).max(1);
        let width = elements / (positions * self.heads).max(1);
        let other = macs as f64 * cost.plain_product + elements as f64 * cost.element;
        predicted(target, [positions, self.heads, width]).unwrap_or(other).round() as u64
    }

    fn donor(&self) -> Donor {
        Donor::First
    }

    fn scratch(&self, shape: [usize; 3], target: Target) -> Option<(Element, usize)> {
        Some((Element::I32, target.attention_scratch(engine_shape(shape), self.heads)))
    }

    fn pack(&self, call: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        let (shift, multiplier) = self.score;
        Box::new(PackedInt8 {
            shape: engine_shape(call.shape),
            heads: self.heads,
            q_zero_point: self.q_zero_point,
            shift,
            multiplier,
            exp: constants.array(&self.exp),
            ratio: self.ratio,
            offset: self.offset,
        })
    }
}

impl KernelOp for AttentionFloat {
    fn describe(&self) -> String {
        format!("attention, heads: {}", self.heads)
    }

    fn donor(&self) -> Donor {
        Donor::First
    }

    fn scratch(&self, [channels, height, width]: [usize; 3], _: Target) -> Option<(Element, usize)> {
        Some((Element::F32, height * width * (1 + channels / self.heads)))
    }

    fn pack(&self, call: &Call, _: &mut Constants) -> Box<dyn Packed> {
        let kernel = PackedFloat { shape: engine_shape(call.shape), heads: self.heads, scale: self.scale };
        Box::new((kernel, call.element))
    }
}

impl Packed for PackedInt8 {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("AttentionInt8", None, &self.tokens(), None)
    }

    fn call(&self, Names { maps, source, scratch, output, .. }: &Names) -> TokenStream {
        let (k, v) = (&maps[1], &maps[2]);
        quote!(KERNEL.run::<I>(#source, #k, #v, #scratch, #output))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let parts = operands.parts::<i8, i8, i32, i8>();
        let kernel = self.bind(constants).checked();
        let [_, k, v] = parts.maps[..] else { return };
        machine!(parts.machine, I => kernel.run::<I>(parts.source, k, v, parts.scratch, parts.output));
    }
}

impl Packed for (PackedFloat, Element) {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("AttentionFloat", None, &self.0.tokens(), None)
    }

    fn call(&self, Names { maps, source, scratch, output, .. }: &Names) -> TokenStream {
        let (k, v) = (&maps[1], &maps[2]);
        quote!(KERNEL.run::<I, _>(#source, #k, #v, #scratch, #output))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.0.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let kernel = self.0.bind(constants).checked();
        float!(self.1, T => {
            let parts = operands.parts::<T, T, f32, T>();
            let [_, k, v] = parts.maps[..] else { return };
            machine!(parts.machine, I => kernel.run::<I, T>(parts.source, k, v, parts.scratch, parts.output));
        });
    }
}

/// softmax(qᵀk / √d) · v per head, over all positions; maps are `[channels, height, width]`.
fn attention([q, k, v]: [&[f32]; 3], channels: usize, heads: usize) -> Vec<f32> {
    let (area, width) = (q.len() / channels, channels / heads);
    let mut output = vec![0.0; v.len()];
    for head in 0..heads {
        let planes = head * width..(head + 1) * width;
        let at = |map: &[f32], plane: usize, position: usize| f64::from(map[plane * area + position]);
        for i in 0..area {
            let score = |j: usize| planes.clone().map(|plane| at(q, plane, i) * at(k, plane, j)).sum::<f64>();
            let scores: Vec<f64> = (0..area).map(|j| score(j) / libm::sqrt(width as f64)).collect();
            let largest = scores.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let weights: Vec<f64> = scores.iter().map(|score| libm::exp(score - largest)).collect();
            let total: f64 = weights.iter().sum();
            for plane in planes.clone() {
                let sum: f64 = weights.iter().enumerate().map(|(j, weight)| weight * at(v, plane, j)).sum();
                output[plane * area + i] = (sum / total) as f32;
            }
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
            ([64, 4, 32], [1_365_996, 326_791]),
            ([49, 1, 64], [408_444, 107_953]),
            ([16, 8, 12], [137_088, 43_587]),
            ([196, 2, 16], [3_438_678, 841_031]),
            ([256, 4, 32], [18_806_124, 4_279_479]),
        ];
        for (shape, counts) in counted {
            for (target, counted) in [Target::CortexM4, Target::CortexM55].into_iter().zip(counts) {
                let ratio = predicted(target, shape).unwrap() / f64::from(counted);
                assert!((0.85..=1.15).contains(&ratio), "{shape:?}, {target:?}: {ratio}");
            }
        }
    }

    #[test]
    fn two_heads_by_hand() {
        // Head 0: scores 0 and ln 3, weights ¼ and ¾ at position 0, equal ones at position 1. Head 1: all equal.
        let ln3 = 3f32.ln();
        let (q, k) = ([1.0, 0.0, 0.0, 0.0], [0.0, ln3, 7.0, 8.0]);
        let v = [4.0, 8.0, 1.0, 2.0];
        let out = attention([&q, &k, &v], 2, 2);
        let expected = [7.0, 6.0, 1.5, 1.5];
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{out:?}");
    }
}
