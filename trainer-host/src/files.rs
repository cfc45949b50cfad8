//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use tch::Tensor;

/// Writes a file under another name first, `NAME.partial`, and then moves it into place.
///
/// # Errors
/// Names the file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().with_context(|| format!("{}: cannot be written", path.display()))
}

/// Makes the folder that `path` is to stand in.
///
/// # Errors
/// Names the folder.
pub fn make_parent(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).with_context(|| format!("{}: this folder cannot be made", folder.display()))
}

/// Writes a picture of `[width, height]` pixels, `[height, width]` or `[height, width, 3]` as `colour` has it.
///
/// # Errors
/// Names the file.
pub fn write_png(path: &Path, pixels: &[u8], [width, height]: [u32; 2], colour: ExtendedColorType) -> Result<()> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(pixels, width, height, colour)
        .with_context(|| format!("{}", path.display()))?;
    write(path, &bytes)
}

/// Writes an array of the tensor's shape; its elements must be of type `T`.
///
/// # Errors
/// Names the file.
pub fn write_npy<T>(path: &Path, tensor: &Tensor) -> Result<()>
where
    T: ndarray_npy::WritableElement + tch::kind::Element + Copy,
{
    let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
    let values = Vec::<T>::try_from(tensor.reshape([-1]))?;
    let mut bytes = Vec::new();
    ndarray_npy::WriteNpyExt::write_npy(&ndarray::ArrayD::from_shape_vec(shape, values)?, &mut bytes)
        .with_context(|| format!("{}", path.display()))?;
    write(path, &bytes)
}
