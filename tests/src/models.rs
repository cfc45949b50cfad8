//! The generated networks, by precision, behind one interface.

use grano::memory::Storage;
use grano::network::{Condition, Evaluation, Input};
use grano::{Model, Network, Noise, Request, Sampler, Table};
use grano_codegen::Precision;

macro_rules! generated {
    ($($module:ident in $folder:literal;)*) => {$(
        #[doc = concat!("Generated: ", $folder, ".")]
        pub mod $module {
            include!(concat!(env!("OUT_DIR"), "/", $folder, "/model.rs"));
        }
    )*};
}

generated! {
    fashion_int8 in "fashion-int8";
    fashion_mixed in "fashion-mixed";
    fashion_f16 in "fashion-f16";
    fashion_f32 in "fashion-f32";
    toy_int8 in "toy-int8";
    toy_mixed in "toy-mixed";
    toy_f16 in "toy-f16";
    toy_f32 in "toy-f32";
    mixer_int8 in "mixer-int8";
    mixer_f16 in "mixer-f16";
    mixer_f32 in "mixer-f32";
    fashion_in_ram in "fashion-in-ram";
    fashion_x86 in "fashion-x86";
    toy_in_ram in "toy-in-ram";
    toy_x86 in "toy-x86";
    fashion_strips in "fashion-strips";
    blocks_int8 in "blocks-int8";
    blocks_strips in "blocks-strips";
    blocks_rows in "blocks-rows";
    blocks_x86 in "blocks-x86";
    unet_int8 in "unet-int8";
    unet_f16 in "unet-f16";
    unet_f32 in "unet-f32";
    unet_x86 in "unet-x86";
    trio_int8 in "trio-int8";
    trio_f16 in "trio-f16";
    trio_f32 in "trio-f32";
    layers_int8 in "layers-int8";
    layers_f16 in "layers-f16";
    layers_f32 in "layers-f32";
}

/// An intermediate value: its name in the graph, and its elements `[channels, height, width]`.
pub type Value = (&'static str, Vec<f32>);

/// Something that is done with a network of any precision.
pub trait Visit {
    /// What comes of it.
    type Output;
    /// Does it.
    fn visit<M: Model>(self) -> Self::Output;
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

    fn visit<M: Model>(self) -> Self::Output {
        let mut memory = Box::new(M::Memory::ZERO);
        let mut out = vec![0.0; M::SHAPE.len()];
        let inputs = [Input::new(self.x)];
        let network = M::Denoiser::NEW;
        let mut evaluation = Evaluation::new(&network, self.condition, &inputs);
        let mut values = Vec::new();
        let mut put = |_: usize, first: usize, strip: &[f32]| out[first..][..strip.len()].copy_from_slice(strip);
        while let Some(layer) = evaluation.advance(memory.parts().arena, &mut put) {
            for tap in M::Denoiser::TAPS.iter().filter(|tap| tap.layer == layer) {
                let stored: Vec<f32> = (0..tap.shape.len()).map_while(|i| tap.value(memory.arena(), i)).collect();
                values.push((tap.name, channels_first(&stored, tap.shape.channels)));
            }
        }
        (out, values)
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

    fn visit<M: Model>(self) -> Self::Output {
        let table = Table::<M>::named(self.sampler).expect("the build script names it");
        let mut sampler = Box::new(Sampler::<M, N>::new());
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
