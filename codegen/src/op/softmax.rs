//! The softmax over the channels of every position.

use proc_macro2::TokenStream;
use quote::quote;
use serde::{Deserialize, Serialize};

use super::{At, Donor, Evaluation, Folding, Kernel, KernelOp, LayerOp, Operation, one, wrong};
use crate::backward::Tape;
use crate::error::{Error, Result};
use crate::fold::{Layer, Node};
use crate::graph::{self, Add, Conv2d, Product, Shape};
use crate::kernel::{Affine, Element};
use crate::lower::Call;
use crate::pack::{Array, Constants, Field, Names, Packed, parameters, proved};
use crate::quantize::Quantizer;
use crate::run::{Operands, float, machine};
use crate::target::Target;

/// e^x / Σ e^x over the channels of each position; a vector is one position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {}

impl Operation for Softmax {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        match one(node, inputs, "one map or vector")? {
            shape @ (Shape::Map(_) | Shape::Vector(_)) => Ok(*shape),
            _ => Err(wrong(node, inputs, "one map or vector")),
        }
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        softmax(at.inputs[0], at.channels(0)[0])
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        node.map(0)?;
        Ok(Folding::layer(ChannelSoftmax { input: node.input(0).into() }))
    }

    fn backward(&self, mut tape: Tape<'_>, node: &graph::Node, input: usize, gradient: &str) -> Result<String> {
        // p ⊙ (g − Σ p·g), the sum over channels.
        let (read, p) = (&node.inputs[input], &node.name);
        let [channels, ..] = tape.map(read);
        let product = tape.node("product", Product {}, &[gradient, p], &[]);
        let less = vec![-1.0; channels * channels];
        let mean = match tape.is_vector(read) {
            true => tape.linear("mean", &product, less, channels),
            false => tape.conv2d("mean", &product, Conv2d { out_channels: channels, ..Conv2d::same(1) }, less),
        };
        let rest = tape.node("rest", Add {}, &[gradient, &mean], &[]);
        Ok(tape.node("softmax", Product {}, &[&rest, p], &[]))
    }
}

/// The softmax over channels.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelSoftmax {
    /// The map.
    pub input: String,
}

/// Probabilities' code: −128 stands for 0, a unit for 1/256.
const OUTPUT: Affine = Affine { scale: 1.0 / 256.0, zero_point: -128 };
/// Most channels whose weights' sum int32 holds.
const MOST_CHANNELS: usize = 1 << 16;

impl LayerOp for ChannelSoftmax {
    fn maps(&self) -> Vec<&str> {
        vec![&self.input]
    }

    fn evaluate(&self, layer: &Layer, at: &Evaluation<'_>) -> Vec<f32> {
        softmax(&at.values[&self.input], layer.shape[0])
    }

    fn float(&self, layer: &Layer, _: Element, _: bool) -> Result<Kernel> {
        Ok(SoftmaxFloat { channels: layer.shape[0] }.into())
    }

    fn integer(&self, layer: &Layer, quantizer: &Quantizer<'_>) -> Result<(Kernel, Element)> {
        let channels = layer.shape[0];
        if channels > MOST_CHANNELS {
            return Err(Error::node(
                &layer.name,
                format!("a softmax over {channels} channels; int8 sums hold {MOST_CHANNELS}"),
            ));
        }
        let input = quantizer.int8(&self.input)?;
        let weight = |i| (f64::from(i16::MAX) * libm::exp(-input.scale * i as f64)).round() as i16;
        let kernel = SoftmaxInt8 { channels, exp: std::array::from_fn(weight) };
        Ok((kernel.into(), Element::I8(OUTPUT)))
    }
}

/// int8 softmax.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxInt8 {
    /// Values a position.
    pub channels: usize,
    /// The exponential of what a code is below the largest.
    pub exp: [i16; 256],
}

/// Floating-point softmax.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxFloat {
    /// Values a position.
    pub channels: usize,
}

parameters! {
    PackedInt8 => SoftmaxInt8<'a> { channels: usize, exp: Array<i16, 256>, }
}
parameters! {
    PackedFloat => SoftmaxFloat { channels: usize, }
}

impl KernelOp for SoftmaxInt8 {
    fn describe(&self) -> String {
        "softmax".into()
    }

    fn donor(&self) -> Donor {
        Donor::First
    }

    fn pack(&self, _: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        Box::new(PackedInt8 { channels: self.channels, exp: constants.array(&self.exp) })
    }
}

impl KernelOp for SoftmaxFloat {
    fn describe(&self) -> String {
        "softmax".into()
    }

    fn donor(&self) -> Donor {
        Donor::First
    }

    fn pack(&self, call: &Call, _: &mut Constants) -> Box<dyn Packed> {
        Box::new((PackedFloat { channels: self.channels }, call.element))
    }
}

impl Packed for PackedInt8 {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("SoftmaxInt8", None, &self.tokens(), None)
    }

    fn call(&self, Names { source, output, .. }: &Names) -> TokenStream {
        quote!(KERNEL.run(#source, #output))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let parts = operands.parts::<i8, i8, i32, i8>();
        self.bind(constants).checked().run(parts.source, parts.output);
    }

    fn uses_isa(&self) -> bool {
        false
    }
}

impl Packed for (PackedFloat, Element) {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("SoftmaxFloat", None, &self.0.tokens(), None)
    }

    fn call(&self, Names { source, output, .. }: &Names) -> TokenStream {
        quote!(KERNEL.run::<I, _>(#source, #output))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.0.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let kernel = self.0.bind(constants).checked();
        float!(self.1, T => {
            let parts = operands.parts::<T, T, f32, T>();
            machine!(parts.machine, I => kernel.run::<I, T>(parts.source, parts.output));
        });
    }
}

/// e^x / Σ e^x over the channels of `[channels, height, width]`.
fn softmax(x: &[f32], channels: usize) -> Vec<f32> {
    let area = x.len() / channels;
    let mut output = vec![0.0; x.len()];
    for position in 0..area {
        let values = || x.iter().skip(position).step_by(area).map(|&v| f64::from(v));
        let largest = values().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = values().map(|v| libm::exp(v - largest)).sum();
        for (channel, v) in values().enumerate() {
            output[channel * area + position] = (libm::exp(v - largest) / total) as f32;
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;
    use crate::fold::tests::{assert_equal, with_weights};
    use crate::graph::{Builder, Conv2d, Linear, X};

    #[test]
    fn two_positions_by_hand() {
        let ln3 = 3f32.ln();
        let out = softmax(&[0.0, 1000.0, ln3, 1000.0], 2);
        assert!(out.iter().zip([0.25, 0.5, 0.75, 0.5]).all(|(a, b)| (a - b).abs() < 1e-6), "{out:?}");
    }

    #[test]
    fn maps_and_vectors_keep_their_values() {
        let mut b = Builder::new([1, 4, 4], 0);
        b.node("conv", Conv2d { out_channels: 3, ..Conv2d::same(3) }, &[X]);
        b.node("map", Softmax {}, &["conv"]);
        b.node("logits", Linear { out_features: 5 }, &["map"]);
        b.node("vector", Softmax {}, &["logits"]);
        let network = with_weights(b.finish("vector").unwrap());
        assert_equal(&network, &fold(&network, &[5]).unwrap());
    }
}
