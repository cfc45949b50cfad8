//! Element-wise functions: by themselves, or fused into the layer before.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use serde::{Deserialize, Serialize};

use super::{At, Donor, Evaluation, Folding, Kernel, KernelOp, LayerOp, Operation, one, positive, wrong};
use crate::backward::Tape;
use crate::error::{Error, Result};
use crate::fold::{Layer, Node};
use crate::graph::{self, Product, Shape};
use crate::kernel::Element;
use crate::lower::Call;
use crate::pack::{Array, Constants, Field, Names, Packed, parameters, proved};
use crate::quantize::Quantizer;
use crate::run::{Operands, float};
use crate::target::Target;

mod tables;

pub(crate) use tables::{Table, fine_index, fine_target, target};

/// An element-wise function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// Which one.
    pub function: Function,
}

/// Which element-wise function.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// x / (1 + e^−x).
    Silu,
    /// SiLU, but at most `limit`: bounded, so that eight bits are enough for it.
    ClippedSilu {
        /// The largest value, above 0.
        limit: f64,
    },
    /// max(x, 0).
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// 1 / (1 + e^−x).
    Sigmoid,
    /// x·Φ(x), Φ being the normal distribution's function (Hendrycks and Gimpel 2016).
    Gelu,
    /// ½x·(1 + tanh(√(2/π)·(x + 0.044715x³))), which is near [`Self::Gelu`] (PyTorch's `approximate="tanh"`).
    GeluTanh,
    /// The derivative of [`Self::Silu`].
    SiluSlope,
    /// The derivative of [`Self::Relu`]: 1 above 0, else 0.
    ReluSlope,
    /// The derivative of [`Self::Tanh`].
    TanhSlope,
    /// The derivative of [`Self::Sigmoid`].
    SigmoidSlope,
    /// The derivative of [`Self::Gelu`].
    GeluSlope,
    /// The derivative of [`Self::GeluTanh`].
    GeluTanhSlope,
}

/// √(8/π).
const SQRT_8_OVER_PI: f64 = FRAC_2_SQRT_PI * std::f64::consts::SQRT_2;

impl Function {
    /// The function's value, in f64 with `libm`, so that every build machine agrees.
    #[must_use]
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Silu => x / (1.0 + libm::exp(-x)),
            Self::ClippedSilu { limit } => Self::Silu.apply(x).min(limit),
            Self::Relu => x.max(0.0),
            Self::Tanh => libm::tanh(x),
            Self::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
            // erfc, because 1 + erf loses every digit far to the left.
            Self::Gelu => 0.5 * x * libm::erfc(-x * FRAC_1_SQRT_2),
            // ½(1 + tanh u) is the sigmoid of 2u.
            Self::GeluTanh => x * Self::Sigmoid.apply(SQRT_8_OVER_PI * (x + 0.044_715 * x * x * x)),
            // σ′(v) = σ(v)·σ(−v) keeps its digits where σ(v) is near 1.
            Self::SiluSlope => Self::Sigmoid.apply(x) + x * Self::SigmoidSlope.apply(x),
            Self::ReluSlope => f64::from(u8::from(x > 0.0)),
            Self::TanhSlope => 4.0 * Self::SigmoidSlope.apply(2.0 * x),
            Self::SigmoidSlope => Self::Sigmoid.apply(x) * Self::Sigmoid.apply(-x),
            Self::GeluSlope => {
                let density = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * libm::exp(-0.5 * x * x);
                0.5 * libm::erfc(-x * FRAC_1_SQRT_2) + x * density
            }
            Self::GeluTanhSlope => {
                let v = SQRT_8_OVER_PI * (x + 0.044_715 * x * x * x);
                let rise = SQRT_8_OVER_PI * (1.0 + 3.0 * 0.044_715 * x * x);
                Self::Sigmoid.apply(v) + x * rise * Self::SigmoidSlope.apply(v)
            }
        }
    }

    /// The derivative; none of a derivative, and none of a function that has a limit.
    #[must_use]
    pub fn slope(self) -> Option<Self> {
        match self {
            Self::Silu => Some(Self::SiluSlope),
            Self::Relu => Some(Self::ReluSlope),
            Self::Tanh => Some(Self::TanhSlope),
            Self::Sigmoid => Some(Self::SigmoidSlope),
            Self::Gelu => Some(Self::GeluSlope),
            Self::GeluTanh => Some(Self::GeluTanhSlope),
            Self::ClippedSilu { .. }
            | Self::SiluSlope
            | Self::ReluSlope
            | Self::TanhSlope
            | Self::SigmoidSlope
            | Self::GeluSlope
            | Self::GeluTanhSlope => None,
        }
    }
}

