//! The result as bytes, colours of a display, or text.

use core::fmt::{self, Write};

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

use crate::shape::Shape;

/// The CRC-32 of zip and PNG, without a table: 8 steps a byte, for a few kilobytes.
static CRC_32: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// A value of −1 to 1 as 0 to 255: `⌊127.5·value + 127.5 + ½⌋`, held to the range; NaN gives 0.
#[must_use]
#[inline]
pub fn to_u8(value: f32) -> u8 {
    // The conversion cuts towards zero, which is down for all that is not held to 0, and saturates.
    (127.5 * value + 127.5 + 0.5) as u8
}

/// A byte as a value of −1 to 1: 2·byte/255 − 1, rounded.
#[must_use]
#[inline]
pub fn from_u8(byte: u8) -> f32 {
    (f32::from(byte) - 127.5) / 127.5
}

/// A map of values as a picture: one channel is grey, three are red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picture<'a> {
    shape: Shape,
    values: &'a [f32],
}

impl<'a> Picture<'a> {
    /// Of a map `[height][width][channels]`, about −1 to 1. Rows that `values` is too short for are left out.
    #[must_use]
    pub const fn new(shape: Shape, values: &'a [f32]) -> Self {
        let row_len = shape.width * shape.channels;
        let rows = match values.len().checked_div(row_len) {
            Some(rows) if rows < shape.height => rows,
            Some(_) => shape.height,
            None => 0,
        };
        match values.split_at_checked(rows * row_len) {
            Some((values, _)) => Self { shape, values },
            None => Self { shape, values: &[] },
        }
    }

    /// Height, width and channels.
    #[must_use]
    pub const fn shape(self) -> Shape {
        self.shape
    }

    /// The rows from the top.
    pub fn rows(self) -> impl ExactSizeIterator<Item = Row<'a>> {
        let Shape { width, channels, .. } = self.shape;
        let rows = self.values.chunks_exact((width * channels).max(1));
        rows.map(move |values| Row { values, channels: channels.max(1) })
    }

    /// All bytes, `[height][width][channels]`, 0 to 255.
    pub fn bytes(self) -> impl ExactSizeIterator<Item = u8> {
        self.values.iter().map(|value| to_u8(*value))
    }

    /// The CRC-32 (IEEE) of [`Self::bytes`]: the same on every chip and desktop that draws the same picture.
    #[must_use]
    pub fn crc32(self) -> u32 {
        let mut digest = CRC_32.digest();
        self.bytes().for_each(|byte| digest.update(&[byte]));
        digest.finalize()
    }

    /// The pixel in row `y` and column `x`; black outside.
    #[must_use]
    pub fn pixel(self, x: usize, y: usize) -> Pixel {
        let inside = x < self.shape.width;
        let row = self.rows().nth(y).filter(|_| inside);
        row.and_then(|row| row.pixels().nth(x)).unwrap_or_default()
    }
}

/// A row of a picture.
///
/// As text, it is two characters a pixel, from blank for black to `@` for white: on a dark console, whose characters are
/// about half as wide as high.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    values: &'a [f32],
    channels: usize,
}

impl<'a> Row<'a> {
    /// The values themselves, `[width][channels]`, about −1 to 1.
    #[must_use]
    pub const fn values(self) -> &'a [f32] {
        self.values
    }

    /// `[width][channels]`, 0 to 255.
    pub fn bytes(self) -> impl ExactSizeIterator<Item = u8> {
        self.values.iter().map(|value| to_u8(*value))
    }

    /// The pixels from the left.
    pub fn pixels(self) -> impl ExactSizeIterator<Item = Pixel> {
        self.values.chunks_exact(self.channels.max(1)).map(|pixel| {
            let step = usize::from(pixel.len() >= 3);
            Pixel {
                rgb: core::array::from_fn(|component| pixel.get(component * step).map_or(0, |value| to_u8(*value))),
            }
        })
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pixels().map(|pixel| shade(pixel.grey())).try_for_each(|shade| {
            f.write_char(shade)?;
            f.write_char(shade)
        })
    }
}

/// A pixel's colour; of a grey picture all three components are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pixel {
    /// Red, green and blue, 0 to 255.
    pub rgb: [u8; 3],
}

