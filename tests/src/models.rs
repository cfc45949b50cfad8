//! The generated networks, by precision, behind one interface.

use grano::denoiser::{Denoiser, Map};
use grano::isa::Isa;
use grano::kernel::Condition;
use grano::noise::Noise;
use grano::sampler::{Request, Sampler};
use grano::schedule::StepTable;
use grano::tap::Tap;
use grano_codegen::Precision;

macro_rules! generated {
    ($($module:ident: $type:ident in $folder:literal;)*) => {$(
        #[doc = concat!("Generated: ", $folder, ".")]
        pub mod $module {
            include!(concat!(env!("OUT_DIR"), "/", $folder, "/model.rs"));
        }

        impl<I: Isa> Traced for $module::$type<I> {
            const TAPS: &'static [Tap] = $module::TAPS;
            const SAMPLERS: &'static [StepTable] = $module::SAMPLERS;
            fn memory(&self) -> &[u8] {
                self.memory()
            }
        }
    )*};
}

generated! {
    fashion_int8: FashionInt8 in "fashion-int8";
    fashion_mixed: FashionMixed in "fashion-mixed";
    fashion_f16: FashionF16 in "fashion-f16";
    fashion_f32: FashionF32 in "fashion-f32";
    toy_int8: ToyInt8 in "toy-int8";
    toy_mixed: ToyMixed in "toy-mixed";
    toy_f16: ToyF16 in "toy-f16";
    toy_f32: ToyF32 in "toy-f32";
    mixer_int8: MixerInt8 in "mixer-int8";
    mixer_f16: MixerF16 in "mixer-f16";
    mixer_f32: MixerF32 in "mixer-f32";
    fashion_in_ram: FashionInRam in "fashion-in-ram";
    fashion_x86: FashionX86 in "fashion-x86";
    toy_in_ram: ToyInRam in "toy-in-ram";
    toy_x86: ToyX86 in "toy-x86";
    fashion_strips: FashionStrips in "fashion-strips";
    blocks_int8: BlocksInt8 in "blocks-int8";
    blocks_strips: BlocksStrips in "blocks-strips";
    blocks_rows: BlocksRows in "blocks-rows";
    blocks_x86: BlocksX86 in "blocks-x86";
    unet_int8: UnetInt8 in "unet-int8";
    unet_f16: UnetF16 in "unet-f16";
    unet_f32: UnetF32 in "unet-f32";
    unet_x86: UnetX86 in "unet-x86";
    layers_int8: LayersInt8 in "layers-int8";
    layers_f16: LayersF16 in "layers-f16";
    layers_f32: LayersF32 in "layers-f32";
}

/// A generated network whose intermediate values can be read.
pub trait Traced: Denoiser + 'static {
    /// Where they are.
    const TAPS: &'static [Tap];
    /// Its samplers.
    const SAMPLERS: &'static [StepTable];
    /// Its arena.
    fn memory(&self) -> &[u8];
}

/// An intermediate value: its name in the graph, and its elements `[channels, height, width]`.
pub type Value = (&'static str, Vec<f32>);

/// Something that is done with a network of any precision.
pub trait Visit {
    /// What comes of it.
    type Output;
    /// Does it.
    fn visit<D: Traced>(self) -> Self::Output;
}

/// Does something with the shipped model in a precision.
pub fn fashion<V: Visit>(precision: Precision, visit: V) -> V::Output {
    match precision {
        Precision::Int8 => visit.visit::<fashion_int8::FashionInt8>(),
        Precision::Mixed => visit.visit::<fashion_mixed::FashionMixed>(),
        Precision::F16 => visit.visit::<fashion_f16::FashionF16>(),
        Precision::F32 => visit.visit::<fashion_f32::FashionF32>(),
    }
}

/// Does something with the toy in a precision.
pub fn toy<V: Visit>(precision: Precision, visit: V) -> V::Output {
    match precision {
        Precision::Int8 => visit.visit::<toy_int8::ToyInt8>(),
        Precision::Mixed => visit.visit::<toy_mixed::ToyMixed>(),
        Precision::F16 => visit.visit::<toy_f16::ToyF16>(),
        Precision::F32 => visit.visit::<toy_f32::ToyF32>(),
    }
}

/// Does something with the mixer in a precision.
pub fn mixer<V: Visit>(precision: Precision, visit: V) -> V::Output {
    match precision {
        Precision::Int8 | Precision::Mixed => visit.visit::<mixer_int8::MixerInt8>(),
        Precision::F16 => visit.visit::<mixer_f16::MixerF16>(),
        Precision::F32 => visit.visit::<mixer_f32::MixerF32>(),
    }
}

/// Does something with the reference U-Net in a precision.
pub fn unet<V: Visit>(precision: Precision, visit: V) -> V::Output {
    match precision {
        Precision::Int8 | Precision::Mixed => visit.visit::<unet_int8::UnetInt8>(),
        Precision::F16 => visit.visit::<unet_f16::UnetF16>(),
        Precision::F32 => visit.visit::<unet_f32::UnetF32>(),
    }
}

/// Does something with the layers of the kernels' table in a precision.
pub fn layers<V: Visit>(precision: Precision, visit: V) -> V::Output {
    match precision {
        Precision::Int8 | Precision::Mixed => visit.visit::<layers_int8::LayersInt8>(),
        Precision::F16 => visit.visit::<layers_f16::LayersF16>(),
        Precision::F32 => visit.visit::<layers_f32::LayersF32>(),
    }
}

/// One evaluation: the output `[height, width, channels]` and every value that is stored on the way.
pub struct Evaluate<'a> {
    /// `[height, width, channels]`.
    pub x: &'a [f32],
    /// Rows of step and class.
    pub condition: Condition,
}

impl Visit for Evaluate<'_> {
    type Output = (Vec<f32>, Vec<Value>);

    fn visit<D: Traced>(self) -> Self::Output {
        let mut network = Box::new(D::NEW);
        let mut out = D::Map::ZERO;
        let mut values = Vec::new();
        for layer in 0..D::LAYERS {
            let x = if layer == 0 { self.x } else { &[] };
            let out: &mut [f32] = if layer + 1 == D::LAYERS { out.as_mut() } else { &mut [] };
            network.layer(layer, self.condition, x, out);
            for tap in D::TAPS.iter().filter(|tap| tap.layer == layer) {
                let stored: Vec<f32> = (0..tap.shape.len()).map_while(|i| tap.value(network.memory(), i)).collect();
                values.push((tap.name, channels_first(&stored, tap.shape.channels)));
            }
        }
        (out.as_ref().to_vec(), values)
    }
}

/// Runs a sampler: x after every step.
pub struct Draw<'a, N> {
    /// The sampler's name.
    pub sampler: &'a str,
    /// What to draw.
    pub request: Request,
    /// x_T and the steps' noise.
    pub noise: N,
}

impl<N: Noise> Visit for Draw<'_, N> {
    type Output = Vec<Vec<f32>>;

    fn visit<D: Traced>(self) -> Self::Output {
        let table = D::SAMPLERS.iter().find(|table| table.name == self.sampler).expect("the build script names it");
        let mut sampler = Box::new(Sampler::<D, N>::new());
        sampler.start(table, self.noise, self.request).expect("a sound request");
        let mut step = || {
            sampler.step();
            sampler.x().to_vec()
        };
        table.rows.iter().map(|_| step()).collect()
    }
}

/// `[height, width, channels]` to `[channels, height, width]`.
#[must_use]
pub fn channels_first(map: &[f32], channels: usize) -> Vec<f32> {
    (0..channels).flat_map(|c| map.iter().skip(c).step_by(channels).copied()).collect()
}
