//! Packed convolutions to int8 and to fine codes: their statics, their calls, and how they run in process.

use grano::geometry::Geometry as EngineGeometry;
use grano::kernel::Strips;
use proc_macro2::TokenStream;
use quote::quote;

use super::kernel::{
    Conv2dFine, Conv2dInt8, DepthwiseInt8, PackedBias, PackedEpilogue, PackedFineEpilogue, PackedSums, PackedWinograd,
    Packer,
};
use crate::algorithm::Algorithm;
use crate::kernel::Element;
use crate::lower::Call;
use crate::pack::{Constants, Field, Lens, Names, Packed, View, parameters, proved};
use crate::run::{Operands, codes, machine};
use crate::target::{Target, isa};

parameters! {
    Direct => Conv2dInt8<'a> { sums: PackedSums, epilogue: PackedEpilogue, }
}
parameters! {
    Winograd => WinogradInt8<'a> { sums: PackedWinograd<i16>, epilogue: PackedEpilogue, }
}
parameters! {
    WinogradInRam => WinogradInRamInt8<'a> { sums: PackedWinograd<i8>, epilogue: PackedEpilogue, group: usize, }
}
parameters! {
    FineDirect => Conv2dFine<'a> { sums: PackedSums, epilogue: PackedFineEpilogue, }
}
parameters! {
    FineWinograd => WinogradFine<'a> { sums: PackedWinograd<i16>, epilogue: PackedFineEpilogue, }
}
parameters! {
    FineWinogradInRam => WinogradInRamFine<'a> {
        sums: PackedWinograd<i8>,
        epilogue: PackedFineEpilogue,
        group: usize,
    }
}
parameters! {
    Depthwise => DepthwiseInt8<'a> {
        geometry: EngineGeometry,
        zero_point: i16,
        weights: View<i8>,
        bias: PackedBias<i32>,
        epilogue: PackedEpilogue,
    }
}
/// A convolution to int8 by one algorithm or another.
#[derive(Clone, Debug)]
pub(crate) enum Int8 {
    Direct(Direct),
    Winograd(Winograd),
    WinogradInRam(WinogradInRam),
}

/// Does something with the packed parameters of any algorithm.
macro_rules! each {
    ($kernel:expr, $it:ident => $value:expr) => {
        match $kernel {
            Int8::Direct($it) => $value,
            Int8::Winograd($it) => $value,
            Int8::WinogradInRam($it) => $value,
        }
    };
}

pub(super) fn int8(kernel: &Conv2dInt8, call: &Call, constants: &mut Constants) -> Int8 {
    let Conv2dInt8 { sums, residual_multipliers, requantize, table } = kernel;
    let mut packer = Packer { constants, target: call.target };
    let epilogue = |packer: &mut Packer<'_>| packer.epilogue(residual_multipliers, requantize, table.as_ref());
    match call.algorithm() {
        Algorithm::Direct => Int8::Direct(Direct { sums: packer.sums(sums), epilogue: epilogue(&mut packer) }),
        Algorithm::Winograd => {
            Int8::Winograd(Winograd { sums: packer.winograd(sums), epilogue: epilogue(&mut packer) })
        }
        Algorithm::WinogradInRam { group } => Int8::WinogradInRam(WinogradInRam {
            sums: packer.winograd_in_ram(sums),
            epilogue: epilogue(&mut packer),
            group,
        }),
    }
}

impl Int8 {
    fn declare(&self, isa: &TokenStream) -> [TokenStream; 2] {
        let name = match self {
            Self::Direct(_) => "Conv2dInt8",
            Self::Winograd(_) => "WinogradInt8",
            Self::WinogradInRam(_) => "WinogradInRamInt8",
        };
        proved(name, None, &each!(self, it => it.tokens()), Some(isa))
    }

    fn prove(&self, constants: &[u8], target: Target) -> Result<(), &'static str> {
        each!(self, it => isa!(target, I => it.bind(constants).proved::<I>().map(drop)))
    }
}

/// With the type of the maps that it reads.
impl Packed for (Int8, Element) {
    fn declare(&self, isa: &TokenStream) -> [TokenStream; 2] {
        self.0.declare(isa)
    }

