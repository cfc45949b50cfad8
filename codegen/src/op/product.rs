//! The element-wise product of two maps.

use proc_macro2::TokenStream;
use quote::quote;
use serde::{Deserialize, Serialize};

use super::{At, Donor, Evaluation, Folding, Kernel, KernelOp, LayerOp, Operation, ScaleShiftRows, per_channel, wrong};
use crate::backward::Tape;
use crate::error::{Error, Result};
use crate::fold::{Layer, Node, Rows};
use crate::graph::{self, Shape};
use crate::kernel::Element;
use crate::lower::Call;
use crate::pack::{Constants, Field, Names, Packed, parameters, proved};
use crate::quantize::{Quantizer, multiplier, too_wide};
use crate::run::{Operands, float, machine};
use crate::target::Target;

/// The product of two values of equal shape, element by element; or of a map and a vector `[channels]` that depends on time
/// and class alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {}

impl Operation for Product {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [a @ (Shape::Map(_) | Shape::Vector(_)), b] if a == b => Ok(*a),
            [map @ Shape::Map([c, ..]), Shape::Vector(n)] if c == n => Ok(*map),
            _ => {
                Err(wrong(node, inputs, "two maps or two vectors of equal shape, or a map and an element per channel"))
            }
        }
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        per_channel(at.inputs[0], at.inputs[0].len() / at.inputs[1].len(), at.inputs[1], |a, b| a * b)
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        let scaled = |map: usize, rows: &Rows| {
            let shifts = Rows::constant(&vec![0.0; node.map(map)?[0]]);
            Ok(Folding::layer(ScaleShiftRows::new(node.input(map), rows.clone(), shifts)))
        };
        match [0, 1].map(|input| node.rows(input)) {
            [Some(a), Some(b)] => product_of_rows(node, a, b).map(Folding::Rows),
            [Some(rows), None] => scaled(1, rows),
            [None, Some(rows)] => scaled(0, rows),
            [None, None] => {
                if node.map(0)? != node.map(1)? {
                    node.rows_of_vector(1)?;
                }
                Ok(Folding::layer(Multiply { inputs: [0, 1].map(|input| node.input(input).into()) }))
            }
        }
    }

    fn backward(&self, mut tape: Tape<'_>, node: &graph::Node, input: usize, gradient: &str) -> Result<String> {
        if input == 1 && tape.map(&node.inputs[1]) != tape.map(&node.inputs[0]) {
            return Err(Error::node(&node.name, "its vector must come from time and class alone"));
        }
        Ok(tape.node("product", Self {}, &[gradient, &node.inputs[1 - input]], &[]))
    }
}

/// Vectors that depend on time alone, on class alone, or on neither, multiply to others of this kind.
fn product_of_rows(node: &Node<'_>, a: &Rows, b: &Rows) -> Result<Rows> {
    let times = |a: Vec<f64>, b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).collect();
    let steps = a.steps.len().max(b.steps.len());
    let classes = a.classes.len().max(b.classes.len());
    if steps > 1 && classes > 0 {
        return Err(Error::node(
            node.name(),
            "a product of time and class; multiply each by a constant and add the results, so that tables stay small",
        ));
    }
    if classes > 0 {
        let row = |class| times(a.at(0, class), &b.at(0, class));
        return Ok(Rows { steps: vec![vec![0.0; a.steps[0].len()]], classes: (0..classes).map(row).collect() });
    }
    Ok(Rows { steps: (0..steps).map(|step| times(a.at(step, 0), &b.at(step, 0))).collect(), classes: Vec::new() })
}

/// The product of two maps.
#[derive(Clone, Debug, PartialEq)]
pub struct Multiply {
    /// The maps.
    pub inputs: [String; 2],
}

impl LayerOp for Multiply {
    fn maps(&self) -> Vec<&str> {
        vec![&self.inputs[0]]
    }

    fn second(&self) -> Option<&str> {
        Some(&self.inputs[1])
    }

    fn evaluate(&self, _: &Layer, at: &Evaluation<'_>) -> Vec<f32> {
        let [a, b] = self.inputs.each_ref().map(|input| &at.values[input]);
        a.iter().zip(b).map(|(a, b)| a * b).collect()
    }

    fn float(&self, _: &Layer, _: Element, _: bool) -> Result<Kernel> {
        Ok(ProductFloat {}.into())
    }

    fn integer(&self, layer: &Layer, quantizer: &Quantizer<'_>) -> Result<(Kernel, Element)> {
        let [a, b] = [quantizer.int8(&self.inputs[0])?, quantizer.int8(&self.inputs[1])?];
        let output = quantizer.output()?;
        let ratio = a.scale * b.scale / output.scale;
        let (shift, multipliers) = multiplier(&[ratio], 255 * 255).ok_or_else(|| too_wide(layer))?;
        let zero_points = [a.zero_point, b.zero_point];
        let kernel = ProductInt8 { zero_points, shift, multiplier: multipliers[0], zero_point: output.zero_point };
        Ok((kernel.into(), Element::I8(output)))
    }
}

