//! `eval`: how good a model's pictures are as devices draw them, and what the integers lose.
//!
//! [`device`] runs model files in process; [`pictures`] draws with them and with libtorch; [`store`] keeps every piece;
//! [`quality`] measures a set of pictures by [`frechet`], [`precision_recall`] and [`neighbours`]; [`statistics`] are
//! what other runs need to be held against a set; [`fidelity`] compares precisions; [`bits`] and [`likelihood`] bound
//! −log p of test pictures; [`report`] shows it all with [`svg`].

pub mod bits;
pub mod device;
mod fidelity;
mod frechet;
mod interval;
mod likelihood;
mod neighbours;
mod normal;
pub mod pictures;
mod precision_recall;
mod quality;
mod report;
mod statistics;
mod store;
mod svg;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use grano_codegen::Precision;
use grano_codegen::load::load;
use grano_codegen::model::Model;
use grano_trainer_front::arguments::measure::{Architecture, Eval as Args};
use serde::Serialize;
use serde_json::{Value, json};
use tch::{Device, Tensor};

use crate::classifier::{Classifier, warn_if_poor};
use crate::data::{Dataset, Parts, denormalize, load_for};
use crate::distributed::Ranks;
use crate::files;
use crate::sample::{check_made_for, from_model};
use bits::{Likelihood, Question, bounds};
use device::{Engines, LIKELIHOOD, rows};
use fidelity::{Losses, Psnr, losses};
use frechet::Frechet;
use interval::Interval;
use neighbours::Closeness;
use pictures::{Drawing, noisy, read_foreign};
use quality::{Judge, Quality, Set};
use report::{Sheet, with_interval};
use statistics::Statistics;
use store::Store;

/// All that was measured: `eval.json`.
#[derive(Debug, Serialize)]
struct Evaluation {
    /// The file.
    model: String,
    model_sha256: String,
    /// In whose features pictures are compared: its file, and which network it is.
    classifier: String,
    architecture: Architecture,
    /// Names of the classes.
    labels: Vec<String>,
    /// Test pictures first.
    sets: Vec<Quality>,
    /// The set that ratios are over.
    reference: Option<String>,
    /// That set, where it was not drawn.
    known: Option<Known>,
    /// FD of each set over the reference's.
    ratios: Vec<Option<(f64, Interval)>>,
    /// Of each set, in pixels and in features.
    closeness: Vec<[Closeness; 2]>,
    /// Of each set of which f32 pictures were drawn too.
    fidelity: Vec<Fidelity>,
    likelihood: Vec<Likelihood>,
    likelihood_pictures: u32,
    /// First time indices of the likelihood's parts of time, and T.
    parts: Vec<usize>,
}

/// What the statistics of another run's set say.
#[derive(Debug, Serialize)]
struct Known {
    name: String,
    count: u64,
    frechet: Frechet,
}

/// What a precision loses against f32.
#[derive(Debug, Serialize)]
struct Fidelity {
    name: String,
    psnr: Psnr,
    losses: Losses,
}

