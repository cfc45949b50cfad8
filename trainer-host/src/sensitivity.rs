//! What int8 is too coarse for: codes and maps of int16, searched on the likelihood of real pictures, kept in the model's
//! file.
//!
//! What a picture is worth to the likelihood hangs on its details at the smallest t, a hundredth of the pixels' range; a
//! map that carries them on, such as the sum of a residual block, loses them to int8's steps. In mixed precision these
//! maps have fine codes in int16. Here the engine runs the network with each map in turn in int16, and the map is chosen
//! that brings the variational bound nearest to the float network's, then the next one, until it is near enough.
//!
//! A sampler's trajectories are not where likelihoods are lost, though: codes that hold what the network's values are on
//! real pictures with little noise, and cut off what is rare, lose less of it with the same weights. They are a set of
//! their own, for [`grano_codegen::Purpose::Likelihood`].

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use grano_codegen::fold::{Folded, Layer, fold};
use grano_codegen::graph::X;
use grano_codegen::load::load;
use grano_codegen::model::{DENOISER, Model, Ranges};
use grano_codegen::op::Kind;
use grano_codegen::quantize::codes;
use grano_trainer_front::arguments::models::Sensitivity as Args;
use tch::{Device, Kind as TensorKind, Tensor};

use crate::data::{Dataset, load_for};
use crate::distributed::Shard;
use crate::eval::bits::Probe;
use crate::eval::device::Engine;
use crate::eval::pictures::on_best_device;
use crate::export::bulk;
use crate::network::Network;
use crate::process::Process;
use crate::{files, steps};

/// Sets of codes that are tried: the first part of time, whose x_t they are to hold, and the share of values that they
/// need not.
const SETS: [(f64, f64); 9] = [
    (1.0, 1e-5),
    (1.0, 1e-4),
    (1.0, 1e-3),
    (0.3, 1e-5),
    (0.3, 1e-4),
    (0.3, 1e-3),
    (0.1, 1e-5),
    (0.1, 1e-4),
    (0.1, 1e-3),
];
/// Batches, and pictures of each, that a set is made from.
const BATCHES: usize = 4;
const BATCH: i64 = 256;

/// Runs the command.
///
/// # Errors
/// Names what is wrong with the model or the data, or says how near all maps together come; the file is then as it was.
pub fn sensitivity(args: &Args) -> Result<()> {
    let mut model = load(&args.model)?;
    let network = on_best_device(&model)?;
    let data = load_for(&model, &args.data)?.train;
    let probe = Probe::new(&model, &data, args.pictures, args.strata, args.seed)?;
    let ranges = model.header.ranges.get(DENOISER).cloned();
    let ranges = ranges.with_context(|| format!("{}: has no ranges; export it again", args.model.display()))?;
    let exact = probe.bound(&Engine::of(&model, "f32")?)?;
    println!("{}: {:.3} bits per dimension in f32", args.model.display(), exact.total.mean);
    let above = |ranges: &Ranges, fine: &[String]| -> Result<f64> {
        let mut with = model.clone();
        with.header.ranges.insert(DENOISER.into(), Ranges { fine: fine.to_vec(), ..ranges.clone() });
        let precision = if fine.is_empty() { "int8" } else { "mixed" };
        Ok(probe.bound(&Engine::of(&with, precision)?)?.above(&exact).mean)
    };
    let folded = fold(model.denoiser()?, &ranges.times)?;
    let (mut chosen, mut rest) = (Vec::new(), candidates(&folded, &ranges));
    let mut now = above(&ranges, &chosen)?;
    println!("int8: {now:.4} above");
    while now > args.above {
        let with = |name: &String| {
            let fine = [&chosen[..], std::slice::from_ref(name)].concat();
            Ok((above(&ranges, &fine)?, name.clone()))
        };
        let tried = rest.iter().map(with).collect::<Result<Vec<_>>>()?;
        let best = tried.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).filter(|(found, _)| *found < now);
        let (found, name) = best.with_context(|| {
            format!(
                "{}: {now:.4} bits per dimension above f32 with [{}] in int16, and no other map brings it nearer; give --above more",
                args.model.display(),
                chosen.join(", ")
            )
        })?;
        println!("{name} in int16: {found:.4} above");
        rest.retain(|other| *other != name);
        chosen.push(name);
        now = found;
    }
    let mut sets = Vec::new();
    for (part, outliers) in SETS {
        let set = calibrate(&network, &model, &data, &ranges, (part, outliers), args.seed)?;
        let found = above(&set, &[])?;
        println!("int8, codes for {:.0} % of time, {outliers} of values cut off: {found:.4} above", 100.0 * part);
        sets.push((found, set));
    }
    let best = sets.into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
    model.header.likelihood = best.map(|(_, set)| set);
    model.header.ranges.entry(DENOISER.into()).or_default().fine = chosen;
    files::write(&args.model, &steps::bytes(&model)?)
}

