//! A scale and a shift a channel, of time and class: feature-wise linear modulation.

use half::f16;
use proc_macro2::TokenStream;
use quote::quote;
use serde::{Deserialize, Serialize};

use super::conv2d::kernel::PackedBias;
use super::{
    At, Donor, Evaluation, Folding, Kernel, KernelOp, LayerOp, Operation, Table, float_activation, target, wrong,
};
use crate::backward::Tape;
use crate::error::{Error, Result};
use crate::fold::{FusedActivation, Layer, Node, Rows};
use crate::geometry::engine_shape;
use crate::graph::{self, Function, Shape};
use crate::kernel::{Element, halves};
use crate::lower::Call;
use crate::pack::{Array, Constants, Field, Names, Packed, View, parameters, proved};
use crate::quantize::{Quantizer, check_stored};
use crate::run::{Operands, machine};
use crate::target::Target;

/// A map times 1 plus a vector `[channels]`, plus another: x · (1 + scale) + shift, the inputs being x, scale and shift
/// (FiLM; Perez et al. 2018). After a group normalisation it is adaptive group normalisation (Dhariwal & Nichol 2021).
/// Scale and shift must come from time and class alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleShift {}

impl Operation for ScaleShift {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [map @ Shape::Map([c, ..]), Shape::Vector(scale), Shape::Vector(shift)] if c == scale && c == shift => {
                Ok(*map)
            }
            _ => Err(wrong(node, inputs, "a map and two vectors, scale and shift, with an element per channel")),
        }
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        let area = at.channels(0)[1];
        let value = |(i, &x): (usize, &f32)| {
            let [scale, shift] = [1, 2].map(|input| f64::from(at.inputs[input][i / area]));
            (f64::from(x) * (1.0 + scale) + shift) as f32
        };
        at.inputs[0].iter().enumerate().map(value).collect()
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        let ones = Rows::constant(&vec![1.0; node.map(0)?[0]]);
        let gains = ones.plus(node.rows_of_vector(1)?);
        Ok(Folding::layer(ScaleShiftRows::new(node.input(0), gains, node.rows_of_vector(2)?.clone())))
    }

    fn backward(&self, mut tape: Tape<'_>, node: &graph::Node, input: usize, gradient: &str) -> Result<String> {
        if input > 0 {
            return Err(Error::node(&node.name, "scale and shift must come from time and class alone"));
        }
        let scale = &node.inputs[1];
        let [channels, ..] = tape.map(scale);
        let none = tape.linear("none", scale, vec![0.0; channels * channels], channels);
        Ok(tape.node("scale", Self {}, &[gradient, scale, &none], &[]))
    }
}

/// activation(input · gain rows + shift rows), channel by channel.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleShiftRows {
    /// The map.
    pub input: String,
    /// What every channel is multiplied by.
    pub gains: Rows,
    /// What is added then.
    pub shifts: Rows,
    /// What is applied last.
    pub activation: Option<FusedActivation>,
}

impl ScaleShiftRows {
    pub(crate) fn new(input: &str, gains: Rows, shifts: Rows) -> Self {
        Self { input: input.into(), gains, shifts, activation: None }
    }
}

/// Gains and shifts followed by others, as one; none where that takes more than rows of steps and classes.
pub(super) fn compose([gains, shifts]: [&Rows; 2], [later_gains, later_shifts]: [&Rows; 2]) -> Option<[Rows; 2]> {
    Some([gains.product(later_gains)?, shifts.product(later_gains)?.plus(later_shifts)])
}

impl LayerOp for ScaleShiftRows {
    fn maps(&self) -> Vec<&str> {
        vec![&self.input]
    }

    fn evaluate(&self, layer: &Layer, at: &Evaluation<'_>) -> Vec<f32> {
        let area = layer.shape[1] * layer.shape[2];
        let [gains, shifts] = [&self.gains, &self.shifts].map(|rows| rows.at(at.step, at.class));
        let value = |(i, &v): (usize, &f32)| (f64::from(v) * gains[i / area] + shifts[i / area]) as f32;
        at.values[&self.input].iter().enumerate().map(value).collect()
    }

    fn activation(&self) -> Option<&FusedActivation> {
        self.activation.as_ref()
    }

    fn scale_and_shift(&mut self, gains: &Rows, shifts: &Rows) -> bool {
        let composed = compose([&self.gains, &self.shifts], [gains, shifts]).filter(|_| self.activation.is_none());
        composed.map(|[gains, shifts]| (self.gains, self.shifts) = (gains, shifts)).is_some()
    }

    fn activate(&mut self, activation: FusedActivation) -> bool {
        self.activation.is_none() && self.activation.replace(activation).is_none()
    }

