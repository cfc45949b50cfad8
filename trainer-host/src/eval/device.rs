//! The networks of `models/` as devices run them: generated code in every precision behind one interface.

use anyhow::{Context, Result};
use grano::denoiser::{Denoiser, Map};
use grano::isa::Isa;
use grano::isa::desktop::{Best, Common};
use grano::kernel::Condition;
use grano::noise::{Gaussian, Philox};
use grano::picture;
use grano::sampler::{Request, Sampler};
use grano::schedule::{StepRow, StepTable};
use grano::tap::Tap;
use grano_codegen::model::{Header, Model};
use grano_codegen::schedule::Table;

/// A network that was generated when this program was built.
pub struct Generated {
    /// Of the model file.
    sha256: &'static str,
    /// `int8`, `mixed`, `f16` or `f32`; or [`LIKELIHOOD`].
    precision: &'static str,
    /// SHA-256 of the generated code and constants: what was measured of another network is not this one's.
    pub fingerprint: &'static str,
    /// Makes the memory for one picture at a time.
    pub runner: fn() -> Box<dyn Runner>,
}

/// The name of int8 with the model's codes for likelihoods.
pub const LIKELIHOOD: &str = "int8, for likelihoods";

/// A generated network and a sampler of it. Maps are `[H, W, C]`.
pub trait Runner: Send {
    /// Draws a picture, bytes.
    ///
    /// # Errors
    /// As [`Sampler::start`].
    fn draw(&mut self, table: &'static StepTable, noise: Gaussian<Philox>, request: Request) -> Result<Vec<u8>>;

    /// The network's input at every step of a picture.
    ///
    /// # Errors
    /// As [`Sampler::start`].
    fn inputs(&mut self, table: &'static StepTable, noise: Gaussian<Philox>, request: Request)
    -> Result<Vec<Vec<f32>>>;

    /// One evaluation: the network's output for an input at a time index and a class, which is the number of classes
    /// for none. `watch` sees every value that the network stores, and the memory that it lies in.
    fn evaluate(&mut self, x: &[f32], t: usize, class: usize, watch: &mut dyn FnMut(&Tap, &[u8])) -> Vec<f32>;
}

/// A generated network whose intermediate values can be read.
trait Traced: Denoiser + Send + 'static {
    const TAPS: &'static [Tap];
    fn memory(&self) -> &[u8];
}

struct Machine<D: Denoiser> {
    network: D,
    sampler: Sampler<D, Gaussian<Philox>>,
}

impl<D: Traced> Machine<D>
where
    D::Map: Send,
    D::Previous: Send,
{
    fn boxed() -> Box<dyn Runner> {
        Box::new(Self { network: D::NEW, sampler: Sampler::new() })
    }
}

impl<D: Traced> Runner for Machine<D>
where
    D::Map: Send,
    D::Previous: Send,
{
    fn draw(&mut self, table: &'static StepTable, noise: Gaussian<Philox>, request: Request) -> Result<Vec<u8>> {
        self.sampler.start(table, noise, request)?;
        self.sampler.run();
        Ok(picture::rows(D::SHAPE, self.sampler.x()).flatten().collect())
    }

    fn inputs(
        &mut self,
        table: &'static StepTable,
        noise: Gaussian<Philox>,
        request: Request,
    ) -> Result<Vec<Vec<f32>>> {
        self.sampler.start(table, noise, request)?;
        let mut input = |row: &StepRow| {
            let input = self.sampler.x().iter().map(|x| row.c_in * x).collect();
            self.sampler.step();
            input
        };
        Ok(table.rows.iter().map(&mut input).collect())
    }

    fn evaluate(&mut self, x: &[f32], t: usize, class: usize, watch: &mut dyn FnMut(&Tap, &[u8])) -> Vec<f32> {
        // The network has a row for every time index.
        let condition = Condition { step: t, class };
        let mut out = D::Map::ZERO;
        for layer in 0..D::LAYERS {
            let x = if layer == 0 { x } else { &[] };
            let out: &mut [f32] = if layer + 1 == D::LAYERS { out.as_mut() } else { &mut [] };
            self.network.layer(layer, condition, x, out);
            D::TAPS.iter().filter(|tap| tap.layer == layer).for_each(|tap| watch(tap, self.network.memory()));
        }
        out.as_ref().to_vec()
    }
}

macro_rules! models {
    ($($module:ident: $sha256:literal, $precision:literal, $fingerprint:literal;)*) => {
        $(
            #[allow(dead_code, reason = "steps are made at run time")]
            mod $module {
                include!(concat!(env!("OUT_DIR"), "/", stringify!($module), "/model.rs"));
            }

            impl<I: Isa + Send> Traced for $module::Network<I> {
                const TAPS: &'static [Tap] = $module::TAPS;
                fn memory(&self) -> &[u8] {
                    self.memory()
                }
            }
        )*

        static MODELS: &[Generated] = &[$(Generated {
            sha256: $sha256,
            precision: $precision,
            fingerprint: $fingerprint,
            runner: || {
                if Best::is_native() {
                    Machine::<$module::Network<Best>>::boxed()
                } else {
                    Machine::<$module::Network<Common>>::boxed()
                }
            },
        }),*];
    };
}

include!(concat!(env!("OUT_DIR"), "/models.rs"));

impl Generated {
    /// The network of a model file in a precision.
    ///
    /// # Errors
    /// When the file was not in `models/`, as it is now, when the program was built.
    pub fn of(model: &Model, precision: &str) -> Result<&'static Self> {
        let mut known = MODELS.iter().filter(|known| known.sha256 == model.sha256);
        known.find(|known| known.precision == precision).with_context(|| {
            format!(
                "no {precision} network was generated from this model file: it has to lie in `models/` when grano-train is built"
            )
        })
    }
}

