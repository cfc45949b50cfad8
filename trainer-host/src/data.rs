//! Pictures with labels as tensors.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use grano_codegen::model::Model;
use grano_trainer_front::arguments::data::Augment;
use grano_trainer_front::data::{self, DataArgs, Set};
use grano_trainer_front::look::summary;
use tch::{Device, Kind, Tensor};

use crate::distributed::Shard;

/// Pictures in memory, as bytes.
pub struct Dataset {
    /// u8 `[N, C, H, W]`.
    pub images: Tensor,
    /// i64 `[N]`, in `0..names.len()`; empty names mean that the data has no classes.
    pub labels: Tensor,
    /// The classes' names.
    pub names: Vec<String>,
    /// How batches of these are varied.
    pub augment: Augment,
}

/// A data set in its two parts.
pub struct Parts {
    /// To learn from.
    pub train: Dataset,
    /// Held back.
    pub test: Dataset,
    /// What was found, in lines.
    pub summary: String,
}

/// Reads a data set; `names` replaces the classes' names found there.
///
/// # Errors
/// As [`data::load`].
pub fn load(args: &DataArgs, names: Option<&[String]>) -> Result<Parts> {
    let loaded = data::load(args, names)?;
    let [h, w, c] = loaded.shape.map(|n| n as i64);
    let tensors = |set: &Set| Dataset {
        images: Tensor::from_slice(&set.pixels).reshape([-1, h, w, c]).permute([0, 3, 1, 2]).contiguous(),
        labels: Tensor::from_slice(&set.labels),
        names: loaded.names.clone(),
        augment: Augment::default(),
    };
    let summary = summary(&args.data, &loaded);
    Ok(Parts { train: tensors(&loaded.train), test: tensors(&loaded.test), summary })
}

/// Reads the data of a model: classes get the model's numbers, by their names where the model knows these, else by their
/// order. Of a model without classes the data keep their own.
///
/// # Errors
/// As [`data::load`]; when pictures are of another shape or classes are others, with what to give.
pub fn load_for(model: &Model, args: &DataArgs) -> Result<Parts> {
    let mut parts = load(args, None)?;
    let [c, h, w] = model.denoiser()?.graph.input();
    let found = parts.train.shape();
    let say = |[c, h, w]: [usize; 3]| format!("{h}×{w}, {}", if c == 1 { "grey" } else { "colour" });
    ensure!(
        found == [c, h, w],
        "{}: pictures of {}; the model's are {}: give --size {h}x{w} --{}",
        args.data.display(),
        say(found),
        say([c, h, w]),
        if c == 1 { "grey" } else { "colour" }
    );
    let known = &model.header.data.labels;
    if known.is_empty() {
        return Ok(parts);
    }
    let names = &parts.train.names;
    let by_name: Option<Vec<i64>> =
        names.iter().map(|name| known.iter().position(|other| other == name).map(|i| i as i64)).collect();
    let numbers = by_name.filter(|numbers| !numbers.is_empty());
    ensure!(
        numbers.is_some() || names.len() == known.len(),
        "{}: {} classes ({}), but the model has {}: {}",
        args.data.display(),
        names.len(),
        brief(names),
        known.len(),
        brief(known)
    );
    for part in [&mut parts.train, &mut parts.test] {
        if let Some(numbers) = &numbers {
            part.labels = Tensor::from_slice(numbers).index_select(0, &part.labels);
        }
        part.names.clone_from(known);
    }
    Ok(parts)
}

fn brief(names: &[String]) -> String {
    let shown = names.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 10 { shown + ", …" } else { shown }
}

impl Dataset {
    /// Number of pictures.
    pub fn len(&self) -> i64 {
        self.images.size()[0]
    }

    /// `[channels, height, width]`.
    pub fn shape(&self) -> [usize; 3] {
        let size = self.images.size();
        [1, 2, 3].map(|axis| size[axis] as usize)
    }

    /// The same data on another device.
    pub fn on_device(self, device: Device) -> Self {
        Self { images: self.images.to_device(device), labels: self.labels.to_device(device), ..self }
    }

    /// The same data, varied in this way when learnt from.
    pub fn varied(self, augment: Augment) -> Self {
        Self { augment, ..self }
    }

    /// The pictures at `indices`, i64 `[n]`: f32 `[n, C, H, W]` in [−1, 1], and their labels, i64 `[n]`.
    pub fn batch(&self, indices: &Tensor) -> (Tensor, Tensor) {
        (normalize(&self.images.index_select(0, indices)), self.labels.index_select(0, indices))
    }

