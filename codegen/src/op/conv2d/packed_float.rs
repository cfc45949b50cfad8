//! Packed floating-point convolutions: their statics, their calls, and how they run in process.

use grano::geometry::Geometry as EngineGeometry;
use half::f16;
use proc_macro2::TokenStream;
use quote::quote;

use super::kernel::{Conv2dFloat, PackedBias};
use super::packed_head::Output;
use crate::kernel::Element;
use crate::lower::Call;
use crate::pack::{Field, Names, Packed, View, parameters, proved};
use crate::run::{Operands, float, machine};
use crate::target::Target;

parameters! {
    DepthwiseFloats => DepthwiseFloat<'a, T> {
        geometry: EngineGeometry,
        weights: View<T>,
        bias: PackedBias<T>,
        activation: grano::kernel::Activation,
    }
}
parameters! {
    Conv2dFloats => Conv2dFloat<'a, T> {
        geometry: EngineGeometry,
        channels: [usize; 2],
        weights: View<T>,
        bias: PackedBias<T>,
        activation: grano::kernel::Activation,
    }
}

/// What floating-point convolutions have in common.
pub(super) struct PackedFloats<T> {
    pub(super) geometry: EngineGeometry,
    pub(super) weights: View<T>,
    pub(super) bias: PackedBias<T>,
}

impl<T> PackedFloats<T> {
    pub(super) fn depthwise(self, activation: grano::kernel::Activation) -> DepthwiseFloats<T> {
        let Self { geometry, weights, bias } = self;
        DepthwiseFloats { geometry, weights, bias, activation }
    }

    fn conv2d(self, kernel: &Conv2dFloat) -> Conv2dFloats<T> {
        let Self { geometry, weights, bias } = self;
        Conv2dFloats { geometry, channels: kernel.channels, weights, bias, activation: kernel.activation }
    }
}

macro_rules! floats {
    ($($element:ident, $conv2d:ident;)*) => {$(
        impl Packed for DepthwiseFloats<$element> {
            fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
                proved("DepthwiseFloat", Some(stringify!($element)), &self.tokens(), None)
            }

            fn call(&self, Names { maps, residual, output, .. }: &Names) -> TokenStream {
                let input = &maps[0];
                quote!(KERNEL.run(condition, #input, #residual, #output))
            }

            fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
                self.bind(constants).proved().map(drop)
            }

            fn run(&self, constants: &[u8], operands: Operands<'_>) {
                let parts = operands.parts::<$element, $element, f32, $element>();
                let kernel = self.bind(constants).checked();
                kernel.run(parts.condition, parts.maps[0], parts.residual, parts.output);
            }

            fn is_conditioned(&self) -> bool {
                true
            }

            fn uses_isa(&self) -> bool {
                false
            }
        }

        /// With the type of the maps that it reads.
        impl Packed for (Conv2dFloats<$element>, Element) {
            fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
                proved("Conv2dFloat", Some(stringify!($element)), &self.0.tokens(), None)
            }

            fn call(&self, names: &Names) -> TokenStream {
                let (pair, Names { residual, scratch, output, .. }) = (names.pair(), names);
                quote!(KERNEL.run::<I, _, _>(condition, #pair, #residual, #scratch, #output))
            }

            fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
                self.0.bind(constants).proved().map(drop)
            }

            fn run(&self, constants: &[u8], operands: Operands<'_>) {
                let kernel = self.0.bind(constants).checked();
                float!(self.1, X => {
                    let parts = operands.parts::<X, $element, f32, $element>();
                    let maps = parts.pair();
                    machine!(parts.machine, I => kernel.run::<I, X, $element>(
                        parts.condition, maps, parts.residual, parts.scratch, parts.output,
                    ));
                });
            }

            fn is_conditioned(&self) -> bool {
                true
            }
        }

        impl Packed for Output<Conv2dFloats<$element>> {
            fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
                self.with_shuffle(proved("Conv2dFloat", Some(stringify!($element)), &self.kernel.tokens(), None))
            }

            fn call(&self, names: &Names) -> TokenStream {
                let (pair, Names { scratch, output, .. }) = (names.pair(), names);
                self.stream(names, |kernel| {
                    quote!(#kernel.run::<I, _, _>(condition, #pair, g::Residual::None, #scratch, #output))
                })
            }

            fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
                self.kernel.bind(constants).proved()?;
                self.prove_shuffle(constants)
            }

            fn run(&self, constants: &[u8], operands: Operands<'_>) {
                let kernel = self.kernel.bind(constants).checked();
                let shuffle = self.shuffle.as_ref().map(|shuffle| shuffle.bind(constants).checked());
                float!(self.reads, X => {
                    let parts = operands.parts::<X, f32, f32, f32>();
                    let maps = parts.pair();
                    machine!(parts.machine, I => kernel.stream::<I, X>(
                        parts.condition, maps, (self.rows, shuffle.as_ref()), parts.scratch, parts.output, parts.put,
                    ));
                });
            }

            fn is_conditioned(&self) -> bool {
                true
            }
        }

        pub(super) fn $conv2d(floats: PackedFloats<$element>, kernel: &Conv2dFloat, call: &Call) -> Box<dyn Packed> {
            let packed = floats.conv2d(kernel);
            if kernel.is_head { Box::new(Output::new(packed, call)) } else { Box::new((packed, call.reads)) }
        }
    )*};
}
floats! {
    f16, conv2d_float_f16;
    f32, conv2d_float_f32;
}
