//! *Emit*: compiled networks as Rust source.
//!
//! A generated file has the model's type and constants at its top, and a module for each network with a function a layer.
//! Everything of the engine is named through `g`, and a layer's parameters stand inside its function: no name from a model
//! file can collide with another.

mod label;
mod layer;
mod tokens;

use std::collections::BTreeSet;

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

use crate::compile::{Compiled, CompiledNetwork};
use crate::error::{Error, Result};
use crate::geometry::engine_shape;
use crate::graph::{PortKind, Shape};
use crate::kernel::Element;
use crate::model::DENOISER;
use crate::pack::Field;
use crate::schedule::Table;

pub use label::names as label_names;
use tokens::{plain_literals, sampler};

/// What generated code says besides the networks.
#[derive(Clone, Debug)]
pub struct Extras<'a> {
    /// Name of the generated type, like `Fashion`.
    pub type_name: &'a str,
    /// `//` lines for the head of the file.
    pub comment: &'a str,
    /// Names of the classes.
    pub labels: &'a [String],
    /// Default guidance weight.
    pub guidance: f32,
    /// The samplers, the default first.
    pub samplers: &'a [Table],
    /// Whether a sampler has memory for guidance at run time.
    pub guided: bool,
}

/// Writes `model.rs`.
///
/// # Errors
/// When a sampler has a number that is not finite or a step that the network has no row for.
pub fn emit(compiled: &Compiled, extras: &Extras<'_>) -> Result<String> {
    let isa = ident(compiled.target.isa());
    let mut modules = BTreeSet::from(["g".to_string()]);
    let names: Vec<Ident> = compiled.networks.iter().map(|network| unique(&network.name, &mut modules)).collect();
    let networks = compiled.networks.iter().zip(&names).map(|(network, name)| module(network, name, &isa));
    let networks: Vec<TokenStream> = networks.collect();
    let arena_bytes = compiled.arena_bytes();
    let bin_bytes = compiled.constants.len();
    let checksum = grano::blob::checksum(compiled.constants.bytes());
    let model = match compiled.networks.iter().position(|network| network.name == DENOISER) {
        Some(at) => model(&compiled.networks[at], &names[at], &isa, checksum, extras)?,
        None => TokenStream::new(),
    };
    let tokens = quote! {
        use ::grano::generated as g;

        const _: () = assert!(g::VERSION == 4, "generated for another version of grano: generate it again");
        const _: () = assert!(MODEL.checksum() == #checksum, "model.bin is not the one of this code: generate both again");

        #[doc = " Bytes of constants, code not counted."]
        #[allow(dead_code)]
        pub const FLASH_BYTES: usize = #bin_bytes;
        #[doc = " Bytes of the networks' maps and scratch, which share them."]
        pub const ARENA_BYTES: usize = #arena_bytes;

        #model

        static MODEL: g::Blob<#bin_bytes> = g::Blob(*include_bytes!("model.bin"));

        #(#networks)*
    };
    let file = syn::parse2(plain_literals(tokens))
        .map_err(|error| Error::Model(format!("generated code does not parse: {error}")))?;
    Ok(format!("{}\n{}", extras.comment, prettyplease::unparse(&file)))
}

/// The model's type: what a sampler needs to know of it.
fn model(
    denoiser: &CompiledNetwork,
    module: &Ident,
    isa: &Ident,
    checksum: u64,
    extras: &Extras<'_>,
) -> Result<TokenStream> {
    let Extras { labels, guidance, samplers, guided, .. } = extras;
    let name = ident(extras.type_name);
    let map = denoiser.outputs.first().map_or([0; 3], |(_, shape)| *shape);
    let (shape, len): (_, usize) = (engine_shape(map).tokens(), map.iter().product());
    let previous = if samplers.iter().any(Table::is_multistep) { len } else { 0 };
    // Without the memory for it there is no guidance: what is asked for then is the labelled prediction itself.
    let (labelled, guidance) = if *guided { (len, *guidance) } else { (0, 1.0) };
    let tables = samplers.iter().map(|table| sampler(table, &denoiser.times)).collect::<Result<Vec<_>>>()?;
    let classes = label::tokens(labels);
    Ok(quote! {
        #[doc = " Bytes of a sampler's memory, but for its few counters."]
        #[allow(dead_code)]
        pub const RAM_BYTES: usize = size_of::<<#name as g::Model>::Memory>();

        #[doc = " Draws with the model: with its own sampler, guidance and noise."]
        #[allow(dead_code)]
        pub type Painter = g::Painter<#name>;

        g::static_painter!();

        #classes

        #[doc = " The model, for [`grano::Painter`] and [`grano::Sampler`]."]
        pub struct #name<I: g::Isa = g::#isa>(core::marker::PhantomData<I>);

        impl<I: g::Isa> g::Model for #name<I> {
            type Denoiser = #module::Network<I>;
            const SHAPE: g::Shape = #shape;
            type Label = Label;
            const GUIDANCE: f32 = #guidance;
            const SAMPLERS: &'static [g::StepTable<'static>] = &[#(#tables),*];
            type Memory = g::Memory<ARENA_BYTES, #len, #previous, #labelled>;

            fn check_constants() -> Result<(), g::Corrupted> {
                g::check_constants(&MODEL, #checksum)
            }
        }
    })
}

/// A network's module.
fn module(network: &CompiledNetwork, name: &Ident, isa: &Ident) -> TokenStream {
    let mut functions = BTreeSet::new();
    let (mut layers, mut arms, mut taps, mut names) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (index, group) in network.groups.iter().enumerate() {
        let function = unique(&group.name, &mut functions);
        layers.push(layer::function(network, group, &function, isa));
        let arguments = layer::Arguments::of(network, group);
        let (generic, pass) = (arguments.generic(&quote!(::<I>)), arguments.pass());
        arms.push(quote!(#index => layers::#function #generic (#pass),));
        taps.extend(tap(network, index));
        names.push(&group.name);
    }
    let doc = format!(" The network `{}`.", network.name);
    let (title, classes, arena_bytes, count) =
        (&network.name, network.classes, network.program.plan.arena_bytes, network.groups.len());
    let (inputs, outputs) = (inputs(network), outputs(network));
    quote! {
        #[doc = #doc]
        #[allow(dead_code, unused_variables)]
        pub mod #name {
            use super::g;

            #[doc = " The network; its weights and code are static."]
            #[derive(Clone, Copy)]
            pub struct Network<I: g::Isa = g::#isa>(core::marker::PhantomData<I>);

            const ARENA_BYTES: usize = #arena_bytes;

            impl<I: g::Isa> g::Layers for Network<I> {
                fn layers(&self) -> usize {
                    #count
                }

                fn layer(&self, index: usize, condition: g::Condition, arena: &mut [u8], io: &mut g::Io<'_>) {
                    match index {
                        #(#arms)*
                        _ => {}
                    }
                }
            }

            impl<I: g::Isa> g::Network for Network<I> {
                const NAME: &'static str = #title;
                const INPUTS: &'static [g::Port] = &[#(#inputs),*];
                const OUTPUTS: &'static [g::Port] = &[#(#outputs),*];
                const CLASSES: usize = #classes;
                const LAYER_NAMES: &'static [&'static str] = &[#(#names),*];
                const TAPS: &'static [g::Tap] = &[#(#taps),*];
                const ARENA_BYTES: usize = ARENA_BYTES;
                const NEW: Self = {
                    assert!(
                        I::PACKING.equals(&<g::#isa as g::Isa>::PACKING),
                        "an instruction set with the packing that this was generated for"
                    );
                    Self(core::marker::PhantomData)
                };
            }

            mod layers {
                use super::super::{MODEL, g};
                use super::ARENA_BYTES;

                #(#layers)*
            }
        }
    }
}

/// The network's inputs as the engine describes them.
fn inputs(network: &CompiledNetwork) -> impl Iterator<Item = TokenStream> {
    network.inputs.iter().map(|port| {
        let name = &port.name;
        let kind = match (Shape::from(port.kind).map(), port.kind) {
            (Some(map), _) => {
                let shape = engine_shape(map).tokens();
                quote!(Map(#shape))
            }
            (None, PortKind::Time {}) => quote!(Time),
            (None, _) => quote!(Label),
        };
        quote!(g::Port { name: #name, kind: g::PortKind::#kind })
    })
}

/// The network's outputs.
fn outputs(network: &CompiledNetwork) -> impl Iterator<Item = TokenStream> {
    network.outputs.iter().map(|(name, shape)| {
        let shape = engine_shape(*shape).tokens();
        quote!(g::Port { name: #name, kind: g::PortKind::Map(#shape) })
    })
}

/// Where a layer's value can be read after it has run.
fn tap(network: &CompiledNetwork, layer: usize) -> Option<TokenStream> {
    let (name, shape, buffer, element) = network.tap(&network.groups[layer])?;
    let (shape, grano::blob::Buffer { offset, len }) = (shape.tokens(), buffer);
    let stored = match element {
        Element::I8(affine) => {
            let (scale, zero_point) = (affine.scale as f32, affine.zero_point);
            quote!(I8 { scale: #scale, zero_point: #zero_point })
        }
        Element::I16 { affine, .. } => {
            let (scale, zero_point) = (affine.scale as f32, affine.zero_point);
            quote!(I16 { scale: #scale, zero_point: #zero_point })
        }
        Element::F16 => quote!(F16),
        Element::F32 => quote!(F32),
        Element::I32 => return None,
    };
    Some(quote! {
        g::Tap {
            name: #name,
            layer: #layer,
            shape: #shape,
            buffer: g::Buffer { offset: #offset, len: #len },
            stored: g::Stored::#stored,
        }
    })
}

fn ident(name: &str) -> Ident {
    Ident::new(name, Span::call_site())
}

/// A name in snake case for a function or module, unlike those that are taken.
fn unique(name: &str, taken: &mut BTreeSet<String>) -> Ident {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let mut item: String = name.chars().map(plain).collect();
    if !item.starts_with(|c: char| c.is_ascii_alphabetic()) {
        item.insert_str(0, "layer_");
    }
    while syn::parse_str::<Ident>(&item).is_err() || !taken.insert(item.clone()) {
        item.push('_');
    }
    ident(&item)
}
