//! Runs an int8 or mixed network's kernels with libtorch, many pictures at once: the values that the chip will have, to the
//! last bit.
//!
//! Everything is integer arithmetic, as the engine's `kernel` and `requantize` define it: the layers are folded, quantised
//! and laid out by the code generator itself. Group normalisations and attention alone, whose kernels hold floating point,
//! are computed in f32 and rounded to the nearest code.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use grano::requantize::{FINE, FINE_HALF, FINE_INDEX_HALF, FINE_INTERVAL};
use grano_codegen::fold::{Folded, GroupNorm, Kind as LayerKind, Layer, fold};
use grano_codegen::graph::{Function, X};
use grano_codegen::kernel::{Element, Kernel, Requantize, Sums};
use grano_codegen::model::{self, Ranges};
use grano_codegen::quantize::quantize;
use tch::{Device, Kind, Tensor};

use crate::network::attention;

/// A network on integers.
pub struct Integer {
    folded: Folded,
    kernels: Vec<Kernel>,
    elements: BTreeMap<String, Element>,
    device: Device,
}

/// What is known of each picture of a batch: the index of its time among [`Folded::times`] and its class, i64 `[N]`.
struct Condition {
    step: Tensor,
    class: Tensor,
}

impl Integer {
    /// Of a network at given time indices, with the values `fine` in int16.
    ///
    /// # Errors
    /// As [`fold`] and [`quantize`].
    pub fn new(
        network: &model::Network,
        ranges: &Ranges,
        fine: &[String],
        times: &[usize],
        device: Device,
    ) -> Result<Self> {
        let folded = fold(network, times)?;
        let (kernels, elements) = quantize(&folded, ranges, fine)?;
        Ok(Self { folded, kernels, elements, device })
    }

    /// Every value that the chip stores, by name, and the output, f32 `[N, C, H, W]`; of `x` f32 `[N, C, H, W]` at times
    /// `t` and for classes `label`, i64 `[N]`.
    ///
    /// # Errors
    /// Names a time that the network was not made for, or a layer that has no integer kernel.
    pub fn run(&self, x: &Tensor, t: &Tensor, label: &Tensor) -> Result<BTreeMap<String, Tensor>> {
        let step = |t: i64| self.folded.times.iter().position(|&time| time as i64 == t).map(|step| step as i64);
        let times = Vec::<i64>::try_from(t)?;
        let steps = times.iter().map(|&t| step(t).with_context(|| format!("t = {t} is none of the network's times")));
        let step = Tensor::from_slice(&steps.collect::<Result<Vec<_>>>()?).to_device(self.device);
        let condition = Condition { step, class: label.shallow_clone() };
        let Some((Kernel::Quantize { inverse_scale }, kernels)) = self.kernels.split_first() else {
            bail!("an integer network begins with the picture's quantisation");
        };
        // In f32, as the chip multiplies.
        let picture = (x.to_kind(Kind::Float) * f64::from(*inverse_scale) + 0.5).floor().clamp(-32767.0, 32767.0);
        let mut codes = BTreeMap::from([(X.to_string(), picture)]);
        for (layer, kernel) in self.folded.layers.iter().zip(kernels) {
            let code = self.layer(layer, kernel, &codes, &condition)?;
            codes.insert(layer.name.clone(), code);
        }
        let value = |(name, code): (String, Tensor)| {
            let value = self.value(&name, &code);
            (name, value)
        };
        Ok(codes.into_iter().map(value).collect())
    }

    /// The code that a value is stored in; f32 stands for itself.
    fn value(&self, name: &str, code: &Tensor) -> Tensor {
        match self.elements[name] {
            Element::I8(affine) | Element::I16 { affine, .. } => {
                ((code.to_kind(Kind::Double) - f64::from(affine.zero_point)) * affine.scale).to_kind(Kind::Float)
            }
            Element::I32 | Element::F16 | Element::F32 => code.shallow_clone(),
        }
    }

