//! Packed convolutions whose result is an output of the network.

use proc_macro2::TokenStream;
use quote::quote;

use super::kernel::PackedSums;
use crate::kernel::Element;
use crate::lower::{Call, Head};
use crate::op::depth_to_space::PackedShuffle;
use crate::pack::{Field, Names, Packed, View, parameters, proved};
use crate::run::{Operands, codes, machine};
use crate::target::{Target, isa};

parameters! {
    PackedHead => Conv2dInt8Head<'a> { sums: PackedSums, scales: View<f32>, }
}
/// A convolution whose result is an output of the network: handed out as f32, some rows at a time.
pub(super) struct Output<K> {
    pub(super) kernel: K,
    /// Makes pixels of channels on the way.
    pub(super) shuffle: Option<PackedShuffle>,
    /// Rows at a time.
    pub(super) rows: usize,
    /// Whether those are all.
    is_whole: bool,
    /// The number of the output.
    pub(super) output: usize,
    /// The type of the maps that it reads.
    pub(super) reads: Element,
}

impl<K> Output<K> {
    pub(super) fn new(kernel: K, call: &Call) -> Self {
        let Head { output, rows, shuffle, shape: [_, height, _] } = call.head.clone().unwrap_or_default();
        let shuffle = shuffle.map(|shuffle| shuffle.packed());
        Self { kernel, shuffle, rows, is_whole: rows >= height, output, reads: call.reads }
    }

    /// The static holds what makes pixels as well, where there is such.
    pub(super) fn with_shuffle(&self, [kind, value]: [TokenStream; 2]) -> [TokenStream; 2] {
        let Some(shuffle) = &self.shuffle else { return [kind, value] };
        let [shuffle_kind, shuffle] = proved("DepthToSpace", None, &shuffle.tokens(), None);
        [quote!((#kind, #shuffle_kind)), quote!((#value, #shuffle))]
    }

    pub(super) fn prove_shuffle(&self, constants: &[u8]) -> Result<(), &'static str> {
        self.shuffle.as_ref().map_or(Ok(()), |shuffle| shuffle.bind(constants).proved().map(drop))
    }

    /// The call. All rows at once are the plain kernel's, which the compiler then knows to run with this geometry alone;
    /// `run` is how that is called.
    pub(super) fn stream(&self, names: &Names, run: impl FnOnce(TokenStream) -> TokenStream) -> TokenStream {
        let (pair, Names { scratch, output, .. }) = (names.pair(), names);
        let (kernel, shuffle) = match self.shuffle {
            Some(_) => (quote!(KERNEL.0), quote!(Some(&KERNEL.1))),
            None => (quote!(KERNEL), quote!(None)),
        };
        let (rows, port) = (self.rows, self.output);
        if self.is_whole {
            let run = run(kernel);
            let in_place = self.shuffle.as_ref().map(|_| quote!(KERNEL.1.run_in_place(g::elements(scratch), #output);));
            return quote! {
                #run;
                #in_place
                io.outputs.put(#port, 0, #output)
            };
        }
        quote! {
            #kernel.stream::<I, _>(condition, #pair, (#rows, #shuffle), #scratch, #output, &mut |first, values| {
                io.outputs.put(#port, first, values)
            })
        }
    }
}

impl Packed for Output<PackedHead> {
    fn declare(&self, isa: &TokenStream) -> [TokenStream; 2] {
        self.with_shuffle(proved("Conv2dInt8Head", None, &self.kernel.tokens(), Some(isa)))
    }

    fn call(&self, names: &Names) -> TokenStream {
        let (pair, Names { scratch, output, .. }) = (names.pair(), names);
        self.stream(names, |kernel| quote!(#kernel.run::<I, _>(condition, #pair, #scratch, #output)))
    }

    fn prove(&self, constants: &[u8], target: Target) -> Result<(), &'static str> {
        isa!(target, I => self.kernel.bind(constants).proved::<I>().map(drop))?;
        self.prove_shuffle(constants)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let shuffle = self.shuffle.as_ref().map(|shuffle| shuffle.bind(constants).checked());
        codes!(self.reads, X => {
            let parts = operands.parts::<X, i8, i32, f32>();
            let maps = parts.pair();
            machine!(parts.machine, I of P => {
                let kernel = self.kernel.bind(constants).checked::<P>();
                kernel.stream::<I, X>(
                    parts.condition, maps, (self.rows, shuffle.as_ref()), parts.scratch, parts.output, parts.put,
                );
            });
        });
    }

    fn is_conditioned(&self) -> bool {
        true
    }
}