/// int8 product.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductInt8 {
    /// Of either input.
    pub zero_points: [i32; 2],
    /// From the product of two codes to the output's.
    pub shift: u32,
    /// The same.
    pub multiplier: i32,
    /// Of the output.
    pub zero_point: i32,
}

/// Floating-point product.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductFloat {}

parameters! {
    PackedInt8 => ProductInt8 { zero_points: [i32; 2], shift: u32, multiplier: i32, zero_point: i32, }
}
/// It has no parameters but the type of its maps.
struct PackedFloat(Element);

impl KernelOp for ProductInt8 {
    fn describe(&self) -> String {
        "product".into()
    }

    fn donor(&self) -> Donor {
        Donor::Either
    }

    fn exchanged(&self) -> Option<Kernel> {
        let [a, b] = self.zero_points;
        Some(Self { zero_points: [b, a], ..self.clone() }.into())
    }

    fn pack(&self, _: &Call, _: &mut Constants) -> Box<dyn Packed> {
        let Self { zero_points, shift, multiplier, zero_point } = *self;
        Box::new(PackedInt8 { zero_points, shift, multiplier, zero_point })
    }
}

impl KernelOp for ProductFloat {
    fn describe(&self) -> String {
        "product".into()
    }

    fn donor(&self) -> Donor {
        Donor::Either
    }

    fn exchanged(&self) -> Option<Kernel> {
        Some(Self {}.into())
    }

    fn pack(&self, call: &Call, _: &mut Constants) -> Box<dyn Packed> {
        Box::new(PackedFloat(call.element))
    }
}

impl Packed for PackedInt8 {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("ProductInt8", None, &self.tokens(), None)
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

impl Packed for PackedFloat {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("ProductFloat", None, &quote!(g::ProductFloat {}), None)
    }

    fn call(&self, Names { maps, residual, output, .. }: &Names) -> TokenStream {
        let input = &maps[0];
        quote!(KERNEL.run::<I, _>(#input, #residual, #output))
    }

    fn prove(&self, _: &[u8], _: Target) -> Result<(), &'static str> {
        grano::generated::ProductFloat {}.proved().map(drop)
    }

    fn run(&self, _: &[u8], operands: Operands<'_>) {
        let kernel = grano::generated::ProductFloat {}.checked();
        float!(self.0, T => {
            let parts = operands.parts::<T, T, f32, T>();
            machine!(parts.machine, I => kernel.run::<I, T>(parts.maps[0], parts.residual, parts.output));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Embedding, Linear, Sinusoid};
    use super::*;
    use crate::fold::fold;
    use crate::fold::tests::{assert_equal, with_weights};
    use crate::graph::{Builder, Conv2d, LABEL, T, X};

    #[test]
    fn gains_of_time_or_class_multiply_maps_and_each_other() {
        let mut b = Builder::new([1, 4, 4], 2);
        b.node("sinusoid", Sinusoid { dim: 4, max_period: 100.0 }, &[T]);
        b.node("time", Linear { out_features: 3 }, &["sinusoid"]);
        b.node("class", Embedding { dim: 3 }, &[LABEL]);
        b.node("time2", Product {}, &["time", "time"]);
        b.node("class2", Product {}, &["class", "class"]);
        b.node("conv", Conv2d { out_channels: 3, ..Conv2d::same(3) }, &[X]);
        b.node("a", Product {}, &["conv", "time2"]);
        b.node("b", Product {}, &["conv", "class2"]);
        b.node("out", Product {}, &["a", "b"]);
        let network = with_weights(b.finish("out").unwrap());
        assert_equal(&network, &fold(&network, &[5, 9]).unwrap());
    }

    #[test]
    fn what_tables_cannot_hold_is_refused_by_name() {
        let mut b = Builder::new([3, 4, 4], 2);
        b.node("sinusoid", Sinusoid { dim: 4, max_period: 100.0 }, &[T]);
        b.node("class", Embedding { dim: 4 }, &[LABEL]);
        b.node("both", Product {}, &["sinusoid", "class"]);
        b.node("rows", Linear { out_features: 3 }, &["both"]);
        b.node("out", Product {}, &[X, "rows"]);
        let network = with_weights(b.finish("out").unwrap());
        assert!(fold(&network, &[0, 1]).unwrap_err().to_string().starts_with("node `both`"));
        let mut b = Builder::new([3, 4, 4], 0);
        b.node("gate", Linear { out_features: 3 }, &[X]);
        b.node("out", Product {}, &[X, "gate"]);
        let network = with_weights(b.finish("out").unwrap());
        let error = fold(&network, &[0, 1]).unwrap_err().to_string();
        assert!(error.starts_with("node `out`") && error.contains("`gate`"), "{error}");
    }
}
