//! Pictures in a grid, large enough for a person.

use anyhow::{Result, bail};
use grano::shape::Shape;
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, Luma, RgbImage};

use crate::picture::Picture;

/// Pictures a row.
const COLUMNS: usize = 8;
/// Pictures that a sheet may hold; beyond, programs that show pictures give up.
const MOST: usize = 10_000;
/// Pixels that a sheet may have: more than [`MOST`] pictures of 28 × 28.
const MOST_PIXELS: usize = 1 << 27;
/// Pixels a pixel.
const SCALE: u32 = 3;
/// Pixels between pictures and around them.
const GAP: u32 = 2;
/// Of the gaps: the pictures' own background is black.
const DARK: Luma<u8> = Luma([48]);

/// Whether pictures are grey or RGB, so that they can be shown.
pub fn can_show(shape: Shape) -> bool {
    [1, 3].contains(&shape.channels)
}

/// How many pictures a sheet may hold; at least one.
pub fn most(shape: Shape) -> usize {
    let side = |pixels: usize| pixels * SCALE as usize + GAP as usize;
    (MOST_PIXELS / (side(shape.width) * side(shape.height))).clamp(1, MOST)
}

/// All pictures, [`COLUMNS`] a row, in reading order.
///
/// # Errors
/// When pictures are neither grey nor RGB.
pub fn sheet(shape: Shape, pictures: &[Picture]) -> Result<DynamicImage> {
    let (w, h) = (shape.width as u32 * SCALE, shape.height as u32 * SCALE);
    let columns = pictures.len().min(COLUMNS) as u32;
    let rows = pictures.len().div_ceil(COLUMNS) as u32;
    let canvas = GrayImage::from_pixel(columns * (w + GAP) + GAP, rows * (h + GAP) + GAP, DARK);
    let mut canvas = DynamicImage::from(canvas);
    if shape.channels > 1 {
        canvas = canvas.into_rgb8().into();
    }
    for (i, picture) in pictures.iter().enumerate() {
        let large = image(shape, &picture.bytes)?.resize_exact(w, h, FilterType::Nearest);
        let [x, y] = [(i % COLUMNS) as u32 * (w + GAP), (i / COLUMNS) as u32 * (h + GAP)].map(|at| i64::from(at + GAP));
        imageops::replace(&mut canvas, &large, x, y);
    }
    Ok(canvas)
}

/// Bytes `[H, W, C]` as an image.
///
/// # Errors
/// When they are neither grey nor RGB.
pub fn image(shape: Shape, bytes: &[u8]) -> Result<DynamicImage> {
    let (w, h) = (shape.width as u32, shape.height as u32);
    let image = match shape.channels {
        1 => GrayImage::from_raw(w, h, bytes.to_vec()).map(DynamicImage::from),
        3 => RgbImage::from_raw(w, h, bytes.to_vec()).map(DynamicImage::from),
        _ => None,
    };
    let Some(image) = image else { bail!("pictures of {} channels make no sheet: write .npy", shape.channels) };
    Ok(image)
}
