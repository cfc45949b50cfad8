//! From a run's checkpoint to a model file: averaged weights, graph, schedule, and what calibration saw;
//! and golden vectors beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use grano::noise::{Gaussian, Philox};
use grano_codegen::graph::{Node, Op, Shape, X};
use grano_codegen::load::{load, parse, serialize};
use grano_codegen::model::{DENOISER, Header, Ranges};
use grano_codegen::schedule::{SamplerSpec, Table};
use grano_trainer_front::arguments::models::Export as Args;
use indicatif::ProgressBar;
use safetensors::tensor::{Dtype, TensorView};
use tch::{Device, Kind, Tensor};

use crate::network::Network;
use crate::sample::{Trajectory, noise};
use crate::steps::SEARCHED;
use crate::{checkpoint, files};

/// Where calibration's and the golden vectors' noise comes from; pictures of users have small seeds.
const CALIBRATION_SEED: u64 = 0xca1b;

/// Runs the command.
///
/// # Errors
/// Names the checkpoint, sampler or file that is wrong; nothing is written then.
pub fn export(args: &Args) -> Result<()> {
    let (mut header, state) = checkpoint::read(&args.run, Device::Cpu)?;
    let network = state.averaged()?;
    for name in keep_searched(&mut header, &args.output) {
        println!("{name}: its searched steps stay those of the file that is written anew");
    }
    if let Some(sampler) = &args.sampler {
        header.defaults.sampler.clone_from(sampler);
    }
    header.defaults.guidance = args.guidance.unwrap_or(header.defaults.guidance);
    let table = header.sampler(&header.defaults.sampler)?.table(&header.schedule, header.prediction)?;
    // A network that has learnt to live with int8 codes keeps them.
    if header.ranges.is_empty() {
        let own = header.own_samplers();
        let tables = own.iter().map(|name| Ok(header.sampler(name)?.table(&header.schedule, header.prediction)?));
        let ranges = calibrate(&network, &tables.collect::<Result<Vec<_>>>()?, header.defaults.guidance, args)?;
        header.ranges.insert(DENOISER.to_string(), ranges);
    }
    let tensors = network.named().map(|(parameter, values)| {
        let values = Vec::<f32>::try_from(values.detach().reshape([-1]))?;
        Ok((format!("{DENOISER}.{}", parameter.name), (parameter.shape.clone(), values)))
    });
    let bytes = serialize(&header, &tensors.collect::<Result<_>>()?)?;
    // What is written can be read.
    parse(&bytes, &args.output).with_context(|| format!("{}: no model that can be run", args.run.display()))?;
    let golden = golden(&network, &header, &table)?;
    let golden_path = args.output.with_extension("golden.safetensors");
    files::make_parent(&args.output)?;
    files::write(&args.output, &bytes)?;
    files::write(&golden_path, &golden)?;
    println!("{}: {} bytes\n{}: {} bytes", args.output.display(), bytes.len(), golden_path.display(), golden.len());
    Ok(())
}

/// Takes over the searched samplers of a file that is to be written anew, as far as it has the same forward process and
/// the header lacks them, and its default where that is one of these; gives their names.
fn keep_searched(header: &mut Header, before: &Path) -> Vec<String> {
    let Ok(before) = load(before) else { return Vec::new() };
    if before.header.schedule != header.schedule || before.header.prediction != header.prediction {
        return Vec::new();
    }
    let mut kept = Vec::new();
    for (name, list) in before.header.samplers {
        if name.ends_with(SEARCHED) && !header.samplers.contains_key(&name) {
            header.samplers.insert(name.clone(), list);
            kept.push(name);
        }
    }
    if kept.contains(&before.header.defaults.sampler) {
        header.defaults.sampler = before.header.defaults.sampler;
    }
    kept
}

