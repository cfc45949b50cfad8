//! The generated networks as the driver runs them.

use anyhow::{Context, Result, bail};
use grano::denoiser::{Denoiser, Map};
use grano::isa::Isa;
use grano::isa::desktop::{Best, Common};
use grano::kernel::Condition;
use grano::noise::{Gaussian, Noise, Philox};
use grano::sampler::{Request, Sampler};
use grano::schedule::StepTable;
use grano_bench_protocol::protocol::Runner;

macro_rules! networks {
    ($($module:ident: $network:ident in $precision:literal;)*) => {
        $(mod $module {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($module), "/model.rs"));
        })*

        /// The network of a precision, with the best instructions that the machine has, and their name.
        ///
        /// # Errors
        /// When there is none.
        pub fn runner(precision: &str) -> Result<(&'static str, Box<dyn Runner>)> {
            match precision {
                $($precision if Best::is_native() => boxed::<$module::$network<Best>>(Best::NAME, $module::SAMPLERS),
                $precision => boxed::<$module::$network<Common>>(Common::NAME, $module::SAMPLERS),)*
                _ => bail!("there is no network in {precision}"),
            }
        }
    };
}

networks! {
    unet_int8: UnetInt8 in "int8";
    unet_f16: UnetF16 in "f16";
    unet_f32: UnetF32 in "f32";
}

fn boxed<D: Denoiser + 'static>(
    isa: &'static str,
    samplers: &'static [StepTable],
) -> Result<(&'static str, Box<dyn Runner>)> {
    Ok((isa, Box::new(Network::<D>::new(samplers)?)))
}

/// What every picture begins with.
pub fn noise<M: Map>() -> M {
    let mut x = M::ZERO;
    Gaussian(Philox::new(0, 0)).fill(x.as_mut());
    x
}

/// A network with a sampler: [`Runner::evaluate`] calls it as the sampler does.
struct Network<D: Denoiser> {
    denoiser: D,
    sampler: Sampler<D, Gaussian<Philox>>,
    table: &'static StepTable,
    noise: D::Map,
}

impl<D: Denoiser> Network<D> {
    fn new(samplers: &'static [StepTable]) -> Result<Self> {
        let table = samplers.first().context("no sampler")?;
        Ok(Self { denoiser: D::NEW, sampler: Sampler::new(), table, noise: noise() })
    }
}

impl<D: Denoiser> Runner for Network<D> {
    fn evaluate(&mut self) -> Result<Vec<f32>> {
        let row = self.table.rows.first().context("no steps")?;
        let x: Vec<_> = self.noise.as_ref().iter().map(|x| row.c_in * x).collect();
        let mut out = vec![0.0; x.len()];
        let condition = Condition { step: row.network_row.into(), class: D::CLASSES };
        for layer in 0..D::LAYERS {
            let (x, out) = (if layer == 0 { &x[..] } else { &[] }, &mut out[..]);
            self.denoiser.layer(layer, condition, x, if layer + 1 == D::LAYERS { out } else { &mut [] });
        }
        Ok(out)
    }

    fn picture(&mut self) -> Result<Vec<f32>> {
        let request = Request { label: None, guidance: 1.0 };
        self.sampler.start_from(self.table, self.noise.as_ref(), Gaussian(Philox::new(0, 0)), request)?;
        self.sampler.run();
        Ok(self.sampler.x().to_vec())
    }
}
