//! Runs the reference U-Net as grano compiles it, on one thread, at a driver's word: `grano-bench int8|f16|f32`.
//!
//! `grano-bench peak` does as many multiplications as that network takes, and nothing else: the core's limit.
//! `grano-bench export FOLDER` writes what other programs need to run the same network: model.safetensors and
//! sampler.json.

mod export;
mod network;
mod peak;

use std::path::Path;

use anyhow::{Result, bail};
use grano_bench_protocol::protocol::serve;

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["export", folder] => export::export(Path::new(folder)),
        ["peak"] => {
            let mut peak = peak::Peak::new()?;
            serve(peak.instruction, &mut peak)
        }
        [precision] => {
            let (isa, mut runner) = network::runner(precision)?;
            serve(&format!("{}, {isa}", env!("CARGO_PKG_VERSION")), &mut *runner)
        }
        _ => bail!("usage: grano-bench int8|f16|f32|peak, or grano-bench export FOLDER"),
    }
}
