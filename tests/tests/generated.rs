//! The generated files themselves: reviewed as a whole, deterministic, within budget or not written.

use std::path::{Path, PathBuf};

use grano_codegen::{Build, Precision};
use tempfile::TempDir;

fn toy() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy.safetensors");
    std::fs::write(&path, grano_networks::toy::model().unwrap()).unwrap();
    (folder, path)
}

/// `BLESS=1 cargo test -p grano-tests --test generated` rewrites the fixtures; then review their diff.
fn assert_equals_fixture(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, expected, "{} differs; BLESS=1 rewrites it", path.display());
}

#[test]
fn the_toys_code_is_the_reviewed_one() {
    let (_folder, path) = toy();
    let output = Build::new(&path).samplers(["ddim-4"]).generate("toy").unwrap();
    assert_equals_fixture("toy.int8.rs.txt", &output.source);
    assert_equals_fixture("toy.plan.txt", &output.plan);
    let constants = &output.constants;
    assert_equals_fixture(
        "toy.bin.txt",
        &format!("{} bytes, CRC-32 {:08x}\n", constants.len(), crc32fast::hash(constants)),
    );
}

#[test]
fn generating_twice_gives_the_same_bytes() {
    let (_folder, path) = toy();
    for precision in Precision::ALL {
        let build = Build::new(&path).precision(precision);
        assert_eq!(build.generate("toy").unwrap(), build.generate("toy").unwrap());
    }
}

#[test]
fn a_samplers_presence_changes_no_weight_and_no_scale() {
    let (_folder, path) = toy();
    let source = |samplers: &[&str]| {
        let output = Build::new(&path).samplers(samplers.iter().copied()).generate("toy").unwrap();
        // Offsets into model.bin move as rows come and go.
        let numbers = |line: &&str| (line.contains("zero_point") || line.contains("scale")) && !line.contains("view");
        let lines = output.source.lines().filter(numbers);
        lines.map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(source(&["ddim-4"]), source(&["ancestral-50", "ddim-4"]));
}

#[test]
fn a_multistep_sampler_and_guidance_take_a_map_more() {
    let (_folder, path) = toy();
    let map = grano_networks::toy::picture(0).len();
    let ram = |sampler: &str, kept: usize, guided: bool| {
        let build = Build::new(&path).samplers([sampler]).guided(guided);
        let output = build.generate("toy").unwrap();
        let labelled = if guided { map } else { 0 };
        let memory = format!("type Memory = g::Memory<ARENA_BYTES, {map}, {kept}, {labelled}>;");
        assert!(output.source.contains(&memory), "{sampler}");
        let words: Vec<&str> = output.plan.split(' ').collect();
        let at = words.windows(3).position(|words| words == ["bytes", "of", "RAM,"]).unwrap();
        let bytes = words[at - 1].parse::<usize>().unwrap();
        assert_eq!(bytes, build.measure().unwrap().ram_bytes);
        bytes
    };
    assert_eq!(ram("dpm-4", map, false), ram("ddim-4", 0, false) + 4 * map);
    assert_eq!(ram("ddim-4", 0, true), ram("ddim-4", 0, false) + 4 * map);
}

#[test]
fn mixed_precision_needs_maps_that_the_model_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = grano_networks::write(folder.path(), "mixer", grano_networks::mixer::model).unwrap();
    let error = Build::new(&path).precision(Precision::Mixed).generate("mixer").unwrap_err().to_string();
    assert!(error.contains("grano-train sensitivity") && error.contains("int8"), "{error}");
}

#[test]
fn budgets_name_what_is_over_and_write_nothing() {
    let (folder, path) = toy();
    let out = folder.path().join("out");
    let flash = Build::new(&path).flash_budget(100).write("toy", &out).unwrap_err().to_string();
    assert!(flash.contains("flash") && flash.contains("budget of 100"), "{flash}");
    let ram = Build::new(&path).ram_budget(100).write("toy", &out).unwrap_err().to_string();
    assert!(ram.contains("RAM") && ram.contains("budget of 100"), "{ram}");
    let sampler = Build::new(&path).samplers(["ddim-0"]).write("toy", &out).unwrap_err().to_string();
    assert!(sampler.contains("ddim-0"), "{sampler}");
    let too_many = Build::new(&path).samplers(["ddim-500"]).write("toy", &out).unwrap_err().to_string();
    assert!(too_many.contains("T = 100"), "{too_many}");
    assert!(!out.exists());
}
