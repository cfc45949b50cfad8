//! The figures of `docs/inverse.md`, and those of encoding in `docs/samplers.md`: how near pictures come to what was hidden.
//!
//! `cargo run --release -p grano-trainer-front --example inverse -- --data /usr/share/datasets/fashion-mnist`

use std::error::Error;

use clap::Parser;
use grano::hooks::Observe;
use grano::inverse::{Boxes, Ddnm, Known, Linear, Replace};
use grano::picture::{from_u8, to_u8};
use grano::{Gaussian, Hooks, Philox, Request, Shape};
use grano_codegen::runtime::{Begin, OwnedTable, Runtime};
use grano_codegen::schedule::SamplerSpec;
use grano_codegen::{Build, Precision};
use grano_trainer_front::data::{DataArgs, load};
use rayon::prelude::*;

/// What is measured on.
#[derive(Parser)]
struct Args {
    /// Fashion-MNIST, or other data of the model's shape and classes.
    #[command(flatten)]
    data: DataArgs,
    /// The model file.
    #[arg(long, default_value = "models/fashion.safetensors")]
    model: std::path::PathBuf,
}

/// Pictures of a row of the tables, and of the mean of several.
const PICTURES: usize = 50;
const FEW: usize = 20;
/// Pictures whose mean is taken.
const DRAWS: u64 = 16;
/// Pictures that are encoded.
const ENCODED: usize = 4;
/// Training pictures among which the nearest is looked for.
const NEIGHBOURS: usize = 20_000;
/// Pixels a side of a box.
const SIDE: usize = 4;

/// The sampler of `grano inpaint`.
const INPAINT: &str = "ancestral-25-travel5x10";

/// A picture, −1 to 1, and its class.
type Picture = (Vec<f32>, usize);

