//! Generates the networks: those of `models/`, each with its own samplers and, where it is meant for any, some more.

use grano_codegen::load::load;
use grano_codegen::{Build, Precision, Target};

/// Samplers of `fashion` beside its own. A time index takes a row of biases in each of three networks.
const MORE: [&str; 6] = ["dpm-20", "ddim-10", "ddim-20", "ddim-50", "ancestral-100", "ancestral-250"];

fn main() {
    // A program for one precision holds one network.
    let fast = cfg!(feature = "floats").then_some(("fashion-fast", &[][..]));
    for (name, more) in std::iter::once(("fashion", &MORE[..])).chain(fast) {
        let path = format!("../../models/{name}.safetensors");
        let model = match load(path.as_ref()) {
            Ok(model) => model,
            Err(error) => {
                println!("cargo::error={error}");
                continue;
            }
        };
        let mut samplers = model.header.own_samplers();
        samplers.extend(more.iter().map(ToString::to_string));
        let precisions = if cfg!(feature = "floats") { Precision::of(&model) } else { vec![Precision::Int8] };
        for precision in precisions {
            let build = Build::new(&path).precision(precision).target(Target::desktop()).samplers(&samplers);
            build.emit(&format!("{}_{}", name.replace('-', "_"), precision.name()));
        }
    }
}