/// The ranges of all maps on trajectories of the model's samplers, labelled and unlabelled evaluations alike, at every
/// one of their steps.
fn calibrate(network: &Network, tables: &[Table], guidance: f32, args: &Args) -> Result<Ranges> {
    let graph = network.graph();
    let shapes = graph.shapes()?;
    let maps: BTreeSet<String> =
        shapes.iter().filter(|(_, shape)| matches!(shape, Shape::Map(_))).map(|(name, _)| name.clone()).collect();
    let classes = graph.classes().max(1) as u64;
    let labels: Vec<i64> = (0..args.trajectories).map(|i| (i % classes) as i64).collect();
    let labels = Tensor::from_slice(&labels);
    let both = Tensor::cat(&[labels.shallow_clone(), Tensor::full_like(&labels, graph.classes() as i64)], 0);
    // By time, then by map.
    let mut ends: BTreeMap<usize, BTreeMap<String, [f32; 2]>> = BTreeMap::new();
    let bar = ProgressBar::new(tables.iter().map(|table| table.rows.len() as u64).sum());
    for table in tables {
        let mut streams: Vec<_> = (0..args.trajectories).map(|i| Gaussian(Philox::new(CALIBRATION_SEED, i))).collect();
        let mut row = table.rows.iter();
        let trajectory = Trajectory { table, labels: &labels, guidance, kind: Kind::Float };
        let mut measured = Ok(());
        let mut measure = |input: &Tensor, _: &Tensor| {
            let Some(row) = row.next() else { return };
            let t = Tensor::full_like(&both, row.t as i64);
            let seen = ends.entry(row.t).or_default();
            let mut record = |name: &str, value: &Tensor| {
                if maps.contains(name) {
                    let [low, high] = bulk(value, args.outliers);
                    let all = seen.entry(name.to_string()).or_insert([low, high]);
                    *all = [all[0].min(low), all[1].max(high)];
                }
            };
            record(X, input);
            let traced = network.trace(&Tensor::cat(&[input, input], 0), &t, &both, Kind::Float, &mut record);
            measured = std::mem::replace(&mut measured, Ok(())).and(traced.map(drop));
            bar.inc(1);
        };
        let _ = trajectory.run(network, &mut |shape| noise(&mut streams, shape), &mut measure)?;
        measured?;
    }
    bar.finish();
    let times = ends.keys().copied().collect();
    let mut values: BTreeMap<String, Vec<[f32; 2]>> = BTreeMap::new();
    for (name, ends) in ends.into_values().flatten() {
        values.entry(name).or_default().push(ends);
    }
    Ok(Ranges { times, values, fine: Vec::new() })
}

/// The range of all but the share `outliers` of values at either end, of maps f32 `[N, C, H, W]` or vectors `[N, C]`.
pub fn bulk(maps: &Tensor, outliers: f64) -> [f32; 2] {
    let k = (maps.numel() as f64 * outliers) as i64 + 1;
    let rows = maps.reshape([maps.size()[..2].iter().product(), -1]);
    // The k largest values lie in the k rows with the largest maxima: few values need to be sorted.
    let kth_largest = |rows: &Tensor| {
        let (_, indices) = rows.amax([1], false).topk(k.min(rows.size()[0]), 0, true, false);
        let (top, _) = rows.index_select(0, &indices).reshape([-1]).topk(k, 0, true, true);
        top.double_value(&[k - 1]) as f32
    };
    [-kth_largest(&rows.neg()), kth_largest(&rows)]
}

