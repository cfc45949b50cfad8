//! Generates the networks: those of `models/`, each with its own samplers and, where it is meant for any, some more.

use grano_codegen::load::load;
use grano_codegen::{Build, Precision, Result, Target};

/// Samplers of `fashion` beside its own. A time index takes a row of biases in each of three networks.
const MORE: [&str; 6] = ["dpm-20", "ddim-10", "ddim-20", "ddim-50", "ancestral-100", "ancestral-250"];

fn main() {
    let precisions = if cfg!(feature = "floats") { &Precision::ALL[..] } else { &[Precision::Int8] };
    let target = match std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => Target::X86,
        Ok("aarch64") => Target::Aarch64,
        _ => Target::Portable,
    };
    // A program for one precision holds one network.
    let fast = cfg!(feature = "floats").then_some(("fashion-fast", &[][..]));
    for (name, more) in std::iter::once(("fashion", &MORE[..])).chain(fast) {
        let path = format!("../../models/{name}.safetensors");
        let samplers = match samplers(&path, more) {
            Ok(samplers) => samplers,
            Err(error) => {
                println!("cargo::error={error}");
                continue;
            }
        };
        for &precision in precisions {
            let build = Build::new(&path).precision(precision).target(target).samplers(&samplers);
            build.emit(&format!("{}_{}", name.replace('-', "_"), precision.name()));
        }
    }
}

/// The sampler that a model is meant for, the others that it brings, and `more`.
fn samplers(path: &str, more: &[&str]) -> Result<Vec<String>> {
    let header = load(path.as_ref())?.header;
    let mut samplers = vec![header.defaults.sampler];
    // Those of most steps first.
    let mut own: Vec<_> = header.samplers.into_iter().collect();
    own.sort_by_key(|(_, list)| std::cmp::Reverse(list.times.len()));
    for name in own.into_iter().map(|(name, _)| name).chain(more.iter().map(ToString::to_string)) {
        if !samplers.contains(&name) {
            samplers.push(name);
        }
    }
    Ok(samplers)
}