    /// A layer's codes, whole numbers in f32; of the last layers values.
    fn layer(
        &self,
        layer: &Layer,
        kernel: &Kernel,
        codes: &BTreeMap<String, Tensor>,
        condition: &Condition,
    ) -> Result<Tensor> {
        let channels = |values: &[i32]| self.row(values).reshape([1, -1, 1, 1]);
        let residual = |multipliers: &[i32], zero_point: i32| match &layer.kind {
            LayerKind::Conv2d(conv) => conv
                .residual
                .as_ref()
                .map(|residual| (codes[residual].to_kind(Kind::Int64) - i64::from(zero_point)) * channels(multipliers)),
            _ => None,
        };
        let plus = |sum: Tensor, more: Option<Tensor>| more.map_or_else(|| sum.shallow_clone(), |more| &sum + more);
        Ok(match (kernel, &layer.kind) {
            (Kernel::Conv2dInt8 { sums, residual_multipliers, requantize, table }, _)
            | (Kernel::DepthwiseInt8 { sums, residual_multipliers, requantize, table }, _) => {
                let sum = plus(self.sums(layer, sums, codes, condition), residual(residual_multipliers, 0));
                self.finish(&self.requantize(&sum, requantize), table.as_ref().map(|table| &table[..]))
            }
            (Kernel::Conv2dFine { sums, residual_multipliers, residual_zero_point, requantize, table }, _) => {
                let sum = self.sums(layer, sums, codes, condition) * (1i64 << requantize.shift);
                let sum = plus(sum, residual(residual_multipliers, *residual_zero_point));
                let index = self.requantize(&sum, &Requantize { shift: 0, ..requantize.clone() });
                let fine = match table {
                    None => index,
                    Some(table) => {
                        let table = self.row(&table.map(i32::from));
                        let half = i64::from(FINE_INDEX_HALF);
                        let place = (index + half).clamp(0, 2 * half - 1);
                        let interval = i64::from(FINE_INTERVAL);
                        let (knot, part) = (shifted_right(&place, interval.ilog2()), place.bitwise_and(interval - 1));
                        let (a, b) = (look_up(&table, &knot), look_up(&table, &(knot + 1)));
                        &a + shifted_right(&((b - &a) * part + interval / 2), interval.ilog2())
                    }
                };
                let half = i64::from(FINE_HALF);
                let code = match self.elements[&layer.name] {
                    Element::I16 { .. } => fine.clamp(-half, half - 1),
                    _ => shifted_right(&(fine + i64::from(FINE / 2)), FINE.ilog2()).clamp(-128, 127),
                };
                code.to_kind(Kind::Float)
            }
            (Kernel::Conv2dInt8Head { sums, scales }, _) => {
                let scales = Tensor::from_slice(scales).to_device(self.device).reshape([1, -1, 1, 1]);
                self.sums(layer, sums, codes, condition).to_kind(Kind::Float) * scales
            }
            (Kernel::AddInt8 { multipliers, bias, requantize }, LayerKind::Add { inputs }) => {
                let part = |part: usize| codes[&inputs[part]].to_kind(Kind::Int64) * i64::from(multipliers[part]);
                self.finish(&self.requantize(&(part(0) + part(1) + i64::from(*bias)), requantize), None)
            }
            (Kernel::ActivationInt8 { table }, LayerKind::Activation { input, .. }) => {
                let index = codes[input].to_kind(Kind::Int64) + 128;
                look_up(&self.row(&table.map(i32::from)), &index).to_kind(Kind::Float)
            }
            (Kernel::DepthToSpace { block, .. }, LayerKind::DepthToSpace { input, .. }) => {
                codes[input].pixel_shuffle(*block as i64)
            }
            (_, LayerKind::GroupNorm(norm)) => {
                self.nearest(&layer.name, &self.group_norm(norm, &self.value(&norm.input, &codes[&norm.input])))
            }
            (_, LayerKind::Attention { inputs, heads }) => {
                let [q, k, v] = inputs.each_ref().map(|input| self.value(input, &codes[input]));
                self.nearest(&layer.name, &attention([&q, &k, &v], *heads as i64))
            }
            _ => bail!("`{}` has no integer kernel", layer.name),
        })
    }

