//! Data of all sorts, made in a folder.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use image::{ExtendedColorType, ImageFormat, RgbImage, Rgba, RgbaImage};
use ndarray::{Array1, Array2, Array3, ArrayD, IxDyn, ShapeBuilder as _};
use ndarray_npy::write_npy;

pub fn dir(root: &Path, name: &str) {
    fs::create_dir_all(root.join(name)).unwrap();
}

fn parent(root: &Path, name: &str) {
    fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
}

pub fn write(root: &Path, name: &str, bytes: &[u8]) {
    parent(root, name);
    fs::write(root.join(name), bytes).unwrap();
}

pub fn remove(root: &Path, name: &str) {
    fs::remove_file(root.join(name)).unwrap();
}

/// Leaves the first half.
pub fn cut(root: &Path, name: &str) {
    let bytes = fs::read(root.join(name)).unwrap();
    fs::write(root.join(name), &bytes[..bytes.len() / 2]).unwrap();
}

/// Another byte for every place of every picture, all over the range.
fn value(i: usize, at: usize) -> u8 {
    ((i as u64 * 1_000_003 + at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn save(root: &Path, name: &str, bytes: &[u8], [width, height]: [u32; 2], colour: ExtendedColorType) {
    parent(root, name);
    image::save_buffer_with_format(root.join(name), bytes, width, height, colour, ImageFormat::Png).unwrap();
}

/// A colour picture of 8 × 8, other than those of other numbers.
fn coloured(i: usize) -> RgbImage {
    RgbImage::from_fn(8, 8, |x, y| image::Rgb([0, 1, 2].map(|c| value(i, (x + 8 * y) as usize * 3 + c))))
}

/// `count` different pictures in a folder.
pub fn all(root: &Path, folder: &str, count: usize) {
    let seed = folder.bytes().map(usize::from).sum::<usize>();
    for i in 0..count {
        save(root, &format!("{folder}/{i}.png"), coloured(seed * 100 + i).as_raw(), [8, 8], ExtendedColorType::Rgb8);
    }
}

pub fn flat(root: &Path) {
    all(root, "d", 6);
}

pub fn striped(root: &Path, name: &str, [width, height]: [u32; 2]) {
    let bytes: Vec<u8> = (0..width * height).map(|at| if at % 3 == 0 { 250 } else { 5 }).collect();
    save(root, name, &bytes, [width, height], ExtendedColorType::L8);
}

/// All of one value.
pub fn grey(root: &Path, name: &str, [width, height]: [u32; 2], value: u8) {
    save(root, name, &vec![value; (width * height) as usize], [width, height], ExtendedColorType::L8);
}

pub fn grey_rgb(root: &Path, name: &str, value: u8) {
    save(root, name, &[value; 192], [8, 8], ExtendedColorType::Rgb8);
}

pub fn classes(root: &Path) {
    classes_in(root, "d");
}

/// Twelve pictures, 8 high and 12 wide, in three classes.
pub fn classes_in(root: &Path, folder: &str) {
    for i in 0..12 {
        let bytes: Vec<u8> = (0..288).map(|at| value(i, at)).collect();
        let class = ["ant", "bee", "cat"][i % 3];
        save(root, &format!("{folder}/{class}/{i}.png"), &bytes, [12, 8], ExtendedColorType::Rgb8);
    }
}

pub fn numbers(root: &Path) {
    (0..11).for_each(|class| all(root, &format!("d/{class}"), 2));
}

pub fn deeper(root: &Path) {
    all(root, "d/ant", 2);
    all(root, "d/bee", 2);
    all(root, "d/ant/young", 1);
}

pub fn beside(root: &Path) {
    classes(root);
    striped(root, "d/alone.png", [12, 8]);
}

pub fn parts(root: &Path) {
    classes_in(root, "d/train");
    classes_in(root, "d/test");
}

pub fn flat_parts(root: &Path) {
    all(root, "d/train/images", 8);
    all(root, "d/val/images", 4);
}

pub fn notes(root: &Path) {
    classes(root);
    write(root, "d/ant/notes.txt", b"none yet");
    write(root, "d/readme.md", b"# Insects");
}

pub fn hidden(root: &Path) {
    classes(root);
    let png = fs::read(root.join("d/ant/0.png")).unwrap();
    for name in
        [".DS_Store", "ant/._0.png", "Thumbs.db", "__MACOSX/ant/x.png", ".ipynb_checkpoints/y.png", "bee/desktop.ini"]
    {
        write(root, &format!("d/{name}"), &png);
    }
}

pub fn own_classes(root: &Path) {
    (0..25).for_each(|i| all(root, &format!("d/c{i}"), 1));
}

pub fn linked(root: &Path) {
    flat(root);
    dir(root, "d/sub");
    std::os::unix::fs::symlink("..", root.join("d/sub/up")).unwrap();
}

pub fn formats(root: &Path) {
    dir(root, "d");
    for (i, ending) in ["png", "jpg", "webp", "bmp", "gif", "tiff"].into_iter().enumerate() {
        coloured(i).save(root.join(format!("d/{i}.{ending}"))).unwrap();
    }
}

pub fn lying(root: &Path) {
    formats(root);
    for (from, to) in [("0.png", "a.jpg"), ("1.jpg", "b"), ("5.tiff", "c.txt")] {
        fs::rename(root.join("d").join(from), root.join("d").join(to)).unwrap();
    }
    ["2.webp", "3.bmp", "4.gif"].iter().for_each(|name| remove(root, &format!("d/{name}")));
}

pub fn foreign(root: &Path) {
    flat(root);
    write(root, "d/a.heic", b"\0\0\0\x18ftypheic\0\0\0\0");
    write(root, "d/b.ico", b"\0\0\x01\0\x01\0\x10\x10");
}

pub fn cut_jpeg(root: &Path) {
    flat(root);
    coloured(99).save(root.join("d/z.jpg")).unwrap();
    let bytes = fs::read(root.join("d/z.jpg")).unwrap();
    write(root, "d/z.jpg", &bytes[..bytes.len() - 10]);
}

pub fn mostly_broken(root: &Path) {
    flat(root);
    (0..4).for_each(|i| cut(root, &format!("d/{i}.png")));
}

pub fn sizes(root: &Path) {
    (0..2).for_each(|i| striped(root, &format!("d/a{i}.png"), [8, 8]));
    (0..4).for_each(|i| striped(root, &format!("d/b{i}.png"), [12, 8]));
}

pub fn photo(root: &Path, name: &str) {
    let bytes: Vec<u8> = (0..800 * 600).map(|at| (at % 800 / 4) as u8).collect();
    save(root, name, &bytes, [800, 600], ExtendedColorType::L8);
}

pub fn mixed(root: &Path) {
    all(root, "d", 3);
    (0..3).for_each(|i| striped(root, &format!("d/g{i}.png"), [8, 8]));
}

pub fn grey_only(root: &Path) {
    (0..3).for_each(|i| striped(root, &format!("d/g{i}.png"), [8, 8]));
}

pub fn grey_as_colour(root: &Path) {
    let bytes: Vec<u8> = (0..64).flat_map(|at| [value(3, at); 3]).collect();
    save(root, "d/a.png", &bytes, [8, 8], ExtendedColorType::Rgb8);
}

/// A quarter is 64 of grey, the rest is clear.
pub fn transparent(root: &Path) {
    let picture = RgbaImage::from_fn(8, 8, |x, y| match (x < 4, y < 4) {
        (true, true) => Rgba([64, 64, 64, 255]),
        _ => Rgba([9, 200, 90, 0]),
    });
    dir(root, "d");
    picture.save(root.join("d/a.png")).unwrap();
}

/// A JPEG of 12 × 8 that is to be shown turned by 90°.
pub fn turned(root: &Path) {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = RgbImage::from_fn(12, 8, |x, y| image::Rgb([value(x as usize, y as usize), 0, 200]));
    picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    let jpeg = bytes.into_inner();
    // Orientation, 0x112, a short: 6.
    let tiff = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0".as_slice(), &[0; 4]].concat();
    let exif = [b"Exif\0\0".as_slice(), &tiff].concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let whole = [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat();
    write(root, "d/a.jpg", &whole);
}

fn wide_grey(root: &Path, scale: usize) {
    let bytes: Vec<u8> = (0..64).flat_map(|at| ((at * scale / 63) as u16).to_ne_bytes()).collect();
    save(root, "d/a.png", &bytes, [8, 8], ExtendedColorType::L16);
}

pub fn sixteen(root: &Path) {
    wide_grey(root, 65_535);
}

pub fn twelve(root: &Path) {
    wide_grey(root, 4095);
}

pub fn masks(root: &Path) {
    for i in 0..4 {
        let bytes: Vec<u8> = (0..64).map(|at| value(i, at) % 2).collect();
        save(root, &format!("d/{i}.png"), &bytes, [8, 8], ExtendedColorType::L8);
    }
}

pub fn animation(root: &Path) {
    dir(root, "d");
    let mut encoder = image::codecs::gif::GifEncoder::new(File::create(root.join("d/a.gif")).unwrap());
    for i in 0..3 {
        let frame = image::DynamicImage::from(coloured(i)).into_rgba8();
        encoder.encode_frame(image::Frame::new(frame)).unwrap();
    }
}

pub fn npy(root: &Path, name: &str, shape: &[usize]) {
    parent(root, name);
    let n = shape.iter().product::<usize>();
    let values = (0..n).map(|at| value(at / 64, at)).collect();
    write_npy(root.join(name), &ArrayD::<u8>::from_shape_vec(IxDyn(shape), values).unwrap()).unwrap();
}

pub fn labels(root: &Path, name: &str, labels: &[i64]) {
    parent(root, name);
    write_npy(root.join(name), &Array1::from(labels.to_vec())).unwrap();
}

pub fn with_labels(root: &Path) {
    npy(root, "d.npy", &[20, 8, 8]);
    labels(root, "d.labels.npy", &(0..20).map(|i| i % 3).collect::<Vec<_>>());
}

pub fn floats(root: &Path, low: f32, high: f32) {
    let at = |i: usize| {
        if i == 0 {
            low
        } else if i == 1 {
            high
        } else {
            low + (high - low) * (i % 97) as f32 / 97.0
        }
    };
    write_npy(root.join("d.npy"), &Array3::from_shape_fn((4, 8, 8), |(n, y, x)| at(64 * n + 8 * y + x))).unwrap();
}

pub fn scaled(root: &Path, high: u8) {
    write_npy(root.join("d.npy"), &Array3::from_shape_fn((4, 8, 8), |(n, y, x)| value(n, 8 * y + x) % (high + 1)))
        .unwrap();
}

pub fn truth(root: &Path) {
    write_npy(root.join("d.npy"), &Array3::from_shape_fn((4, 8, 8), |(n, y, x)| value(n, 8 * y + x) > 99)).unwrap();
}

/// Columns first, as Fortran and Matlab have them.
pub fn wide(root: &Path) {
    let array = Array3::from_shape_fn((20, 8, 12).f(), |(n, y, x)| i64::from(value(n, 12 * y + x)));
    write_npy(root.join("d.npy"), &array).unwrap();
}

pub fn half(root: &Path) {
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f2', 'fortran_order': False, 'shape': (2, 4, 4), }".to_vec();
    bytes.resize(128 + 64, b' ');
    write(root, "d.npy", &bytes);
}

pub fn column(root: &Path) {
    npy(root, "d.npy", &[6, 8, 8]);
    write_npy(root.join("d.labels.npy"), &Array2::from_shape_fn((6, 1), |(i, _)| (i % 2) as u8)).unwrap();
}

pub fn fractions(root: &Path) {
    npy(root, "d.npy", &[4, 8, 8]);
    write_npy(root.join("d.labels.npy"), &Array1::from(vec![0.0, 0.5, 1.0, 1.5])).unwrap();
}

pub fn text_labels(root: &Path) {
    npy(root, "d.npy", &[2, 8, 8]);
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<U1', 'fortran_order': False, 'shape': (2,), }".to_vec();
    bytes.resize(128 + 8, b' ');
    write(root, "d.labels.npy", &bytes);
}

pub fn pairs(root: &Path, folder: &str) {
    for (part, n) in [("train", 12), ("test", 6)] {
        npy(root, &format!("{folder}x_{part}.npy"), &[n, 8, 8]);
        labels(root, &format!("{folder}y_{part}.npy"), &(0..n as i64).map(|i| i % 3).collect::<Vec<_>>());
    }
}

fn zip_of(root: &Path, archive: &str, names: &[&str]) {
    let mut zip = zip::ZipWriter::new(File::create(root.join(archive)).unwrap());
    for name in names {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&fs::read(root.join("d").join(name)).unwrap()).unwrap();
    }
    zip.finish().unwrap();
}

pub fn archive(root: &Path) {
    pairs(root, "d/");
    zip_of(root, "d.npz", &["x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy"]);
}

pub fn zip_of_pictures(root: &Path) {
    flat(root);
    zip_of(root, "d.zip", &["0.png", "1.png"]);
    fs::remove_dir_all(root.join("d")).unwrap();
}

pub fn idx(root: &Path, name: &str, shape: &[usize], values: &[u8]) {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|&n| (n as u32).to_be_bytes()));
    bytes.extend(values);
    write(root, name, &bytes);
}

/// Training and test set under names like `name`.
pub fn mnist(root: &Path, name: &str, gzipped: bool) {
    for (part, n) in [("train", 48), ("t10k", 12)] {
        let images = format!("d/{}", name.replace("train", part));
        let classes = images.replace("images", "labels").replace("idx3", "idx1");
        idx(root, &images, &[n, 8, 8], &(0..n * 64).map(|at| value(at / 64, at)).collect::<Vec<_>>());
        idx(root, &classes, &[n], &(0..n).map(|i| (i % 3) as u8).collect::<Vec<_>>());
        for name in [&images, &classes].into_iter().filter(|_| gzipped) {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(&fs::read(root.join(name)).unwrap()).unwrap();
            write(root, name, &gz.finish().unwrap());
        }
    }
}

/// As torchvision keeps them: unpacked files beside their archives.
pub fn torchvision(root: &Path) {
    mnist(root, "MNIST/raw/train-images-idx3-ubyte", false);
    let folder = root.join("d/MNIST/raw");
    for name in
        ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
    {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&fs::read(folder.join(name)).unwrap()).unwrap();
        fs::write(folder.join(format!("{name}.gz")), gz.finish().unwrap()).unwrap();
    }
}

pub fn emnist(root: &Path) {
    mnist(root, "emnist-letters-train-images-idx3-ubyte", false);
    mnist(root, "emnist-digits-train-images-idx3-ubyte", false);
}

/// Six pictures and a table of them in which two classes take turns.
pub fn csv(root: &Path, name: &str, header: &str, delimiter: &str) {
    flat(root);
    let rows: String = (0..6).map(|i| format!("{i}.png{delimiter}{}\n", ["pug", "husky"][i % 2])).collect();
    write(root, &format!("d/{name}"), format!("{header}{rows}").as_bytes());
}
