//! *Pack*: a kernel's constants go into one block of bytes; what is left of it is small.
//!
//! Every kernel is packed once, into a struct whose slices are [`View`]s into [`Constants`]. From there two ways lead on:
//! its [`Field::tokens`] are the initialiser of a static in generated code, and [`Field::bind`] makes the engine's own
//! struct for the in-process runtime. So both run the same kernels on the same bytes.

use std::marker::PhantomData;

use bytemuck::{AnyBitPattern, NoUninit};
use grano::geometry::Geometry;
use grano::shape::Shape;
use half::f16;
use proc_macro2::{Ident, TokenStream};
use quote::quote;

use crate::run::Operands;
use crate::target::Target;

/// A network's constants: the bytes of `model.bin`, little-endian.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constants {
    bytes: Vec<u8>,
    align: usize,
}

impl Constants {
    /// Nothing yet; every constant will begin at a multiple of `align` bytes.
    #[must_use]
    pub fn new(align: usize) -> Self {
        Self { bytes: Vec::new(), align: align.max(1) }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends elements.
    pub fn push<T: NoUninit>(&mut self, values: &[T]) -> View<T> {
        let offset = self.bytes.len().next_multiple_of(self.align);
        self.bytes.resize(offset, 0);
        self.bytes.extend_from_slice(bytemuck::cast_slice(values));
        View { offset, len: values.len(), element: PhantomData }
    }

    /// Appends an array.
    pub fn array<T: NoUninit, const N: usize>(&mut self, values: &[T; N]) -> Array<T, N> {
        Array(self.push(values))
    }
}

/// Elements among the constants.
#[derive(Debug, PartialEq, Eq)]
pub struct View<T> {
    offset: usize,
    len: usize,
    element: PhantomData<T>,
}

/// An array among the constants.
#[derive(Debug, PartialEq, Eq)]
pub struct Array<T, const N: usize>(View<T>);

impl<T> Clone for View<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<T> {}

impl<T, const N: usize> Clone for Array<T, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, const N: usize> Copy for Array<T, N> {}

/// A part of a kernel's parameters.
pub trait Field {
    /// It as the engine knows it, borrowing from the constants.
    type Bound<'a>;

    /// An expression for it in generated code, in which `MODEL` are the constants.
    fn tokens(&self) -> TokenStream;

    /// It on the constants' bytes.
    fn bind<'a>(&self, constants: &'a [u8]) -> Self::Bound<'a>;
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Field for $type {
            type Bound<'a> = Self;

            fn tokens(&self) -> TokenStream {
                quote!(#self)
            }

            fn bind(&self, _: &[u8]) -> Self {
                *self
            }
        }

        impl<const N: usize> Field for [$type; N] {
            type Bound<'a> = Self;

            fn tokens(&self) -> TokenStream {
                let values = self.iter();
                quote!([#(#values),*])
            }

            fn bind(&self, _: &[u8]) -> Self {
                *self
            }
        }
    )*};
}
plain!(usize, u32, i32, i16, f32);

/// An element of a constant.
pub trait Element: AnyBitPattern + NoUninit {}

impl Element for i8 {}
impl Element for i16 {}
impl Element for i32 {}
impl Element for u32 {}
impl Element for f32 {}
impl Element for f16 {}

impl<T: Element> Field for View<T> {
    type Bound<'a> = &'a [T];