impl Operation for Activation {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        if let Function::ClippedSilu { limit } = self.function {
            positive(node, "a limit", limit)?;
        }
        match one(node, inputs, "one map or vector")? {
            shape @ (Shape::Map(_) | Shape::Vector(_)) => Ok(*shape),
            _ => Err(wrong(node, inputs, "one map or vector")),
        }
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        at.inputs[0].iter().map(|&v| self.function.apply(v.into()) as f32).collect()
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        let Some(rows) = node.rows(0) else {
            return Ok(Folding::layer(Apply { input: node.input(0).into(), function: self.function }));
        };
        let mut rows = rows.clone();
        if rows.steps.len() > 1 && !rows.classes.is_empty() {
            return Err(Error::node(
                node.name(),
                "a non-linear function of time and class together; apply it to each and add the results, so that tables stay small",
            ));
        }
        if !rows.classes.is_empty() {
            let constant = std::mem::replace(&mut rows.steps, vec![vec![0.0; rows.classes[0].len()]]);
            let add = |row: &mut Vec<f64>| row.iter_mut().zip(&constant[0]).for_each(|(v, c)| *v += c);
            rows.classes.iter_mut().for_each(add);
        }
        let chosen = if rows.classes.is_empty() { &mut rows.steps } else { &mut rows.classes };
        chosen.iter_mut().flatten().for_each(|v| *v = self.function.apply(*v));
        Ok(Folding::Rows(rows))
    }

    fn backward(&self, mut tape: Tape<'_>, node: &graph::Node, input: usize, gradient: &str) -> Result<String> {
        let read = &node.inputs[input];
        let slope = match self.function {
            // That of SiLU where SiLU lies below the limit.
            Function::ClippedSilu { limit } => {
                let silu = tape.node("silu", Self { function: Function::Silu }, &[read], &[]);
                let slope = tape.node("slope", Self { function: Function::SiluSlope }, &[read], &[]);
                let below = tape.below("below", &silu, read, limit as f32);
                let step = tape.node("step", Self { function: Function::ReluSlope }, &[&below], &[]);
                tape.node("clipped", Product {}, &[&slope, &step], &[])
            }
            function => {
                let Some(function) = function.slope() else {
                    return Err(Error::node(&node.name, "no backward pass for a derivative"));
                };
                tape.node("slope", Self { function }, &[read], &[])
            }
        };
        Ok(tape.node("activation", Product {}, &[gradient, &slope], &[]))
    }
}

/// An activation that is a layer of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Apply {
    /// The map.
    pub input: String,
    /// The function.
    pub function: Function,
}

impl LayerOp for Apply {
    fn maps(&self) -> Vec<&str> {
        vec![&self.input]
    }

    fn evaluate(&self, _: &Layer, at: &Evaluation<'_>) -> Vec<f32> {
        at.values[&self.input].iter().map(|&v| self.function.apply(v.into()) as f32).collect()
    }

    fn float(&self, _: &Layer, _: Element, _: bool) -> Result<Kernel> {
        Ok(ActivationFloat { function: self.function }.into())
    }

    fn integer(&self, _: &Layer, quantizer: &Quantizer<'_>) -> Result<(Kernel, Element)> {
        let output = quantizer.output()?;
        let table = tables::table(self.function, quantizer.int8(&self.input)?, output);
        Ok((ActivationInt8 { table }.into(), Element::I8(output)))
    }
}

/// The activation in the engine's terms, for generated code.
pub(crate) fn float_activation(function: Option<Function>) -> grano::kernel::Activation {
    use grano::kernel::Activation;
    match function {
        None => Activation::Identity,
        Some(Function::Silu) => Activation::Silu,
        Some(Function::ClippedSilu { limit }) => Activation::ClippedSilu(limit as f32),
        Some(Function::Relu) => Activation::Relu,
        Some(Function::Tanh) => Activation::TANH,
        Some(Function::Sigmoid) => Activation::SIGMOID,
        Some(Function::Gelu) => Activation::GELU,
        Some(Function::GeluTanh) => Activation::GELU_TANH,
        Some(Function::SiluSlope) => Activation::SILU_SLOPE,
        Some(Function::ReluSlope) => Activation::RELU_SLOPE,
        Some(Function::TanhSlope) => Activation::TANH_SLOPE,
        Some(Function::SigmoidSlope) => Activation::SIGMOID_SLOPE,
        Some(Function::GeluSlope) => Activation::GELU_SLOPE,
        Some(Function::GeluTanhSlope) => Activation::GELU_TANH_SLOPE,
    }
}

impl Field for grano::kernel::Activation {
    type Bound<'a> = Self;

    fn tokens(&self) -> TokenStream {
        match self {
            Self::Identity => quote!(g::Activation::Identity),
            Self::Relu => quote!(g::Activation::Relu),
            Self::Silu => quote!(g::Activation::Silu),
            Self::ClippedSilu(limit) => quote!(g::Activation::ClippedSilu(#limit)),
            Self::Function(function) => {
                let name = Ident::new(&function.name().to_ascii_uppercase(), Span::call_site());
                quote!(g::Activation::#name)
            }
        }
    }

    fn bind(&self, _: &[u8]) -> Self {
        *self
    }
}

/// int8 function: input + 128 to output.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationInt8 {
    /// Input + 128 to output.
    pub table: [i8; 256],
}

/// Floating-point function.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationFloat {
    /// Which one.
    pub function: Function,
}

parameters! {
    PackedInt8 => ActivationInt8<'a> { table: Array<i8, 256>, }
}
parameters! {
    PackedFloat => ActivationFloat { activation: grano::kernel::Activation, }
}

impl KernelOp for ActivationInt8 {
    fn describe(&self) -> String {
        "activation".into()
    }

    fn donor(&self) -> Donor {
        Donor::First
    }

    fn pack(&self, _: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        Box::new(PackedInt8 { table: constants.array(&self.table) })
    }
}

impl KernelOp for ActivationFloat {
    fn describe(&self) -> String {
        "activation".into()
    }

    fn donor(&self) -> Donor {
        Donor::First
    }

    fn pack(&self, call: &Call, _: &mut Constants) -> Box<dyn Packed> {
        Box::new((PackedFloat { activation: float_activation(Some(self.function)) }, call.element))
    }
}

impl Packed for PackedInt8 {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("ActivationInt8", None, &self.tokens(), None)
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
        proved("ActivationFloat", None, &self.0.tokens(), None)
    }

    fn call(&self, Names { source, output, .. }: &Names) -> TokenStream {
        quote!(KERNEL.run(#source, #output))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.0.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let kernel = self.0.bind(constants).checked();
        float!(self.1, T => {
            let parts = operands.parts::<T, T, f32, T>();
            kernel.run(parts.source, parts.output);
        });
    }

    fn uses_isa(&self) -> bool {
        false
    }
}
