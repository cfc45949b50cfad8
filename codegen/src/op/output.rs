//! How a value that no head hands out leaves the network: as f32, some rows at a time.

use half::f16;
use proc_macro2::TokenStream;
use quote::quote;

use super::KernelOp;
use crate::kernel::Element;
use crate::lower::Call;
use crate::pack::{Constants, Field, Names, Packed, parameters, proved};
use crate::run::{Operands, codes};
use crate::target::Target;

/// Codes or floats to f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// The value of a unit; 1 for floats.
    pub scale: f32,
    /// The code of 0; 0 for floats.
    pub zero_point: i32,
}

impl Store {
    /// Of a value that is stored so.
    pub(crate) fn of(element: Element) -> Self {
        match element {
            Element::I8(affine) | Element::I16 { affine, .. } => {
                Self { scale: affine.scale as f32, zero_point: affine.zero_point }
            }
            Element::I32 | Element::F16 | Element::F32 => Self { scale: 1.0, zero_point: 0 },
        }
    }
}

parameters! {
    PackedStore => Store { scale: f32, zero_point: i32, }
}

impl KernelOp for Store {
    fn describe(&self) -> String {
        "to f32".into()
    }

    fn pack(&self, call: &Call, _: &mut Constants) -> Box<dyn Packed> {
        let output = call.head.as_ref().map_or(0, |head| head.output);
        Box::new((PackedStore { scale: self.scale, zero_point: self.zero_point }, call.reads, output))
    }
}

impl Packed for (PackedStore, Element, usize) {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("Store", None, &self.0.tokens(), None)
    }

    fn call(&self, Names { maps, output, .. }: &Names) -> TokenStream {
        let (input, port) = (&maps[0], self.2);
        let run = match self.1 {
            Element::I8(_) | Element::I16 { .. } => quote!(codes),
            _ => quote!(floats),
        };
        quote!(KERNEL.#run(#input, #output, &mut |first, values| io.outputs.put(#port, first, values)))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.0.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let kernel = self.0.bind(constants).checked();
        match self.1 {
            Element::I8(_) | Element::I16 { .. } => codes!(self.1, X => {
                let parts = operands.parts::<X, i8, i32, f32>();
                kernel.codes(parts.maps[0], parts.output, parts.put);
            }),
            Element::F16 => {
                let parts = operands.parts::<f16, f16, f32, f32>();
                kernel.floats(parts.maps[0], parts.output, parts.put);
            }
            Element::F32 | Element::I32 => {
                let parts = operands.parts::<f32, f32, f32, f32>();
                kernel.floats(parts.maps[0], parts.output, parts.put);
            }
        }
    }

    fn uses_isa(&self) -> bool {
        false
    }
}
