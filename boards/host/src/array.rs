//! Arrays of float32 in .npy files, and their axes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Error, Result, anyhow, bail, ensure};
use grano::memory::Line;
use ndarray::{ArrayD, ArrayViewD};
use ndarray_npy::{ViewNpyError, ViewNpyExt};

/// Maps of one input or output, one evaluation after another.
pub struct Maps {
    /// N where there is an axis for it.
    pub batch: Option<usize>,
    /// `[height][width][channels]` of each.
    pub maps: Vec<Vec<f32>>,
}

/// Reads `[C, H, W]` or `[N, C, H, W]`, of a vector `[C]` or `[N, C]`.
///
/// # Errors
/// When the file is no such array of finite float32.
pub fn read(path: &Path, shape: [usize; 3], is_vector: bool) -> Result<Maps> {
    let mut file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len())?;
    // Aligned, so that elements can be read in place.
    let mut lines = vec![Line::ZERO; len.div_ceil(size_of::<Line>())];
    let bytes = &mut Line::bytes_mut(&mut lines)[..len];
    file.read_exact(bytes)?;
    let array = ArrayViewD::<f32>::view_npy(bytes).map_err(|error| explain(error, "float32, '<f4'"))?;
    let expected = axes(shape, is_vector);
    let batch = match array.shape() {
        all if *all == expected[..] => None,
        [batch, rest @ ..] if *rest == expected[..] => Some(*batch),
        other => {
            let list = expected.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            bail!("its shape is {other:?}; the network reads [{list}] or [N, {list}]");
        }
    };
    // In the order of the axes, whatever the order in memory.
    let values: Vec<f32> = array.iter().copied().collect();
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        bail!("value {at} is {}; give finite numbers", values[at]);
    }
    let maps =
        values.chunks_exact(shape.iter().product::<usize>().max(1)).map(|map| channels_last(map, shape)).collect();
    Ok(Maps { batch, maps })
}

/// What is wrong with a file, and what to do.
pub fn explain(error: ViewNpyError, wanted: &str) -> Error {
    match error {
        ViewNpyError::WrongDescriptor(kind) => anyhow!("its dtype is {kind}; give {wanted}"),
        ViewNpyError::NonNativeEndian => anyhow!("its bytes are in the other order; give {wanted}"),
        ViewNpyError::MissingBytes(count) => anyhow!("it is {count} bytes short; write it again"),
        ViewNpyError::ExtraBytes(count) => anyhow!("{count} bytes follow its array; write it again"),
        ViewNpyError::Io(_) | ViewNpyError::ParseHeader(_) => anyhow!("not a whole .npy file; write it again"),
        other => anyhow!("{other}"),
    }
}

/// An array of maps, with the axis of the batch where there is one.
///
/// # Errors
/// When the maps are not of the shape.
pub fn array(maps: &Maps, shape: [usize; 3], is_vector: bool) -> Result<ArrayD<f32>> {
    let mut all: Vec<usize> = maps.batch.into_iter().collect();
    all.extend(axes(shape, is_vector));
    let values = maps.maps.iter().flat_map(|map| channels_first(map, shape)).collect();
    let array = ArrayD::from_shape_vec(all, values)?;
    ensure!(maps.batch.is_some() || maps.maps.len() == 1, "one evaluation without an axis for more");
    Ok(array)
}

/// Those of one map.
fn axes(shape: [usize; 3], is_vector: bool) -> Vec<usize> {
    if is_vector { vec![shape[0]] } else { shape.to_vec() }
}

/// `[C, H, W]` as `[H, W, C]`.
fn channels_last(map: &[f32], [channels, height, width]: [usize; 3]) -> Vec<f32> {
    let pixels = height * width;
    (0..pixels).flat_map(|pixel| (0..channels).map(move |channel| map[channel * pixels + pixel])).collect()
}

/// `[H, W, C]` as `[C, H, W]`.
fn channels_first(map: &[f32], [channels, height, width]: [usize; 3]) -> Vec<f32> {
    let pixels = height * width;
    (0..channels).flat_map(|channel| (0..pixels).map(move |pixel| map[pixel * channels + channel])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_exchanged_and_back() {
        // [C, H, W] = [2, 1, 3]
        let first = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0];
        let last = channels_last(&first, [2, 1, 3]);
        assert_eq!(last, [0.0, 10.0, 1.0, 11.0, 2.0, 12.0]);
        assert_eq!(channels_first(&last, [2, 1, 3]), first);
    }
}
