//! The parameters of a layer's kernel: the initialiser of its static.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

use super::layer::Emitter;
use super::tokens::{float_activation, shape};
use crate::algorithm::Algorithm;
use crate::kernel::{Element, Kernel};
use crate::lower::Call;

impl Emitter<'_> {
    /// The name of the kernel's type, and a value of it.
    pub(super) fn parameters(&mut self, call: &Call) -> (&'static str, TokenStream) {
        let isa = Ident::new(self.isa, Span::call_site());
        match &call.kernel {
            Kernel::Quantize { inverse_scale } => ("Quantize", quote!(Quantize { inverse_scale: #inverse_scale })),
            Kernel::Conv2dInt8 { sums, residual_multipliers, requantize, table } => {
                let algorithm = call.algorithm();
                let sums = self.sums(sums, algorithm);
                let epilogue = self.epilogue(residual_multipliers, requantize, table.as_ref());
                let (kind, group) = match algorithm {
                    Algorithm::Direct => ("Conv2dInt8", None),
                    Algorithm::Winograd => ("WinogradInt8", None),
                    Algorithm::WinogradInRam { group } => ("WinogradInRamInt8", Some(quote!(, group: #group))),
                };
                let name = Ident::new(kind, Span::call_site());
                (kind, quote!(#name { sums: #sums, epilogue: #epilogue #group }.checked::<#isa>()))
            }
            Kernel::Conv2dFine { sums, residual_multipliers, residual_zero_point, requantize, table } => {
                self.used.extend(["FineEpilogue", "Residual"]);
                let algorithm = call.algorithm();
                let (sums, requantize) = (self.sums(sums, algorithm), self.requantize(requantize));
                let residual_multipliers = self.integers(residual_multipliers);
                let table = table.as_ref().map_or(quote!(None), |table| {
                    let table = self.words(table);
                    quote!(Some(#table))
                });
                let (kind, group) = match algorithm {
                    Algorithm::Direct => ("Conv2dFine", None),
                    Algorithm::Winograd => ("WinogradFine", None),
                    Algorithm::WinogradInRam { group } => ("WinogradInRamFine", Some(quote!(group: #group))),
                };
                let name = Ident::new(kind, Span::call_site());
                let value = quote! {
                    #name {
                        sums: #sums,
                        epilogue: FineEpilogue {
                            residual_multipliers: #residual_multipliers,
                            residual_zero_point: #residual_zero_point,
                            requantize: #requantize,
                            table: #table,
                        },
                        #group
                    }.checked::<#isa>()
                };
                (kind, value)
            }
            Kernel::Conv2dInt8Head { sums, scales } => {
                let (sums, scales) = (self.sums(sums, Algorithm::Direct), self.floats(scales, Element::F32));
                ("Conv2dInt8Head", quote!(Conv2dInt8Head { sums: #sums, scales: #scales }.checked::<#isa>()))
            }
            Kernel::DepthwiseInt8 { sums, residual_multipliers, requantize, table } => {
                let (geometry, zero_point) = (self.geometry(&sums.geometry), sums.zero_points[0]);
                let weights = self.bytes(&sums.weights);
                let [steps, classes] = [self.integers(&sums.bias[0]), self.integers(&sums.bias[1])];
                let epilogue = self.epilogue(residual_multipliers, requantize, table.as_ref());
                let value = quote! {
                    DepthwiseInt8 {
                        geometry: #geometry,
                        zero_point: #zero_point,
                        weights: #weights,
                        bias: Bias { steps: #steps, classes: #classes },
                        epilogue: #epilogue,
                    }.checked()
                };
                ("DepthwiseInt8", value)
            }
            Kernel::DepthwiseFloat { geometry, weights, bias, activation } => {
                let fields = self.float_convolution(geometry, weights, bias, *activation);
                ("DepthwiseFloat", quote!(DepthwiseFloat { #fields }.checked()))
            }
            Kernel::GroupNormInt8 { groups, eps, gains, offsets, table } => {
                let shape = shape(call.shape);
                let [gains, offsets] = [gains, offsets].map(|values| self.floats(values, Element::F32));
                let table = self.fused_table(table.as_ref());
                let value = quote! {
                    GroupNormInt8 {
                        shape: #shape,
                        groups: #groups,
                        eps: #eps,
                        gains: #gains,
                        offsets: #offsets,
                        table: #table,
                    }.checked()
                };
                ("GroupNormInt8", value)
            }
            Kernel::GroupNormFloat { groups, eps, weight, bias, activation } => {
                let (shape, activation) = (shape(call.shape), float_activation(*activation));
                let [weight, bias] = [weight, bias].map(|values| self.floats(values, self.float));
                self.used.insert("Activation");
                self.used.extend((self.float == Element::F16).then_some("f16"));
                let value = quote! {
                    GroupNormFloat {
                        shape: #shape,
                        groups: #groups,
                        eps: #eps,
                        weight: #weight,
                        bias: #bias,
                        activation: #activation,
                    }.checked()
                };
                ("GroupNormFloat", value)
            }
            Kernel::AttentionInt8 { heads, q_zero_point, score: (shift, multiplier), exp, ratio, offset } => {
                let shape = shape(call.shape);
                let exp = self.words(exp);
                let value = quote! {
                    AttentionInt8 {
                        shape: #shape,
                        heads: #heads,
                        q_zero_point: #q_zero_point,
                        shift: #shift,
                        multiplier: #multiplier,
                        exp: #exp,
                        ratio: #ratio,
                        offset: #offset,
                    }.checked()
                };
                ("AttentionInt8", value)
            }
            Kernel::AttentionFloat { heads, scale } => {
                let shape = shape(call.shape);
                ("AttentionFloat", quote!(AttentionFloat { shape: #shape, heads: #heads, scale: #scale }.checked()))
            }
            Kernel::Conv2dFloat { geometry, channels: [first, second], weights, bias, activation } => {
                let fields = self.float_convolution(geometry, weights, bias, *activation);
                ("Conv2dFloat", quote!(Conv2dFloat { channels: [#first, #second], #fields }.checked()))
            }
            Kernel::DepthToSpace { input, block } => {
                let input = shape(*input);
                ("DepthToSpace", quote!(DepthToSpace { input: #input, block: #block }.checked()))
            }
            Kernel::AddInt8 { multipliers: [a, b], bias, requantize } => {
                let (shift, multiplier, zero_point) =
                    (requantize.shift, requantize.multipliers[0], requantize.zero_point);
                let value = quote! {
                    AddInt8 { multipliers: [#a, #b], bias: #bias, shift: #shift, multiplier: #multiplier, zero_point: #zero_point }.checked()
                };
                ("AddInt8", value)
            }
            Kernel::AddFloat => {
                self.used.insert("Activation");
                ("AddFloat", quote!(AddFloat { activation: Activation::Identity }))
            }
            Kernel::ActivationInt8 { table } => {
                let table = self.table(table);
                ("ActivationInt8", quote!(ActivationInt8 { table: #table }))
            }
            Kernel::ActivationFloat { function } => {
                self.used.insert("Activation");
                let activation = float_activation(Some(*function));
                ("ActivationFloat", quote!(ActivationFloat { activation: #activation }))
            }
        }
    }
}
