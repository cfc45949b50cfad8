//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use sha2::{Digest, Sha256};
use tch::Tensor;

/// Writes a file whole or not at all.
///
/// # Errors
/// Names the file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, |partial| {
        let mut file = File::create(partial)?;
        file.write_all(bytes)?;
        Ok(file.sync_all()?)
    })
}

/// Lets `save` write a file under the name that it is given, `NAME.partial.ENDING`, and then moves
/// it into place.
///
/// # Errors
/// Names the file.
pub fn replace(path: &Path, save: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut ending = std::ffi::OsString::from("partial");
    if let Some(own) = path.extension() {
        ending.push(".");
        ending.push(own);
    }
    let partial = path.with_extension(ending);
    let moved = save(&partial).and_then(|()| Ok(fs::rename(&partial, path)?));
    moved.with_context(|| format!("{}: cannot be written", path.display()))
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
    write(path, &npy::<T>(tensor).with_context(|| format!("{}", path.display()))?)
}

/// What such a file holds.
///
/// # Errors
/// When the elements are of another type.
pub fn npy<T>(tensor: &Tensor) -> Result<Vec<u8>>
where
    T: ndarray_npy::WritableElement + tch::kind::Element + Copy,
{
    let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
    let values = Vec::<T>::try_from(tensor.reshape([-1]))?;
    let mut bytes = Vec::new();
    ndarray_npy::WriteNpyExt::write_npy(&ndarray::ArrayD::from_shape_vec(shape, values)?, &mut bytes)?;
    Ok(bytes)
}

/// The first 12 hexadecimal digits of the SHA-256 of some bytes.
pub fn short_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    parts.into_iter().for_each(|part| hash.update(part));
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