/// The ranges of the maps that `known` has, on x_t of q(x_t | x_0) with t uniform in the first part of time, without labels.
fn calibrate(
    network: &Network,
    model: &Model,
    data: &Dataset,
    known: &Ranges,
    (part, outliers): (f64, f64),
    seed: u64,
) -> Result<Ranges> {
    tch::manual_seed(seed as i64);
    let process = Process::new(&model.header.schedule, Device::Cpu, Shard::WHOLE)?;
    let end = (part * model.header.schedule.steps as f64).ceil() as i64;
    let mut values = BTreeMap::new();
    for _ in 0..BATCHES {
        let noisy = process.noisy_below(end, data, BATCH, 1.0, model.header.prediction);
        let [x, t, labels] =
            [&noisy.x, &noisy.t, &noisy.labels].map(|tensor| tensor.to_device(network.flat().device()));
        let mut record = |name: &str, value: &Tensor| {
            if known.values.contains_key(name) {
                let [low, high] = bulk(value, outliers);
                let all = values.entry(name.to_string()).or_insert([low, high]);
                *all = [all[0].min(low), all[1].max(high)];
            }
        };
        record(X, &x);
        let _ = tch::no_grad(|| network.trace(&x, &t, &labels, TensorKind::Float, &mut record))?;
    }
    let values = values.into_iter().map(|(name, ends)| (name, vec![ends])).collect();
    Ok(Ranges { times: vec![0], values, fine: Vec::new() })
}

/// The maps that can be fine by themselves: results of convolutions that convolutions alone read. Two maps that one
/// convolution reads would have to be fine together; they stay int8.
fn candidates(folded: &Folded, ranges: &Ranges) -> Vec<String> {
    let convolution = |layer: &&Layer| matches!(&layer.kind, Kind::Convolution(conv) if conv.geometry.groups == 1);
    let read_by_others = |name: &String| {
        let mut others = folded.layers.iter().filter(|layer| !convolution(layer));
        others.any(|layer| layer.inputs().contains(&name.as_str()))
    };
    let layers = folded.layers.iter().filter(convolution).filter(|layer| !read_by_others(&layer.name));
    let names = layers.map(|layer| layer.name.clone());
    names.filter(|name| codes(folded, ranges, std::slice::from_ref(name)).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn maps_that_convolutions_alone_read_can_be_fine() {
        let model = load(Path::new("../models/fashion.safetensors")).unwrap();
        let ranges = &model.header.ranges[DENOISER];
        let folded = fold(model.denoiser().unwrap(), &ranges.times).unwrap();
        let names = candidates(&folded, ranges);
        assert!(["stem.silu", "down0", "mid1", "join.silu", "up1"].iter().all(|name| names.iter().any(|n| n == name)));
        assert!(!names.contains(&folded.outputs[0]) && names.len() == 13, "{names:?}");
    }
}
