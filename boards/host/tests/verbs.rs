//! Verbs that draw from something given, and `score`, as their users meet them.

mod common;

use std::path::Path;

use common::{files, folder, model, refused_in, text};
use grano_codegen::forward::{NoiseSchedule, ScheduleKind};
use grano_codegen::schedule::Prediction;
use grano_networks::closed::{self, Data};
use image::{GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use ndarray::{Array2, Array3, ArrayD};

/// Independent Gaussians in so many channels, and a mixture with a classifier, of 8×12 pixels.
fn write_models(folder: &Path) {
    let schedule = || NoiseSchedule { kind: ScheduleKind::Cosine, steps: 200 };
    let gaussian = |channels: usize| Data::Gaussian {
        mean: vec![0.0; channels],
        axes: (0..channels).map(|i| (0..channels).map(|j| if i == j { 1.0 } else { 0.0 }).collect()).collect(),
        variances: vec![0.1; channels],
    };
    let mixture = Data::Mixture { weights: vec![0.5, 0.5], means: vec![vec![-0.5], vec![0.5]], variance: 0.01 };
    for (name, data) in [("grey", gaussian(1)), ("colour", gaussian(3)), ("two", mixture)] {
        let bytes = closed::model(&data, [8, 12], schedule(), Prediction::Epsilon, &[50, 150]).unwrap();
        std::fs::write(folder.join(format!("{name}.safetensors")), bytes).unwrap();
    }
}

const MODEL: &str = "--precision f32 --model";

fn grey(folder: &Path, name: &str, [width, height]: [u32; 2], value: impl Fn(u32, u32) -> u8) {
    GrayImage::from_fn(width, height, |x, y| Luma([value(x, y)])).save(folder.join(name)).unwrap();
}

fn read_grey(folder: &Path, name: &str) -> GrayImage {
    image::open(folder.join(name)).unwrap().into_luma8()
}

/// A gradient, and a mask that hides the lower half.
fn write_pictures(folder: &Path) {
    grey(folder, "picture.png", [12, 8], |x, y| (20 * x + y) as u8);
    grey(folder, "mask.png", [12, 8], |_, y| if y < 4 { 0 } else { 255 });
}

#[test]
fn inpainting_keeps_what_is_known_and_draws_the_rest() {
    let folder = folder();
    let at = folder.path();
    write_models(at);
    write_pictures(at);
    let mut all = Vec::new();
    for words in ["", "--method replace", "--seed 1", "--sampler ddim-20-eta1-travel5x2", "--sampler pc-20"] {
        let model = format!("{MODEL} grey.safetensors --picture picture.png --mask mask.png");
        let said = text(at, &format!("inpaint {model} {words}"));
        assert!(said.contains("Wrote inpainted.png"), "{said}");
        let drawn = read_grey(at, "inpainted.png");
        assert_eq!(drawn.dimensions(), (12, 8));
        for (x, y, pixel) in drawn.enumerate_pixels().filter(|(_, y, _)| *y < 4) {
            assert_eq!(pixel.0[0], (20 * x + y) as u8, "{words}: {x}, {y}");
        }
        all.push(drawn.into_raw());
    }
    all.sort();
    all.dedup();
    // Pixels are independent, so that both methods draw the same.
    assert_eq!(all.len(), 4, "the hidden part is drawn, by each sampler otherwise");
}

#[test]
fn upscaling_keeps_the_means_of_boxes() {
    let folder = folder();
    let at = folder.path();
    write_models(at);
    // Ends of the range, where pixels saturate, among them.
    let small = |x: u32, y: u32| [0, 255, 3, 128, 250, 90][((x + 2 * y) % 6) as usize];
    grey(at, "small.png", [3, 2], small);
    text(at, &format!("upscale {MODEL} grey.safetensors --picture small.png --count 3 -o large.npy"));
    let drawn: Array3<u8> = ndarray_npy::read_npy(at.join("large.npy")).unwrap();
    for picture in drawn.outer_iter() {
        for (x, y) in (0..3).flat_map(|x| (0..2).map(move |y| (x, y))) {
            let part = picture.slice(ndarray::s![4 * y..4 * y + 4, 4 * x..4 * x + 4]);
            let mean = part.mapv(f64::from).mean().unwrap();
            assert!((mean - f64::from(small(x as u32, y as u32))).abs() <= 1.0, "{x}, {y}: {mean}");
        }
    }
}

#[test]
fn colours_have_the_grey_that_was_given() {
    let folder = folder();
    let at = folder.path();
    write_models(at);
    grey(at, "picture.png", [12, 8], |x, y| (20 * x + 4 * y) as u8);
    text(at, &format!("colourise {MODEL} colour.safetensors --picture picture.png"));
    let drawn = image::open(at.join("colourised.png")).unwrap().into_rgb8();
    let mut coloured = 0;
    for (x, y, Rgb([r, g, b])) in drawn.enumerate_pixels() {
        let luma = 0.299 * f64::from(*r) + 0.587 * f64::from(*g) + 0.114 * f64::from(*b);
        assert!((luma - f64::from(20 * x + 4 * y)).abs() <= 1.0, "{x}, {y}: {luma}");
        coloured += usize::from(r.abs_diff(*g) > 5);
    }
    assert!(coloured > 48, "{coloured}");
}

#[test]
fn edits_go_from_the_picture_to_a_new_one() {
    let folder = folder();
    let at = folder.path();
    write_models(at);
    write_pictures(at);
    let before = read_grey(at, "picture.png").into_raw();
    let distance = |strength: f64| {
        let words = format!("edit {MODEL} grey.safetensors --picture picture.png --sampler ancestral-50");
        text(at, &format!("{words} --strength {strength}"));
        let after = read_grey(at, "edited.png").into_raw();
        before.iter().zip(after).map(|(a, b)| f64::from(a.abs_diff(b))).sum::<f64>() / before.len() as f64
    };
    let distances = [0.03, 0.2, 0.5, 1.0].map(distance);
    assert!(distances.is_sorted() && distances[0] < 10.0 && distances[3] > 40.0, "{distances:?}");
}

#[test]
fn encoding_is_undone_and_arcs_have_both_ends() {
    let folder = folder();
    let at = folder.path();
    write_models(at);
    write_pictures(at);
    grey(at, "other.png", [12, 8], |x, y| (90 + 5 * x + 10 * y) as u8);
    let model = format!("{MODEL} grey.safetensors");
    let said = text(at, &format!("encode {model} --picture picture.png -o x.npy"));
    assert!(said.contains("[1, 8, 12]"), "{said}");
    text(at, &format!("decode {model} --x x.npy"));
    let near = |drawn: &[u8], name: &str| {
        let expected = read_grey(at, name).into_raw();
        let largest = drawn.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(largest <= 4, "{name}: {largest}");
    };
    near(&read_grey(at, "decoded.png").into_raw(), "picture.png");
    text(at, &format!("interpolate {model} --from picture.png --to other.png --count 5 -o arc.npy"));
    let arc: Array3<u8> = ndarray_npy::read_npy(at.join("arc.npy")).unwrap();
    assert_eq!(arc.shape(), [5, 8, 12]);
    near(arc.index_axis(ndarray::Axis(0), 0).as_slice().unwrap(), "picture.png");
    near(arc.index_axis(ndarray::Axis(0), 4).as_slice().unwrap(), "other.png");
}

#[test]
fn likely_pictures_have_fewer_bits() {
    let folder = folder();
    let at = folder.path();
    write_models(at);
    // The data are N(0, 0.1): deviations of 40 bytes.
    ndarray_npy::write_npy(
        at.join("some.npy"),
        &Array3::from_shape_fn([2, 8, 12], |(_, y, x)| (90 + 7 * ((3 * x + 5 * y) % 11)) as u8),
    )
    .unwrap();
    ndarray_npy::write_npy(at.join("far.npy"), &Array2::from_elem([8, 12], 255_u8)).unwrap();
    let words = format!("score {MODEL} grey.safetensors --picture some.npy --picture far.npy --budget 20");
    let said = text(at, &format!("{words} -o scores.json"));
    assert!(said.contains("some.npy:1") && said.contains("mean of 3"), "{said}");
    text(at, &format!("{words} -o scores.csv"));
    let csv = std::fs::read_to_string(at.join("scores.csv")).unwrap();
    let bits = |line: usize| csv.lines().nth(line).unwrap().split(',').nth(1).unwrap().parse::<f64>().unwrap();
    // ½·log₂(2πe·0.1·127.5²) is 7.4; so few steps cost a bit more.
    assert!(bits(1) == bits(2) && (6.5..9.0).contains(&bits(1)) && bits(3) > 12.0, "{csv}");
    assert_eq!(csv.lines().next().unwrap().split(',').count(), 22);
    let json = std::fs::read_to_string(at.join("scores.json")).unwrap();
    assert!(json.contains("\"bits_per_dimension\"") && json.contains("\"times\""));
}

#[test]
fn a_classifier_pulls_to_its_class() {
    let folder = folder();
    let at = folder.path();
    write_models(at);
    let mean = |words: &str| {
        text(at, &format!("sample {MODEL} two.safetensors --sampler ddim-50 --count 4 {words} -o p.npy"));
        let drawn: Array3<u8> = ndarray_npy::read_npy(at.join("p.npy")).unwrap();
        drawn.mapv(f64::from).mean().unwrap()
    };
    let [none, low, high] =
        ["--label 1 --classifier-scale 0", "--label 0 --classifier-scale 1", "--label 1 --classifier-scale 1"]
            .map(mean);
    assert!(
        (none - 127.5).abs() < 25.0 && (low - 64.0).abs() < 12.0 && (high - 191.0).abs() < 12.0,
        "{none} {low} {high}"
    );
    // Outside of the interval, the labelled prediction alone.
    let crc = |words: &str| text(at, &format!("sample {MODEL} two.safetensors --sampler ddim-9 --crc {words}"));
    let once = crc("--guidance 1");
    assert_eq!(crc("--guidance 3 --guidance-interval 1e9,2e9"), once);
    assert_eq!(crc("--guidance 3 --guidance-interval 0,1e9"), crc("--guidance 3"));
    assert_ne!(crc("--guidance 3 --guidance-interval 0.1,1"), once);
    assert_ne!(crc("--guidance 3 --guidance-rescale 0.7"), crc("--guidance 3"));
}

/// What is wrong, and what the one line that says so holds.
const REFUSED: &[(&str, &[&str])] = &[
    ("inpaint --picture none.png --mask mask.png", &["--picture none.png", "No such file"]),
    ("inpaint --picture picture.png --mask small.png", &["--mask small.png", "3×2 pixels", "12×8"]),
    ("inpaint --picture small.png --mask mask.png", &["--picture small.png", "3×2 pixels", "12×8"]),
    ("inpaint --picture picture.png --mask black.png", &["--mask black.png", "no pixel is white"]),
    ("inpaint --picture picture.png --mask white.png", &["--mask white.png", "all pixels are white"]),
    ("inpaint --picture red.png --mask mask.png", &["--picture red.png", "in colour", "turn it to grey"]),
    ("inpaint --picture glass.png --mask mask.png", &["--picture glass.png", "transparent", "flatten"]),
    ("inpaint --picture text.png --mask mask.png", &["--picture text.png", "not a whole .png"]),
    ("inpaint --picture two.npy --mask mask.png", &["--picture two.npy", "2 pictures", "one"]),
    ("inpaint --picture floats.npy --mask mask.png", &["--picture floats.npy", "uint8"]),
    ("inpaint --picture picture.png --mask mask.png --method magic", &["--method magic", "ddnm, replace"]),
    ("inpaint --picture picture.png", &["--mask"]),
    ("inpaint --picture picture.png --mask mask.png --label 7", &["--label 7", "no labels"]),
    ("inpaint --picture picture.png --mask mask.png --sampler euler-5", &["--sampler euler-5", "pc-STEPS-snrR"]),
    (
        "inpaint --picture picture.png --mask mask.png --sampler dpm-8-travel2x2",
        &["--sampler dpm-8-travel2x2", "multistep"],
    ),
    ("inpaint --picture picture.png --mask mask.png -o x.jpg", &["--output", ".png"]),
    ("inpaint --picture picture.png --mask mask.png -o missing/x.png", &["missing/x.png"]),
    ("inpaint --picture picture.png --mask mask.png --labels-out l.npy", &["--labels-out", "no labels"]),
    ("colourise --picture picture.png", &["--model grey.safetensors", "1 channels", "3"]),
    ("upscale --picture picture.png", &["--picture picture.png", "12×8", "whole number"]),
    ("upscale --picture odd.png", &["--picture odd.png", "5×2", "12×8"]),
    ("edit --picture picture.png --strength 0", &["--strength", "above 0"]),
    ("edit --picture picture.png --strength NaN", &["--strength", "above 0"]),
    ("edit --picture picture.png --strength 0.0001 --sampler ddim-5", &["--strength 0.0001", "ddim-5"]),
    ("encode --picture picture.png --sampler dpm-5 -o x.npy", &["--sampler dpm-5", "ddim-STEPS"]),
    ("encode --picture picture.png -o x.png", &["--output", ".npy"]),
    ("decode --x two.npy", &["--x two.npy", "float32"]),
    ("decode --x floats.npy", &["--x floats.npy", "[1, 8, 12]"]),
    ("interpolate --from picture.png --to small.png", &["--to small.png", "3×2"]),
    ("interpolate --from picture.png --to picture.png --count 1", &["--count 1", "2"]),
    ("interpolate --from picture.png --to picture.png --sampler ancestral-5", &["--sampler ancestral-5", "ddim"]),
    ("score --picture small.png", &["--picture small.png", "3×2"]),
    ("score --picture picture.png --budget 1", &["--budget 1", "2 to 200"]),
    ("score --picture picture.png --budget 201", &["--budget 201", "2 to 200"]),
    ("score --picture picture.png -o x.txt", &["--output", ".json", ".csv"]),
    ("score", &["--picture"]),
    ("sample --classifier-scale 1", &["--classifier-scale", "no network `classifier`", "denoiser"]),
    ("sample --classifier-scale inf", &["--classifier-scale", "finite"]),
    ("sample --guidance-interval 3,1", &["--guidance-interval", "LOW < HIGH"]),
    ("sample --guidance-interval 3", &["--guidance-interval", "LOW,HIGH"]),
    ("sample --guidance-rescale 2", &["--guidance-rescale", "0 to 1"]),
    ("sample --sampler langevin-7-each5", &["--sampler langevin-7-each5", "multiple of 5"]),
    ("sample --sampler pc-5", &["--sampler pc-5", "multiple of 2"]),
];

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let folder = folder();
    let at = folder.path();
    write_models(at);
    write_pictures(at);
    grey(at, "small.png", [3, 2], |_, _| 9);
    grey(at, "odd.png", [5, 2], |_, _| 9);
    grey(at, "black.png", [12, 8], |_, _| 0);
    grey(at, "white.png", [12, 8], |_, _| 255);
    RgbImage::from_pixel(12, 8, Rgb([255, 0, 0])).save(at.join("red.png")).unwrap();
    RgbaImage::from_pixel(12, 8, Rgba([5, 5, 5, 100])).save(at.join("glass.png")).unwrap();
    std::fs::write(at.join("text.png"), "no picture").unwrap();
    ndarray_npy::write_npy(at.join("two.npy"), &Array3::<u8>::zeros([2, 8, 12])).unwrap();
    ndarray_npy::write_npy(at.join("floats.npy"), &ArrayD::<f32>::zeros(vec![8, 12])).unwrap();
    for (words, said) in REFUSED {
        let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
        refused_in(at, &format!("{verb} --model grey.safetensors {rest}"), said);
    }
    let fashion = model("fashion.safetensors");
    refused_in(at, &format!("inpaint --model {fashion} --picture picture.png --mask mask.png"), &["12×8", "28×28"]);
    assert!(!files(at).iter().any(|name| name.starts_with("inpainted")));
}
