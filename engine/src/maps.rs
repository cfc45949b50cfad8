//! What a convolution reads: a map, or two side by side in place of their concatenation.

use crate::requantize::{FINE, FINE_HALF, saturate};

/// An element of an integer map.
pub trait Code: bytemuck::Pod + Into<i16> {
    /// What stands for 0, as an element: it is in the type's range.
    fn from_zero_point(zero_point: i16) -> Self;

    /// The slice itself, where the elements are int8.
    fn bytes(values: &[Self]) -> Option<&[i8]>;

    /// The nearest code of the type; int16's are symmetric, ±32767.
    fn saturated(code: i32) -> Self;

    /// From a fine code: int16 holds it as it is, int8 the nearest of its own, ties upwards; those beyond become the
    /// last.
    fn from_fine(fine: i32) -> Self;
}

impl Code for i8 {
    #[inline(always)]
    fn from_zero_point(zero_point: i16) -> Self {
        zero_point as Self
    }

    #[inline(always)]
    fn bytes(values: &[Self]) -> Option<&[i8]> {
        Some(values)
    }

    #[inline(always)]
    fn saturated(code: i32) -> Self {
        saturate(code)
    }

    #[inline(always)]
    fn from_fine(fine: i32) -> Self {
        saturate((fine + FINE / 2) >> FINE.ilog2())
    }
}

impl Code for i16 {
    #[inline(always)]
    fn from_zero_point(zero_point: i16) -> Self {
        zero_point
    }

    #[inline(always)]
    fn bytes(_: &[Self]) -> Option<&[i8]> {
        None
    }

    #[inline(always)]
    fn saturated(code: i32) -> Self {
        code.clamp(-i32::from(Self::MAX), Self::MAX.into()) as Self
    }

    #[inline(always)]
    fn from_fine(fine: i32) -> Self {
        fine.clamp(-FINE_HALF, FINE_HALF - 1) as Self
    }
}

/// One map, or two of equal height and width whose channels follow each other.
#[derive(Clone, Copy, Debug)]
pub struct Maps<'a, X> {
    /// Each `[height][width][channels]`; the second is empty where there is one.
    pub maps: [&'a [X]; 2],
    /// Channels of each; the second's are 0 where there is one.
    pub channels: [usize; 2],
    /// What stands for 0 in each.
    pub zero_points: [i16; 2],
}

impl<'a, X> Maps<'a, X> {
    /// Pixel `index`'s channels in either map; empty past the end.
    #[inline(always)]
    #[must_use]
    pub fn pixel(&self, index: usize) -> [&'a [X]; 2] {
        let part = |map: &'a [X], channels: usize| {
            let start = index.saturating_mul(channels);
            map.get(start..start.saturating_add(channels)).unwrap_or_default()
        };
        [part(self.maps[0], self.channels[0]), part(self.maps[1], self.channels[1])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fine_codes_are_held_or_rounded() {
        assert_eq!([-9000, -2048, -9, 2047, 2048].map(i16::from_fine), [-2048, -2048, -9, 2047, 2047]);
        assert_eq!([-9000, -2048, -9, -8, 7, 8, 2047].map(i8::from_fine), [-128, -128, -1, 0, 0, 1, 127]);
    }

    #[test]
    fn pixels_of_one_and_two_maps() {
        let one = Maps { maps: [&[1i8, 2, 3, 4], &[]], channels: [2, 0], zero_points: [0; 2] };
        assert_eq!(one.pixel(1), [&[3, 4][..], &[]]);
        assert_eq!(one.pixel(2), [&[][..]; 2]);
        let two = Maps { maps: [&[1i8, 2], &[5, 6, 7, 8]], channels: [1, 2], zero_points: [0; 2] };
        assert_eq!(two.pixel(1), [&[2][..], &[7, 8]]);
        assert_eq!(two.pixel(usize::MAX), [&[][..]; 2]);
    }
}
