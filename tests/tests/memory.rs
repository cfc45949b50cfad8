//! What a sampler's memory is made of: the arena, the picture, and a map more for each thing that a build asks for.

use std::path::Path;

use grano_codegen::load::parse;
use grano_codegen::resources::Resources;
use grano_codegen::{Build, Precision, Target};
use grano_networks::calibrate::{header, model, network, random};
use grano_networks::compact::{self, Config};

/// Bytes of a colour picture of 64×64 in f32.
const MAP_BYTES: usize = 4 * 3 * 64 * 64;

/// The compact U-Net on colour pictures of 64×64, in int8 for a Cortex-M4.
fn measure(sampler: &str, guided: bool) -> Resources {
    let config =
        Config { input: [3, 64, 64], classes: 0, channels: [16, 32], blocks: [1, 2, 1], embedding: 8, limit: 4.0 };
    let mut weight = random(1);
    let weights = network(compact::graph(&config).unwrap(), |parameter| {
        (0..parameter.shape.iter().product()).map(|_| 0.2 * weight()).collect()
    });
    let mut noise = random(2);
    let picture = (0..3 * 64 * 64).map(|_| 3.0 * noise()).collect();
    let bytes = model(weights.unwrap(), header(100, "ddim-4"), &[(50, vec![(picture, 0)])], &[]).unwrap();
    let model = parse(&bytes, Path::new("made up")).unwrap();
    let build = Build::of(model.into()).target(Target::CortexM4).precision(Precision::Int8);
    build.samplers([sampler]).guided(guided).measure().unwrap()
}

#[test]
fn a_sampler_has_the_maps_that_it_needs_and_no_others() {
    for (sampler, guided, maps) in [("ddim-4", false, 1), ("ddim-4", true, 2), ("dpm-4", false, 2), ("dpm-4", true, 3)]
    {
        let resources = measure(sampler, guided);
        assert_eq!(resources.maps_bytes, maps * MAP_BYTES, "{sampler}, guided: {guided}");
        assert_eq!(resources.ram_bytes, resources.arena_bytes + resources.maps_bytes);
    }
    // Picture, estimate of the step before, labelled prediction and output, all of them there in any case, would be four.
    let resources = measure("ddim-4", false);
    let four = resources.arena_bytes + 4 * MAP_BYTES;
    println!(
        "DDIM in int8: {} bytes, of which {} arena; with four maps {four}",
        resources.ram_bytes, resources.arena_bytes
    );
    assert!(2 * resources.ram_bytes <= four, "{} bytes, and {four} with four maps", resources.ram_bytes);
}