    fn tokens(&self) -> TokenStream {
        let Self { offset, len, .. } = self;
        if *len == 0 { quote!(&[]) } else { quote!(MODEL.view(#offset, #len)) }
    }

    fn bind<'a>(&self, constants: &'a [u8]) -> &'a [T] {
        bytemuck::cast_slice(&constants[self.offset..][..self.len * size_of::<T>()])
    }
}

impl<T: Element, const N: usize> Field for Array<T, N>
where
    [T; N]: AnyBitPattern,
{
    type Bound<'a> = &'a [T; N];

    fn tokens(&self) -> TokenStream {
        let offset = self.0.offset;
        let element = element::<T>();
        quote!(&MODEL.view::<[#element; #N]>(#offset, 1)[0])
    }

    fn bind<'a>(&self, constants: &'a [u8]) -> &'a [T; N] {
        bytemuck::from_bytes(&constants[self.0.offset..][..N * size_of::<T>()])
    }
}

/// The name of an element's type.
fn element<T>() -> TokenStream {
    let name = std::any::type_name::<T>();
    let name = Ident::new(name.rsplit("::").next().unwrap_or(name), proc_macro2::Span::call_site());
    quote!(#name)
}

impl<F: Field> Field for Option<F> {
    type Bound<'a> = Option<F::Bound<'a>>;

    fn tokens(&self) -> TokenStream {
        self.as_ref().map_or(quote!(None), |field| {
            let field = field.tokens();
            quote!(Some(#field))
        })
    }

    fn bind<'a>(&self, constants: &'a [u8]) -> Self::Bound<'a> {
        self.as_ref().map(|field| field.bind(constants))
    }
}

impl Field for Shape {
    type Bound<'a> = Self;

    fn tokens(&self) -> TokenStream {
        let Self { height, width, channels } = self;
        quote!(g::Shape { height: #height, width: #width, channels: #channels })
    }

    fn bind(&self, _: &[u8]) -> Self {
        *self
    }
}

impl Field for Geometry {
    type Bound<'a> = Self;

    fn tokens(&self) -> TokenStream {
        let (input, output) = (self.input.tokens(), self.output.tokens());
        let [kernel, stride, padding, upsample] =
            [self.kernel, self.stride, self.padding, self.upsample].map(|pair| pair.tokens());
        quote! {
            g::Geometry {
                input: #input,
                output: #output,
                kernel: #kernel,
                stride: #stride,
                padding: #padding,
                upsample: #upsample,
            }
        }
    }

    fn bind(&self, _: &[u8]) -> Self {
        *self
    }
}

/// Declares a struct of packed parameters for one of the engine's, field by field. `<'a>` says that the engine's struct
/// borrows, `<T>` that it is generic over the element of floating-point constants.
macro_rules! parameters {
    ($name:ident => $engine:ident<'a, T> { $($field:ident: $type:ty,)* }) => {
        #[derive(Clone, Debug)]
        pub(crate) struct $name<T> { $(pub(crate) $field: $type,)* }

        impl<T: $crate::pack::Element> $crate::pack::Field for $name<T> {
            type Bound<'a> = grano::generated::$engine<'a, T>;
            $crate::pack::parameters!(@body $engine { $($field,)* });
        }
    };
    ($name:ident => $engine:ident<'a> { $($field:ident: $type:ty,)* }) => {
        #[derive(Clone, Debug)]
        pub(crate) struct $name { $(pub(crate) $field: $type,)* }

        impl $crate::pack::Field for $name {
            type Bound<'a> = grano::generated::$engine<'a>;
            $crate::pack::parameters!(@body $engine { $($field,)* });
        }
    };
    ($name:ident => $engine:ident { $($field:ident: $type:ty,)* }) => {
        #[derive(Clone, Debug)]
        pub(crate) struct $name { $(pub(crate) $field: $type,)* }

        impl $crate::pack::Field for $name {
            type Bound<'a> = grano::generated::$engine;
            $crate::pack::parameters!(@body $engine { $($field,)* });
        }
    };
    (@body $engine:ident { $($field:ident,)* }) => {
        fn tokens(&self) -> proc_macro2::TokenStream {
            $(let $field = $crate::pack::Field::tokens(&self.$field);)*
            let engine = proc_macro2::Ident::new(stringify!($engine), proc_macro2::Span::call_site());
            let fields = [$({
                let name = proc_macro2::Ident::new(stringify!($field), proc_macro2::Span::call_site());
                quote::quote!(#name: #$field)
            }),*];
            quote::quote!(g::#engine { #(#fields),* })
        }

        fn bind<'a>(&self, constants: &'a [u8]) -> Self::Bound<'a> {
            grano::generated::$engine { $($field: $crate::pack::Field::bind(&self.$field, constants)),* }
        }
    };
}
pub(crate) use parameters;

/// A packed kernel.
pub trait Packed: Send + Sync {
    /// Type and initialiser of its static, where `isa` is the instruction set that its constants are packed for.
    fn declare(&self, isa: &TokenStream) -> [TokenStream; 2];

    /// The call in generated code, on the static `KERNEL`.
    fn call(&self, names: &Names) -> TokenStream;

    /// That the engine takes its parameters, on constants that begin at a multiple of eight bytes: what generated code
    /// asserts when it is compiled.
    ///
    /// # Errors
    /// What they lack.
    fn prove(&self, constants: &[u8], target: Target) -> Result<(), &'static str>;

    /// The call in process.
    fn run(&self, constants: &[u8], operands: Operands<'_>);

    /// Which lengths of its buffers the engine's kernel states as constants, for generated code to hold them to.
    fn states(&self) -> Lens {
        Lens::None
    }

    /// Whether the call takes the condition: rows of time and class.
    fn is_conditioned(&self) -> bool {
        false
    }

    /// Whether it is generic over the instruction set.
    fn uses_isa(&self) -> bool {
        true
    }
}

/// What a proved kernel states of its buffers' lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lens {
    /// Nothing that is constant.
    None,
    /// The result's and what it works in.
    Map,
    /// Those and the maps' that it reads.
    Convolution,
}

/// Expressions for a call's operands in generated code.
#[derive(Clone, Debug)]
pub struct Names {
    /// The maps, each a slice; empty where one lies in the output.
    pub maps: Vec<TokenStream>,
    /// The first map, as a `Residual`: it may lie in the output.
    pub source: TokenStream,
    /// The second operand of a sum, as a `Residual`.
    pub residual: TokenStream,
    /// Element type of the residual.
    pub code: TokenStream,
    /// What the kernel works in.
    pub scratch: TokenStream,
    /// The rows between two kernels that run strip by strip.
    pub window: TokenStream,
    /// The result, or, of a head, the strip of rows that it is handed out in.
    pub output: TokenStream,
}

impl Names {
    /// Two maps side by side; the second is empty where there is one.
    #[must_use]
    pub fn pair(&self) -> TokenStream {
        match &self.maps[..] {
            [first, second, ..] => quote!([#first, #second]),
            [first] => quote!([#first, &[]]),
            [] => quote!([&[], &[]]),
        }
    }
}

/// The type and the initialiser of a kernel that is proved for an instruction set, or for all where there is none.
pub(crate) fn proved(
    name: &str,
    element: Option<&str>,
    value: &TokenStream,
    isa: Option<&TokenStream>,
) -> [TokenStream; 2] {
    let name = Ident::new(name, proc_macro2::Span::call_site());
    let kind = match element {
        Some("f16") => quote!(g::#name<'static, g::f16>),
        Some(_) => quote!(g::#name<'static, f32>),
        None => quote!(g::#name),
    };
    match isa {
        Some(isa) => [quote!(g::Proved<#kind, g::#isa>), quote!(#value.checked::<g::#isa>())],
        None => [quote!(g::Proved<#kind>), quote!(#value.checked())],
    }
}