    /// A convolution's sums with its biases, i64.
    fn sums(&self, layer: &Layer, sums: &Sums, codes: &BTreeMap<String, Tensor>, condition: &Condition) -> Tensor {
        let LayerKind::Conv2d(conv) = &layer.kind else { unreachable!("sums are a convolution's") };
        let geometry = &sums.geometry;
        let [up_h, up_w] = geometry.upsample.map(|n| n as i64);
        let [top, left] = geometry.padding.map(|n| n as i64);
        let maps = conv.inputs.iter().zip(sums.zero_points).map(|((input, _), zero_point)| {
            let map = &codes[input];
            let [_, _, h, w] = map.size()[..] else { unreachable!("maps have four dimensions") };
            let enlarged = match geometry.upsample {
                [1, 1] => map.shallow_clone(),
                _ => map.upsample_nearest2d([h * up_h, w * up_w], None, None),
            };
            enlarged.pad([left, left, top, top], "constant", f64::from(zero_point))
        });
        let joined = Tensor::cat(&maps.collect::<Vec<_>>(), 1);
        let [k_h, k_w] = geometry.kernel.map(|n| n as i64);
        let weights = Tensor::from_slice(&sums.weights).to_device(self.device);
        let weights = if geometry.groups > 1 {
            weights.reshape([k_h, k_w, -1, 1]).permute([2, 3, 0, 1])
        } else {
            weights.reshape([geometry.output[0] as i64, k_h, k_w, -1]).permute([0, 3, 1, 2])
        };
        // Whole numbers below 2²⁴ are exact in f32.
        let reads_int16 = matches!(self.elements[&conv.inputs[0].0], Element::I16 { .. });
        let kind = if reads_int16 || geometry.taps() * 127 * 128 >= 1 << 24 { Kind::Double } else { Kind::Float };
        let stride = geometry.stride.map(|n| n as i64);
        let none: Option<Tensor> = None;
        let products = joined.to_kind(kind).conv2d(
            &weights.to_kind(kind).contiguous(),
            none,
            stride,
            [0, 0],
            [1, 1],
            geometry.groups as i64,
        );
        let out_c = geometry.output[0] as i64;
        let rows = |values: &[i32], row: &Tensor| {
            let table = self.row(values).reshape([-1, out_c]);
            let row = if table.size()[0] == 1 { row.zeros_like() } else { row.shallow_clone() };
            table.index_select(0, &row).reshape([-1, out_c, 1, 1])
        };
        let sum = products.round().to_kind(Kind::Int64) + rows(&sums.bias[0], &condition.step);
        if sums.bias[1].is_empty() { sum } else { sum + rows(&sums.bias[1], &condition.class) }
    }

    /// See the engine's `requantize`.
    fn requantize(&self, sum: &Tensor, requantize: &Requantize) -> Tensor {
        let multipliers = self.row(&requantize.multipliers).reshape([1, -1, 1, 1]) * (1i64 << requantize.shift);
        shifted_right(&(sum * multipliers + (1i64 << 31)), 32) + i64::from(requantize.zero_point)
    }

    /// Indices to codes of int8, through a table if there is one.
    fn finish(&self, index: &Tensor, table: Option<&[i8]>) -> Tensor {
        let code = match table {
            None => index.clamp(-128, 127),
            Some(table) => {
                let half = table.len() as i64 / 2;
                let table: Vec<i32> = table.iter().map(|&code| code.into()).collect();
                look_up(&self.row(&table), &(index.clamp(-half, half - 1) + half))
            }
        };
        code.to_kind(Kind::Float)
    }

    /// A group normalisation and its activation in f32.
    fn group_norm(&self, norm: &GroupNorm, input: &Tensor) -> Tensor {
        let [weight, bias] = [&norm.weight, &norm.bias].map(|values| Tensor::from_slice(values).to_device(self.device));
        let value = input.group_norm(norm.groups as i64, Some(weight), Some(bias), norm.eps, false);
        match norm.activation.as_ref().map(|activation| activation.function) {
            None => value,
            Some(Function::Silu) => value.silu(),
            Some(Function::ClippedSilu { limit }) => value.silu().clamp_max(limit),
        }
    }

    /// The nearest codes of int8, ties upwards.
    fn nearest(&self, name: &str, value: &Tensor) -> Tensor {
        match self.elements[name] {
            Element::I8(affine) => {
                (value / affine.scale + 0.5 + f64::from(affine.zero_point)).floor().clamp(-128.0, 127.0)
            }
            _ => value.shallow_clone(),
        }
    }

    /// A vector of i64.
    fn row(&self, values: &[i32]) -> Tensor {
        Tensor::from_slice(values).to_device(self.device).to_kind(Kind::Int64)
    }
}

/// ⌊value / 2^bits⌋ of i64.
fn shifted_right(value: &Tensor, bits: u32) -> Tensor {
    value.bitwise_right_shift_tensor_scalar(i64::from(bits))
}

/// `table[index]`, index by index.
fn look_up(table: &Tensor, index: &Tensor) -> Tensor {
    table.index_select(0, &index.reshape([-1])).reshape(index.size())
}
