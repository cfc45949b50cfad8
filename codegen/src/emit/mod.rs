//! *Emit*: a lowered network as Rust source and a binary file of constants.

mod body;
mod constants;
mod layer;
mod parameters;
mod strips;
mod tokens;
mod winograd;

use std::collections::BTreeSet;

use proc_macro2::{Ident, Span};
use quote::quote;

use crate::error::{Error, Result};
use crate::kernel::Element;
use crate::lower::{Call, Program};
use crate::schedule::Table;
use crate::target::Target;

use layer::{Arguments, Emitter, RESERVED};
use tokens::{plain_literals, sampler, shape};

/// The two generated files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// `model.rs`.
    pub source: String,
    /// `model.bin`.
    pub constants: Vec<u8>,
    /// Bytes of each call's part of it.
    pub call_bytes: Vec<usize>,
}

/// What generated code says besides the network.
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
    /// The network's time indices, in the order of its rows.
    pub times: &'a [usize],
    /// How floating-point weights are stored; unused by int8 networks.
    pub float: Element,
    /// The chip.
    pub target: Target,
}

/// What a group is called: two layers that run as one have both names.
fn group_name(group: &[Call]) -> String {
    let names: Vec<&str> = group.iter().map(|call| call.name.as_str()).collect();
    names.join("+")
}

/// Writes the code.
///
/// # Errors
/// When a sampler has a number that is not finite or a step that the network has no row for.
pub fn emit(program: &Program, extras: &Extras<'_>) -> Result<Generated> {
    let mut emitter = Emitter {
        constants: Vec::new(),
        float: extras.float,
        target: extras.target,
        isa: extras.target.isa(),
        program,
        used: BTreeSet::new(),
        items: RESERVED.iter().map(ToString::to_string).collect(),
    };
    let names: Vec<String> = program.groups().map(group_name).collect();
    let functions: Vec<Ident> = names.iter().map(|name| emitter.item(name)).collect();
    let buffers = emitter.buffers();
    let (mut layers, mut arms, mut taps, mut call_bytes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (index, (group, function)) in program.groups().zip(&functions).enumerate() {
        let (call, code) = match group {
            [first, last] => (last, emitter.strips(first, last, function, &mut call_bytes)),
            [call] => {
                let before = emitter.constants.len();
                let code = emitter.layer(call, function);
                call_bytes.push(emitter.constants.len() - before);
                (call, code)
            }
            _ => continue,
        };
        let arguments = Arguments::of(call).pass();
        let generic = Emitter::uses_isa(&call.kernel).then(|| quote!(::<I>));
        layers.push(code);
        arms.push(quote!(#index => #function #generic (arena, #arguments),));
        taps.extend(emitter.tap(index, call));
    }
    let samplers = extras.samplers.iter().map(|table| sampler(table, extras.times)).collect::<Result<Vec<_>>>()?;

    let name = Ident::new(extras.type_name, Span::call_site());
    let isa = Ident::new(extras.target.isa(), Span::call_site());
    let (labels, guidance, classes) = (extras.labels, extras.guidance, extras.labels.len());
    let (arena_bytes, bin_bytes, layer_count) = (program.plan.arena_bytes, emitter.constants.len(), names.len());
    let shape = shape(program.calls.last().map_or([0; 3], |call| call.shape));
    let map_len: usize = program.calls.last().map_or(0, |call| call.shape.iter().product());
    let kept = if extras.samplers.iter().any(Table::is_multistep) { map_len } else { 0 };
    let (kernel_types, blob_types) = emitter.imports();
    let half = emitter.used.contains("f16").then(|| {
        quote!(
            use grano::kernel::f16;
        )
    });
    let requantize = emitter.used.contains("Requantize").then(|| {
        quote!(
            use grano::requantize::Requantize;
        )
    });
    let (flash_doc, ram_doc) =
        (" Bytes of constants, code not counted.", " Bytes of a sampler's memory, but for its few counters.");
    let tokens = quote! {
        use core::marker::PhantomData;

        use grano::blob::{#(#blob_types),*};
        use grano::denoiser::Denoiser;
        use grano::isa::{Isa, #isa};
        use grano::kernel::{#(#kernel_types),*};
        #half
        #requantize
        use grano::schedule::{StepRow, StepTable};
        use grano::shape::Shape;
        use grano::tap::{Stored, Tap};

        #[doc = " The network and its working memory."]
        pub struct #name<I: Isa = #isa> {
            arena: Arena<ARENA_BYTES>,
            isa: PhantomData<I>,
        }

        #[doc = #flash_doc]
        #[allow(dead_code)]
        pub const FLASH_BYTES: usize = #bin_bytes;
        #[doc = #ram_doc]
        #[allow(dead_code)]
        pub const RAM_BYTES: usize = ARENA_BYTES
            + 3 * size_of::<<#name as Denoiser>::Map>()
            + size_of::<<#name as Denoiser>::Previous>();
        #[doc = " Bytes of the network's maps and scratch."]
        pub const ARENA_BYTES: usize = #arena_bytes;
        #[doc = " The weight of classifier-free guidance that the model is meant to be sampled with."]
        #[allow(dead_code)]
        pub const GUIDANCE: f32 = #guidance;
        #[doc = " The classes' names, in the order of their labels."]
        #[allow(dead_code)]
        pub static LABELS: &[&str] = &[#(#labels),*];

        static MODEL: Blob<#bin_bytes> = Blob(*include_bytes!("model.bin"));

        impl<I: Isa> Denoiser for #name<I> {
            const SHAPE: Shape = #shape;
            const CLASSES: usize = #classes;
            const LAYERS: usize = #layer_count;
            const LAYER_NAMES: &'static [&'static str] = &[#(#names),*];
            type Map = [f32; #map_len];
            type Previous = [f32; #kept];
            const NEW: Self = {
                assert!(I::PACKING.equals(&#isa::PACKING), "an instruction set with the packing that this was generated for");
                Self { arena: Arena::new(), isa: PhantomData }
            };

            fn layer(&mut self, index: usize, condition: Condition, x: &[f32], out: &mut [f32]) {
                let arena = &mut self.arena;
                match index {
                    #(#arms)*
                    _ => {}
                }
            }
        }

        impl<I: Isa> #name<I> {
            #[doc = " The arena, for [`Tap`]s to read."]
            #[allow(dead_code)]
            #[must_use]
            pub fn memory(&self) -> &[u8] {
                self.arena.bytes()
            }
        }

        #(#layers)*

        #buffers

        #[doc = " Where each value lies after its layer has run."]
        #[allow(dead_code)]
        pub static TAPS: &[Tap] = &[#(#taps),*];

        #[doc = " The samplers; the first is the default."]
        pub static SAMPLERS: &[StepTable] = &[#(#samplers),*];
    };
    let file = syn::parse2(plain_literals(tokens))
        .map_err(|error| Error::Model(format!("generated code does not parse: {error}")))?;
    let source = format!("{}\n{}", extras.comment, prettyplease::unparse(&file));
    Ok(Generated { source, constants: emitter.constants, call_bytes })
}
