//! Where a network's intermediate values can be read, and what their bits stand for.
//!
//! For tests and for measuring what quantisation loses; a program that reads no taps carries none.

use crate::blob::Buffer;
use crate::kernel::f16;
use crate::shape::Shape;

/// How a value's elements are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stored {
    /// scale·(q − zero_point).
    I8 {
        /// The value of one unit.
        scale: f32,
        /// The code of 0.
        zero_point: i32,
    },
    /// scale·(q − zero_point).
    I16 {
        /// The value of one unit.
        scale: f32,
        /// The code of 0.
        zero_point: i32,
    },
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

/// A value of the network.
#[derive(Clone, Copy, Debug)]
pub struct Tap {
    /// Its name in the graph.
    pub name: &'static str,
    /// The layer after which it is there.
    pub layer: usize,
    /// Its shape.
    pub shape: Shape,
    /// Where it lies.
    pub buffer: Buffer,
    /// What its bits stand for.
    pub stored: Stored,
}

impl Tap {
    /// All elements of the value, `[height][width][channels]`, in a network's memory; fewer where the memory ends before.
    pub fn values<'a>(&self, memory: &'a [u8]) -> impl Iterator<Item = f32> + use<'a> {
        let tap = *self;
        (0..tap.shape.len()).map_while(move |index| tap.value(memory, index))
    }

    /// Element `index` of the value, `[height][width][channels]`, in a network's memory; `None` past its end.
    #[must_use]
    #[inline]
    pub fn value(&self, memory: &[u8], index: usize) -> Option<f32> {
        let bytes = memory.get(self.buffer.offset..)?.get(..self.buffer.len)?;
        Some(match self.stored {
            Stored::I8 { scale, zero_point } => {
                let code = i8::from_le_bytes([*bytes.get(index)?]);
                scale * (i32::from(code) - zero_point) as f32
            }
            Stored::I16 { scale, zero_point } => {
                let code = i16::from_le_bytes(element(bytes, index)?);
                scale * (i32::from(code) - zero_point) as f32
            }
            Stored::F16 => f16::from_le_bytes(element(bytes, index)?).to_f32(),
            Stored::F32 => f32::from_le_bytes(element(bytes, index)?),
        })
    }
}

/// The bytes of element `index`.
#[inline]
fn element<const N: usize>(bytes: &[u8], index: usize) -> Option<[u8; N]> {
    bytes.chunks_exact(N).nth(index)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read() {
        let memory = [9, 9, 254, 255, 0, 60, 0, 0, 128, 63];
        let shape = Shape { height: 1, width: 1, channels: 1 };
        let read = |offset, len, stored, index| {
            Tap { name: "a", layer: 0, shape, buffer: Buffer { offset, len }, stored }.value(&memory, index)
        };
        assert_eq!(read(2, 2, Stored::I8 { scale: 0.5, zero_point: -4 }, 0), Some(1.0));
        assert_eq!(read(2, 2, Stored::I16 { scale: 0.5, zero_point: 3 }, 0), Some(-2.5));
        assert_eq!(read(4, 2, Stored::F16, 0), Some(1.0));
        assert_eq!(read(6, 4, Stored::F32, 0), Some(1.0));
        assert_eq!(read(6, 4, Stored::F32, 1), None);
        assert_eq!(read(8, 4, Stored::F32, 0), None);
        let shape = Shape { height: 1, width: 1, channels: 2 };
        let stored = Stored::I8 { scale: 0.5, zero_point: -4 };
        let tap = Tap { name: "a", layer: 0, shape, buffer: Buffer { offset: 2, len: 2 }, stored };
        assert!(tap.values(&memory).eq([1.0, 1.5]));
    }
}
