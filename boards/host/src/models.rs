//! The networks in the binary: one table, whatever their numbers and shapes.

use grano::denoiser::Denoiser;
use grano::isa::Isa;
use grano::isa::desktop::{Best, Common};
use grano::noise::{Gaussian, Philox};
use grano::picture;
use grano::sampler::{Progress, Request, SampleError, Sampler};
use grano::schedule::StepTable;
use grano::shape::Shape;

/// A network of one precision.
pub struct Model {
    /// By which users choose it.
    pub name: &'static str,
    /// `int8`, `mixed`, `f16` or `f32`.
    pub precision: &'static str,
    /// Of a picture.
    pub shape: Shape,
    /// The classes' names; none for a network without labels.
    pub labels: &'static [&'static str],
    /// The samplers, the default first.
    pub samplers: &'static [StepTable],
    /// The guidance that it is meant to be sampled with.
    pub guidance: f32,
    /// Makes the memory for one picture at a time.
    pub painter: fn() -> Box<dyn Painter>,
}

/// A sampler of some network.
pub trait Painter {
    /// Draws a picture, bytes `[H, W, C]`; `on_step` is called after each step.
    ///
    /// # Errors
    /// As [`Sampler::start`].
    fn paint(
        &mut self,
        table: &'static StepTable,
        noise: Gaussian<Philox>,
        request: Request,
        on_step: &dyn Fn(),
    ) -> Result<Vec<u8>, SampleError>;
}

impl<D: Denoiser> Painter for Sampler<D, Gaussian<Philox>> {
    fn paint(
        &mut self,
        table: &'static StepTable,
        noise: Gaussian<Philox>,
        request: Request,
        on_step: &dyn Fn(),
    ) -> Result<Vec<u8>, SampleError> {
        self.start(table, noise, request)?;
        while self.step() != Progress::Done {
            on_step();
        }
        Ok(picture::rows(D::SHAPE, self.x()).flatten().collect())
    }
}

macro_rules! models {
    ($($(#[$feature:meta])? $module:ident: $network:ident, $name:literal in $precision:literal;)*) => {
        $($(#[$feature])?
        mod $module {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($module), "/model.rs"));
        })*

        /// All of them, the default first.
        pub static MODELS: &[Model] = &[$($(#[$feature])? Model {
            name: $name,
            precision: $precision,
            shape: <$module::$network as Denoiser>::SHAPE,
            labels: $module::LABELS,
            samplers: $module::SAMPLERS,
            guidance: $module::GUIDANCE,
            painter: || {
                if Best::is_native() {
                    Box::new(Sampler::<$module::$network<Best>, Gaussian<Philox>>::new())
                } else {
                    Box::new(Sampler::<$module::$network<Common>, Gaussian<Philox>>::new())
                }
            },
        }),*];
    };
}

models! {
    fashion_int8: FashionInt8, "fashion" in "int8";
    #[cfg(feature = "floats")]
    fashion_mixed: FashionMixed, "fashion" in "mixed";
    #[cfg(feature = "floats")]
    fashion_f16: FashionF16, "fashion" in "f16";
    #[cfg(feature = "floats")]
    fashion_f32: FashionF32, "fashion" in "f32";
    #[cfg(feature = "floats")]
    fashion_fast_int8: FashionFastInt8, "fashion-fast" in "int8";
    #[cfg(feature = "floats")]
    fashion_fast_f16: FashionFastF16, "fashion-fast" in "f16";
    #[cfg(feature = "floats")]
    fashion_fast_f32: FashionFastF32, "fashion-fast" in "f32";
}
