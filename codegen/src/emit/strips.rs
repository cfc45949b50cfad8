//! Two convolutions that run strip by strip: a static each, one for the strips, and a function of both.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};

use super::layer::{Arguments, Emitter};
use crate::lower::{Call, Place, Residual};

impl Emitter<'_> {
    /// The statics and the function of a pair; the bytes of either's constants go to `call_bytes`.
    pub(super) fn strips(
        &mut self,
        first: &Call,
        last: &Call,
        function: &Ident,
        call_bytes: &mut Vec<usize>,
    ) -> TokenStream {
        self.used.extend(["Residual", "Strips"]);
        let statics: Vec<(Ident, TokenStream)> = [first, last]
            .into_iter()
            .map(|call| {
                let before = self.constants.len();
                let (kind, value) = self.parameters(call);
                call_bytes.push(self.constants.len() - before);
                self.used.insert(kind);
                let name = format_ident!("{}", self.item(&call.name).to_string().to_ascii_uppercase());
                let (kind, doc) = (Ident::new(kind, Span::call_site()), self.describe(call));
                (name.clone(), quote!(#[doc = #doc] static #name: #kind = #value;))
            })
            .collect();
        let (names, statics): (Vec<_>, Vec<_>) = statics.into_iter().unzip();
        let strips = format_ident!("{}", function.to_string().to_ascii_uppercase());
        let rows = first.strips.map_or(0, |strips| strips.rows);
        let doc = format!(" `{}` and `{}`, {rows} rows of the result at a time.", first.name, last.name);
        let declared = Arguments::of(last).declare();
        let body = self.strips_body(first, last, &strips, &names);
        quote! {
            #(#statics)*
            static #strips: Strips = Strips { geometries: [#(#names.sums.geometry),*], rows: #rows }.checked();

            #[doc = #doc]
            fn #function<I: Isa>(arena: &mut Arena<ARENA_BYTES>, #declared) {
                #body
            }
        }
    }

    /// Borrows the buffers and runs both kernels.
    fn strips_body(&self, first: &Call, last: &Call, strips: &Ident, names: &[Ident]) -> TokenStream {
        let (source, residual) = (first.inputs[0], last.residual);
        let is_residual = matches!(residual, Some(Residual::Buffer(buffer)) if Place::Buffer(buffer) == source);
        let mut borrowed: Vec<(&str, Place)> = Vec::new();
        let mut shared = TokenStream::new();
        let source = if source == last.output {
            quote!(Residual::InOutput)
        } else {
            borrowed.push(("input", source));
            // The residual, too, may be read from it.
            shared.extend(quote!(let input = &*elements(input);));
            quote!(Residual::From(input))
        };
        let residual = match residual {
            None => quote!(Residual::None),
            Some(Residual::InOutput) => quote!(Residual::InOutput),
            Some(Residual::Buffer(_)) if is_residual => quote!(Residual::From(input)),
            Some(Residual::Buffer(buffer)) => {
                borrowed.push(("residual", Place::Buffer(buffer)));
                quote!(Residual::From(elements(residual)))
            }
        };
        borrowed.extend(last.scratch.map(|buffer| ("scratch", Place::Buffer(buffer))));
        borrowed.extend([("window", first.output), ("output", last.output)]);
        let (variables, constants): (Vec<_>, Vec<_>) = borrowed
            .into_iter()
            .filter_map(|(name, place)| match place {
                Place::Buffer(buffer) => Some((Ident::new(name, Span::call_site()), Self::buffer_name(buffer))),
                Place::Outside => None,
            })
            .unzip();
        quote! {
            if let Some([#(#variables),*]) = arena.split([#(#constants),*]) {
                #shared
                #strips.run::<I, _, _>(
                    (#(&#names),*),
                    condition,
                    [#source, #residual],
                    elements(scratch),
                    elements(window),
                    elements(output),
                );
            }
        }
    }
}
