//! Pictures with labels, from IDX folders, folders of images, or `.npy` files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tch::{Device, Kind, Tensor};

/// Pictures in memory, as bytes.
pub struct Dataset {
    /// u8 `[N, C, H, W]`.
    pub images: Tensor,
    /// i64 `[N]`, in `0..names.len()`; empty names mean that the data has no classes.
    pub labels: Tensor,
    /// The classes' names.
    pub names: Vec<String>,
}

/// Which part of a data set; only IDX folders have two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The pictures to learn from.
    Train,
    /// The pictures held back.
    Test,
}

impl Dataset {
    /// Reads a data set; `names` replaces the classes' names found there.
    ///
    /// - a folder with `train-images-idx3-ubyte` and its three companions, gzipped or not (MNIST, Fashion-MNIST);
    /// - a folder with one subfolder of PNG or JPEG images per class, all of one size;
    /// - an `.npy` file, uint8 `[N, H, W]` or `[N, H, W, C]`; labels int64 `[N]` from `NAME.labels.npy` beside it.
    ///
    /// # Errors
    /// Names the folder or file that is missing, empty, broken or of another size than the rest.
    pub fn load(path: &Path, split: Split, names: Option<&[String]>) -> Result<Self> {
        let mut data = if path.extension().is_some_and(|extension| extension == "npy") {
            Self::from_npy(path)
        } else if idx_file(path, "train-images-idx3-ubyte").is_some() {
            Self::from_idx(path, split)
        } else {
            Self::from_folders(path)
        }?;
        let channels = data.shape()[0];
        ensure!(channels == 1 || channels == 3, "{}: {channels} channels; pictures have 1 or 3", path.display());
        if let Some(names) = names {
            ensure!(
                names.len() == data.names.len(),
                "{}: {} classes, but {} names are given",
                path.display(),
                data.names.len(),
                names.len()
            );
            data.names = names.to_vec();
        }
        Ok(data)
    }

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
        Self { images: self.images.to_device(device), labels: self.labels.to_device(device), names: self.names }
    }

    /// The pictures at `indices`, i64 `[n]`: f32 `[n, C, H, W]` in [−1, 1], and their labels, i64 `[n]`.
    pub fn batch(&self, indices: &Tensor) -> (Tensor, Tensor) {
        (normalize(&self.images.index_select(0, indices)), self.labels.index_select(0, indices))
    }

    fn from_idx(folder: &Path, split: Split) -> Result<Self> {
        let prefix = if split == Split::Train { "train" } else { "t10k" };
        let (image_size, images) = read_idx::<3>(folder, &format!("{prefix}-images-idx3-ubyte"))?;
        let ([count], labels) = read_idx::<1>(folder, &format!("{prefix}-labels-idx1-ubyte"))?;
        let [n, h, w] = image_size;
        ensure!(n > 0, "{}: `{prefix}-images-idx3-ubyte` has no pictures", folder.display());
        ensure!(
            n == count,
            "{}: `{prefix}-images-idx3-ubyte` has {n} pictures, `{prefix}-labels-idx1-ubyte` {count} labels",
            folder.display()
        );
        let classes = usize::from(labels.iter().copied().max().unwrap_or(0)) + 1;
        Ok(Self {
            images: Tensor::from_slice(&images).reshape([n as i64, 1, h as i64, w as i64]),
            labels: Tensor::from_slice(&labels).to_kind(Kind::Int64),
            names: (0..classes).map(|class| class.to_string()).collect(),
        })
    }

    fn from_folders(folder: &Path) -> Result<Self> {
        let classes = sorted_entries(folder)?.into_iter().filter(|path| path.is_dir()).collect::<Vec<_>>();
        ensure!(
            !classes.is_empty(),
            "{}: neither IDX files nor one subfolder of images per class are here",
            folder.display()
        );
        let (mut pixels, mut labels, mut shape) = (Vec::new(), Vec::new(), None);
        for (class, class_folder) in classes.iter().enumerate() {
            let before = labels.len();
            for file in sorted_entries(class_folder)? {
                let extension = file.extension().unwrap_or_default().to_ascii_lowercase();
                if !["png", "jpg", "jpeg"].iter().any(|known| extension == *known) {
                    continue;
                }
                let picture = image::open(&file).with_context(|| format!("{}: broken image", file.display()))?;
                let grey = !picture.color().has_color();
                let (h, w) = (picture.height() as i64, picture.width() as i64);
                let channels = if grey { 1 } else { 3 };
                let expected = *shape.get_or_insert([channels, h, w]);
                ensure!(
                    expected == [channels, h, w],
                    "{}: it is {channels}×{h}×{w} (channels, height, width), the first image {expected:?}; convert all to one form",
                    file.display()
                );
                pixels.extend(if grey { picture.into_luma8().into_raw() } else { picture.into_rgb8().into_raw() });
                labels.push(class as i64);
            }
            ensure!(labels.len() > before, "{}: no PNG or JPEG image in it", class_folder.display());
        }
        let Some([c, h, w]) = shape else { bail!("{}: no images", folder.display()) };
        let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            images: Tensor::from_slice(&pixels).reshape([-1, h, w, c]).permute([0, 3, 1, 2]).contiguous(),
            labels: Tensor::from_slice(&labels),
            names: classes.iter().map(name).collect(),
        })
    }

    fn from_npy(path: &Path) -> Result<Self> {
        let images = read_npy::<u8>(path)?;
        let images = match images.dim() {
            3 => images.unsqueeze(1),
            4 => images.permute([0, 3, 1, 2]).contiguous(),
            axes => bail!("{}: {axes} axes; grano reads [N, H, W] or [N, H, W, C]", path.display()),
        };
        let n = images.size()[0];
        ensure!(n > 0, "{}: no pictures in it", path.display());
        let labels_path = path.with_extension("labels.npy");
        let (labels, classes) = if labels_path.exists() {
            let labels = read_npy::<i64>(&labels_path)?;
            ensure!(labels.size() == [n], "{}: shape {:?}, for {n} pictures", labels_path.display(), labels.size());
            ensure!(labels.min().int64_value(&[]) >= 0, "{}: a negative label", labels_path.display());
            let classes = labels.max().int64_value(&[]) + 1;
            (labels, classes)
        } else {
            (Tensor::zeros([n], (Kind::Int64, Device::Cpu)), 0)
        };
        Ok(Self { images, labels, names: (0..classes).map(|class| class.to_string()).collect() })
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

fn sorted_entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{}: cannot read this folder", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn idx_file(folder: &Path, name: &str) -> Option<PathBuf> {
    [name.to_string(), format!("{name}.gz")].iter().map(|name| folder.join(name)).find(|path| path.exists())
}

/// Reads an IDX file of bytes with `AXES` axes: its sizes and its contents.
fn read_idx<const AXES: usize>(folder: &Path, name: &str) -> Result<([usize; AXES], Vec<u8>)> {
    let Some(path) = idx_file(folder, name) else { bail!("{}: `{name}` is missing", folder.display()) };
    let mut bytes = Vec::new();
    let file = File::open(&path).with_context(|| format!("{}", path.display()))?;
    let read = if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes)
    } else {
        { file }.read_to_end(&mut bytes)
    };
    read.with_context(|| format!("{}: broken file", path.display()))?;
    let header = 4 + 4 * AXES;
    ensure!(
        bytes.len() >= header && bytes[..4] == [0, 0, 8, AXES as u8],
        "{}: not an IDX file of bytes with {AXES} axes",
        path.display()
    );
    let size: [usize; AXES] = std::array::from_fn(|axis| {
        let at = 4 + 4 * axis;
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
    });
    let wanted = size.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    let body = bytes.split_off(header);
    ensure!(Some(body.len()) == wanted, "{}: {} bytes for a shape of {size:?}", path.display(), body.len());
    Ok((size, body))
}
