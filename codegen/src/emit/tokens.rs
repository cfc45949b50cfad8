//! Small pieces of generated code.

use proc_macro2::{Group, Literal, TokenStream, TokenTree};
use quote::quote;

use crate::error::{Error, Result};
use crate::schedule::Table;

/// `3usize` as `3` and `1f32` as `1.0`: the types stand beside them.
pub(super) fn plain_literals(tokens: TokenStream) -> TokenStream {
    let plain = |token| match token {
        TokenTree::Group(group) => TokenTree::Group(Group::new(group.delimiter(), plain_literals(group.stream()))),
        TokenTree::Literal(literal) => TokenTree::Literal(plain_literal(&literal.to_string()).unwrap_or(literal)),
        other => other,
    };
    tokens.into_iter().map(plain).collect()
}

fn plain_literal(text: &str) -> Option<Literal> {
    let number = text.starts_with(|c: char| c.is_ascii_digit());
    let suffix =
        ["usize", "u32", "u16", "i32", "i16", "f32"].into_iter().find(|suffix| number && text.ends_with(suffix))?;
    let digits = text.strip_suffix(suffix)?;
    let point = if suffix == "f32" && !digits.contains(['.', 'e']) { ".0" } else { "" };
    format!("{digits}{point}").parse().ok()
}

/// A sampler's table, whose steps name the network's rows by their time indices.
///
/// # Errors
/// When a number is not finite, or the network has no row for a step.
pub(super) fn sampler(table: &Table, times: &[usize]) -> Result<TokenStream> {
    let name = &table.name;
    let clip = table.clip.map_or(quote!(f32::INFINITY), |clip| {
        let clip = clip as f32;
        quote!(#clip)
    });
    let rows = table.rows.iter().map(|row| {
        let network_row = times.iter().position(|&t| t == row.t).and_then(|row| u16::try_from(row).ok());
        let network_row =
            network_row.ok_or_else(|| Error::Model(format!("sampler `{name}`: no network row for t = {}", row.t)))?;
        let coefficients = row.coefficients().map(|v| v as f32);
        if coefficients.iter().any(|v| !v.is_finite()) {
            return Err(Error::Model(format!("sampler `{name}`: a coefficient at t = {} is not finite", row.t)));
        }
        let [c_in, k0, k1, a, b, c, d, e, signal, sigma, snr] = coefficients;
        Ok(quote! {
            g::StepRow {
                network_row: #network_row,
                c_in: #c_in,
                k0: #k0,
                k1: #k1,
                a: #a,
                b: #b,
                c: #c,
                d: #d,
                e: #e,
                signal: #signal,
                sigma: #sigma,
                snr: #snr
            }
        })
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    Ok(quote!(g::StepTable { name: #name, clip: #clip, rows: &[#(#rows),*] }))
}
