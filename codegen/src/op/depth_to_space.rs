//! Channels to pixels.

use half::f16;
use proc_macro2::TokenStream;
use quote::quote;
use serde::{Deserialize, Serialize};

use super::{At, Evaluation, Folding, Kernel, KernelOp, LayerOp, Operation, one, wrong};
use crate::backward::Tape;
use crate::error::Result;
use crate::fold::{Layer, Node};
use crate::geometry::{dimension, engine_shape};
use crate::graph::{self, Conv2d, Shape};
use crate::kernel::Element;
use crate::lower::Call;
use crate::pack::{Constants, Field, Names, Packed, parameters, proved};
use crate::quantize::Quantizer;
use crate::run::Operands;
use crate::target::Target;

/// `[block²·c, h, w]` to `[c, block·h, block·w]`; input channel `c·block² + y·block + x` holds
/// the pixel at offset `(y, x)` (PyTorch's pixel shuffle).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepthToSpace {
    /// Enlargement per axis.
    pub block: usize,
}

impl Operation for DepthToSpace {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        let (block, wanted) = (self.block, "one map whose channels are a multiple of block², block being 1 to 16");
        match one(node, inputs, wanted)? {
            Shape::Map([c, h, w]) if (1..=16).contains(&block) && c % (block * block) == 0 => {
                Ok(Shape::Map([c / (block * block), dimension(node, h * block)?, dimension(node, w * block)?]))
            }
            _ => Err(wrong(node, inputs, wanted)),
        }
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        depth_to_space(at.inputs[0], at.shapes[0].map().unwrap_or_default(), self.block)
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        Ok(Folding::layer(PixelShuffle { input: node.input(0).into(), block: self.block }))
    }

    fn backward(&self, mut tape: Tape<'_>, node: &graph::Node, input: usize, gradient: &str) -> Result<String> {
        let block = self.block;
        let [channels, ..] = tape.map(&node.inputs[input]);
        let conv = Conv2d {
            out_channels: channels,
            kernel: [block; 2],
            stride: [block; 2],
            padding: [0; 2].into(),
            upsample: [1; 2],
            groups: 1,
        };
        // Channel c·block² + y·block + x is the pixel at (y, x) of channel c.
        let weight = (0..channels * channels).map(|i| if i / channels == i % channels { 1.0 } else { 0.0 });
        Ok(tape.conv2d("depth", gradient, conv, weight.collect()))
    }
}

/// PyTorch's pixel shuffle.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelShuffle {
    /// The map.
    pub input: String,
    /// Enlargement per axis.
    pub block: usize,
}

impl PixelShuffle {
    /// Shape of the input, for a result of `shape`.
    fn from(&self, [c, h, w]: [usize; 3]) -> [usize; 3] {
        [c * self.block * self.block, h / self.block, w / self.block]
    }

    fn kernel(&self, layer: &Layer) -> Kernel {
        Shuffle { input: self.from(layer.shape), block: self.block }.into()
    }
}

impl LayerOp for PixelShuffle {
    fn maps(&self) -> Vec<&str> {
        vec![&self.input]
    }

    fn evaluate(&self, layer: &Layer, at: &Evaluation<'_>) -> Vec<f32> {
        depth_to_space(&at.values[&self.input], self.from(layer.shape), self.block)
    }

    fn float(&self, layer: &Layer, _: Element, _: bool) -> Result<Kernel> {
        Ok(self.kernel(layer))
    }

    fn integer(&self, layer: &Layer, quantizer: &Quantizer<'_>) -> Result<(Kernel, Element)> {
        Ok((self.kernel(layer), quantizer.element(&self.input)))
    }
}

/// PyTorch's pixel shuffle, whatever the elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Shuffle {
    /// `[channels, height, width]` before.
    pub input: [usize; 3],
    /// Enlargement per axis.
    pub block: usize,
}

parameters! {
    PackedShuffle => DepthToSpace { input: grano::shape::Shape, block: usize, }
}

impl Shuffle {
    /// Packed, for a head that makes pixels of its own rows.
    pub(crate) fn packed(&self) -> PackedShuffle {
        PackedShuffle { input: engine_shape(self.input), block: self.block }
    }
}

impl KernelOp for Shuffle {
    fn describe(&self) -> String {
        format!("depth to space {0}×{0}", self.block)
    }

    fn pack(&self, call: &Call, _: &mut Constants) -> Box<dyn Packed> {
        Box::new((self.packed(), call.element))
    }
}

impl Packed for (PackedShuffle, Element) {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("DepthToSpace", None, &self.0.tokens(), None)
    }

    fn call(&self, Names { maps, output, .. }: &Names) -> TokenStream {
        let input = &maps[0];
        quote!(KERNEL.run(#input, #output))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.0.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let kernel = self.0.bind(constants).checked();
        macro_rules! run {
            ($element:ty) => {{
                let parts = operands.parts::<$element, $element, i32, $element>();
                kernel.run(parts.maps[0], parts.output);
            }};
        }
        match self.1 {
            Element::I8(_) => run!(i8),
            Element::I16 { .. } => run!(i16),
            Element::F16 => run!(f16),
            Element::F32 | Element::I32 => run!(f32),
        }
    }

    fn uses_isa(&self) -> bool {
        false
    }
}

/// PyTorch's pixel shuffle on `[channels, height, width]`.
fn depth_to_space(x: &[f32], [c, h, w]: [usize; 3], block: usize) -> Vec<f32> {
    let mut output = vec![0.0; x.len()];
    let out_w = w * block;
    for (at, &value) in x.iter().enumerate() {
        let (channel, y, x) = (at / (h * w), at / w % h, at % w);
        let (plane, phase) = (channel / (block * block), channel % (block * block));
        debug_assert!(channel < c);
        output[(plane * h * block + y * block + phase / block) * out_w + x * block + phase % block] = value;
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_to_space_puts_phases_side_by_side() {
        assert_eq!(depth_to_space(&[1.0, 2.0, 3.0, 4.0], [4, 1, 1], 2), [1.0, 2.0, 3.0, 4.0]);
        let two = depth_to_space(&[1.0, 5.0, 2.0, 6.0, 3.0, 7.0, 4.0, 8.0], [4, 1, 2], 2);
        assert_eq!(two, [1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.0]);
    }
}
