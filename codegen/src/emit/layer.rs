//! A layer's static, its function, and its constants in `model.bin`.

use std::collections::BTreeSet;

use grano::isa::Packing;
use half::f16;
use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};

use super::tokens::{describe, float_activation, shape};
use crate::graph::{Function, X};
use crate::kernel::{Element, Kernel, Requantize, Sums, Table};
use crate::lower::{Call, Place, Program, Residual};
use crate::reference::Geometry;

/// Names that generated code has for other things or, in capitals, for other statics.
pub(super) const RESERVED: [&str; 19] = [
    "arena",
    "arena_bytes",
    "condition",
    "elements",
    "flash_bytes",
    "guidance",
    "index",
    "input",
    "input_1",
    "input_2",
    "labels",
    "model",
    "out",
    "output",
    "ram_bytes",
    "residual",
    "scratch",
    "samplers",
    "taps",
];

pub(super) struct Emitter<'a> {
    pub(super) constants: Vec<u8>,
    pub(super) float: Element,
    pub(super) packing: Packing,
    /// The instruction set's name.
    pub(super) isa: &'static str,
    pub(super) program: &'a Program,
    /// Names to import from the engine.
    pub(super) used: BTreeSet<&'static str>,
    /// Names of functions that are taken.
    pub(super) items: BTreeSet<String>,
}

/// What a layer's function takes besides the arena.
#[derive(Clone, Copy)]
pub(super) struct Arguments {
    condition: bool,
    x: bool,
    out: bool,
}

impl Arguments {
    pub(super) fn of(call: &Call) -> Self {
        let conv = matches!(
            call.kernel,
            Kernel::Conv2dInt8 { .. }
                | Kernel::Conv2dInt8Head { .. }
                | Kernel::Conv2dFloat { .. }
                | Kernel::DepthwiseInt8 { .. }
                | Kernel::DepthwiseFloat { .. }
        );
        Self { condition: conv, x: call.inputs.contains(&Place::Outside), out: call.output == Place::Outside }
    }

    fn list(self, items: [TokenStream; 3]) -> TokenStream {
        let chosen =
            items.into_iter().zip([self.condition, self.x, self.out]).filter_map(|(item, used)| used.then_some(item));
        quote!(#(#chosen),*)
    }

    pub(super) fn pass(self) -> TokenStream {
        self.list([quote!(condition), quote!(x), quote!(out)])
    }

    fn declare(self) -> TokenStream {
        self.list([quote!(condition: Condition), quote!(x: &[f32]), quote!(out: &mut [f32])])
    }
}

impl Emitter<'_> {
    /// A name for a function and, in capitals, a static.
    pub(super) fn item(&mut self, name: &str) -> Ident {
        let mut item: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
        if !item.starts_with(|c: char| c.is_ascii_alphabetic()) {
            item.insert_str(0, "layer_");
        }
        // `x` and `buffer_0` are taken as well; any other name may be a keyword, or like another's.
        if item == "x" || item.starts_with("buffer") {
            item.push('_');
        }
        while syn::parse_str::<Ident>(&item).is_err() || !self.items.insert(item.clone()) {
            item.push('_');
        }
        Ident::new(&item, Span::call_site())
    }

    fn buffer_name(index: usize) -> Ident {
        format_ident!("BUFFER_{index}")
    }