    fn call(&self, names: &Names) -> TokenStream {
        let (pair, Names { residual, scratch, output, .. }) = (names.pair(), names);
        quote!(KERNEL.run::<I, _>(condition, #pair, #residual, #scratch, #output))
    }

    fn prove(&self, constants: &[u8], target: Target) -> Result<(), &'static str> {
        self.0.prove(constants, target)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        codes!(self.1, X => {
            let parts = operands.parts::<X, i8, i32, i8>();
            let maps = parts.pair();
            each!(&self.0, it => machine!(parts.machine, I of P => {
                let kernel = it.bind(constants).checked::<P>();
                kernel.run::<I, X>(parts.condition, maps, parts.residual, parts.scratch, parts.output);
            }));
        });
    }

    fn states(&self) -> Lens {
        Lens::Convolution
    }

    fn is_conditioned(&self) -> bool {
        true
    }
}

/// A convolution with codes of int16.
#[derive(Clone, Debug)]
enum FineKernel {
    Direct(FineDirect),
    Winograd(FineWinograd),
    WinogradInRam(FineWinogradInRam),
}

/// With the types of the maps that it reads, of the residual, and of the result.
#[derive(Clone, Debug)]
pub(super) struct Fine {
    kernel: FineKernel,
    reads: Element,
    residual: Element,
    writes: Element,
}

pub(super) fn fine(kernel: &Conv2dFine, call: &Call, constants: &mut Constants) -> Fine {
    let Conv2dFine { sums, residual_multipliers, residual_zero_point, requantize, table } = kernel;
    let mut packer = Packer { constants, target: call.target };
    let epilogue = |packer: &mut Packer<'_>| PackedFineEpilogue {
        requantize: packer.requantize(requantize),
        residual_multipliers: packer.constants.push(residual_multipliers),
        table: table.as_ref().map(|table| packer.constants.array(table)),
        residual_zero_point: *residual_zero_point,
    };
    let kernel = match call.algorithm() {
        Algorithm::Direct => {
            FineKernel::Direct(FineDirect { sums: packer.sums(sums), epilogue: epilogue(&mut packer) })
        }
        Algorithm::Winograd => {
            FineKernel::Winograd(FineWinograd { sums: packer.winograd(sums), epilogue: epilogue(&mut packer) })
        }
        Algorithm::WinogradInRam { group } => FineKernel::WinogradInRam(FineWinogradInRam {
            sums: packer.winograd_in_ram(sums),
            epilogue: epilogue(&mut packer),
            group,
        }),
    };
    Fine { kernel, reads: call.reads, residual: call.adds.unwrap_or(call.element), writes: call.element }
}

/// Does something with the types of residual and result: int8 comes of what int16 is added to alone.
macro_rules! sums_to {
    ($fine:expr, $residual:ident, $code:ident => $value:expr) => {
        match $fine.writes {
            Element::I16 { .. } => {
                type $code = i16;
                codes!($fine.residual, $residual => $value)
            }
            _ => {
                type $code = i8;
                type $residual = i16;
                $value
            }
        }
    };
}

impl Packed for Fine {
    fn declare(&self, isa: &TokenStream) -> [TokenStream; 2] {
        let (name, tokens) = match &self.kernel {
            FineKernel::Direct(it) => ("Conv2dFine", it.tokens()),
            FineKernel::Winograd(it) => ("WinogradFine", it.tokens()),
            FineKernel::WinogradInRam(it) => ("WinogradInRamFine", it.tokens()),
        };
        proved(name, None, &tokens, Some(isa))
    }

