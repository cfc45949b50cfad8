//! `grano sample` and `grano inspect` as their users meet them: files, checksums, and what they say about bad words.

mod common;

use std::collections::BTreeMap;

use common::{files, folder, grano, model, refused_in, text};
use ndarray::{Array1, Array3};

/// The lines of `--crc`, which writes no file.
fn checksums(words: &str) -> Vec<String> {
    let folder = folder();
    let lines = text(folder.path(), &format!("sample --crc --sampler ddim-10 {words}"));
    assert!(files(folder.path()).is_empty());
    lines.lines().map(str::to_owned).collect()
}

/// As [`refused_in`], in a folder of its own.
fn refused(words: &str, said: &[&str]) {
    refused_in(folder().path(), words, said);
}

#[test]
fn without_words_it_draws_a_sheet_of_all_classes() {
    let folder = folder();
    let said = text(folder.path(), "");
    assert_eq!(files(folder.path()), ["samples.png"]);
    let sheet = image::open(folder.path().join("samples.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (8 * (84 + 2) + 2, 10 * (84 + 2) + 2));
    assert!(matches!(sheet, image::DynamicImage::ImageLuma8(_)));
    for expected in ["80 × fashion", "int8", "dpm-8-searched", "Wrote samples.png", "Try next"] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_sheet_shows_the_bytes() {
    let folder = folder();
    for output in ["sheet.png", "bytes.npy"] {
        text(folder.path(), &format!("sample --sampler ddim-10 --count 9 -o {output}"));
    }
    let sheet = image::open(folder.path().join("sheet.png")).unwrap().into_luma8();
    let bytes: Array3<u8> = ndarray_npy::read_npy(folder.path().join("bytes.npy")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (690, 174));
    for ((i, y, x), value) in bytes.indexed_iter() {
        let (left, top) = (2 + 86 * (i % 8) + 3 * x, 2 + 86 * (i / 8) + 3 * y);
        for (dx, dy) in [(0, 0), (2, 2)] {
            assert_eq!(sheet.get_pixel((left + dx) as u32, (top + dy) as u32).0, [*value], "{i} {y} {x}");
        }
    }
}

#[test]
fn npy_files_and_checksums_agree() {
    let folder = folder();
    let words = "sample --crc --sampler ddim-10 --count 7 --seed 5 -o pictures.npy --labels-out labels.npy";
    let lines = text(folder.path(), words);
    assert_eq!(files(folder.path()), ["labels.npy", "pictures.npy"]);
    let pictures: Array3<u8> = ndarray_npy::read_npy(folder.path().join("pictures.npy")).unwrap();
    let labels: Array1<i64> = ndarray_npy::read_npy(folder.path().join("labels.npy")).unwrap();
    assert_eq!(pictures.shape(), [7, 28, 28]);
    assert_eq!(labels.to_vec(), [0, 1, 2, 4, 5, 7, 8]);
    let names = ["t-shirt", "trouser", "pullover", "coat", "sandal", "sneaker", "bag"];
    let crc32 = |i: usize| crc32fast::hash(pictures.index_axis(ndarray::Axis(0), i).as_slice().unwrap());
    let expected: Vec<_> = names.iter().enumerate().map(|(i, name)| format!("{i} {name} {:08x}", crc32(i))).collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_picture_depends_on_seed_label_and_index_alone() {
    let ten = checksums("--label bag --count 10 --threads 4");
    assert_eq!(ten, checksums("--label bag --count 10 --threads 1"));
    assert_eq!(ten[..3], checksums("--label bag --count 3"));
    let different: BTreeMap<_, _> = ten.iter().map(|line| (line.rsplit_once(' ').unwrap().1, line)).collect();
    assert_eq!(different.len(), 10);
    for other in ["--seed 1 --label bag", "--label coat", "--label bag --guidance 1.5", "--label bag --guidance -2.5"] {
        assert_ne!(
            checksums(&format!("{other} --count 1"))[0].rsplit_once(' ').unwrap().1,
            ten[0].rsplit_once(' ').unwrap().1
        );
    }
}

#[test]
fn the_fast_network_draws_in_one_two_and_four_evaluations() {
    let folder = folder();
    let drawn = |words: &str| text(folder.path(), &format!("sample --crc --model fashion-fast --count 3 {words}"));
    let [one, two, four] = [1, 2, 4].map(|n| drawn(&format!("--sampler fast-{n}")));
    assert!(one != two && two != four && four == drawn(""), "{one}{two}{four}");
    refused("sample --model fashion-fast --sampler dpm-8-searched", &["--sampler", "fast-4", "fast-2", "fast-1"]);
}

/// That every flag reaches every network; how close they are is measured elsewhere.
#[test]
fn precisions_draw_nearly_the_same() {
    let pictures = |words: &str| -> Array3<i32> {
        let folder = folder();
        text(folder.path(), &format!("sample --sampler ddim-10 --count 4 {words} -o p.npy"));
        ndarray_npy::read_npy::<_, Array3<u8>>(folder.path().join("p.npy")).unwrap().mapv(i32::from)
    };
    let f32 = pictures("--precision f32");
    let distance = |words: &str| (&pictures(words) - &f32).mapv(|d| f64::from(d.abs())).mean().unwrap();
    let (f16, int8) = (distance("--precision f16"), distance("--precision int8"));
    let other = distance("--precision f32 --seed 1");
    assert!(0.0 < f16 && f16 < int8 && int8 < other, "{f16} {int8} {other}");
}

#[test]
fn bad_words_are_refused_by_name() {
    refused("sample --model digits", &["--model digits", "fashion, fashion-fast", "or a file"]);
    refused("sample --label sneakr", &["--label sneakr", "t-shirt", "sneaker", "ankle-boot"]);
    refused("sample --sampler euler-20", &["--sampler euler-20", "ddim-STEPS", "dpm-8-searched"]);
    refused("sample --sampler ddim-1001", &["--sampler ddim-1001", "T = 1000"]);
    refused("sample --precision int4", &["--precision int4", "int8"]);
    refused("sample --model fashion-fast --precision mixed", &["--precision mixed", "int8, f16, f32"]);
    refused("sample --target z80", &["--target z80", "portable", "cortex-m4"]);
    let other = if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86" };
    refused(&format!("sample --target {other}"), &["--target", "do not run on this machine", "portable"]);
    refused("sample --count 0", &["--count"]);
    refused("sample --count 10001", &["--count 10001", ".npy"]);
    refused("sample --guidance NaN", &["--guidance", "finite"]);
    refused("sample --threads 0", &["--threads"]);
    refused("sample -o x.jpg", &["--output", ".png", ".npy"]);
    refused("sample --labels-out x.png", &["--labels-out", ".npy"]);
    refused("sample -o x.npy --labels-out x.npy", &["-o", "--labels-out"]);
    refused("sample -o missing/x.png", &["missing/x.png"]);
    refused("sample --labels-out missing/x.npy", &["missing/x.npy"]);
    refused("smaple", &["smaple"]);
}

/// The picture that every chip draws.
#[test]
fn the_picture_is_the_same_for_every_target() {
    let folder = folder();
    let words = "sample --label sneaker --count 1 --seed 0 --crc";
    for target in ["", "portable", "cortex-m0", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "riscv32"] {
        let target = if target.is_empty() { String::new() } else { format!(" --target {target}") };
        assert_eq!(text(folder.path(), &format!("{words}{target}")), "0 sneaker 2aac822c\n", "{target}");
    }
}

/// Sums that stand alone, gains, attention, group normalisation, strides and enlargement.
#[test]
fn networks_of_all_kinds_draw_the_same_for_every_target() {
    let folder = folder();
    let models = [grano_networks::toy::model, grano_networks::mixer::model, grano_networks::unet::model];
    for (number, model) in models.into_iter().enumerate() {
        let file = format!("{number}.safetensors");
        std::fs::write(folder.path().join(&file), model().unwrap()).unwrap();
        let words = format!("sample --model {file} --sampler ddim-3 --count 2 --crc");
        let here = text(folder.path(), &words);
        for target in ["portable", "cortex-m0", "cortex-m4", "cortex-m55", "riscv32"] {
            assert_eq!(text(folder.path(), &format!("{words} --target {target}")), here, "{file} {target}");
        }
        for precision in ["f16", "f32"] {
            assert_eq!(text(folder.path(), &format!("{words} --precision {precision}")).lines().count(), 2);
        }
    }
}

#[test]
fn samplers_have_any_number_of_steps() {
    let folder = folder();
    let mut all = Vec::new();
    for sampler in ["ddim-37", "ddim-38", "ddim-37-eta0.5", "dpm-37", "ancestral-37-large", "ancestral-1000"] {
        let said = text(folder.path(), &format!("sample --count 1 --sampler {sampler} -o p.npy"));
        assert!(said.contains(sampler), "{said}");
        all.push(std::fs::read(folder.path().join("p.npy")).unwrap());
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6);
}

#[test]
fn a_file_draws_as_the_model_in_the_program_does() {
    assert_eq!(
        checksums("--count 3 --model fashion"),
        checksums(&format!("--count 3 --model {}", model("fashion.safetensors")))
    );
    refused("sample --model nowhere/x.safetensors", &["--model nowhere/x.safetensors", "no such file"]);
    let folder = folder();
    std::fs::write(folder.path().join("x.safetensors"), b"not a model").unwrap();
    refused_in(folder.path(), "sample --model x.safetensors", &["--model x.safetensors: not a whole safetensors file"]);
    let metadata = model("reference.plain.statistics.safetensors");
    refused(&format!("sample --model {metadata}"), &["not a grano model"]);
}

#[test]
fn a_model_without_labels_draws() {
    let folder = folder();
    let bytes = grano_networks::blocks::model().unwrap();
    std::fs::write(folder.path().join("blocks.safetensors"), bytes).unwrap();
    let said = text(folder.path(), "sample --model blocks.safetensors --count 2 -o p.npy");
    assert!(said.contains("2 × blocks.safetensors"), "{said}");
    let lines = text(folder.path(), "sample --model blocks.safetensors --count 2 --crc");
    let pictures: Array3<u8> = ndarray_npy::read_npy(folder.path().join("p.npy")).unwrap();
    let crc32 = |i: usize| crc32fast::hash(pictures.index_axis(ndarray::Axis(0), i).as_slice().unwrap());
    assert_eq!(lines, format!("0 unlabelled {:08x}\n1 unlabelled {:08x}\n", crc32(0), crc32(1)));
    for words in ["--label coat", "--labels-out l.npy"] {
        let flag = words.split(' ').next().unwrap();
        refused_in(folder.path(), &format!("sample --model blocks.safetensors {words}"), &[flag, "no labels"]);
    }
}

/// That the program draws what the README shows.
#[test]
fn the_sheet_is_that_of_the_repository() {
    let folder = folder();
    text(folder.path(), "");
    let [drawn, kept] = [folder.path().join("samples.png"), model("fashion.png").into()].map(std::fs::read);
    assert!(drawn.unwrap() == kept.unwrap());
}

#[test]
fn help_names_what_the_models_in_the_program_hold() {
    let folder = folder();
    let help = text(folder.path(), "sample --help");
    for name in ["fashion", "fashion-fast"] {
        let file = model(&format!("{name}.safetensors"));
        let model = grano_codegen::load::load(file.as_ref()).unwrap();
        let precisions: Vec<&str> =
            grano_codegen::Precision::of(&model).into_iter().map(|precision| precision.name()).collect();
        let lists = [&model.header.data.labels, &model.header.own_samplers()].map(|list| list.join(", "));
        for part in lists.iter().map(String::as_str).chain([name, &precisions.join(", ")]) {
            assert!(help.contains(part), "{part}: {help}");
        }
    }
}

#[test]
fn inspect_tells_what_a_model_holds() {
    let folder = folder();
    let shipped = text(folder.path(), "inspect fashion");
    for part in ["t-shirt, trouser", "dpm-8-searched", "int8, mixed, f16, f32", "network `denoiser`", "stem"] {
        assert!(shipped.contains(part), "{part}: {shipped}");
    }
    assert_eq!(shipped, text(folder.path(), &format!("inspect {}", model("fashion.safetensors"))));
    refused("inspect nothing", &["inspect nothing", "fashion"]);
}

#[test]
fn a_folder_is_no_file() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("x.png")).unwrap();
    let output = grano(folder.path(), "sample -o x.png");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("x.png"));
    assert_eq!(files(folder.path()), ["x.png"]);
}