/// Runs the command.
///
/// # Errors
/// Names the file, network or sampler that is wrong.
pub fn eval(args: &Args) -> Result<()> {
    let ranks = Ranks::join(&shared_arguments(args))?;
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
        tch::set_num_threads(threads as i32);
    }
    let model = load(&args.model)?;
    let all = || Precision::of(&model).into_iter().map(|precision| precision.name().to_string()).collect();
    let precision = if args.precision.is_empty() { all() } else { args.precision.clone() };
    let args = &Args { precision, ..args.clone() };
    let drawings = drawings(args, &model);
    // What is wrong is said before the work.
    drawings.iter().try_for_each(|drawing| {
        check_made_for(&model, &model.header.sampler(&drawing.sampler)?)?;
        rows(&model.header, &drawing.sampler).map(drop)
    })?;
    let measures_likelihood = args.elbo > 0 && args.precision.iter().any(|precision| precision == "int8");
    let own = model.header.likelihood.iter().filter(|_| measures_likelihood).map(|_| LIKELIHOOD);
    let likelihoods: Vec<String> = args.precision.iter().map(String::as_str).chain(own).map(Into::into).collect();
    let drawn = drawings.iter().map(|drawing| drawing.precision.as_str());
    let engines = Engines::of(&model, drawn.chain(likelihoods.iter().map(String::as_str)))?;
    let statistics = statistics_file(args).map(Statistics::read).transpose()?;
    let run = args.run.clone().unwrap_or_else(|| {
        PathBuf::from("runs/eval").join(args.model.with_extension("").file_name().unwrap_or_default())
    });
    let store = Store::open(&run, ranks)?;
    let ranks = store.ranks();
    let Parts { train, test, .. } = load_for(&model, &args.data)?;
    let place = args.data.data.display();
    ensure!(test.len() > 0, "{place}: no pictures are held back to compare with; give --test 10%, as in training");
    ranks.agree("data", &[&train.images, &train.labels, &test.images, &test.labels])?;
    ranks.agree("weights", &[from_model(&model)?.flat()])?;
    let labels = train.names.clone();
    if labels.is_empty() {
        ranks
            .say("pictures without classes: compared in features of a network that tells in which way one is mirrored");
    }
    let classifier_path = Classifier::path(&args.classifier, &train)?;
    let classifier = Classifier::load_or_train(&args.classifier, &train, 0, ranks)?;
    let judge = Judge::new(&classifier, &train, &store, args.resamples)?;
    let known = statistics.map(|statistics| known(args, &judge, statistics)).transpose()?;

    let (mut sets, mut sheets) = (real_sets(args, &train, &test), Vec::new());
    for foreign in &args.pictures {
        let (images, labels) = read_foreign(foreign, train.shape())?;
        sets.push(Set { name: foreign.name.clone(), images, labels });
    }
    for drawing in &drawings {
        let images = drawing.draw(&engines, &store)?;
        let classes = model.header.data.labels.len();
        sets.push(Set { name: drawing.name(), images, labels: (classes > 0).then(|| drawing.labels(classes)) });
    }
    let drawn = reference(args).map(|drawing| drawing.name());
    let mut measured = Vec::new();
    for set in &sets {
        let quality = judge.judge(set)?;
        ranks.say(&line(&quality));
        // The first are real and were held back.
        if let Some(accuracy) = quality.accuracy.as_ref().filter(|_| measured.is_empty() && ranks.is_first()) {
            warn_if_poor(accuracy.overall);
        }
        if Some(&set.name) == drawn.as_ref() && ranks.is_first() {
            let model = args.model.file_stem().unwrap_or_default().display();
            let statistics = judge.statistics(set, &quality, format!("{model}: {}", set.name));
            statistics.write(&run.join("reference.statistics.safetensors"))?;
        }
        sheets.extend(sheets_of(set, &quality, &train)?);
        measured.push(quality);
    }

    let among = measured.iter().find(|set| Some(&set.name) == drawn.as_ref()).map(|set| set.frechet.clone());
    let over = known.as_ref().map(|known| known.frechet.clone()).or(among);
    let ratio = |set: &Quality| {
        over.as_ref().filter(|_| Some(&set.name) != drawn.as_ref()).map(|over: &Frechet| set.frechet.over(over))
    };
    let elbo = |args: &Args| {
        let question = Question {
            count: i64::from(args.elbo),
            strata: args.elbo_strata,
            labelled: args.elbo_label,
            seed: args.seed,
        };
        bounds(&engines, &likelihoods, &test, question, &store)
    };
    let (likelihood, parts) = if args.elbo > 0 { elbo(args)? } else { Default::default() };
    let evaluation = Evaluation {
        model: args.model.display().to_string(),
        model_sha256: model.sha256.clone(),
        classifier: classifier_path.display().to_string(),
        architecture: args.classifier.architecture,
        labels,
        ratios: measured.iter().map(ratio).collect(),
        closeness: measured.iter().map(|set| set.closeness(&measured[0])).collect(),
        sets: measured,
        reference: known.as_ref().map(|known| known.name.clone()).or(drawn),
        known,
        fidelity: fidelity(args, &engines, &drawings, &sets, &store)?,
        likelihood,
        likelihood_pictures: args.elbo,
        parts,
    };
    if !ranks.is_first() {
        return Ok(());
    }
    files::write(&run.join("eval.json"), &serde_json::to_vec_pretty(&evaluation)?)?;
    let report = run.join("report.html");
    files::write(&report, report::html(&evaluation, &sheets).as_bytes())?;
    println!("{}", report.display());
    Ok(())
}

/// What every rank must be told alike: paths may differ.
fn shared_arguments(args: &Args) -> Value {
    let mut args = Args { model: PathBuf::new(), run: None, ..args.clone() };
    (args.data.data, args.data.csv, args.classifier.classifier) = Default::default();
    json!({ "eval": format!("{args:?}") })
}

/// All that is drawn, the reference first.
fn drawings(args: &Args, model: &Model) -> Vec<Drawing> {
    let header = &model.header;
    let samplers = if args.sampler.is_empty() { header.own_samplers() } else { args.sampler.clone() };
    let guidances = if args.guidance.is_empty() { vec![header.defaults.guidance] } else { args.guidance.clone() };
    let mut drawings: Vec<Drawing> = reference(args).into_iter().collect();
    for sampler in &samplers {
        for &guidance in &guidances {
            drawings.extend(args.precision.iter().map(|precision| Drawing {
                precision: precision.clone(),
                sampler: sampler.clone(),
                guidance,
                seed: args.seed,
                count: args.count,
            }));
        }
    }
    drawings
}

