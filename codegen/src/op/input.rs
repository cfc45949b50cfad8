//! How a network's inputs come into its arena: quantised, or as they are.

use half::f16;
use proc_macro2::TokenStream;
use quote::quote;

use super::{Kernel, KernelOp};
use crate::kernel::Element;
use crate::lower::Call;
use crate::pack::{Constants, Field, Names, Packed, parameters, proved};
use crate::run::{Operands, codes};
use crate::target::Target;

/// f32 to int16 or int8.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantize {
    /// Steps per unit.
    pub inverse_scale: f32,
    /// The code of 0.
    pub zero_point: i32,
}

/// f32 to f32 or f16.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {}

parameters! {
    PackedQuantize => Quantize { inverse_scale: f32, zero_point: i32, }
}

impl Quantize {
    /// Of an input that is stored so.
    pub(crate) fn to(element: Element) -> Option<Kernel> {
        match element {
            Element::I8(affine) | Element::I16 { affine, .. } => {
                Some(Self { inverse_scale: (1.0 / affine.scale) as f32, zero_point: affine.zero_point }.into())
            }
            Element::I32 | Element::F16 | Element::F32 => None,
        }
    }
}

impl KernelOp for Quantize {
    fn describe(&self) -> String {
        "f32 to integers".into()
    }

    fn pack(&self, call: &Call, _: &mut Constants) -> Box<dyn Packed> {
        Box::new((PackedQuantize { inverse_scale: self.inverse_scale, zero_point: self.zero_point }, call.element))
    }
}

impl Packed for (PackedQuantize, Element) {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("Quantize", None, &self.0.tokens(), None)
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
        codes!(self.1, Y => {
            let parts = operands.parts::<i8, i8, i32, Y>();
            kernel.run(parts.input, parts.output);
        });
    }

    fn uses_isa(&self) -> bool {
        false
    }
}

impl KernelOp for Load {
    fn describe(&self) -> String {
        "f32 as it is".into()
    }

    fn pack(&self, call: &Call, _: &mut Constants) -> Box<dyn Packed> {
        Box::new(PackedLoad(call.element))
    }
}

/// Its output's type.
struct PackedLoad(Element);

impl Packed for PackedLoad {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        [quote!(g::Load), quote!(g::Load)]
    }

    fn call(&self, Names { maps, output, .. }: &Names) -> TokenStream {
        let input = &maps[0];
        quote!(KERNEL.run(#input, #output))
    }

    fn prove(&self, _: &[u8], _: Target) -> Result<(), &'static str> {
        Ok(())
    }

    fn run(&self, _: &[u8], operands: Operands<'_>) {
        if self.0 == Element::F16 {
            let parts = operands.parts::<f16, f16, f32, f16>();
            grano::generated::Load.run(parts.input, parts.output);
        } else {
            let parts = operands.parts::<f32, f32, f32, f32>();
            grano::generated::Load.run(parts.input, parts.output);
        }
    }

    fn uses_isa(&self) -> bool {
        false
    }
}
