//! Runs one network once, or once a map of a batch.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use grano::network::Condition;
use grano_codegen::graph::{Graph, Port, PortKind, Shape, X};
use grano_codegen::model::{DENOISER, Model, Network};
use grano_codegen::runtime::RunningNetwork;
use ndarray_npy::WriteNpyExt;
use rayon::prelude::*;

use crate::args::EvaluateArgs;
use crate::array::{self, Maps};
use crate::files::{self, Files};
use crate::models::{Chosen, choose};

/// Evaluates the network, writes its outputs, and says which.
///
/// # Errors
/// Names the flag or file that is wrong and what there is.
pub fn run(args: &EvaluateArgs) -> Result<String> {
    let chosen = Chosen::new(&args.model)?;
    let (name, network) = network(&chosen.model, args.network.as_deref())?;
    let graph = &network.graph;
    let t = time(graph, name, args.t, chosen.model.header.schedule.steps)?;
    ensure!(
        args.label.is_none() || graph.classes() > 0,
        "--label: network `{name}` does not read a class; leave the flag out"
    );
    let class = args.label.as_ref().map_or(Ok(graph.classes()), |label| chosen.label(label))?;
    let inputs = inputs(args, graph, name)?;
    let batch = inputs.iter().find_map(|input| input.batch);
    ensure!(
        inputs.iter().all(|input| input.batch == batch),
        "the inputs' first axes, [N, …], differ: give all of them the same N, or none"
    );
    let paths = outputs(&args.output, graph);
    paths.iter().try_for_each(|path| files::check(path))?;

    let model = &args.model.model;
    let runtime = chosen.build.times(t).runtime().with_context(|| format!("--model {model}"))?;
    let running = runtime.network(name)?;
    let condition = Condition { step: t.map_or(Ok(0), |t| running.row(t))?, class };
    let results = evaluate(running, condition, &inputs)?;
    let shapes = graph.shapes()?;
    let (mut files, mut text) = (Files::default(), String::new());
    for (output, (path, value)) in paths.iter().zip(&graph.outputs).enumerate() {
        let shape = running.compiled().outputs[output].1;
        let is_vector = shapes.get(value).is_some_and(|shape| matches!(shape, Shape::Vector(_)));
        let maps = results.iter().map(|outputs| outputs[output].clone()).collect();
        let array = array::array(&Maps { batch, maps }, shape, is_vector)?;
        files.add(path, |file| Ok(array.write_npy(file)?))?;
        text += &format!("Wrote {}: `{value}`, float32 {:?}\n", path.display(), array.shape());
    }
    files.keep()?;
    Ok(text)
}

/// The network of that name; without one the denoiser, or the only one.
fn network<'a>(model: &'a Model, name: Option<&str>) -> Result<(&'a str, &'a Network)> {
    let all: Vec<(&String, &Network)> = model.networks.iter().collect();
    let name = match (name, &all[..]) {
        (Some(name), _) => name,
        (None, [(only, _)]) => only.as_str(),
        (None, _) => DENOISER,
    };
    let &(name, network) = choose("--network", name, &all, |(name, _)| name)?;
    Ok((name, network))
}

/// The time index, where the network reads it.
fn time(graph: &Graph, name: &str, t: Option<usize>, steps: usize) -> Result<Option<usize>> {
    let reads = graph.inputs.iter().any(|port| matches!(port.kind, PortKind::Time {}));
    match t {
        None if reads => bail!("--t: missing; network `{name}` reads a time index: give 0 to {}", steps - 1),
        Some(t) if !reads => bail!("--t {t}: network `{name}` does not read a time index; leave the flag out"),
        Some(t) if t >= steps => bail!("--t {t}: the model was trained with T = {steps}; give 0 to {}", steps - 1),
        t => Ok(t),
    }
}

/// What is read, in the order of the network's maps.
fn inputs(args: &EvaluateArgs, graph: &Graph, name: &str) -> Result<Vec<Maps>> {
    let given: Vec<(&str, &Path)> = args
        .x
        .iter()
        .map(|path| (X, path.as_path()))
        .chain(args.input.iter().map(|(name, path)| (name.as_str(), path.as_path())))
        .collect();
    let ports: Vec<&Port> =
        graph.inputs.iter().filter(|port| matches!(port.kind, PortKind::Map(_) | PortKind::Vector(_))).collect();
    for (at, &(input, _)) in given.iter().enumerate() {
        choose("--input", input, &ports, |port| &port.name)?;
        ensure!(given[..at].iter().all(|(other, _)| *other != input), "--input {input}: given twice");
    }
    let read = |port: &&Port| {
        let (shape, is_vector) = match port.kind {
            PortKind::Map(shape) => (shape, false),
            PortKind::Vector(len) => ([len, 1, 1], true),
            PortKind::Time {} | PortKind::Label { .. } => bail!("`{}` is no array", port.name),
        };
        let flag = if port.name == X { "--x ".into() } else { format!("--input {}=", port.name) };
        let found = given.iter().find(|(input, _)| *input == port.name);
        let (_, path) = found.with_context(|| format!("{flag}FILE.npy: missing; network `{name}` reads it"))?;
        array::read(path, shape, is_vector).with_context(|| format!("{flag}{}", path.display()))
    };
    ports.iter().map(read).collect()
}

/// Where each output goes.
fn outputs(path: &Path, graph: &Graph) -> Vec<PathBuf> {
    match &graph.outputs[..] {
        [_] => vec![path.to_path_buf()],
        several => several.iter().map(|name| path.with_extension(format!("{name}.npy"))).collect(),
    }
}

/// All outputs of each evaluation.
fn evaluate(network: RunningNetwork<'_>, condition: Condition, inputs: &[Maps]) -> Result<Vec<Vec<Vec<f32>>>> {
    let count = inputs.iter().map(|input| input.maps.len()).max().unwrap_or(1);
    let one = |i: usize| {
        let maps: Vec<&[f32]> = inputs.iter().map(|input| &input.maps[i][..]).collect();
        Ok(network.evaluate(condition, &maps)?)
    };
    (0..count).into_par_iter().map(one).collect()
}
