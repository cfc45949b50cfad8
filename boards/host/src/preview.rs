//! A few pictures in the terminal, in half blocks: two pixels a character, one above the other.

use anyhow::Result;
use console::Term;
use grano::shape::Shape;
use image::GrayImage;
use image::imageops::FilterType;

use crate::picture::Picture;
use crate::sheet;

/// Most pictures that are shown, and in one line of them.
const SHOWN: usize = 10;
const COLUMNS: usize = 5;

/// [`blocks`] where standard output is a terminal with colours and pictures can be shown; else nothing.
///
/// # Errors
/// As [`blocks`].
pub fn preview(shape: Shape, pictures: &[Picture]) -> Result<String> {
    let shows = sheet::can_show(shape) && Term::stdout().is_term() && console::colors_enabled();
    if shows { blocks(shape, pictures) } else { Ok(String::new()) }
}

/// At most ten pictures, evenly from all: two in full size, more in half, so that 80 columns hold a line of them.
///
/// # Errors
/// When pictures are neither grey nor RGB.
fn blocks(shape: Shape, pictures: &[Picture]) -> Result<String> {
    let shown = pictures.len().min(SHOWN);
    let divisor = if shown > 2 { 2 } else { 1 };
    let (w, h) = ((shape.width / divisor) as u32, (shape.height / divisor) as u32);
    let small = |i: usize| {
        let image = sheet::image(shape, &pictures[i * pictures.len() / shown].bytes)?;
        Ok(image.resize_exact(w, h, FilterType::Triangle).into_luma8())
    };
    let small: Vec<GrayImage> = (0..shown).map(small).collect::<Result<_>>()?;
    let mut text = String::new();
    for images in small.chunks(COLUMNS) {
        for y in (0..h).step_by(2) {
            for image in images {
                let at = |x, y| grey(image.get_pixel_checked(x, y).map_or(0, |pixel| pixel.0[0]));
                let block = |x| console::style('▀').color256(at(x, y)).on_color256(at(x, y + 1)).to_string();
                text.extend((0..w).map(block));
                text.push(' ');
            }
            text.push('\n');
        }
        text.push('\n');
    }
    Ok(text)
}

/// The nearest of the 24 greys of a terminal with 256 colours, which are 232 (8) to 255 (238), or black, 16.
fn grey(value: u8) -> u8 {
    if value < 4 { 16 } else { 232 + (value.saturating_sub(3) / 10).min(23) }
}