    fn float(&self, layer: &Layer, stored: Element, _: bool) -> Result<Kernel> {
        let activation = self.activation.as_ref().map(|activation| activation.function);
        let rows = self.gains.beside(&self.shifts).flat();
        rows.iter().try_for_each(|rows| check_stored(layer, "gain or shift", rows, stored))?;
        Ok(ScaleShiftFloat { rows, activation }.into())
    }

    /// Scales and zero points of input and output go into gains and offsets.
    fn integer(&self, layer: &Layer, quantizer: &Quantizer<'_>) -> Result<(Kernel, Element)> {
        let output = quantizer.output()?;
        let (target, table) = target(output, self.activation.as_ref(), quantizer.ranges)?;
        let input = quantizer.int8(&self.input)?;
        let [ratio, zero_point] = [input.scale / target.scale, f64::from(input.zero_point)];
        let gains = self.gains.each(|gain| gain * ratio, |gain| gain * ratio);
        let moved = gains.each(|gain| -gain * zero_point, |gain| -gain * zero_point);
        let shifts = self.shifts.each(|shift| shift / target.scale, |shift| shift / target.scale).plus(&moved);
        let offsets = shifts.each(|offset| offset + f64::from(target.zero_point), |offset| offset);
        let rows = gains.beside(&offsets).flat();
        rows.iter()
            .try_for_each(|rows| check_stored(layer, "gain or shift in units of its output", rows, Element::F32))?;
        Ok((ScaleShiftInt8 { rows, table }.into(), Element::I8(output)))
    }
}

/// int8 gains and offsets.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleShiftInt8 {
    /// `[steps][2][channels]` and `[classes + 1][2][channels]`, in units of the output, or of the table's index.
    pub rows: [Vec<f32>; 2],
    /// Index + 512 to output.
    pub table: Option<Table>,
}

/// Floating-point gains and offsets.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleShiftFloat {
    /// `[steps][2][channels]` and `[classes + 1][2][channels]`.
    pub rows: [Vec<f32>; 2],
    /// What is applied last.
    pub activation: Option<Function>,
}

parameters! {
    PackedInt8 => ScaleShiftInt8<'a> {
        shape: grano::shape::Shape,
        rows: PackedBias<f32>,
        table: Option<Array<i8, 1024>>,
    }
}
parameters! {
    PackedFloat => ScaleShiftFloat<'a, T> {
        shape: grano::shape::Shape,
        rows: PackedBias<T>,
        activation: grano::kernel::Activation,
    }
}

/// Rows among the constants.
pub(super) fn pack_rows<T>([steps, classes]: &[Vec<f32>; 2], mut push: impl FnMut(&[f32]) -> View<T>) -> PackedBias<T> {
    PackedBias { steps: push(steps), classes: push(classes) }
}

impl KernelOp for ScaleShiftInt8 {
    fn describe(&self) -> String {
        "scale and shift".into()
    }

    fn donor(&self) -> Donor {
        Donor::First
    }

    fn scratch(&self, [channels, ..]: [usize; 3], _: Target) -> Option<(Element, usize)> {
        Some((Element::I32, 2 * channels))
    }

    fn row_elements(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    fn pack(&self, call: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        Box::new(PackedInt8 {
            shape: engine_shape(call.shape),
            rows: pack_rows(&self.rows, |values| constants.push(values)),
            table: self.table.as_ref().map(|table| constants.array(table)),
        })
    }
}

impl KernelOp for ScaleShiftFloat {
    fn describe(&self) -> String {
        "scale and shift".into()
    }

    fn donor(&self) -> Donor {
        Donor::First
    }

    fn row_elements(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    fn pack(&self, call: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        let (shape, activation) = (engine_shape(call.shape), float_activation(self.activation));
        if call.element == Element::F16 {
            let rows = pack_rows(&self.rows, |values| constants.push(&halves(values)));
            Box::new(PackedFloat { shape, rows, activation })
        } else {
            let rows = pack_rows(&self.rows, |values| constants.push(values));
            Box::new(PackedFloat { shape, rows, activation })
        }
    }
}

impl Packed for PackedInt8 {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("ScaleShiftInt8", None, &self.tokens(), None)
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
}

macro_rules! packed_float {
    ($($element:ident),*) => {$(
        impl Packed for PackedFloat<$element> {
            fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
                proved("ScaleShiftFloat", Some(stringify!($element)), &self.tokens(), None)
            }

            fn call(&self, Names { source, output, .. }: &Names) -> TokenStream {
                quote!(KERNEL.run::<I, _>(condition, #source, #output))
            }

            fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
                self.bind(constants).proved().map(drop)
            }

            fn run(&self, constants: &[u8], operands: Operands<'_>) {
                let parts = operands.parts::<$element, $element, f32, $element>();
                let kernel = self.bind(constants).checked();
                machine!(parts.machine, I => kernel.run::<I, $element>(parts.condition, parts.source, parts.output));
            }

            fn is_conditioned(&self) -> bool {
                true
            }
        }
    )*};
}
packed_float!(f16, f32);
