//! Pictures that are given: .png or .jpg, or uint8 arrays in .npy files, as bytes `[H, W, C]` of the model's shape.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use grano::Shape;
use image::{DynamicImage, ImageReader};
use ndarray::ArrayViewD;
use ndarray_npy::ViewNpyExt;

use crate::array;

/// One picture of a shape.
///
/// # Errors
/// Names the flag and the file, what the picture is, and what it should be.
pub fn read(flag: &str, path: &Path, shape: Shape) -> Result<Vec<u8>> {
    let mut all = read_all(flag, path, shape)?;
    let count = all.len();
    let first = all.pop().filter(|_| count == 1);
    first.with_context(|| format!("{flag} {}: {count} pictures; give one", path.display()))
}

/// The pictures of a file: one of a .png or .jpg, one or more of an array `[H, W]`, `[H, W, C]` or, with N in front, of N.
///
/// # Errors
/// As [`read`].
pub fn read_all(flag: &str, path: &Path, shape: Shape) -> Result<Vec<Vec<u8>>> {
    let pictures =
        if path.extension() == Some(OsStr::new("npy")) { of_array(path, shape) } else { of_image(path, shape) };
    pictures.with_context(|| format!("{flag} {}", path.display()))
}

fn of_image(path: &Path, shape: Shape) -> Result<Vec<Vec<u8>>> {
    let image = open(path)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    ensure!(
        [width, height] == [shape.width, shape.height],
        "{width}×{height} pixels, wanted are {}×{}; crop or scale it",
        shape.width,
        shape.height
    );
    bytes(&image, shape.channels).map(|bytes| vec![bytes])
}

/// An image of any size.
///
/// # Errors
/// When it cannot be read, or is transparent.
pub fn open(path: &Path) -> Result<DynamicImage> {
    let image = ImageReader::open(path)?.with_guessed_format()?.decode();
    let image = image.context("not a whole .png or .jpg file; give one, or uint8 .npy")?;
    let is_opaque = !image.color().has_alpha() || image.to_rgba16().pixels().all(|pixel| pixel.0[3] == u16::MAX);
    ensure!(is_opaque, "it has transparent pixels; flatten it");
    Ok(image)
}

/// An image's bytes in so many channels; a grey one may be in colour's clothes.
///
/// # Errors
/// When it is in colour and grey is wanted, or the model's channels are no image's.
pub fn bytes(image: &DynamicImage, channels: usize) -> Result<Vec<u8>> {
    let colours = image.to_rgb8();
    match channels {
        1 => {
            let is_grey = colours.pixels().all(|pixel| pixel.0[0] == pixel.0[1] && pixel.0[1] == pixel.0[2]);
            ensure!(is_grey, "it is in colour, wanted is grey; turn it to grey");
            Ok(colours.pixels().map(|pixel| pixel.0[0]).collect())
        }
        3 => Ok(colours.into_raw()),
        _ => bail!("the model's pictures have {channels} channels, which no image has; give uint8 .npy"),
    }
}

fn of_array(path: &Path, shape: Shape) -> Result<Vec<Vec<u8>>> {
    let file = std::fs::read(path)?;
    let array = ArrayViewD::<u8>::view_npy(&file).map_err(|error| array::explain(error, "uint8, '|u1'"))?;
    let Shape { height, width, channels } = shape;
    let mut axes = vec![height, width];
    axes.extend((channels > 1).then_some(channels));
    let known = match array.shape() {
        all if *all == axes[..] => true,
        [_, rest @ ..] => *rest == axes[..],
        _ => false,
    };
    ensure!(known, "its shape is {:?}; wanted is {axes:?}, or [N, …] of it", array.shape());
    let values: Vec<u8> = array.iter().copied().collect();
    ensure!(!values.is_empty(), "it holds no picture; give at least one");
    Ok(values.chunks_exact(shape.len()).map(<[u8]>::to_vec).collect())
}

/// Width and height of a picture in a file.
///
/// # Errors
/// When it cannot be read, or is no picture.
pub fn size(path: &Path) -> Result<[usize; 2]> {
    if path.extension() != Some(OsStr::new("npy")) {
        let image = open(path)?;
        return Ok([image.width() as usize, image.height() as usize]);
    }
    let file = std::fs::read(path)?;
    let array = ArrayViewD::<u8>::view_npy(&file).map_err(|error| array::explain(error, "uint8, '|u1'"))?;
    match array.shape() {
        [height, width] | [height, width, _] => Ok([*width, *height]),
        other => bail!("its shape is {other:?}; wanted is [H, W] or [H, W, C]"),
    }
}
