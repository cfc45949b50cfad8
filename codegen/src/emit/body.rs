//! The body of a layer's function: it borrows the buffers and runs the kernel.

use std::collections::BTreeSet;

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

use super::layer::Emitter;
use crate::kernel::Kernel;
use crate::lower::{Call, Place, Residual};

impl Emitter<'_> {
    /// Borrows the buffers and runs the kernel.
    pub(super) fn body(&mut self, call: &Call, parameters: &Ident, to_space: Option<&Ident>) -> TokenStream {
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
            Kernel::Conv2dFine { .. } => {
                let code = match call.residual {
                    Some(Residual::Buffer(buffer)) => element(buffer),
                    _ => Ident::new(call.element.rust(), Span::call_site()),
                };
                quote!(#parameters.run::<I, _, #code, _>(condition, #both, #residual, #scratch, #output))
            }
            Kernel::Conv2dInt8Head { .. } => quote!(#parameters.run::<I, _>(condition, #both, #scratch, #output)),
            Kernel::Conv2dFloat { .. } => {
                quote!(#parameters.run::<I, _, _>(condition, #both, #residual, #scratch, #output))
            }
            Kernel::DepthwiseInt8 { .. } => quote!(#parameters.run::<I>(condition, #input, #residual, #output)),
            Kernel::DepthwiseFloat { .. } => quote!(#parameters.run(condition, #input, #residual, #output)),
            Kernel::GroupNormInt8 { .. } => quote!(#parameters.run::<I>(#source, #scratch, #output)),
            Kernel::GroupNormFloat { .. } => quote!(#parameters.run::<I, _>(#source, #scratch, #output)),
            Kernel::AttentionInt8 { .. } => {
                let third = &maps[2];
                quote!(#parameters.run::<I>(#source, #second, #third, #scratch, #output))
            }
            Kernel::AttentionFloat { .. } => {
                let third = &maps[2];
                quote!(#parameters.run::<I, _>(#source, #second, #third, #scratch, #output))
            }
            Kernel::AddInt8 { .. } => quote!(#parameters.run::<I>(#input, #residual, #output)),
            Kernel::AddFloat => quote!(#parameters.run(#input, #residual, #output)),
            Kernel::ActivationInt8 { .. } | Kernel::ActivationFloat { .. } => quote!(#parameters.run(#source, #output)),
        };
        let to_space = to_space.map(|to_space| quote!(#to_space.run_in_place(elements(scratch), #output);));
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
                #to_space
            }
        }
    }
}