    /// This rank's part of a batch of `n` pictures, f32 `[part, C, H, W]`, mirrored and moved as the data ask for. Draws for
    /// the whole batch from libtorch's generator, nothing where pictures are to stay as they are.
    pub fn vary(&self, mut x: Tensor, n: i64, shard: Shard) -> Tensor {
        let Augment { flip, shift } = self.augment;
        let device = x.device();
        if flip {
            let chosen = shard.of(&Tensor::rand([n], (Kind::Float, device)).lt(0.5)).reshape([-1, 1, 1, 1]);
            x = x.flip([3]).where_self(&chosen, &x);
        }
        if shift > 0 {
            let [part, c, h, w] = x.size()[..] else { unreachable!("pictures have four axes") };
            let padded = x.replication_pad2d([shift; 4]);
            let places = |length: i64| {
                let begin = shard.of(&Tensor::randint(2 * shift + 1, [n], (Kind::Int64, device)));
                begin.reshape([-1, 1]) + Tensor::arange(length, (Kind::Int64, device))
            };
            let rows = places(h).reshape([part, 1, h, 1]).expand([part, c, h, w + 2 * shift], false);
            let columns = places(w).reshape([part, 1, 1, w]).expand([part, c, h, w], false);
            x = padded.gather(2, &rows, false).gather(3, &columns, false);
        }
        x
    }
}

/// Bytes to [−1, 1]: x/127.5 − 1, any shape to f32.
pub fn normalize(pixels: &Tensor) -> Tensor {
    pixels.to_kind(Kind::Float) / 127.5 - 1.0
}

/// [−1, 1] to bytes: ⌊127.5·x + 128⌋, clamped, as the device does; any shape to u8.
pub fn denormalize(x: &Tensor) -> Tensor {
    (x * 127.5 + 128.0).floor().clamp(0.0, 255.0).to_kind(Kind::Uint8)
}

/// Reads an array, of the shape that the file has.
///
/// # Errors
/// Names the file that does not exist, is broken, or holds another type.
pub fn read_npy<T: ndarray_npy::ReadableElement + tch::kind::Element>(path: &Path) -> Result<Tensor> {
    let file = File::open(path).with_context(|| format!("{}", path.display()))?;
    parse_npy::<T>(file).with_context(|| format!("{}", path.display()))
}

/// The same of what such a file holds.
///
/// # Errors
/// When it is broken, or holds another type.
pub fn parse_npy<T: ndarray_npy::ReadableElement + tch::kind::Element>(npy: impl Read) -> Result<Tensor> {
    let array = <ndarray::ArrayD<T> as ndarray_npy::ReadNpyExt>::read_npy(npy)
        .with_context(|| format!("not an array of {}", std::any::type_name::<T>()))?;
    let shape: Vec<i64> = array.shape().iter().map(|&n| n as i64).collect();
    Ok(Tensor::from_slice(&array.into_iter().collect::<Vec<T>>()).reshape(&shape[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_mirrored_and_moved_within_their_edges() {
        let _alone = crate::testing::seed(0);
        let column = Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([1, 1, 1, 6]);
        let x = column.expand([40, 2, 5, 6], false).contiguous();
        let images = Tensor::zeros([1, 1, 1, 1], (Kind::Uint8, Device::Cpu));
        let data = |flip, shift| Dataset {
            images: images.shallow_clone(),
            labels: Tensor::from_slice(&[0i64]),
            names: Vec::new(),
            augment: Augment { flip, shift },
        };
        let same = data(false, 0).vary(x.copy(), 40, Shard::WHOLE);
        assert!(same == x);
        let mirrored = data(true, 0).vary(x.copy(), 40, Shard::WHOLE);
        let first = Vec::<f32>::try_from(mirrored.narrow(3, 0, 1).reshape([40, -1]).amax([1], false)).unwrap();
        let turned = first.iter().filter(|&&value| value == 5.0).count();
        assert!(first.iter().all(|&value| value == 0.0 || value == 5.0) && (10..30).contains(&turned), "{first:?}");
        let moved = data(false, 2).vary(x.copy(), 40, Shard::WHOLE);
        let middle = Vec::<f32>::try_from(moved.narrow(3, 3, 1).narrow(1, 0, 1).narrow(2, 0, 1).reshape([-1])).unwrap();
        assert!((1..=5).all(|value| middle.contains(&(value as f32))), "{middle:?}");
        assert_eq!(moved.size(), x.size());
    }
}
