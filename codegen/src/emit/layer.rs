//! A layer's static and its function.

use std::collections::BTreeSet;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};

use super::tokens::{describe, shape};
use crate::algorithm::Algorithm;
use crate::graph::X;
use crate::kernel::{Element, Kernel, Sums};
use crate::lower::{Call, Place, Program};
use crate::target::Target;

/// Names that generated code has for other things or, in capitals, for other statics.
pub(super) const RESERVED: [&str; 20] = [
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
    "window",
];

pub(super) struct Emitter<'a> {
    pub(super) constants: Vec<u8>,
    pub(super) float: Element,
    pub(super) target: Target,
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
                | Kernel::Conv2dFine { .. }
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

    pub(super) fn declare(self) -> TokenStream {
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

    pub(super) fn buffer_name(index: usize) -> Ident {
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

    /// The static and the function of one layer.
    pub(super) fn layer(&mut self, call: &Call, function: &Ident) -> TokenStream {
        let parameters = format_ident!("{}", function.to_string().to_ascii_uppercase());
        let doc = self.describe(call);
        self.used.extend(call.residual.is_some().then_some("Residual"));
        let float = Ident::new(self.float.rust(), Span::call_site());
        let (kind, value) = self.parameters(call);
        self.used.insert(kind);
        let kind_ident = Ident::new(kind, Span::call_site());
        let generics = ["Conv2dFloat", "DepthwiseFloat", "GroupNormFloat"].contains(&kind).then(|| quote!(<#float>));
        let generic = Self::uses_isa(&call.kernel).then(|| quote!(<I: Isa>));
        let to_space = call.block.map(|block| {
            let name = self.item(&format!("{function}_to_space"));
            (block, format_ident!("{}", name.to_string().to_ascii_uppercase()))
        });
        let to_space_static = to_space.as_ref().map(|(block, name)| self.depth_to_space(call.shape, *block, name));
        let body = self.body(call, &parameters, to_space.as_ref().map(|(_, name)| name));
        let declared = Arguments::of(call).declare();
        let arena = quote!(arena: &mut Arena<ARENA_BYTES>);
        quote! {
            static #parameters: #kind_ident #generics = #value;
            #to_space_static

            #[doc = #doc]
            fn #function #generic (#arena, #declared) {
                #body
            }
        }
    }

    /// A layer's documentation.
    pub(super) fn describe(&self, call: &Call) -> String {
        let [c, h, w] = call.shape;
        let mut doc = format!(" `{}`: {} to {h}×{w}×{c}", call.name, self.from(call));
        if call.macs > 0 {
            doc += &format!(", {} multiply–accumulates", call.macs);
        }
        if call.algorithm() != Algorithm::Direct {
            doc += &format!(", {}", call.algorithm());
        }
        doc + "."
    }

    /// Whether the kernel has inner loops of the instruction set.
    pub(super) fn uses_isa(kernel: &Kernel) -> bool {
        matches!(
            kernel,
            Kernel::Conv2dInt8 { .. }
                | Kernel::Conv2dFine { .. }
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
            Kernel::Conv2dInt8 { sums, .. } | Kernel::Conv2dFine { sums, .. } | Kernel::Conv2dInt8Head { sums, .. } => {
                describe(&sums.geometry)
            }
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

    /// The static of a depth_to_space in place.
    fn depth_to_space(&mut self, [c, h, w]: [usize; 3], block: usize, name: &Ident) -> TokenStream {
        let input = shape([c * block * block, h / block, w / block]);
        self.used.insert("DepthToSpace");
        quote!(static #name: DepthToSpace = DepthToSpace { input: #input, block: #block }.checked();)
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
            Element::I16 { affine, .. } => {
                let (scale, zero_point) = (affine.scale as f32, affine.zero_point);
                quote!(Stored::I16 { scale: #scale, zero_point: #zero_point })
            }
            Element::F16 => quote!(Stored::F16),
            Element::I32 => return None,
            Element::F32 => quote!(Stored::F32),
        };
        debug_assert!(call.value != X || layer == 0);
        Some(quote!(Tap { name: #name, layer: #layer, shape: #shape, buffer: #constant, stored: #stored }))
    }
}