    fn call(&self, names: &Names) -> TokenStream {
        let (pair, Names { residual, scratch, output, code, .. }) = (names.pair(), names);
        quote!(KERNEL.run::<I, _, #code, _>(condition, #pair, #residual, #scratch, #output))
    }

    fn prove(&self, constants: &[u8], target: Target) -> Result<(), &'static str> {
        match &self.kernel {
            FineKernel::Direct(it) => isa!(target, I => it.bind(constants).proved::<I>().map(drop)),
            FineKernel::Winograd(it) => isa!(target, I => it.bind(constants).proved::<I>().map(drop)),
            FineKernel::WinogradInRam(it) => isa!(target, I => it.bind(constants).proved::<I>().map(drop)),
        }
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        codes!(self.reads, X => sums_to!(self, R, Y => {
            let parts = operands.parts::<X, R, i32, Y>();
            let maps = parts.pair();
            macro_rules! run {
                ($it:expr) => {
                    machine!(parts.machine, I of P => {
                        let kernel = $it.bind(constants).checked::<P>();
                        kernel.run::<I, X, R, Y>(parts.condition, maps, parts.residual, parts.scratch, parts.output);
                    })
                };
            }
            match &self.kernel {
                FineKernel::Direct(it) => run!(it),
                FineKernel::Winograd(it) => run!(it),
                FineKernel::WinogradInRam(it) => run!(it),
            }
        }));
    }

    fn states(&self) -> Lens {
        Lens::Convolution
    }

    fn is_conditioned(&self) -> bool {
        true
    }
}

pub(super) fn depthwise(kernel: &DepthwiseInt8, call: &Call, constants: &mut Constants) -> impl Packed + use<> {
    let DepthwiseInt8 { sums, residual_multipliers, requantize, table } = kernel;
    let mut packer = Packer { constants, target: call.target };
    Depthwise {
        geometry: sums.geometry.engine(),
        zero_point: sums.zero_points[0],
        weights: packer.constants.push(&sums.weights),
        bias: packer.bias(&sums.bias),
        epilogue: packer.epilogue(residual_multipliers, requantize, table.as_ref()),
    }
}

impl Packed for Depthwise {
    fn declare(&self, _: &TokenStream) -> [TokenStream; 2] {
        proved("DepthwiseInt8", None, &self.tokens(), None)
    }

    fn call(&self, Names { maps, residual, output, .. }: &Names) -> TokenStream {
        let input = &maps[0];
        quote!(KERNEL.run::<I>(condition, #input, #residual, #output))
    }

    fn prove(&self, constants: &[u8], _: Target) -> Result<(), &'static str> {
        self.bind(constants).proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let parts = operands.parts::<i8, i8, i32, i8>();
        let kernel = self.bind(constants).checked();
        machine!(parts.machine, I => kernel.run::<I>(parts.condition, parts.maps[0], parts.residual, parts.output));
    }

    fn is_conditioned(&self) -> bool {
        true
    }
}

/// Two convolutions to int8 that run strip by strip.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) first: Int8,
    pub(crate) last: Int8,
    pub(crate) strips: Strips,
}

impl Packed for Pair {
    fn declare(&self, isa: &TokenStream) -> [TokenStream; 2] {
        let [[first_kind, first], [last_kind, last]] = [&self.first, &self.last].map(|kernel| kernel.declare(isa));
        let Strips { geometries, rows } = &self.strips;
        let geometries = geometries.each_ref().map(Field::tokens);
        let strips = quote!(g::Strips { geometries: [#(#geometries),*], rows: #rows });
        let [strips_kind, strips] = proved("Strips", None, &strips, None);
        [quote!((#first_kind, #last_kind, #strips_kind)), quote!((#first, #last, #strips))]
    }

    fn call(&self, Names { source, residual, scratch, window, output, .. }: &Names) -> TokenStream {
        quote! {
            KERNEL.2.run::<I, _, _>(
                (&KERNEL.0, &KERNEL.1),
                condition,
                [#source, #residual],
                #scratch,
                #window,
                #output,
            )
        }
    }

    fn prove(&self, constants: &[u8], target: Target) -> Result<(), &'static str> {
        self.first.prove(constants, target)?;
        self.last.prove(constants, target)?;
        self.strips.proved().map(drop)
    }

    fn run(&self, constants: &[u8], operands: Operands<'_>) {
        let parts = operands.parts::<i8, i8, i32, i8>();
        let strips = self.strips.checked();
        machine!(parts.machine, I of P => each!(&self.first, first => each!(&self.last, last => {
            let (first, last) = (first.bind(constants).checked::<P>(), last.bind(constants).checked::<P>());
            strips.run::<I, _, _>(
                (&first, &last), parts.condition, [parts.source, parts.residual], parts.scratch, parts.window, parts.output,
            );
        })));
    }

    fn is_conditioned(&self) -> bool {
        true
    }
}