fn main() -> Result<(), Box<dyn Error>> {
    let Args { data, model } = Args::parse();
    let data = load(&data, None).map_err(|error| format!("{error:#}"))?;
    let [height, width, channels] = data.shape;
    let shape = Shape { height, width, channels };
    let len = shape.len();
    let values = |bytes: &[u8]| bytes.iter().map(|&byte| from_u8(byte)).collect::<Vec<f32>>();
    let test: Vec<Picture> = data
        .test
        .pixels
        .chunks_exact(len)
        .take(PICTURES)
        .map(values)
        .zip(data.test.labels.iter().map(|&label| label as usize))
        .collect();
    let train: Vec<Vec<f32>> = data.train.pixels.chunks_exact(len).take(NEIGHBOURS).map(values).collect();
    let hidden = len / 2..len;

    println!("hidden lower half, PSNR in dB, the mean of {} pictures", test.len());
    let mean: Vec<f32> = (0..len).map(|i| train.iter().map(|x| x[i]).sum::<f32>() / train.len() as f32).collect();
    println!(
        "{:44} {:6.2}",
        "the mean training picture",
        average(&test, |(x, _)| psnr(&x[hidden.clone()], &mean[hidden.clone()]))
    );
    let upper = |a: &[f32], b: &[f32]| a[..len / 2].iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    let nearest = |(x, _): &Picture| {
        let distances = train.iter().map(|other| upper(x, other));
        let place = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(place, _)| place);
        psnr(&x[hidden.clone()], &train[place][hidden.clone()])
    };
    println!("{:44} {:6.2}", format!("the nearest of {} by its upper half", train.len()), average(&test, nearest));

    let mut bits = vec![0_u8; (height * width).div_ceil(8)];
    (0..height * width / 2).for_each(|pixel| bits[pixel / 8] |= 1 << (pixel % 8));
    let rows = [
        ("dpm-8-searched", false, false),
        ("ancestral-100", false, false),
        ("ancestral-100", true, false),
        ("ancestral-50-travel10x4", false, false),
        (INPAINT, false, false),
        ("ancestral-100-travel10x5", false, false),
        (INPAINT, false, true),
    ];
    let runtime = Build::new(&model).samplers(rows.map(|(name, ..)| name)).runtime()?;
    let inpaint = |name: &str, replace: bool, label: Option<usize>, stream: u64, x: &[f32]| {
        let known = Known { bits: &bits, picture: x, channels };
        let table = runtime.table(name)?;
        if replace {
            let noise = Gaussian(Philox::new(1, stream));
            return draw(&runtime, Begin::Noise, &table, label, stream, Replace::new(known, noise));
        }
        draw(&runtime, Begin::Noise, &table, label, stream, known)
    };
    for (name, replace, is_told) in rows {
        let one = |(i, (x, class)): (usize, &Picture)| {
            let drawn = inpaint(name, replace, is_told.then_some(*class), i as u64, x)?;
            Ok(psnr(&x[hidden.clone()], &drawn[hidden.clone()]))
        };
        let all = test.par_iter().enumerate().map(one).collect::<grano_codegen::Result<Vec<f64>>>()?;
        let what = format!(
            "{name}{}{}",
            if replace { ", replacement" } else { "" },
            if is_told { ", told the class" } else { "" }
        );
        println!("{what:44} {:6.2}", all.iter().sum::<f64>() / all.len() as f64);
    }
    let few = &test[..FEW.min(test.len())];
    let of_several = |(x, _): &Picture| {
        let draws = (0..DRAWS)
            .map(|stream| inpaint(INPAINT, false, None, stream, x))
            .collect::<grano_codegen::Result<Vec<_>>>()?;
        let mean: Vec<f32> = (0..len).map(|i| draws.iter().map(|draw| draw[i]).sum::<f32>() / DRAWS as f32).collect();
        Ok([psnr(&x[hidden.clone()], &draws[0][hidden.clone()]), psnr(&x[hidden.clone()], &mean[hidden.clone()])])
    };
    let both = few.par_iter().map(of_several).collect::<grano_codegen::Result<Vec<[f64; 2]>>>()?;
    let [one, several] = [0, 1].map(|place| both.iter().map(|pair| pair[place]).sum::<f64>() / both.len() as f64);
    println!("the first {} pictures: one {one:.2}, the mean of {DRAWS} {several:.2}", few.len());

    println!("boxes of {SIDE}×{SIDE}, PSNR in dB");
    let boxes = Boxes { shape, side: SIDE };
    let measure = |x: &[f32]| {
        (0..boxes.measurements())
            .map(|i| f32::from(to_u8(boxes.forward(x, i))))
            .map(|byte| from_u8(byte as u8))
            .collect::<Vec<f32>>()
    };
    let flat = |(x, _): &Picture| {
        let (y, mut picture) = (measure(x), vec![0.0; len]);
        y.iter().enumerate().for_each(|(i, y)| boxes.add_inverse(i, *y, &mut picture));
        psnr(x, &picture)
    };
    println!("{:44} {:6.2}", "boxes as they are", average(&test, flat));
    for name in ["ancestral-100", "ancestral-50-travel10x4"] {
        let table = runtime.table(name)?;
        let one = |(i, (x, _)): (usize, &Picture)| {
            let observe = Ddnm { a: boxes, y: measure(x), map: vec![0.0; len] };
            Ok(psnr(x, &draw(&runtime, Begin::Noise, &table, None, i as u64, observe)?))
        };
        let all = test.par_iter().enumerate().map(one).collect::<grano_codegen::Result<Vec<f64>>>()?;
        println!("{name:44} {:6.2}", all.iter().sum::<f64>() / all.len() as f64);
    }

    println!("decoded after encoding, PSNR in dB, the first {ENCODED} pictures");
    for (precision, steps) in
        [(Precision::F32, 20), (Precision::F32, 100), (Precision::F32, 500), (Precision::Int8, 100)]
    {
        let name = format!("ddim-{steps}");
        let runtime = Build::new(&model).precision(precision).samplers([&name]).runtime()?;
        let (header, spec) = (runtime.header(), SamplerSpec { clip: None, ..name.parse()? });
        let encoder = runtime.own(&spec.encoder(&header.schedule, header.prediction)?)?;
        let decoder = runtime.own(&spec.table(&header.schedule, header.prediction)?)?;
        let again = |(x, _): &Picture| {
            let noise = draw(&runtime, Begin::At(x), &encoder, None, 0, ())?;
            Ok(psnr(x, &draw(&runtime, Begin::At(&noise), &decoder, None, 0, ())?))
        };
        let all = test[..ENCODED].iter().map(again).collect::<grano_codegen::Result<Vec<f64>>>()?;
        println!("{:44} {:6.2}", format!("{name}, {}", precision.name()), all.iter().sum::<f64>() / all.len() as f64);
    }
    Ok(())
}

/// A picture with an observer; `stream` is its noise's.
fn draw(
    runtime: &Runtime,
    begin: Begin<'_>,
    table: &OwnedTable,
    label: Option<usize>,
    stream: u64,
    observe: impl Observe,
) -> grano_codegen::Result<Vec<f32>> {
    let (noise, request) = (Gaussian(Philox::new(0, stream)), Request { label, guidance: 1.0 });
    let mut hooks = Hooks { guide: (), observe, watch: () };
    let mut painter = runtime.painter()?;
    let drawn = painter.draw_with(begin, table, noise, request, &mut hooks, &mut |_| {});
    drawn.map(<[f32]>::to_vec).map_err(|error| grano_codegen::Error::Model(error.to_string()))
}

fn average(pictures: &[Picture], of: impl Fn(&Picture) -> f64) -> f64 {
    pictures.iter().map(of).sum::<f64>() / pictures.len() as f64
}

/// Peak signal-to-noise ratio of bytes, dB, peak 255.
fn psnr(exact: &[f32], found: &[f32]) -> f64 {
    let error = |(a, b): (&f32, &f32)| (f64::from(to_u8(*a)) - f64::from(to_u8(*b))).powi(2);
    let mean = exact.iter().zip(found).map(error).sum::<f64>() / exact.len() as f64;
    10.0 * (255.0 * 255.0 / mean.max(1e-9)).log10()
}
