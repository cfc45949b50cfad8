//! The function of a layer: its parameters as a static, its buffers, and the call.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{ToTokens, quote};

use super::ident;
use crate::algorithm::Algorithm;
use crate::compile::{CompiledNetwork, Group};
use crate::kernel::Element;
use crate::lower::{Call, Residual};
use crate::pack::{Lens, Names};

/// What a layer's function takes besides the arena.
#[derive(Clone, Copy)]
pub(super) struct Arguments {
    condition: bool,
    io: bool,
    isa: bool,
}

impl Arguments {
    pub(super) fn of(network: &CompiledNetwork, group: &Group) -> Self {
        let call = network.last_call(group);
        Self {
            condition: group.packed.is_conditioned(),
            io: call.port.is_some() || call.head.is_some(),
            isa: group.packed.uses_isa(),
        }
    }

    fn list(self, condition: &TokenStream, io: &TokenStream, arena: &TokenStream) -> TokenStream {
        let items = [Some(arena), self.condition.then_some(condition), self.io.then_some(io)];
        let items = items.into_iter().flatten();
        quote!(#(#items),*)
    }

    pub(super) fn pass(self) -> TokenStream {
        self.list(&quote!(condition), &quote!(io), &quote!(arena))
    }

    fn declare(self) -> TokenStream {
        self.list(&quote!(condition: g::Condition), &quote!(io: &mut g::Io<'_>), &quote!(arena: &mut [u8]))
    }

    /// What is generic over the instruction set says so.
    pub(super) fn generic(self, what: &TokenStream) -> Option<TokenStream> {
        self.isa.then(|| what.clone())
    }
}

/// A buffer that a function borrows.
struct Borrowed {
    variable: Ident,
    buffer: usize,
}

/// The function of a group of calls.
pub(super) fn function(network: &CompiledNetwork, group: &Group, name: &Ident, isa: &Ident) -> TokenStream {
    let calls = &network.program.calls[group.calls.clone()];
    let (first, last) = (&calls[0], &calls[calls.len() - 1]);
    let (borrowed, shared, names) = operands(network, first, last);
    let [kind, value] = group.packed.declare(&quote!(#isa));
    let call = group.packed.call(&names);
    let arguments = Arguments::of(network, group);
    let (generic, declared) = (arguments.generic(&quote!(<I: g::Isa>)), arguments.declare());
    let docs = calls.iter().map(describe);
    let variables = borrowed.iter().map(|borrowed| &borrowed.variable);
    let buffers: Vec<TokenStream> = borrowed
        .iter()
        .map(|Borrowed { buffer, .. }| {
            let (offset, len) = (network.program.plan.offsets[*buffer], network.program.buffers[*buffer].bytes());
            quote!(g::Buffer { offset: #offset, len: #len })
        })
        .collect();
    let sized = borrowed.iter().enumerate().map(|(index, Borrowed { buffer, .. })| {
        let (index, bytes) = (Literal::usize_unsuffixed(index), network.program.buffers[*buffer].element.bytes());
        quote!((BUFFERS[#index], #bytes))
    });
    let count = buffers.len();
    let lens = lens(network, group);
    quote! {
        #(#[doc = #docs])*
        pub fn #name #generic (#declared) {
            static KERNEL: #kind = #value;
            const BUFFERS: [g::Buffer; #count] = [#(#buffers),*];
            const _: () = assert!(g::are_apart(ARENA_BYTES, &[#(#sized),*]));
            #lens
            if let Some([#(#variables),*]) = g::split(arena, BUFFERS) {
                #shared
                #call;
            }
        }
    }
}

/// That the buffers are as long as the kernel asks for, where it says so at compile time.
fn lens(network: &CompiledNetwork, group: &Group) -> Option<TokenStream> {
    let call = network.last_call(group);
    let len = |buffer: usize| network.program.buffers[buffer].len;
    let (output, scratch) = (len(call.output), call.scratch.map_or(0, len));
    let inputs = call.inputs.iter().enumerate().map(|(index, &buffer)| {
        let (index, len) = (Literal::usize_unsuffixed(index), len(buffer));
        quote!(KERNEL.input_lens()[#index] <= #len)
    });
    let inputs: Vec<TokenStream> = match group.packed.states() {
        Lens::None => return None,
        Lens::Map => Vec::new(),
        Lens::Convolution => inputs.collect(),
    };
    Some(quote! {
        const _: () = assert!(KERNEL.output_len() == #output && KERNEL.scratch_len() <= #scratch #(&& #inputs)*);
    })
}

/// The buffers that a function borrows, the names that it gives to those that it reads, and the operands of its call.
fn operands(network: &CompiledNetwork, first: &Call, last: &Call) -> (Vec<Borrowed>, TokenStream, Names) {
    let mut borrowed: Vec<Borrowed> = Vec::new();
    let mut shared = TokenStream::new();
    let rust = |element: Element| match element {
        Element::F16 => quote!(g::f16),
        element => ident(element.rust()).into_token_stream(),
    };
    let element = |buffer: usize| rust(network.program.buffers[buffer].element);
    // Maps that are read, each borrowed once however often it is read; those in the output's buffer not at all.
    let mut read = |name: &str, buffer: usize| {
        if buffer == last.output {
            return quote!(&[]);
        }
        let known = borrowed.iter().find(|borrowed| borrowed.buffer == buffer);
        let variable = match known {
            Some(known) => known.variable.clone(),
            None => {
                let (variable, element) = (ident(name), element(buffer));
                shared.extend(quote!(let #variable: &[#element] = g::elements(#variable);));
                borrowed.push(Borrowed { variable: variable.clone(), buffer });
                variable
            }
        };
        quote!(#variable)
    };
    let maps: Vec<TokenStream> = match first.port {
        Some(port) => vec![quote!(io.input(#port))],
        None => {
            let name = |map: usize| if map == 0 { "input".to_string() } else { format!("input_{map}") };
            first.inputs.iter().enumerate().map(|(map, &buffer)| read(&name(map), buffer)).collect()
        }
    };
    let residual = match last.residual {
        None => quote!(g::Residual::None),
        Some(Residual::InOutput) => quote!(g::Residual::InOutput),
        Some(Residual::Buffer(buffer)) => {
            let map = read("residual", buffer);
            quote!(g::Residual::From(#map))
        }
    };
    let code = match last.residual {
        Some(Residual::Buffer(buffer)) => element(buffer),
        _ => rust(last.element),
    };
    let source = match (first.inputs.first(), maps.first()) {
        (Some(&buffer), _) if buffer == last.output => quote!(g::Residual::InOutput),
        (_, Some(map)) => quote!(g::Residual::From(#map)),
        _ => quote!(g::Residual::None),
    };
    let mut lent = |name: &str, buffer: usize| {
        let (variable, element) = (ident(name), element(buffer));
        borrowed.push(Borrowed { variable: variable.clone(), buffer });
        quote!(g::elements::<#element>(#variable))
    };
    let scratch = last.scratch.map_or(quote!(&mut []), |buffer| lent("scratch", buffer));
    let window = if first.strips.is_some() { lent("window", first.output) } else { TokenStream::new() };
    let output = lent(if last.head.is_some() { "strip" } else { "output" }, last.output);
    (borrowed, shared, Names { maps, source, residual, code, scratch, window, output })
}

/// A call's documentation.
fn describe(call: &Call) -> String {
    let [c, h, w] = call.shape;
    let mut doc = format!(" `{}`: {} to {h}×{w}×{c}", call.name, call.kernel.kernel().describe());
    if call.macs > 0 {
        doc += &format!(", {} multiply–accumulates", call.macs);
    }
    if call.algorithm() != Algorithm::Direct {
        doc += &format!(", {}", call.algorithm());
    }
    if let Some(strips) = call.strips {
        doc += &format!(", which the next one takes {} rows of its result at a time", strips.rows);
    }
    if let Some(head) = &call.head {
        doc += &format!(", handed out {} rows at a time", head.rows);
    }
    doc + "."
}
