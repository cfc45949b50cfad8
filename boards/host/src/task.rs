//! What a picture is drawn from: noise, or what is given of it.

use anyhow::{Context, Result, bail, ensure};
use grano::Shape;
use grano::inverse::{Boxes, Grey};
use grano::picture::from_u8;
use grano_codegen::runtime::OwnedTable;

use crate::args::{EditArgs, GivenArgs, InpaintArgs};
use crate::photo;

/// What pictures are drawn from. Maps are `[H, W, C]`, −1 to 1.
pub enum Task {
    /// Noise.
    Noise,
    /// A picture with the noise of the table's first step.
    Edit(Vec<f32>),
    /// A picture of which some pixels are known.
    Inpaint {
        /// A bit a pixel, those that are known.
        bits: Vec<u8>,
        /// The picture.
        picture: Vec<f32>,
        /// Whether by replacement.
        replace: bool,
    },
    /// A picture's grey.
    Colourise(Grey, Vec<f32>),
    /// A picture's boxes.
    Upscale(Boxes, Vec<f32>),
    /// Each picture's own x_T.
    From(Vec<Vec<f32>>),
}

fn values(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|&byte| from_u8(byte)).collect()
}

/// The part of the sampler that a strength leaves, and the picture that it begins with.
///
/// # Errors
/// When the picture is not of that shape, or no step is left.
pub fn edit(
    args: &EditArgs,
    shape: Shape,
    table: &OwnedTable,
    times: &[usize],
    steps: usize,
) -> Result<(Task, OwnedTable)> {
    let picture = photo::read("--picture", &args.picture, shape)?;
    let most = args.strength * steps as f64;
    let name = table.view().name.to_string();
    let first = times.iter().position(|&t| t as f64 <= most).with_context(|| {
        format!("--strength {}: no step of {name} is so near the picture; give more, or more steps", args.strength)
    })?;
    Ok((Task::Edit(values(&picture)), table.from_step(first)))
}

/// A picture with a mask.
///
/// # Errors
/// When one of them is not of that shape, or the mask hides nothing or all.
pub fn inpaint(args: &InpaintArgs, shape: Shape) -> Result<Task> {
    let replace = match args.method.as_str() {
        "ddnm" => false,
        "replace" => true,
        other => bail!("--method {other}: unknown; give one of ddnm, replace"),
    };
    let picture = photo::read("--picture", &args.picture, shape)?;
    let mask = photo::read("--mask", &args.mask, Shape { channels: 1, ..shape })?;
    let hidden = mask.iter().filter(|&&grey| grey >= 128).count();
    let path = args.mask.display();
    ensure!(hidden > 0, "--mask {path}: no pixel is white, so there is nothing to draw");
    ensure!(hidden < mask.len(), "--mask {path}: all pixels are white; to draw without a picture, use `sample`");
    let mut bits = vec![0; mask.len().div_ceil(8)];
    mask.iter().enumerate().filter(|(_, grey)| **grey < 128).for_each(|(i, _)| bits[i / 8] |= 1 << (i % 8));
    Ok(Task::Inpaint { bits, picture: values(&picture), replace })
}

/// A grey picture, for a model of colour.
///
/// # Errors
/// When the model is not of colour, or the picture not of its size or not grey.
pub fn colourise(args: &GivenArgs, shape: Shape) -> Result<Task> {
    let channels = shape.channels;
    let model = &args.sample.model.model;
    ensure!(channels == 3, "--model {model}: its pictures have {channels} channels; colours take 3");
    let grey = photo::read("--picture", &args.picture, Shape { channels: 1, ..shape })?;
    let pixels = shape.height * shape.width;
    Ok(Task::Colourise(Grey { pixels, weights: Grey::LUMA }, values(&grey)))
}

/// A smaller picture.
///
/// # Errors
/// When the model's sides are not the same multiple of the picture's.
pub fn upscale(args: &GivenArgs, shape: Shape) -> Result<Task> {
    let Shape { height, width, channels } = shape;
    let path = &args.picture;
    let size = photo::size(path).with_context(|| format!("--picture {}", path.display()))?;
    let [w, h] = size;
    let side = width.checked_div(w).unwrap_or(0);
    ensure!(
        side > 1 && [w * side, h * side] == [width, height],
        "--picture {}: {w}×{h} pixels; the model draws {width}×{height}, which is not the same whole number of times as many each way",
        path.display()
    );
    let small = photo::read("--picture", path, Shape { height: h, width: w, channels })?;
    Ok(Task::Upscale(Boxes { shape, side }, values(&small)))
}
