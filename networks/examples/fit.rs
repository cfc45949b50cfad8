//! Fits the cost model's coefficients of convolutions to what a board counted.
//!
//! `cargo run --release -p grano-networks --example fit -- cortex-m4 boards/firmware/target/shapes/qemu-m4f.csv`, after
//! `cargo xtask bench shapes --board qemu-m4f`. It prints every unit of work with its coefficient now and the fitted one:
//! those that make the squares of the relative errors least, held near what they are where the layers say little.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use grano_codegen::Target;
use grano_codegen::algorithm::counts;
use grano_codegen::compile::{Budget, compile};
use grano_codegen::cost::Count;
use grano_codegen::load::parse;
use grano_codegen::model::Model;
use grano_codegen::quantize::Numbers;
use grano_networks::shapes;

/// How much the coefficients there are weigh: as this many layers in which each is all.
const TRUST: f64 = 0.05;
/// Passes over the coefficients, one at a time.
const PASSES: usize = 4000;

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: fit TARGET COUNTS.csv";
    let mut words = std::env::args().skip(1);
    let target: Target = words.next().ok_or(usage)?.parse()?;
    let counted = read(&words.next().ok_or(usage)?)?;
    let (mut units, mut rows) = (BTreeMap::<&str, f64>::new(), Vec::new());
    for layers in shapes::layers().chunks(shapes::MOST) {
        if !layers.iter().any(|(name, _)| counted.contains_key(name.as_str())) {
            continue;
        }
        let model: Model = parse(&shapes::model(layers)?, Path::new("shapes"))?;
        let budget = Budget { flash_bytes: usize::MAX, arena_bytes: usize::MAX };
        let numbers = |name: &str| Ok(Numbers::Integers { ranges: &model.header.ranges[name], fine: &[] });
        for network in compile(&model, &[50], target, budget, numbers)?.networks {
            let call = network.program.calls.iter().find(|call| call.name == "layer");
            let Some((call, (count, way))) = call.zip(counted.get(network.name.as_str())) else { continue };
            let Some(choice) = &call.choice else { continue };
            let same = choice.candidates.iter().find(|candidate| candidate.to_string() == *way);
            let Some(candidate) = same else { continue };
            let Some(work) = counts(&call.kernel, call.reads, candidate.algorithm, target) else { continue };
            work.iter().for_each(|Count { unit, coefficient, .. }| _ = units.insert(unit, *coefficient));
            rows.push((network.name.clone(), work, *count));
        }
    }
    let fitted = fit(&units, &rows);
    println!("{:24} {:>10} {:>10}   of {} layers", "unit", "now", "fitted", rows.len());
    for (unit, now) in &units {
        let layers = rows.iter().filter(|(_, work, _)| work.iter().any(|at| at.unit == *unit && at.number > 0)).count();
        println!("{unit:24} {now:>10.3} {:>10.3}   in {layers}", fitted[unit]);
    }
    for (name, coefficients) in [("now", &units), ("fitted", &fitted)] {
        let ratios = rows.iter().map(|(_, work, count)| predict(work, coefficients) / count);
        let near = ratios.filter(|ratio| (0.75..=1.25).contains(ratio)).count();
        println!("{name}: {near} of {} within 25 %", rows.len());
    }
    Ok(())
}

/// The count and the algorithm of each network's layer in question, by network.
fn read(path: &str) -> Result<BTreeMap<String, (f64, String)>, Box<dyn Error>> {
    type Row = (String, String, String, f64, f64, f64, String);
    let mut counted = BTreeMap::new();
    for row in csv::Reader::from_path(path)?.deserialize() {
        let (network, layer, _, _, _, count, way): Row = row?;
        if layer == "layer" {
            counted.insert(network, (count, way));
        }
    }
    Ok(counted)
}

fn predict(work: &[Count], coefficients: &BTreeMap<&str, f64>) -> f64 {
    work.iter().map(|at| at.number as f64 * coefficients[at.unit]).sum()
}

/// Coordinate descent on Σ (prediction / count − 1)² + [`TRUST`] · Σ (coefficient / now − 1)², of coefficients from 0 on.
fn fit<'a>(units: &BTreeMap<&'a str, f64>, rows: &[(String, Vec<Count>, f64)]) -> BTreeMap<&'a str, f64> {
    let mut fitted = units.clone();
    for _ in 0..PASSES {
        for (&unit, &now) in units {
            let scale = now.abs().max(1.0);
            let trust = TRUST / (scale * scale);
            let (mut slope, mut square) = (trust * (now - fitted[unit]), trust);
            for (_, work, count) in rows {
                let share = work.iter().filter(|at| at.unit == unit).map(|at| at.number as f64).sum::<f64>() / count;
                if share > 0.0 {
                    slope += share * (1.0 - predict(work, &fitted) / count);
                    square += share * share;
                }
            }
            let value = (fitted[unit] + slope / square).max(0.0);
            fitted.insert(unit, value);
        }
    }
    fitted
}
