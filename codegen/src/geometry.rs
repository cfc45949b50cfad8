//! Geometry of convolutions and pooling: maps are `[channels, height, width]`, pairs `[vertical, horizontal]`.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits::LARGEST_DIMENSION;

/// Zeros around a map.
///
/// In a file it is `[vertical, horizontal]` where both sides have as many, else `[top, left, bottom, right]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Padding {
    /// Above and to the left.
    pub before: [usize; 2],
    /// Below and to the right.
    pub after: [usize; 2],
}

/// How padding stands in a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Symmetric([usize; 2]),
    Sides([usize; 4]),
}

impl From<[usize; 2]> for Padding {
    fn from(both: [usize; 2]) -> Self {
        Self { before: both, after: both }
    }
}

impl From<Stored> for Padding {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Symmetric(both) => both.into(),
            Stored::Sides([top, left, bottom, right]) => Self { before: [top, left], after: [bottom, right] },
        }
    }
}

impl From<Padding> for Stored {
    fn from(Padding { before, after }: Padding) -> Self {
        if before == after { Self::Symmetric(before) } else { Self::Sides([before[0], before[1], after[0], after[1]]) }
    }
}

/// Where the taps of each output element lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The map before upsampling.
    pub input: [usize; 3],
    /// The result.
    pub output: [usize; 3],
    /// Taps.
    pub kernel: [usize; 2],
    /// Distance between outputs.
    pub stride: [usize; 2],
    /// Zeros above and to the left; how many there are on the other sides follows from the output's size.
    pub padding: [usize; 2],
    /// Nearest-neighbour enlargement of the input.
    pub upsample: [usize; 2],
    /// 1, or the number of channels.
    pub groups: usize,
}

impl Geometry {
    /// Multiply–accumulates, padding included.
    #[must_use]
    pub fn macs(&self) -> usize {
        self.output.iter().product::<usize>() * self.taps()
    }

    /// Products in one output element.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.input[0] / self.groups * self.kernel.iter().product::<usize>()
    }

    /// The same for the engine, whose maps are `[height, width, channels]`.
    #[must_use]
    pub fn engine(&self) -> grano::geometry::Geometry {
        grano::geometry::Geometry {
            input: engine_shape(self.input),
            output: engine_shape(self.output),
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            upsample: self.upsample,
        }
    }

    /// Rows `from` up to `to` of the output as a convolution of their own; of a map that is not enlarged in height.
    #[must_use]
    pub fn rows(&self, rows: [usize; 2]) -> Self {
        let (part, _) = self.engine().rows(rows);
        let mut all = *self;
        (all.input[1], all.output[1], all.padding) = (part.input.height, part.output.height, part.padding);
        all
    }

    /// The input row (`axis` 0) or column (1), of `size`, that tap `tap` of output `out` meets; none in the padding.
    pub(crate) fn tap(&self, axis: usize, out: usize, tap: usize, size: usize) -> Option<usize> {
        let at = (out * self.stride[axis] + tap).checked_sub(self.padding[axis])? / self.upsample[axis];
        (at < size).then_some(at)
    }
}

/// The engine's shape of a map `[channels, height, width]`.
#[must_use]
pub fn engine_shape([channels, height, width]: [usize; 3]) -> grano::shape::Shape {
    grano::shape::Shape { height, width, channels }
}

/// `n` if it is a sound dimension.
///
/// # Errors
/// Names the node where it is not.
pub(crate) fn dimension(node: &str, n: usize) -> Result<usize> {
    if (1..=LARGEST_DIMENSION).contains(&n) {
        Ok(n)
    } else {
        Err(Error::node(node, format!("a dimension of {n}; give 1 to {LARGEST_DIMENSION}")))
    }
}

/// Extent of the output along one axis of `size`, for a window of `kernel` taps.
///
/// # Errors
/// Names the node when a number is out of range, or the window does not fit.
pub(crate) fn extent(
    node: &str,
    size: usize,
    upsample: usize,
    [before, after]: [usize; 2],
    [kernel, stride]: [usize; 2],
) -> Result<usize> {
    let (kernel, stride) = (dimension(node, kernel)?, dimension(node, stride)?);
    let enlarged = dimension(node, size * dimension(node, upsample)?)?;
    let zeros = |n: usize| Ok::<_, Error>(dimension(node, n.saturating_add(1))? - 1);
    let padded = enlarged + zeros(before)? + zeros(after)?;
    if padded < kernel {
        return Err(Error::node(node, format!("a kernel of {kernel} does not fit into {padded}")));
    }
    if before >= kernel + enlarged {
        return Err(Error::node(node, format!("padding of {before} is more than its window of {kernel} can meet")));
    }
    Ok((padded - kernel) / stride + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_short_in_files_where_it_can_be() {
        let both = Padding::from([1, 2]);
        let sides = Padding { before: [0, 0], after: [1, 1] };
        for (padding, text) in [(both, "[1,2]"), (sides, "[0,0,1,1]")] {
            assert_eq!(serde_json::to_string(&padding).unwrap(), text);
            assert_eq!(serde_json::from_str::<Padding>(text).unwrap(), padding);
        }
    }

    #[test]
    fn extents_are_pytorchs() {
        assert_eq!(extent("n", 28, 1, [1, 1], [3, 1]).unwrap(), 28);
        assert_eq!(extent("n", 28, 1, [0, 1], [3, 2]).unwrap(), 14);
        assert_eq!(extent("n", 7, 2, [0, 0], [2, 1]).unwrap(), 13);
        assert!(extent("n", 2, 1, [0, 0], [3, 1]).unwrap_err().to_string().contains("does not fit"));
        assert!(extent("n", 2, 1, [usize::MAX, 0], [3, 1]).is_err());
    }
}
