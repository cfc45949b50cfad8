//! Runs another Rust crate's version of the reference U-Net, on one thread: `peers NAME FOLDER`.

mod candle;
mod rten;
mod tract;

use std::path::Path;

use anyhow::{Context, Result, bail};
use grano_bench_protocol::protocol::serve;
use grano_bench_protocol::sampler::{Sampled, Sampler};

/// From x and sinusoid to the output.
type Network = Box<dyn FnMut(&[f32], &[f32]) -> Result<Vec<f32>>>;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().context("usage: peers NAME FOLDER");
    let (name, folder) = (word()?, word()?);
    let folder = Path::new(&folder);
    let (version, network): (_, Network) = match name.as_str() {
        "candle-f32" => ("0.11.1", candle::load(folder)?),
        "rten-f32" => ("0.27.0", rten::load(&folder.join("unet.onnx"))?),
        "rten-int8" => ("0.27.0", rten::load(&folder.join("unet-dynamic.onnx"))?),
        "rten-qdq" => ("0.27.0", rten::load(&folder.join("unet-int8.onnx"))?),
        "tract-f32" => ("0.23.9", tract::load(&folder.join("unet.onnx"))?),
        "tract-int8" => ("0.23.9", tract::load(&folder.join("unet-int8.onnx"))?),
        _ => bail!("there is no `{name}`"),
    };
    serve(version, &mut Sampled { network, sampler: Sampler::load(folder)? })
}
