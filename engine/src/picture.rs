//! The result as bytes, and as text for a console.

use heapless::String;

use crate::shape::Shape;

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

/// The picture's rows of bytes, each `width · channels` long, from the top.
pub fn rows(shape: Shape, x: &[f32]) -> impl Iterator<Item = impl Iterator<Item = u8>> {
    let row_len = (shape.width * shape.channels).max(1);
    x.chunks_exact(row_len).take(shape.height).map(|row| row.iter().map(|value| to_u8(*value)))
}

/// Characters from black to white, on a dark console.
const SHADES: &[u8; 10] = b" .:-=+*#%@";

/// A character of about that brightness.
#[must_use]
pub fn shade(value: u8) -> char {
    SHADES.get(usize::from(value) * SHADES.len() / 256).copied().map_or(' ', char::from)
}

/// Adds a row of grey pixels to a line, two characters each, as characters are about half as wide as high; what does
/// not fit is cut.
pub fn preview<const N: usize>(line: &mut String<N>, row: impl IntoIterator<Item = u8>) {
    for shade in row.into_iter().map(shade) {
        if line.push(shade).and_then(|()| line.push(shade)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let x = [-1.0, 0.0, 1.0, 1.0, 1.0, -1.0, 0.5];
        let rows: Vec<Vec<u8>> = rows(shape, &x).map(Iterator::collect).collect();
        assert_eq!(rows, [[0, 128, 255], [255, 255, 0]]);
        assert_eq!(super::rows(Shape { width: 0, ..shape }, &[]).count(), 0);
    }

    #[test]
    fn previews_are_cut_to_the_line() {
        assert_eq!([0, 25, 26, 128, 255].map(shade), [' ', ' ', '.', '+', '@']);
        let mut line = String::<8>::try_from("# ").unwrap();
        preview(&mut line, [0, 255]);
        assert_eq!(line, "#   @@");
        preview(&mut line, [255, 255]);
        assert_eq!(line, "#   @@@@");
        preview(&mut line, [255]);
        assert_eq!(line, "#   @@@@");
    }
}
