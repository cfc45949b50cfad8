//! Models in process: the pictures of every chip, whatever the machine that their networks are packed for.

use std::path::Path;

use grano::network::Condition;
use grano::picture::Picture;
use grano::{Gaussian, Noise, Philox, Request};
use grano_codegen::{Build, Precision, Target};

fn fashion() -> Build {
    Build::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/fashion.safetensors"))
}

/// CRC-32 of the sneaker of seed 0 by the model's own sampler, the picture that every chip draws.
fn sneaker(build: &Build) -> u32 {
    let runtime = build.runtime().unwrap();
    let header = runtime.header();
    let label = header.data.labels.iter().position(|label| label == "sneaker");
    let request = Request { label, guidance: header.defaults.guidance };
    let table = runtime.table(&header.defaults.sampler).unwrap();
    let mut painter = runtime.painter().unwrap();
    let shape = painter.shape();
    let x = painter.draw(&table, Gaussian(Philox::new(0, 0)), request, &mut |_| {}).unwrap();
    Picture::new(shape, x).crc32()
}

#[test]
fn every_machine_draws_the_same_picture() {
    let targets =
        [Target::here(), Target::Portable, Target::CortexM0, Target::CortexM4, Target::CortexM55, Target::Riscv32];
    for target in targets {
        assert_eq!(sneaker(&fashion().target(target)), 0x2aac_822c, "{}", target.name());
    }
    let tight = fashion().target(Target::CortexM4).flash_budget(237_568).ram_budget(45_800);
    assert_eq!(sneaker(&tight), 0x2aac_822c, "weights transformed in RAM");
    assert_eq!(sneaker(&fashion().target(Target::CortexM4).ram_budget(20_500)), 0x2aac_822c, "strips");
}

#[test]
fn floats_and_mixed_precision_run() {
    for precision in [Precision::Mixed, Precision::F16, Precision::F32] {
        let [here, portable] =
            [Target::here(), Target::Portable].map(|target| sneaker(&fashion().precision(precision).target(target)));
        // f32 may use FMA on a desktop; the picture's bytes hide that.
        assert_eq!(here, portable, "{}", precision.name());
    }
}

#[test]
fn networks_have_rows_for_any_time_index() {
    let mut x = vec![0.0; 28 * 28];
    Gaussian(Philox::new(0, 0)).fill(&mut x);
    let evaluate = |build: Build, t: usize| {
        let runtime = build.runtime().unwrap();
        let network = runtime.network("denoiser").unwrap();
        let condition = Condition { step: network.row(t).unwrap(), class: 3 };
        network.evaluate(condition, &[&x]).unwrap()
    };
    for t in [0, 499, 999] {
        assert_eq!(evaluate(fashion().times([t]), t), evaluate(fashion().samplers(["ancestral-1000"]), t), "{t}");
    }
    assert!(fashion().runtime().unwrap().network("denoiser").unwrap().row(499).is_err());
    let error = fashion().times([1000]).runtime().map(drop).unwrap_err().to_string();
    assert!(error.contains("time index 1000") && error.contains("0 to 999"), "{error}");
}

#[test]
fn what_does_not_run_here_is_refused() {
    let other = if Target::here() == Target::X86 { Target::Aarch64 } else { Target::X86 };
    let error = fashion().target(other).runtime().map(drop).unwrap_err().to_string();
    assert!(error.contains(other.name()) && error.contains("portable"), "{error}");
}