    pub(super) fn buffers(&self) -> TokenStream {
        let items =
            self.program.buffers.iter().zip(&self.program.plan.offsets).enumerate().map(|(index, (buffer, offset))| {
                let (name, len, doc) = (Self::buffer_name(index), buffer.bytes(), format!(" {}.", buffer.name));
                quote!(#[doc = #doc] const #name: Buffer = Buffer { offset: #offset, len: #len };)
            });
        quote!(#(#items)*)
    }

    pub(super) fn imports(&self) -> (Vec<Ident>, Vec<Ident>) {
        let ident = |name: &&str| Ident::new(name, Span::call_site());
        let kernels =
            self.used.iter().filter(|name| !["f16", "Requantize", "elements"].contains(name)).chain(&["Condition"]);
        let kernels: BTreeSet<_> = kernels.map(ident).collect();
        (kernels.into_iter().collect(), ["Arena", "Blob", "Buffer", "elements"].iter().map(ident).collect())
    }

    fn view(&mut self, values: impl IntoIterator<Item = impl AsRef<[u8]>>) -> TokenStream {
        self.constants.resize(self.constants.len().next_multiple_of(4), 0);
        let (offset, mut count) = (self.constants.len(), 0usize);
        for value in values {
            self.constants.extend_from_slice(value.as_ref());
            count += 1;
        }
        if count == 0 { quote!(&[]) } else { quote!(MODEL.view(#offset, #count)) }
    }

    fn integers(&mut self, values: &[i32]) -> TokenStream {
        self.view(values.iter().map(|v| v.to_le_bytes()))
    }

    fn bytes(&mut self, values: &[i8]) -> TokenStream {
        self.view(values.iter().map(|v| v.to_le_bytes()))
    }

    fn floats(&mut self, values: &[f32], element: Element) -> TokenStream {
        match element {
            Element::F16 => self.view(values.iter().map(|&v| f16::from_f32(v).to_le_bytes())),
            _ => self.view(values.iter().map(|v| v.to_le_bytes())),
        }
    }

    /// An epilogue's static.
    fn epilogue(&mut self, residual: &[i32], requantize: &Requantize, table: Option<&Table>) -> TokenStream {
        self.used.extend(["Epilogue", "Residual"]);
        let (requantize, residual, table) =
            (self.requantize(requantize), self.integers(residual), self.fused_table(table));
        quote!(Epilogue { residual_multipliers: #residual, requantize: #requantize, table: #table })
    }

    fn fused_table(&mut self, table: Option<&Table>) -> TokenStream {
        table.map_or(quote!(None), |table| {
            let table = self.table(table);
            quote!(Some(#table))
        })
    }

    fn table<const N: usize>(&mut self, table: &[i8; N]) -> TokenStream {
        self.constants.resize(self.constants.len().next_multiple_of(4), 0);
        let offset = self.constants.len();
        self.constants.extend(table.iter().map(|&v| v as u8));
        quote!(&MODEL.view::<[i8; #N]>(#offset, 1)[0])
    }

    fn sums(&mut self, sums: &Sums) -> TokenStream {
        self.used.insert("Sums");
        let geometry = self.geometry(&sums.geometry);
        let weights = self.packed(&sums.weights, sums.geometry.taps());
        let [steps, classes] = [self.integers(&sums.bias[0]), self.integers(&sums.bias[1])];
        let ([first, second], [zero_point, second_zero_point]) = (sums.channels, sums.zero_points);
        quote! {
            Sums {
                geometry: #geometry,
                channels: [#first, #second],
                zero_points: [#zero_point, #second_zero_point],
                weights: #weights,
                bias: Bias { steps: #steps, classes: #classes },
            }
        }
    }

    /// Weights `[out_c][taps]` in the chip's order.
    fn packed(&mut self, weights: &[i8], taps: usize) -> TokenStream {
        let mut packed = vec![0; self.packing.packed_len(taps, weights.len() / taps)];
        for (index, &weight) in weights.iter().enumerate() {
            packed[self.packing.place(taps, index / taps, index % taps)] = weight;
        }
        self.bytes(&packed)
    }

    fn requantize(&mut self, requantize: &Requantize) -> TokenStream {
        let (shift, zero_point) = (requantize.shift, requantize.zero_point);
        let multipliers = self.integers(&requantize.multipliers);
        self.used.insert("Requantize");
        quote!(Requantize { shift: #shift, multipliers: #multipliers, zero_point: #zero_point })
    }

    fn geometry(&mut self, geometry: &Geometry) -> TokenStream {
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
    fn float_convolution(
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

    /// The static and the function of one layer.
    pub(super) fn layer(&mut self, call: &Call, function: &Ident) -> TokenStream {
        let parameters = format_ident!("{}", function.to_string().to_ascii_uppercase());
        let [c, h, w] = call.shape;
        let mut doc = format!(" `{}`: {} to {h}×{w}×{c}", call.name, self.from(call));
        if call.macs > 0 {
            doc += &format!(", {} multiply–accumulates", call.macs);
        }
        doc.push('.');
        self.used.extend(if call.residual.is_some() { vec!["Residual"] } else { Vec::new() });
        let float = Ident::new(self.float.rust(), Span::call_site());
        let isa = Ident::new(self.isa, Span::call_site());
        let (kind, value) = match &call.kernel {
            Kernel::Quantize { inverse_scale } => ("Quantize", quote!(Quantize { inverse_scale: #inverse_scale })),
            Kernel::Conv2dInt8 { sums, residual_multipliers, requantize, table } => {
                let sums = self.sums(sums);
                let epilogue = self.epilogue(residual_multipliers, requantize, table.as_ref());
                ("Conv2dInt8", quote!(Conv2dInt8 { sums: #sums, epilogue: #epilogue }.checked::<#isa>()))
            }
            Kernel::Conv2dInt8Head { sums, scales } => {
                let (sums, scales) = (self.sums(sums), self.floats(scales, Element::F32));
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
                self.constants.resize(self.constants.len().next_multiple_of(4), 0);
                let (at, len) = (self.constants.len(), exp.len());
                self.constants.extend(exp.iter().flat_map(|v| v.to_le_bytes()));
                let value = quote! {
                    AttentionInt8 {
                        shape: #shape,
                        heads: #heads,
                        q_zero_point: #q_zero_point,
                        shift: #shift,
                        multiplier: #multiplier,
                        exp: &MODEL.view::<[i16; #len]>(#at, 1)[0],
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
        };
        self.used.insert(kind);
        let kind_ident = Ident::new(kind, Span::call_site());
        let generics = ["Conv2dFloat", "DepthwiseFloat", "GroupNormFloat"].contains(&kind).then(|| quote!(<#float>));
        let generic = Self::uses_isa(&call.kernel).then(|| quote!(<I: Isa>));
        let body = self.body(call, &parameters);
        let declared = Arguments::of(call).declare();
        let arena = quote!(arena: &mut Arena<ARENA_BYTES>);
        quote! {
            static #parameters: #kind_ident #generics = #value;

            #[doc = #doc]
            fn #function #generic (#arena, #declared) {
                #body
            }
        }
    }

    /// Whether the kernel has inner loops of the instruction set.
    pub(super) fn uses_isa(kernel: &Kernel) -> bool {
        matches!(
            kernel,
            Kernel::Conv2dInt8 { .. }
                | Kernel::Conv2dInt8Head { .. }
                | Kernel::DepthwiseInt8 { .. }
                | Kernel::GroupNormInt8 { .. }
                | Kernel::AttentionInt8 { .. }
                | Kernel::AddInt8 { .. }
                | Kernel::Conv2dFloat { .. }
                | Kernel::GroupNormFloat { .. }
                | Kernel::AttentionFloat { .. }
        )
    }

    fn from(&self, call: &Call) -> String {
        match &call.kernel {
            Kernel::Conv2dInt8 { sums, .. } | Kernel::Conv2dInt8Head { sums, .. } => describe(&sums.geometry),
            Kernel::Conv2dFloat { geometry, .. } => describe(geometry),
            Kernel::DepthwiseInt8 { sums: Sums { geometry, .. }, .. } | Kernel::DepthwiseFloat { geometry, .. } => {
                format!("depthwise {}", describe(geometry))
            }
            Kernel::GroupNormInt8 { groups, .. } | Kernel::GroupNormFloat { groups, .. } => {
                format!("normalisation of {groups} groups")
            }
            Kernel::AttentionInt8 { heads, .. } | Kernel::AttentionFloat { heads, .. } => {
                format!("attention, heads: {heads}")
            }
            Kernel::DepthToSpace { block, .. } => format!("depth to space {block}×{block}"),
            Kernel::Quantize { .. } => "f32 to int16".into(),
            Kernel::AddInt8 { .. } | Kernel::AddFloat => "sum".into(),
            Kernel::ActivationInt8 { .. } | Kernel::ActivationFloat { .. } => "activation".into(),
        }
    }

    /// Borrows the buffers and runs the kernel.
    fn body(&mut self, call: &Call, parameters: &Ident) -> TokenStream {
        let mut borrowed: Vec<(Ident, TokenStream)> = Vec::new();
        let element = |buffer: usize| Ident::new(self.program.buffers[buffer].element.rust(), Span::call_site());
        let mut typed = |variable: &str, buffer: usize| {
            let variable = Ident::new(variable, Span::call_site());
            let constant = Self::buffer_name(buffer);
            let element = element(buffer);
            borrowed.push((variable.clone(), quote!(#constant)));
            quote!(elements::<#element>(#variable))
        };
        // Maps that are read, each borrowed once however often it is read.
        let residual = match call.residual {
            Some(Residual::Buffer(buffer)) => Some(Place::Buffer(buffer)),
            _ => None,
        };
        let reads: Vec<Place> = call.inputs.iter().copied().chain(residual).collect();
        let mut shared = TokenStream::new();
        let mut maps: Vec<TokenStream> = Vec::new();
        let mut mutable = BTreeSet::new();
        for (index, &place) in reads.iter().enumerate() {
            let Place::Buffer(buffer) = place else {
                maps.push(quote!(x));
                continue;
            };
            if place == call.output {
                maps.push(quote!());
            } else if let Some(before) = reads[..index].iter().position(|&other| other == place) {
                maps.push(maps[before].clone());
            } else {
                let name = match index {
                    0 => "input",
                    _ if index == call.inputs.len() => "residual",
                    1 => "input_1",
                    _ => "input_2",
                };
                let map = typed(name, buffer);
                if reads[index + 1..].contains(&place) {
                    let name = Ident::new(name, Span::call_site());
                    shared.extend(quote!(let #name = &*#map;));
                    maps.push(quote!(#name));
                } else {
                    mutable.insert(index);
                    maps.push(map);
                }
            }
        }
        let scratch = call.scratch.map(|buffer| typed("scratch", buffer));
        let output = match call.output {
            Place::Outside => quote!(out),
            Place::Buffer(buffer) => typed("output", buffer),
        };
        let residual = match call.residual {
            None => quote!(Residual::None),
            Some(Residual::InOutput) => quote!(Residual::InOutput),
            Some(Residual::Buffer(_)) => {
                let map = &maps[call.inputs.len()];
                quote!(Residual::From(#map))
            }
        };
        let input = &maps[0];
        let source =
            if call.inputs[0] == call.output { quote!(Residual::InOutput) } else { quote!(Residual::From(#input)) };
        let second = maps.get(1);
        // What `elements` gives is mutable; what has a name of its own is not.
        let reborrowed = |index: usize| {
            let map = &maps[index];
            if mutable.contains(&index) { quote!(&*#map) } else { quote!(#map) }
        };
        let first = reborrowed(0);
        let both = if call.inputs.len() > 1 {
            let second = reborrowed(1);
            quote!([#first, #second])
        } else {
            quote!([#first, &[]])
        };
        let run = match &call.kernel {
            Kernel::Quantize { .. } | Kernel::DepthToSpace { .. } => quote!(#parameters.run(#input, #output)),
            Kernel::Conv2dInt8 { .. } => {
                quote!(#parameters.run::<I, _>(condition, #both, #residual, #scratch, #output))
            }
            Kernel::Conv2dInt8Head { .. } => quote!(#parameters.run::<I, _>(condition, #both, #scratch, #output)),
            Kernel::Conv2dFloat { .. } => {
                quote!(#parameters.run::<I, _, _>(condition, #both, #residual, #scratch, #output))
            }
            Kernel::DepthwiseInt8 { .. } => quote!(#parameters.run::<I>(condition, #input, #residual, #output)),
            Kernel::DepthwiseFloat { .. } => quote!(#parameters.run(condition, #input, #residual, #output)),
            Kernel::GroupNormInt8 { .. } => quote!(#parameters.run::<I>(#source, #scratch, #output)),
            Kernel::GroupNormFloat { .. } => quote!(#parameters.run::<I, _>(#source, #scratch, #output)),
            Kernel::AttentionInt8 { .. } | Kernel::AttentionFloat { .. } => {
                let third = &maps[2];
                let element = matches!(call.kernel, Kernel::AttentionFloat { .. }).then(|| quote!(, _));
                quote!(#parameters.run::<I #element>(#source, #second, #third, #scratch, #output))
            }
            Kernel::AddInt8 { .. } => quote!(#parameters.run::<I>(#input, #residual, #output)),
            Kernel::AddFloat => quote!(#parameters.run(#input, #residual, #output)),
            Kernel::ActivationInt8 { .. } | Kernel::ActivationFloat { .. } => quote!(#parameters.run(#source, #output)),
        };
        let sourced = matches!(
            call.kernel,
            Kernel::GroupNormInt8 { .. }
                | Kernel::GroupNormFloat { .. }
                | Kernel::AttentionInt8 { .. }
                | Kernel::AttentionFloat { .. }
                | Kernel::ActivationInt8 { .. }
                | Kernel::ActivationFloat { .. }
        );
        self.used.extend(sourced.then_some("Residual"));
        let (variables, constants): (Vec<_>, Vec<_>) = borrowed.into_iter().unzip();
        quote! {
            if let Some([#(#variables),*]) = arena.split([#(#constants),*]) {
                #shared
                #run;
            }
        }
    }

    /// Where a layer's value can be read after it has run.
    pub(super) fn tap(&self, layer: usize, call: &Call) -> Option<TokenStream> {
        let Place::Buffer(buffer) = call.output else { return None };
        let (name, shape) = (&call.value, shape(call.shape));
        let constant = Self::buffer_name(buffer);
        let stored = match call.element {
            Element::I8(affine) => {
                let (scale, zero_point) = (affine.scale as f32, affine.zero_point);
                quote!(Stored::I8 { scale: #scale, zero_point: #zero_point })
            }
            Element::I16 { scale } => {
                let scale = scale as f32;
                quote!(Stored::I16 { scale: #scale })
            }
            Element::F16 => quote!(Stored::F16),
            Element::I32 => return None,
            Element::F32 => quote!(Stored::F32),
        };
        debug_assert!(call.value != X || layer == 0);
        Some(quote!(Tap { name: #name, layer: #layer, shape: #shape, buffer: #constant, stored: #stored }))
    }
}
