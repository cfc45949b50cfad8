//! Constants in `model.bin`, and the expressions that read them.

use half::f16;
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

use super::layer::Emitter;
use super::tokens::{float_activation, shape};
use crate::algorithm::Algorithm;
use crate::graph::Function;
use crate::kernel::{Element, Requantize, Sums, Table};
use crate::reference::Geometry;

impl Emitter<'_> {
    /// Where the next constant begins.
    fn begin(&mut self) -> usize {
        let offset = self.constants.len().next_multiple_of(self.target.align());
        self.constants.resize(offset, 0);
        offset
    }

    pub(super) fn view(&mut self, values: impl IntoIterator<Item = impl AsRef<[u8]>>) -> TokenStream {
        let (offset, mut count) = (self.begin(), 0usize);
        for value in values {
            self.constants.extend_from_slice(value.as_ref());
            count += 1;
        }
        if count == 0 { quote!(&[]) } else { quote!(MODEL.view(#offset, #count)) }
    }

    pub(super) fn integers(&mut self, values: &[i32]) -> TokenStream {
        self.view(values.iter().map(|v| v.to_le_bytes()))
    }

    pub(super) fn bytes(&mut self, values: &[i8]) -> TokenStream {
        self.view(values.iter().map(|v| v.to_le_bytes()))
    }

    pub(super) fn floats(&mut self, values: &[f32], element: Element) -> TokenStream {
        match element {
            Element::F16 => self.view(values.iter().map(|&v| f16::from_f32(v).to_le_bytes())),
            _ => self.view(values.iter().map(|v| v.to_le_bytes())),
        }
    }

    /// An epilogue's static.
    pub(super) fn epilogue(&mut self, residual: &[i32], requantize: &Requantize, table: Option<&Table>) -> TokenStream {
        self.used.extend(["Epilogue", "Residual"]);
        let (requantize, residual, table) =
            (self.requantize(requantize), self.integers(residual), self.fused_table(table));
        quote!(Epilogue { residual_multipliers: #residual, requantize: #requantize, table: #table })
    }

    pub(super) fn fused_table(&mut self, table: Option<&Table>) -> TokenStream {
        table.map_or(quote!(None), |table| {
            let table = self.table(table);
            quote!(Some(#table))
        })
    }

    pub(super) fn table<const N: usize>(&mut self, table: &[i8; N]) -> TokenStream {
        let offset = self.begin();
        self.constants.extend(table.iter().map(|&v| v as u8));
        quote!(&MODEL.view::<[i8; #N]>(#offset, 1)[0])
    }

    /// An array of int16.
    pub(super) fn words<const N: usize>(&mut self, values: &[i16; N]) -> TokenStream {
        let offset = self.begin();
        self.constants.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        quote!(&MODEL.view::<[i16; #N]>(#offset, 1)[0])
    }

    pub(super) fn sums(&mut self, sums: &Sums, algorithm: Algorithm) -> TokenStream {
        let name = if algorithm == Algorithm::Direct { "Sums" } else { "WinogradSums" };
        self.used.insert(name);
        let name = Ident::new(name, Span::call_site());
        let geometry = self.geometry(&sums.geometry);
        let weights = match algorithm {
            Algorithm::Direct => self.packed(&sums.weights, &sums.geometry.engine()),
            Algorithm::Winograd => self.transformed(sums),
            Algorithm::WinogradInRam { .. } => self.untransformed(sums),
        };
        let [steps, classes] = [self.integers(&sums.bias[0]), self.integers(&sums.bias[1])];
        let ([first, second], [zero_point, second_zero_point]) = (sums.channels, sums.zero_points);
        quote! {
            #name {
                geometry: #geometry,
                channels: [#first, #second],
                zero_points: [#zero_point, #second_zero_point],
                weights: #weights,
                bias: Bias { steps: #steps, classes: #classes },
            }
        }
    }

    /// Weights `[out_c][taps]` in the chip's order.
    pub(super) fn packed(&mut self, weights: &[i8], geometry: &grano::geometry::Geometry) -> TokenStream {
        let taps = geometry.patch_len();
        let mut packed = vec![0; self.target.packing().packed_len(geometry)];
        for (index, &weight) in weights.iter().enumerate() {
            packed[self.target.place_weight(geometry, index / taps, index % taps)] = weight;
        }
        self.target.recode(geometry, &mut packed);
        self.bytes(&packed)
    }

    pub(super) fn requantize(&mut self, requantize: &Requantize) -> TokenStream {
        let (shift, zero_point) = (requantize.shift, requantize.zero_point);
        let multipliers = self.integers(&requantize.multipliers);
        self.used.insert("Requantize");
        quote!(Requantize { shift: #shift, multipliers: #multipliers, zero_point: #zero_point })
    }

    pub(super) fn geometry(&mut self, geometry: &Geometry) -> TokenStream {
        self.used.extend(["Geometry", "Bias"]);
        let pair = |[a, b]: [usize; 2]| quote!([#a, #b]);
        let (input, output) = (shape(geometry.input), shape(geometry.output));
        let [kernel, stride, padding, upsample] =
            [geometry.kernel, geometry.stride, geometry.padding, geometry.upsample].map(pair);
        quote! {
            Geometry { input: #input, output: #output, kernel: #kernel, stride: #stride, padding: #padding, upsample: #upsample }
        }
    }

    /// What floating-point convolutions have in common.
    pub(super) fn float_convolution(
        &mut self,
        geometry: &Geometry,
        weights: &[f32],
        bias: &[Vec<f32>; 2],
        activation: Option<Function>,
    ) -> TokenStream {
        let geometry = self.geometry(geometry);
        let weights = self.floats(weights, self.float);
        let [steps, classes] = [self.floats(&bias[0], self.float), self.floats(&bias[1], self.float)];
        let activation = float_activation(activation);
        self.used.extend(["Residual", "Activation"]);
        self.used.extend((self.float == Element::F16).then_some("f16"));
        quote! {
            geometry: #geometry,
            weights: #weights,
            bias: Bias { steps: #steps, classes: #classes },
            activation: #activation,
        }
    }
}
