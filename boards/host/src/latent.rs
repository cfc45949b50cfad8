//! `encode`, `decode` and `interpolate`: between a picture x_0 and the noise x_T that a deterministic sampler makes it of.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use grano::{Gaussian, Hooks, Philox, Request, Shape};
use grano_codegen::Runtime;
use grano_codegen::runtime::{Begin, OwnedTable};
use ndarray_npy::WriteNpyExt;

use crate::args::{DecodeArgs, EncodeArgs, InterpolateArgs};
use crate::array::{self, Maps};
use crate::files::{self, Files};
use crate::job::{Job, Verb};
use crate::models::Chosen;
use crate::photo;
use crate::task::Task;

/// The sampler of these verbs, where the user does not say.
const SAMPLER: &str = "ddim-100";

/// Writes a picture's x_T, and says where.
///
/// # Errors
/// Names the flag that is wrong and what there is.
pub fn encode(args: &EncodeArgs) -> Result<String> {
    let chosen = Chosen::new(&args.model)?;
    let name = &args.model.model;
    let denoiser = chosen.model.denoiser().with_context(|| format!("--model {name}"))?;
    let axes @ [channels, height, width] = denoiser.graph.input();
    let shape = Shape { height, width, channels };
    let label = args.label.as_ref().map(|name| chosen.label(name)).transpose()?;
    let encoder = encoder(&chosen, &args.sampler)?;
    files::check(&args.output)?;
    let picture = photo::read("--picture", &args.picture, shape)?;
    let runtime = chosen.build.samplers([&args.sampler]).runtime().with_context(|| format!("--model {name}"))?;
    let x = to_noise(&runtime, &runtime.own(&encoder)?, &picture, label)?;
    let array = array::array(&Maps { batch: None, maps: vec![x] }, axes, false)?;
    let mut files = Files::default();
    files.add(&args.output, |file| Ok(array.write_npy(file)?))?;
    files.keep()?;
    Ok(format!("Wrote {}: x_T, float32 {:?}\n", args.output.display(), array.shape()))
}

/// A sampler's way back.
fn encoder(chosen: &Chosen, sampler: &str) -> Result<grano_codegen::schedule::Table> {
    let header = &chosen.model.header;
    let table = header.sampler(sampler).and_then(|spec| spec.encoder(&header.schedule, header.prediction));
    table.with_context(|| format!("--sampler {sampler}"))
}

fn to_noise(runtime: &Runtime, encoder: &OwnedTable, picture: &[u8], label: Option<usize>) -> Result<Vec<f32>> {
    let x0: Vec<f32> = picture.iter().map(|&byte| grano::picture::from_u8(byte)).collect();
    let (noise, request) = (Gaussian(Philox::new(0, 0)), Request { label, guidance: 1.0 });
    let mut painter = runtime.painter()?;
    Ok(painter.draw_with(Begin::At(&x0), encoder, noise, request, &mut Hooks::<()>::default(), &mut |_| {})?.to_vec())
}

fn verb(name: &str, count: u32) -> Verb<'_> {
    Verb { name, count, sampler: Some(SAMPLER), is_unclipped: true }
}

/// A job that draws from given x_T.
///
/// # Errors
/// Names the flag that is wrong and what there is.
pub fn decode(args: DecodeArgs) -> Result<Job> {
    let DecodeArgs { x, sample } = args;
    let count = sample.count;
    let shape = {
        let chosen = Chosen::new(&sample.model)?;
        chosen.model.denoiser().with_context(|| format!("--model {}", sample.model.model))?.graph.input()
    };
    let maps = read(&x, shape)?;
    ensure!(
        count.is_none_or(|count| count as usize == maps.len()),
        "--count: {} holds {}; leave the flag out",
        x.display(),
        maps.len()
    );
    Job::new(sample, &verb("decoded", maps.len() as u32), |_, table, _, _| Ok((Task::From(maps), table)))
}

fn read(path: &Path, shape: [usize; 3]) -> Result<Vec<Vec<f32>>> {
    let maps = array::read(path, shape, false).with_context(|| format!("--x {}", path.display()))?.maps;
    ensure!(!maps.is_empty(), "--x {}: it holds nothing; give at least one map", path.display());
    Ok(maps)
}

/// A job that draws from x_T on the arc between those of two pictures, spherical linear interpolation.
///
/// # Errors
/// Names the flag that is wrong and what there is.
pub fn interpolate(args: InterpolateArgs) -> Result<Job> {
    let InterpolateArgs { from, to, sample } = args;
    let chosen = Chosen::new(&sample.model)?;
    let name = &sample.model.model;
    let [channels, height, width] = chosen.model.denoiser().with_context(|| format!("--model {name}"))?.graph.input();
    let shape = Shape { height, width, channels };
    let sampler = sample.sampler.clone().unwrap_or_else(|| SAMPLER.into());
    let encoder = encoder(&chosen, &sampler)?;
    let label = sample.label.as_ref().map(|name| chosen.label(name)).transpose()?;
    let ends = [photo::read("--from", &from, shape)?, photo::read("--to", &to, shape)?];
    let count = sample.count.unwrap_or(8).max(2);
    ensure!(sample.count.is_none_or(|given| given == count), "--count 1: give at least 2, both ends");
    let runtime = chosen.build.samplers([&sampler]).runtime().with_context(|| format!("--model {name}"))?;
    let encoder = runtime.own(&encoder)?;
    let [first, last] = ends.map(|picture| to_noise(&runtime, &encoder, &picture, label));
    let (first, last) = (first?, last?);
    let arc = (0..count).map(|i| between(&first, &last, i as f32 / (count - 1) as f32)).collect();
    Job::new(sample, &verb("interpolated", count), |_, table, _, _| Ok((Task::From(arc), table)))
}

/// sin((1 − u)θ)/sin θ·a + sin(uθ)/sin θ·b, θ the angle between a and b (Shoemake 1985); a line where they point the same way.
fn between(a: &[f32], b: &[f32], u: f32) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    let (theta, u) = (cosine.clamp(-1.0, 1.0).acos(), f64::from(u));
    let sine = theta.sin();
    let [p, q] = if sine > 1e-4 { [((1.0 - u) * theta).sin() / sine, (u * theta).sin() / sine] } else { [1.0 - u, u] };
    a.iter().zip(b).map(|(&a, &b)| (p * f64::from(a) + q * f64::from(b)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arcs_keep_the_length_and_meet_both_ends() {
        let (a, b) = ([3.0, 0.0, 4.0], [0.0, 5.0, 0.0]);
        for (u, expected) in [(0.0, a), (1.0, b)] {
            let found = between(&a, &b, u);
            assert!(found.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-6), "{found:?}");
        }
        let middle = between(&a, &b, 0.3);
        assert!((middle.iter().map(|x| x * x).sum::<f32>() - 25.0).abs() < 1e-4);
        assert_eq!(between(&a, &a, 0.7), a);
    }
}
