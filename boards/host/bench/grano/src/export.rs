//! The same network and sampler for other programs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use grano_bench_protocol::sampler::{Sampler, Step};
use grano_codegen::graph::{Op, Sinusoid};
use grano_codegen::load::load;

const MODEL: &str = concat!(env!("OUT_DIR"), "/unet.safetensors");

/// Writes model.safetensors and sampler.json to a folder.
///
/// # Errors
/// When that cannot be done.
pub fn export(folder: &Path) -> Result<()> {
    let model = load(Path::new(MODEL))?;
    let table = model.header.sampler("ddim-20")?.table(&model.header.schedule, model.header.prediction)?;
    let sinusoid = model.denoiser()?.graph.nodes.iter().find_map(|node| match &node.op {
        Op::Sinusoid(Sinusoid { dim, max_period }) => Some((*dim, *max_period)),
        _ => None,
    });
    let (dim, max_period) = sinusoid.context("the network has no sinusoid")?;
    let sinusoid = |t: usize| {
        let angle = |i: usize| t as f64 * max_period.powf(-(i as f64) / (dim / 2) as f64);
        let [sines, cosines] = [f64::sin, f64::cos].map(|wave| (0..dim / 2).map(move |i| wave(angle(i)) as f32));
        sines.chain(cosines).collect()
    };
    let step = |row: &grano_codegen::schedule::Row| Step {
        sinusoid: sinusoid(row.t),
        c_in: row.c_in as f32,
        k0: row.k0 as f32,
        k1: row.k1 as f32,
        a: row.a as f32,
        b: row.b as f32,
        e: row.e as f32,
    };
    let sampler = Sampler {
        clip: table.clip.unwrap_or(f64::MAX) as f32,
        noise: crate::network::noise(28 * 28),
        steps: table.rows.iter().map(step).collect(),
    };
    fs::create_dir_all(folder)?;
    fs::copy(MODEL, folder.join("model.safetensors"))?;
    Ok(fs::write(folder.join("sampler.json"), serde_json::to_vec(&sampler)?)?)
}