/// The steps of a sampler, in f64.
///
/// # Errors
/// Says what is wrong about the name or its number of steps.
pub fn rows(header: &Header, name: &str) -> Result<Table> {
    Ok(header.sampler(name)?.table(&header.schedule, header.prediction)?)
}

/// The same as generated code holds it, for a network with a row for every time index. Kept for as long as the program
/// runs.
///
/// # Errors
/// As [`rows`].
pub fn steps(header: &Header, name: &str) -> Result<&'static StepTable> {
    let table = rows(header, name)?;
    let row = |row: &grano_codegen::schedule::Row| {
        let [c_in, k0, k1] = [row.c_in, row.k0, row.k1].map(|v| v as f32);
        let [a, b, c, d, e] = [row.a, row.b, row.c, row.d, row.e].map(|v| v as f32);
        Ok(StepRow { network_row: u16::try_from(row.t)?, c_in, k0, k1, a, b, c, d, e })
    };
    let rows = table.rows.iter().map(row).collect::<Result<Vec<_>>>()?;
    Ok(Box::leak(Box::new(StepTable {
        name: Box::leak(table.name.into_boxed_str()),
        clip: table.clip.map_or(f32::INFINITY, |clip| clip as f32),
        rows: Box::leak(rows.into_boxed_slice()),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use grano_codegen::load::load;

    /// `grano sample --label sneaker --count 1 -o sneaker.npy`, CRC-32 2aac822c: the picture that every chip draws.
    #[test]
    fn pictures_are_the_devices() {
        let model = load(std::path::Path::new("../models/fashion.safetensors")).unwrap();
        let label = model.header.data.labels.iter().position(|label| label == "sneaker");
        let table = steps(&model.header, &model.header.defaults.sampler).unwrap();
        let mut runner = (Generated::of(&model, "int8").unwrap().runner)();
        let picture = runner.draw(
            table,
            Gaussian(Philox::new(0, 0)),
            Request { label, guidance: model.header.defaults.guidance },
        );
        assert_eq!(crc32fast::hash(&picture.unwrap()), 0x2aac_822c);
    }
}
