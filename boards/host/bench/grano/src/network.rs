//! The generated models as the driver runs them.

use anyhow::{Context, Result, bail};
use grano::isa::Isa;
use grano::isa::desktop::{Best, Common};
use grano::network::{Condition, Input};
use grano::{Gaussian, Model, Network, Noise, Philox, Request, Sampler, Table, evaluate};
use grano_bench_protocol::protocol::Runner;

macro_rules! models {
    ($($module:ident: $model:ident in $precision:literal;)*) => {
        $(#[allow(dead_code, reason = "constants that other programs need")]
        mod $module {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($module), "/model.rs"));
        })*

        /// The model in a precision, with the best instructions that the machine has, and their name.
        ///
        /// # Errors
        /// When there is none.
        pub fn runner(precision: &str) -> Result<(&'static str, Box<dyn Runner>)> {
            Ok(match precision {
                $($precision if Best::is_native() => (Best::NAME, Box::new(Drawing::<$module::$model<Best>>::new())),
                $precision => (Common::NAME, Box::new(Drawing::<$module::$model<Common>>::new())),)*
                _ => bail!("there is no network in {precision}"),
            })
        }
    };
}

models! {
    unet_int8: UnetInt8 in "int8";
    unet_f16: UnetF16 in "f16";
    unet_f32: UnetF32 in "f32";
}

/// What every picture begins with.
pub fn noise(len: usize) -> Vec<f32> {
    let mut x = vec![0.0; len];
    Gaussian(Philox::new(0, 0)).fill(&mut x);
    x
}

/// A model with a sampler: [`Runner::evaluate`] calls the network as the sampler does.
struct Drawing<M: Model> {
    sampler: Sampler<M, Gaussian<Philox>>,
    noise: Vec<f32>,
}

impl<M: Model> Drawing<M> {
    fn new() -> Self {
        Self { sampler: Sampler::new(), noise: noise(M::SHAPE.len()) }
    }
}

impl<M: Model> Runner for Drawing<M> {
    fn evaluate(&mut self) -> Result<Vec<f32>> {
        let table = Table::<M>::default();
        let row = table.rows.first().context("no steps")?;
        let condition = Condition { step: row.network_row.into(), class: M::Denoiser::CLASSES };
        let inputs = [Input { values: &self.noise, scale: row.c_in }];
        let mut out = vec![0.0; M::SHAPE.len()];
        evaluate(&M::Denoiser::NEW, condition, self.sampler.parts().arena, &inputs, &mut [&mut out]);
        Ok(out)
    }

    fn picture(&mut self) -> Result<Vec<f32>> {
        let request = Request { label: None, guidance: 1.0 };
        self.sampler.start_from(Table::default(), &self.noise, Gaussian(Philox::new(0, 0)), request)?;
        self.sampler.run();
        Ok(self.sampler.x().to_vec())
    }
}