impl Pixel {
    /// The brightness, 0 to 255: 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601), with factors of 8 bits.
    #[must_use]
    pub fn grey(self) -> u8 {
        let [r, g, b] = self.rgb.map(u32::from);
        ((77 * r + 150 * g + 29 * b + 128) >> 8) as u8
    }

    /// As most displays take it: 5 bits of red, 6 of green, 5 of blue, red in the highest.
    #[must_use]
    pub fn rgb565(self) -> u16 {
        let [r, g, b] = self.rgb.map(u16::from);
        r >> 3 << 11 | g >> 2 << 5 | b >> 3
    }
}

/// Characters from black to white, on a dark console.
const SHADES: &[u8; 10] = b" .:-=+*#%@";

/// A character of about that brightness.
fn shade(value: u8) -> char {
    SHADES.get(usize::from(value) * SHADES.len() / 256).copied().map_or(' ', char::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn bytes_round_and_saturate() {
        let values = [-1.0, 1.0, 0.0, -2.0, 2.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        assert_eq!(values.map(to_u8), [0, 255, 128, 0, 255, 255, 0, 0]);
        for byte in 0..=255 {
            assert_eq!(to_u8(from_u8(byte)), byte);
        }
    }

    #[test]
    fn rows_are_the_map() {
        let shape = Shape { height: 2, width: 1, channels: 3 };
        let picture = Picture::new(shape, &[-1.0, 0.0, 1.0, 1.0, 1.0, -1.0, 0.5]);
        let rows: Vec<Vec<u8>> = picture.rows().map(|row| row.bytes().collect()).collect();
        assert_eq!(rows, [[0, 128, 255], [255, 255, 0]]);
        assert_eq!(picture.bytes().collect::<Vec<_>>(), rows.concat());
        assert_eq!(Picture::new(Shape { width: 0, ..shape }, &[]).rows().len(), 0);
    }

    /// Of every size: past any buffer that a row could be cut to.
    #[test]
    fn checksums_cover_every_byte_of_wide_rows() {
        for channels in [1, 3] {
            let shape = Shape { height: 3, width: 65, channels };
            let mut values: Vec<f32> = (0..shape.len()).map(|i| from_u8((i % 251) as u8)).collect();
            let whole = Picture::new(shape, &values).crc32();
            let bytes: Vec<u8> = Picture::new(shape, &values).bytes().collect();
            assert_eq!((bytes.len(), whole), (shape.len(), crc32fast::hash(&bytes)));
            for i in 0..values.len() {
                let value = core::mem::replace(&mut values[i], 1.0);
                assert_ne!(Picture::new(shape, &values).crc32(), whole, "byte {i}");
                values[i] = value;
            }
        }
    }

    #[test]
    fn colours_are_a_displays() {
        let pixel = |rgb| Pixel { rgb };
        assert_eq!([[255; 3], [0; 3], [255, 0, 0]].map(|rgb| pixel(rgb).rgb565()), [0xffff, 0, 0xf800]);
        assert_eq!([[0, 255, 0], [0, 0, 255], [8, 4, 8]].map(|rgb| pixel(rgb).rgb565()), [0x07e0, 0x001f, 0x0821]);
        assert_eq!([[255; 3], [255, 0, 0], [0, 255, 0], [0, 0, 255]].map(|rgb| pixel(rgb).grey()), [255, 77, 149, 29]);
        assert!((0..=255).all(|grey| pixel([grey; 3]).grey() == grey));
        let colours = Picture::new(Shape { height: 1, width: 2, channels: 3 }, &[1.0, -1.0, -1.0, -1.0, -1.0, 1.0]);
        assert_eq!([0, 1, 2].map(|x| colours.pixel(x, 0).rgb), [[255, 0, 0], [0, 0, 255], [0; 3]]);
        assert_eq!(colours.pixel(0, 1), Pixel::default());
    }

    #[test]
    fn rows_are_text() {
        assert_eq!([0, 25, 26, 128, 255].map(shade), [' ', ' ', '.', '+', '@']);
        let row = |channels| Row { values: &[-1.0, 1.0, 0.0], channels };
        assert_eq!((row(1).to_string(), row(3).to_string()), ("  @@++".into(), "**".into()));
    }
}