/// The reference, where it is drawn.
fn reference(args: &Args) -> Option<Drawing> {
    let fastest = || if Device::cuda_if_available() == Device::Cpu { "f32" } else { "torch" }.to_string();
    (args.reference != "none" && statistics_file(args).is_none()).then(|| Drawing {
        precision: args.reference_precision.clone().unwrap_or_else(fastest),
        sampler: args.reference.clone(),
        guidance: args.reference_guidance,
        seed: args.seed,
        count: args.count,
    })
}

/// The reference's file, where it is not drawn.
fn statistics_file(args: &Args) -> Option<&Path> {
    args.reference.ends_with(".safetensors").then_some(Path::new(&args.reference))
}

/// Takes the reference from its file, and prints it.
fn known(args: &Args, judge: &Judge, statistics: Statistics) -> Result<Known> {
    let frechet = judge.frechet(&statistics, args.count).with_context(|| args.reference.clone())?;
    let line = format!("{}: FD {}", statistics.name, with_interval(frechet.fd, frechet.interval));
    judge.ranks().say(&line);
    Ok(Known { name: statistics.name, count: args.count, frechet })
}

/// Test pictures, the floor, and training pictures with noise, the scale.
fn real_sets(args: &Args, train: &Dataset, test: &Dataset) -> Vec<Set> {
    let count = args.count as i64;
    let tested = count.min(test.len());
    let (images, labels) = noisy(train, count, args.noise, args.seed);
    let known = |labels: Tensor| (!train.names.is_empty()).then_some(labels);
    vec![
        Set {
            name: "real test pictures".into(),
            images: test.images.narrow(0, 0, tested),
            labels: known(test.labels.narrow(0, 0, tested)),
        },
        Set { name: format!("real training pictures with noise {}", args.noise), images, labels: known(labels) },
    ]
}

/// Each precision against f32 by the same sampler with the same guidance.
fn fidelity(
    args: &Args,
    engines: &Engines<'_>,
    drawings: &[Drawing],
    sets: &[Set],
    store: &Store,
) -> Result<Vec<Fidelity>> {
    let images = |drawing: &Drawing| {
        let set = sets.iter().find(|set| set.name == drawing.name());
        set.map(|set| &set.images).context("every drawing is a set")
    };
    let mut all = Vec::new();
    for drawing in drawings.iter().filter(|drawing| ["int8", "mixed", "f16"].contains(&drawing.precision.as_str())) {
        let exact = Drawing { precision: "f32".into(), ..drawing.clone() };
        if !drawings.iter().any(|other| other.name() == exact.name()) {
            continue;
        }
        let settings = [&drawing.settings(engines)?, &exact.settings(engines)?, &args.traces.to_string()];
        let losses = store.result(&format!("losses of {}", drawing.name()), &settings.map(String::as_str), || {
            losses(engines, drawing, args.traces)
        })?;
        all.push(Fidelity { name: drawing.name(), psnr: Psnr::of(images(drawing)?, images(&exact)?)?, losses });
    }
    Ok(all)
}

/// A sheet of a set, ten pictures of each of its tenths, and one of pictures beside their nearest training pictures.
fn sheets_of(set: &Set, quality: &Quality, train: &Dataset) -> Result<[Sheet; 2]> {
    let n = set.images.size()[0];
    let pick = |shown: i64, at: i64| Tensor::from_slice(&(0..shown).map(|i| i * n / shown + at).collect::<Vec<_>>());
    let bytes = |indices: &Tensor| {
        let chosen = set.images.index_select(0, indices);
        if chosen.kind() == tch::Kind::Uint8 { chosen } else { denormalize(&chosen) }
    };
    let nearest = |places: &[i64]| train.images.index_select(0, &Tensor::from_slice(places));
    let shown = n.min(10);
    let beside = pick(shown, 0);
    let rows = [
        bytes(&beside),
        nearest(&quality.by_pixels.index).index_select(0, &beside),
        nearest(&quality.by_features.index).index_select(0, &beside),
    ];
    Ok([
        Sheet::new(set.name.clone(), &bytes(&pick(n.min(100), 0)), 10)?,
        Sheet::new(
            format!("{}; nearest training pictures in pixels; in features", set.name),
            &Tensor::cat(&rows, 0),
            shown,
        )?,
    ])
}

/// What is printed of a set.
fn line(set: &Quality) -> String {
    let accuracy = set.accuracy.as_ref().map(|accuracy| format!(", accuracy {:.2} %", 100.0 * accuracy.overall));
    let both = set.precision_recall.map(|both| format!(", precision {:.3}, recall {:.3}", both.precision, both.recall));
    let (accuracy, both) = (accuracy.unwrap_or_default(), both.unwrap_or_default());
    format!("{}: FD {}{accuracy}{both}", set.name, with_interval(set.frechet.fd, set.frechet.interval))
}
