//! Maps side by side in one: what folding inserts before a layer whose kernel reads fewer maps than the layer.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Evaluation, Kernel, KernelOp, LayerOp};
use crate::error::Result;
use crate::fold::Layer;
use crate::geometry::engine_shape;
use crate::kernel::{Affine, Element};
use crate::lower::Call;
use crate::pack::{Constants, Field, Names, Packed, View, parameters, proved};
use crate::quantize::Quantizer;
use crate::run::{Operands, float, machine};
use crate::target::Target;

/// Maps of equal height and width as one, whose channels follow each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Concat {
    /// The maps, and the channels of each.
    pub inputs: Vec<(String, usize)>,
}

impl Concat {
    fn channels(&self) -> Vec<u32> {
        self.inputs.iter().map(|(_, channels)| *channels as u32).collect()
    }
}

/// The bits of a factor's fraction.
const FRACTION: i32 = 16;

impl LayerOp for Concat {
    fn maps(&self) -> Vec<&str> {
        self.inputs.iter().map(|(input, _)| input.as_str()).collect()
    }

    fn evaluate(&self, _: &Layer, at: &Evaluation<'_>) -> Vec<f32> {
        self.inputs.iter().flat_map(|(input, _)| at.values[input].iter().copied()).collect()
    }

    fn float(&self, _: &Layer, _: Element, _: bool) -> Result<Kernel> {
        Ok(ConcatFloat { channels: self.channels() }.into())
    }

    /// The result's range is the union of the maps' ranges.
    fn integer(&self, _: &Layer, quantizer: &Quantizer<'_>) -> Result<(Kernel, Element)> {
        let codes = self.inputs.iter().map(|(input, _)| quantizer.int8(input)).collect::<Result<Vec<_>>>()?;
        let output = union(&codes);
        let one = f64::from(1 << FRACTION);
        let factors: Vec<i32> =
            codes.iter().map(|code| (code.scale / output.scale * one).round().min(one) as i32).collect();
        let offset = |(code, factor): (&Affine, &i32)| {
            (output.zero_point << FRACTION) - code.zero_point * factor + (1 << (FRACTION - 1))
        };
        let offsets = codes.iter().zip(&factors).map(offset).collect();
        Ok((ConcatInt8 { channels: self.channels(), factors, offsets }.into(), Element::I8(output)))
    }
}

/// The code whose range holds those of all.
fn union(codes: &[Affine]) -> Affine {
    if let [first, others @ ..] = codes
        && others.iter().all(|code| code == first)
    {
        return *first;
    }
    let end = |code: i8, pick: fn(f64, f64) -> f64| codes.iter().map(|of| of.dequantize(code)).fold(0.0, pick) as f32;
    Affine::of_range([end(-128, f64::min), end(127, f64::max)])
}

/// int8 maps side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct ConcatInt8 {
    /// Of each map.
    pub channels: Vec<u32>,
    /// Of each map, in 2⁻¹⁶.
    pub factors: Vec<i32>,
    /// Of each map, in 2⁻¹⁶.
    pub offsets: Vec<i32>,
}

/// Floating-point maps side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct ConcatFloat {
    /// Of each map.
    pub channels: Vec<u32>,
}

parameters! {
    PackedInt8 => ConcatInt8<'a> {
        shape: grano::shape::Shape,
        channels: View<u32>,
        factors: View<i32>,
        offsets: View<i32>,
    }
}
parameters! {
    PackedFloat => ConcatFloat<'a> { shape: grano::shape::Shape, channels: View<u32>, }
}

impl KernelOp for ConcatInt8 {
    fn describe(&self) -> String {
        format!("{} maps side by side", self.channels.len())
    }

    fn pack(&self, call: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        Box::new(PackedInt8 {
            shape: engine_shape(call.shape),
            channels: constants.push(&self.channels),
            factors: constants.push(&self.factors),
            offsets: constants.push(&self.offsets),
        })
    }
}

impl KernelOp for ConcatFloat {
    fn describe(&self) -> String {
        format!("{} maps side by side", self.channels.len())
    }

    fn pack(&self, call: &Call, constants: &mut Constants) -> Box<dyn Packed> {
        let packed = PackedFloat { shape: engine_shape(call.shape), channels: constants.push(&self.channels) };
        Box::new((packed, call.element))
    }
}

impl Packed for PackedInt8 {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("ConcatInt8", None, &self.tokens(), None)
    }

    fn call(&self, Names { maps, output, .. }: &Names) -> TokenStream {
        quote!(KERNEL.run::<I>(&[#(#maps),*], #output))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let parts = operands.parts::<i8, i8, i32, i8>();
        let kernel = self.bind(constants).checked();
        machine!(parts.machine, I => kernel.run::<I>(&parts.maps, parts.output));
    }
}

impl Packed for (PackedFloat, Element) {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("ConcatFloat", None, &self.0.tokens(), None)
    }

    fn call(&self, Names { maps, output, .. }: &Names) -> TokenStream {
        quote!(KERNEL.run(&[#(#maps),*], #output))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.0.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let kernel = self.0.bind(constants).checked();
        float!(self.1, T => {
            let parts = operands.parts::<T, T, f32, T>();
            kernel.run(&parts.maps, parts.output);
        });
    }

    fn uses_isa(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_union_holds_every_code() {
        let [a, b] = [[-1.0, 2.0], [-3.0, 0.5]].map(Affine::of_range);
        assert_eq!(union(&[a, a]), a);
        let both = union(&[a, b]);
        for value in [-3.0, 0.0, 2.0] {
            assert!((both.dequantize(both.quantize(value)) - value).abs() <= both.scale, "{value}");
        }
    }
}
