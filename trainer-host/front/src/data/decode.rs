//! One picture's file, recognised by its content, to bytes of one size.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Luma, LumaA, Pixel, Rgb, RgbImage, Rgba};

use super::options::{DataArgs, Range};
use super::resize::{Bytes, resize};
use super::scale;

/// What a file holds.
pub struct Decoded {
    /// `[height, width, channels]`.
    pub pixels: Vec<u8>,
    /// Height and width.
    pub size: [usize; 2],
    /// The same before it was resized.
    pub found: [usize; 2],
    /// 1 or 3.
    pub channels: usize,
}

/// Reads a picture; of an animation or a document the first.
///
/// # Errors
/// Says why the file is left out, in words that follow a number of files.
pub fn decode(bytes: &[u8], args: &DataArgs) -> Result<Decoded, String> {
    let format = recognise(bytes)?;
    if format == ImageFormat::Jpeg && !bytes.windows(2).rev().take(1 << 16).any(|end| end == [0xff, 0xd9]) {
        return Err("broken: the JPEG ends too early".into());
    }
    let broken = |error: image::ImageError| format!("broken: {}", one_line(&error.to_string()));
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(broken)?;
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);
    let found = [picture.height() as usize, picture.width() as usize];
    if found.contains(&0) {
        return Err("broken: no pixels".into());
    }
    let picture = match args.range {
        Some(range) => ranged(&picture, range),
        None => picture,
    };
    let grey = args.grey || !args.colour && !picture.color().has_color();
    Ok(flat(picture, found, grey, args))
}

/// A picture over the background, grey or in colour, of the size that is asked for.
fn flat(picture: DynamicImage, found: [usize; 2], grey: bool, args: &DataArgs) -> Decoded {
    let background = Rgb(args.background.0);
    let size = args.size.map_or(found, |size| size.0);
    let (pixels, channels) = if grey {
        let flat = flat_grey(picture, background.to_luma());
        (resize(flat, size, args.resize, background.to_luma()).into_raw(), 1)
    } else {
        (resize(flat_colour(picture, background), size, args.resize, background).into_raw(), 3)
    };
    Decoded { pixels, size, found, channels }
}

/// Height and width of a picture as they will be found, from the head of its file.
pub fn size(bytes: &[u8]) -> Option<[usize; 2]> {
    let format = recognise(bytes).ok()?;
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().ok()?;
    let (width, height) = decoder.dimensions();
    let mut size = [height as usize, width as usize];
    use image::metadata::Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    if let Ok(Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH) = decoder.orientation() {
        size.reverse();
    }
    Some(size)
}

/// The format of a file that can be read.
pub fn recognise(bytes: &[u8]) -> Result<ImageFormat, String> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    if bytes.is_empty() {
        return Err("empty".into());
    }
    match image::guess_format(bytes) {
        Ok(format @ (Png | Jpeg | WebP | Bmp | Gif | Tiff)) => Ok(format),
        Ok(other) => Err(format!("{}, which is not read: convert to PNG", format!("{other:?}").to_uppercase())),
        Err(_) if bytes.get(4..8) == Some(b"ftyp") => Err("HEIC or AVIF, which is not read: convert to PNG".into()),
        Err(_) => Err("no picture".into()),
    }
}

fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(120).collect()
}

/// The picture with the values that are given for black and white there, in bytes.
fn ranged(picture: &DynamicImage, range: Range) -> DynamicImage {
    // Pictures of bytes hold the values themselves; wider ones are not scaled down to bytes first.
    let narrow = picture.color().bytes_per_pixel() == picture.color().channel_count();
    let (values, opaque): (Vec<[u16; 4]>, u32) = match narrow {
        true => (picture.to_rgba8().pixels().map(|pixel| pixel.0.map(u16::from)).collect(), u8::MAX.into()),
        false => (picture.to_rgba16().pixels().map(|pixel| pixel.0).collect(), u16::MAX.into()),
    };
    let [width, height] = [picture.width(), picture.height()];
    let byte = |value: u16| scale::byte(f64::from(value), range);
    let pixel = |[red, green, blue, alpha]: [u16; 4]| {
        [byte(red), byte(green), byte(blue), (u32::from(alpha) * 255 / opaque) as u8]
    };
    let rgba = image::RgbaImage::from_raw(width, height, values.into_iter().flat_map(pixel).collect());
    let rgba = DynamicImage::ImageRgba8(rgba.unwrap_or_default());
    match picture.color().has_color() {
        true => rgba,
        false => DynamicImage::ImageLumaA8(rgba.into_luma_alpha8()),
    }
}

/// `value` over `under`, with rounding.
fn over(value: u8, alpha: u8, under: u8) -> u8 {
    let (value, alpha, under) = (u32::from(value), u32::from(alpha), u32::from(under));
    ((value * alpha + under * (255 - alpha) + 127) / 255) as u8
}

fn flat_grey(picture: DynamicImage, background: Luma<u8>) -> GrayImage {
    if !picture.color().has_alpha() {
        return picture.into_luma8();
    }
    let picture = picture.into_luma_alpha8();
    Bytes::from_fn(picture.width(), picture.height(), |x, y| {
        let LumaA([value, alpha]) = *picture.get_pixel(x, y);
        Luma([over(value, alpha, background.0[0])])
    })
}

fn flat_colour(picture: DynamicImage, background: Rgb<u8>) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let picture = picture.into_rgba8();
    Bytes::from_fn(picture.width(), picture.height(), |x, y| {
        let Rgba([red, green, blue, alpha]) = *picture.get_pixel(x, y);
        let Rgb(under) = background;
        Rgb([over(red, alpha, under[0]), over(green, alpha, under[1]), over(blue, alpha, under[2])])
    })
}

/// A picture of an array, `[height, width, channels]` of 1, 3 or 4 channels, as a file of it would be read.
pub fn from_array(pixels: Vec<u8>, [height, width, channels]: [usize; 3], args: &DataArgs) -> Decoded {
    let (w, h) = (width as u32, height as u32);
    let grey = args.grey || channels == 1 && !args.colour;
    let found = [height, width];
    let size = args.size.map_or(found, |size| size.0);
    if size == found && grey == (channels == 1) && channels != 4 {
        return Decoded { pixels, size, found, channels };
    }
    let picture = match channels {
        1 => GrayImage::from_raw(w, h, pixels).map(DynamicImage::ImageLuma8),
        3 => RgbImage::from_raw(w, h, pixels).map(DynamicImage::ImageRgb8),
        _ => image::RgbaImage::from_raw(w, h, pixels).map(DynamicImage::ImageRgba8),
    };
    flat(picture.unwrap_or_default(), found, grey, args)
}
