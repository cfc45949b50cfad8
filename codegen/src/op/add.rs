//! The sum of two maps, where it cannot be a convolution's residual.

use proc_macro2::TokenStream;
use quote::quote;
use serde::{Deserialize, Serialize};

use super::{At, Donor, Evaluation, Folding, Kernel, KernelOp, LayerOp, Operation, ScaleShiftRows, wrong};
use crate::backward::Tape;
use crate::error::Result;
use crate::fold::{Layer, Node, Rows};
use crate::graph::{self, Shape};
use crate::kernel::{Element, Requantize};
use crate::lower::Call;
use crate::pack::{Constants, Field, Names, Packed, parameters, proved};
use crate::quantize::{Quantizer, multiplier, too_wide};
use crate::run::{Operands, float, machine};
use crate::target::Target;

/// The sum of two values of equal shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {}

impl Operation for Add {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [a @ (Shape::Map(_) | Shape::Vector(_)), b] if a == b => Ok(*a),
            _ => Err(wrong(node, inputs, "two maps or two vectors of equal shape")),
        }
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        at.inputs[0].iter().zip(at.inputs[1]).map(|(a, b)| a + b).collect()
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        let biased = |map: usize, rows: &Rows| {
            let gains = Rows::constant(&vec![1.0; node.map(map)?[0]]);
            Ok(Folding::layer(ScaleShiftRows::new(node.input(map), gains, rows.clone())))
        };
        match [0, 1].map(|input| node.rows(input)) {
            [Some(a), Some(b)] => Ok(Folding::Rows(a.plus(b))),
            [Some(rows), None] => biased(1, rows),
            [None, Some(rows)] => biased(0, rows),
            [None, None] => Ok(Folding::layer(Sum { inputs: [0, 1].map(|input| node.input(input).into()) })),
        }
    }

    fn backward(&self, _: Tape<'_>, _: &graph::Node, _: usize, gradient: &str) -> Result<String> {
        Ok(gradient.into())
    }
}

/// The sum of two maps.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// The maps.
    pub inputs: [String; 2],
}

impl LayerOp for Sum {
    fn maps(&self) -> Vec<&str> {
        vec![&self.inputs[0]]
    }

    fn second(&self) -> Option<&str> {
        Some(&self.inputs[1])
    }

    fn evaluate(&self, _: &Layer, at: &Evaluation<'_>) -> Vec<f32> {
        let [a, b] = self.inputs.each_ref().map(|input| &at.values[input]);
        a.iter().zip(b).map(|(a, b)| a + b).collect()
    }

    fn float(&self, _: &Layer, _: Element, _: bool) -> Result<Kernel> {
        Ok(AddFloat {}.into())
    }

    fn integer(&self, layer: &Layer, quantizer: &Quantizer<'_>) -> Result<(Kernel, Element)> {
        let [a, b] = [quantizer.int8(&self.inputs[0])?, quantizer.int8(&self.inputs[1])?];
        let output = quantizer.output()?;
        // The finer input's unit keeps 15 bits.
        let unit = a.scale.max(b.scale) / f64::from(1 << 15);
        let multipliers = [a, b].map(|input| (input.scale / unit).round() as i32);
        let bias = -(multipliers[0] * a.zero_point + multipliers[1] * b.zero_point);
        let (shift, multipliers_out) = multiplier(&[unit / output.scale], 1 << 25).ok_or_else(|| too_wide(layer))?;
        let requantize = Requantize { shift, multipliers: multipliers_out, zero_point: output.zero_point };
        Ok((AddInt8 { multipliers, bias, requantize }.into(), Element::I8(output)))
    }
}

/// int8 sum.
#[derive(Clone, Debug, PartialEq)]
pub struct AddInt8 {
    /// Of either input.
    pub multipliers: [i32; 2],
    /// What the zero points come to.
    pub bias: i32,
    /// From sum to output; one multiplier.
    pub requantize: Requantize,
}

/// Floating-point sum.
#[derive(Clone, Debug, PartialEq)]
pub struct AddFloat {}

parameters! {
    PackedInt8 => AddInt8 { multipliers: [i32; 2], bias: i32, shift: u32, multiplier: i32, zero_point: i32, }
}
parameters! {
    PackedFloat => AddFloat { activation: grano::kernel::Activation, }
}

impl KernelOp for AddInt8 {
    fn describe(&self) -> String {
        "sum".into()
    }

    fn donor(&self) -> Donor {
        Donor::Either
    }

    fn exchanged(&self) -> Option<Kernel> {
        let [a, b] = self.multipliers;
        Some(Self { multipliers: [b, a], ..self.clone() }.into())
    }

    fn pack(&self, _: &Call, _: &mut Constants) -> Box<dyn Packed> {
        let Requantize { shift, multipliers, zero_point } = &self.requantize;
        Box::new(PackedInt8 {
            multipliers: self.multipliers,
            bias: self.bias,
            shift: *shift,
            multiplier: multipliers[0],
            zero_point: *zero_point,
        })
    }
}

impl KernelOp for AddFloat {
    fn describe(&self) -> String {
        "sum".into()
    }

    fn donor(&self) -> Donor {
        Donor::Either
    }

    fn exchanged(&self) -> Option<Kernel> {
        Some(Self {}.into())
    }

    fn pack(&self, call: &Call, _: &mut Constants) -> Box<dyn Packed> {
        Box::new((PackedFloat { activation: grano::kernel::Activation::Identity }, call.element))
    }
}

impl Packed for PackedInt8 {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("AddInt8", None, &self.tokens(), None)
    }

    fn call(&self, Names { maps, residual, output, .. }: &Names) -> TokenStream {
        let input = &maps[0];
        quote!(KERNEL.run::<I>(#input, #residual, #output))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let parts = operands.parts::<i8, i8, i32, i8>();
        let kernel = self.bind(constants).checked();
        machine!(parts.machine, I => kernel.run::<I>(parts.maps[0], parts.residual, parts.output));
    }
}

impl Packed for (PackedFloat, Element) {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("AddFloat", None, &self.0.tokens(), None)
    }

    fn call(&self, Names { maps, residual, output, .. }: &Names) -> TokenStream {
        let input = &maps[0];
        quote!(KERNEL.run(#input, #residual, #output))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.0.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let kernel = self.0.bind(constants).checked();
        float!(self.1, T => {
            let parts = operands.parts::<T, T, f32, T>();
            kernel.run(parts.maps[0], parts.residual, parts.output);
        });
    }

    fn uses_isa(&self) -> bool {
        false
    }
}
