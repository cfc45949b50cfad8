//! The shape of a map.

/// Height × width × channels of one map; element `(y, x, c)` lies at `(y · width + x) · channels + c`.
///
/// This axis order (NHWC with a batch of 1) holds everywhere in this crate. One-dimensional data has height 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values a pixel.
    pub channels: usize,
}

impl Shape {
    /// Elements of the map.
    #[must_use]
    pub const fn len(self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether there are no elements.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether there are elements, and so few that no number of them leaves 32 bits.
    pub(crate) const fn is_valid(self) -> bool {
        let len = self.height.saturating_mul(self.width).saturating_mul(self.channels);
        len > 0 && len <= 1 << 28
    }

    /// Whether both are the same.
    pub(crate) const fn equals(self, other: Self) -> bool {
        self.height == other.height && self.width == other.width && self.channels == other.channels
    }

    /// All `(y, x)`, row by row.
    pub(crate) fn positions(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.height).flat_map(move |y| (0..self.width).map(move |x| (y, x)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn counts_elements_and_walks_rows_first() {
        let shape = Shape { height: 2, width: 3, channels: 5 };
        assert_eq!(shape.len(), 30);
        assert!(!shape.is_empty());
        assert!(Shape { channels: 0, ..shape }.is_empty());
        assert_eq!(shape.positions().collect::<Vec<_>>(), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
    }
}