/// Golden vectors: one case at every time index of the sampler, with labels in turn (the last stands for
/// "no class"), the ends of blocks and stages in three of the cases, and one trajectory with injected noise.
///
/// | tensor | shape | |
/// |---|---|---|
/// | `x`, `epsilon` | f32 `[cases, C, H, W]` | the network's input and output |
/// | `t`, `label` | i64 `[cases]` | its time index, falling, and class |
/// | `value.case` | i64 `[3]` | the first, middle and last case |
/// | `value.NODE` | f32 `[3, c, h, w]` | the node's value in these cases |
/// | `trajectory.label` | i64 `[1]` | class of the trajectory, which is drawn by `ddim-STEPS-eta0.5` without guidance |
/// | `trajectory.noise` | f32 `[1 + steps, C, H, W]` | x_T, then each step's z; the last is 0 |
/// | `trajectory.x` | f32 `[steps, C, H, W]` | x after each step |
fn golden(network: &Network, header: &Header, table: &Table) -> Result<Vec<u8>> {
    let graph = network.graph();
    let cases = table.rows.len() as i64;
    let [c, h, w] = graph.input().map(|n| n as i64);
    let labels: Vec<i64> = (0..cases).map(|i| i % (graph.classes() as i64 + 1)).collect();
    let labels = Tensor::from_slice(&labels);
    let mut streams: Vec<_> = (0..cases as u64).map(|i| Gaussian(Philox::new(CALIBRATION_SEED + 1, i))).collect();
    // Inputs as the network meets them: case i is x at step i of a trajectory of its own.
    let mut inputs = Vec::new();
    let trajectory = Trajectory { table, labels: &labels, guidance: 1.0, kind: Kind::Float };
    let mut keep = |input: &Tensor, _: &Tensor| inputs.push(input.copy());
    let _ = trajectory.run(network, &mut |shape| noise(&mut streams, shape), &mut keep)?;
    let x: Vec<Tensor> = inputs.iter().enumerate().map(|(i, input)| input.get(i as i64)).collect();
    let x = Tensor::stack(&x, 0);
    let t: Vec<i64> = table.rows.iter().map(|row| row.t as i64).collect();
    let t = Tensor::from_slice(&t);
    let value_cases = Tensor::from_slice(&[0, cases / 2, cases - 1]);
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    // The ends of blocks and of stages: wherever maps are added, after the activation where one follows.
    let shapes = graph.shapes()?;
    let end = |sum: &Node| {
        let mut readers = graph.nodes.iter().filter(|node| node.inputs.contains(&sum.name));
        match (readers.next(), readers.next()) {
            (Some(reader), None) if matches!(reader.op, Op::Activation(_)) => reader.name.clone(),
            _ => sum.name.clone(),
        }
    };
    let sums = graph.nodes.iter().filter(|node| matches!(node.op, Op::Add(_)));
    let watched: BTreeSet<String> = sums.filter(|node| matches!(shapes[&node.name], Shape::Map(_))).map(end).collect();
    let epsilon = tch::no_grad(|| {
        network.trace(&x, &t, &labels, Kind::Float, &mut |name, value| {
            if watched.contains(name) {
                tensors.insert(format!("value.{name}"), value.index_select(0, &value_cases));
            }
        })
    })?;

    let noisy: SamplerSpec = format!("ddim-{}-eta0.5", table.rows.len()).parse()?;
    let label = Tensor::from_slice(&[graph.classes().saturating_sub(3) as i64]);
    let mut streams = [Gaussian(Philox::new(CALIBRATION_SEED + 2, 0))];
    let (mut injected, mut states) = (Vec::new(), Vec::new());
    let noisy_table = noisy.table(&header.schedule, header.prediction)?;
    let trajectory = Trajectory { table: &noisy_table, labels: &label, guidance: 1.0, kind: Kind::Float };
    let mut draw = |shape| {
        let z = noise(&mut streams, shape);
        injected.push(z.copy());
        z
    };
    let _ = trajectory.run(network, &mut draw, &mut |_, x| states.push(x.copy()))?;
    // The last step draws no noise; its z is zero.
    injected.resize_with(1 + states.len(), || Tensor::zeros([1, c, h, w], (Kind::Float, Device::Cpu)));
    tensors.extend([
        ("x".to_string(), x),
        ("epsilon".to_string(), epsilon),
        ("t".to_string(), t),
        ("label".to_string(), labels),
        ("value.case".to_string(), value_cases),
        ("trajectory.label".to_string(), label),
        ("trajectory.noise".to_string(), Tensor::cat(&injected, 0)),
        ("trajectory.x".to_string(), Tensor::cat(&states, 0)),
    ]);
    safetensors_bytes(&tensors)
}

fn safetensors_bytes(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let parts = tensors
        .iter()
        .map(|(name, tensor)| {
            let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
            let (dtype, bytes) = if tensor.kind() == Kind::Int64 {
                let values = Vec::<i64>::try_from(tensor.reshape([-1]))?;
                (Dtype::I64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
            } else {
                (Dtype::F32, checkpoint::bytes(tensor)?)
            };
            Ok((name, dtype, shape, bytes))
        })
        .collect::<Result<Vec<_>>>()?;
    let views = parts
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(safetensors::serialize(views, None)?)
}
