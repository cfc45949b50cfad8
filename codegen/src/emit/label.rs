//! The enum of a model's classes.

use std::collections::BTreeSet;

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

/// The enum `Label`; without variants where there are no classes.
pub fn tokens(labels: &[String]) -> TokenStream {
    let names = names(labels);
    let docs = labels.iter().map(|label| format!(" `{label}`."));
    // A value of an enum without variants has no place.
    let index = if labels.is_empty() { quote!(match self {}) } else { quote!(self as usize) };
    quote! {
        #[doc = " The classes."]
        #[allow(dead_code, non_camel_case_types)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Label {
            #(
                #[doc = #docs]
                #names,
            )*
        }

        impl g::Label for Label {
            const ALL: &'static [Self] = &[#(Self::#names),*];
            const NAMES: &'static [&'static str] = &[#(#labels),*];

            fn index(self) -> usize {
                #index
            }
        }
    }
}

/// The names of the variants: `ankle-boot` becomes `AnkleBoot`; what would be no name, such as `7`, gets `Class` before
/// it; of equal ones the later get underscores.
#[must_use]
pub fn names(labels: &[String]) -> Vec<Ident> {
    let mut taken = BTreeSet::new();
    let name = |label: &String| {
        let mut name = camel_case(label);
        if syn::parse_str::<Ident>(&name).is_err() {
            name.insert_str(0, "Class");
        }
        if syn::parse_str::<Ident>(&name).is_err() {
            name = "Class".into();
        }
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        Ident::new(&name, Span::call_site())
    };
    labels.iter().map(name).collect()
}

/// Words by anything but letters and digits, each with its first letter in upper case.
fn camel_case(label: &str) -> String {
    let words = label.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<String>()
    };
    words.map(capital).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_has_a_name_of_its_own() {
        let labels = ["ankle-boot", "t-shirt", "T shirt", "7", "0", "self", "type", "Straße", "ı", "½", "!", "", "猫"];
        let names: Vec<String> = names(&labels.map(String::from)).iter().map(Ident::to_string).collect();
        let expected = [
            "AnkleBoot",
            "TShirt",
            "TShirt_",
            "Class7",
            "Class0",
            "ClassSelf",
            "Type",
            "Straße",
            "I",
            "Class",
            "Class_",
            "Class__",
            "猫",
        ];
        assert_eq!(names, expected);
    }
}
