//! Bytes as typed slices: weights in flash ([`Blob`]), activations in RAM ([`Arena`]).
//!
//! Both are aligned to 16 bytes, so that an offset that is a multiple of an element's alignment is aligned; on x86-64 to 64, a
//! line of a cache and a vector.

#![allow(unsafe_code)]

use bytemuck::{AnyBitPattern, Pod};

/// A model's constants, little-endian, as one aligned block: `Blob(*include_bytes!("model.bin"))`.
#[cfg_attr(target_arch = "x86_64", repr(C, align(64)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C, align(16)))]
pub struct Blob<const N: usize>(
    /// The bytes.
    pub [u8; N],
);

impl<const N: usize> Blob<N> {
    /// `len` elements from `offset_bytes` on.
    ///
    /// # Panics
    /// When the elements do not fit or are not aligned. Call it where a static is initialised: there this is a compile
    /// error, and no check is left in the program.
    #[must_use]
    pub const fn view<T: AnyBitPattern>(&'static self, offset_bytes: usize, len: usize) -> &'static [T] {
        const { assert!(align_of::<T>() <= align_of::<Self>(), "an element's alignment is at most the blob's") };
        const { assert!(cfg!(target_endian = "little") || size_of::<T>() == 1, "the blob is little-endian") };
        assert!(offset_bytes <= N && len <= (N - offset_bytes) / size_of::<T>(), "the view ends within the blob");
        assert!(offset_bytes.is_multiple_of(align_of::<T>()), "the view is aligned to its elements");
        // SAFETY: the offset is at most N, the length of the array that the pointer comes from.
        let start = unsafe { self.0.as_ptr().add(offset_bytes) };
        // SAFETY: `start` comes from a live static array, is aligned for T (the blob's alignment is a multiple of T's,
        // and so is the offset), and `len` elements lie within the array, hence in less than isize::MAX bytes. Every
        // bit pattern is a T. The blob is shared for 'static, and AnyBitPattern has no interior mutability.
        unsafe { core::slice::from_raw_parts(start.cast(), len) }
    }
}

/// Where a buffer lies in an [`Arena`], in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Of its first byte; a multiple of its elements' alignment.
    pub offset: usize,
    /// Bytes.
    pub len: usize,
}

/// The network's working memory. Buffers that are not used at the same time share bytes.
#[cfg_attr(target_arch = "x86_64", repr(C, align(64)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C, align(16)))]
pub struct Arena<const N: usize>([u8; N]);

impl<const N: usize> Arena<N> {
    /// All zero, so that a static one takes no flash.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; N])
    }

    /// Everything, for a look at what layers left.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The buffers of one layer, all at once; none when two overlap or one leads out of the arena.
    pub fn split<const K: usize>(&mut self, buffers: [Buffer; K]) -> Option<[&mut [u8]; K]> {
        self.0.get_disjoint_mut(buffers.map(|Buffer { offset, len }| offset..offset.saturating_add(len))).ok()
    }
}

impl<const N: usize> Default for Arena<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A buffer's bytes as elements, in the machine's byte order; empty when they are not aligned or not whole elements.
pub fn elements<T: Pod>(bytes: &mut [u8]) -> &mut [T] {
    bytemuck::try_cast_slice_mut(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    static BLOB: Blob<24> = Blob([1, 0, 255, 255, 0, 0, 128, 63, 0, 60, 0, 192, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0x80]);
    static BYTES: &[i8] = BLOB.view(2, 2);
    static WORDS: &[i16] = BLOB.view(0, 2);
    static FLOATS: &[f32] = BLOB.view(4, 1);
    static HALVES: &[f16] = BLOB.view(8, 2);
    static LAST: &[i32] = BLOB.view(20, 1);
    static NOTHING: &[i32] = BLOB.view(24, 0);

    #[test]
    fn views_read_little_endian_elements() {
        assert_eq!((BYTES, WORDS, FLOATS), (&[-1, -1][..], &[1, -1][..], &[1.0][..]));
        assert_eq!(HALVES, [f16::ONE, f16::from_f32(-2.0)]);
        assert_eq!((LAST, NOTHING), (&[i32::MIN][..], &[][..]));
    }

    #[test]
    fn misfitting_views_are_errors() {
        for (offset, len) in [(0, 7), (24, 1), (28, 0), (2, 1), (usize::MAX, 1), (0, usize::MAX)] {
            assert!(std::panic::catch_unwind(|| BLOB.view::<i32>(offset, len)).is_err(), "{offset} {len}");
        }
    }

    #[test]
    fn buffers_are_disjoint_aligned_and_keep_their_contents() {
        let mut arena = Arena::<64>::new();
        let [a, b, c] = [(0, 8), (32, 16), (8, 24)].map(|(offset, len)| Buffer { offset, len });
        let [x, y, z] = arena.split([a, b, c]).unwrap();
        elements::<i8>(x).fill(-1);
        elements::<f32>(y).fill(2.5);
        elements::<i16>(z).fill(-300);
        let [y, x] = arena.split([b, a]).unwrap();
        assert_eq!(elements::<f32>(y), [2.5; 4]);
        assert_eq!(elements::<i8>(x), [-1; 8]);
        assert_eq!(arena.0[48..], [0; 16]);
    }

    #[test]
    fn misfitting_buffers_give_nothing() {
        let mut arena = Arena::<64>::default();
        let buffer = |offset, len| Buffer { offset, len };
        assert!(arena.split([buffer(0, 9), buffer(8, 8)]).is_none());
        assert!(arena.split([buffer(60, 5)]).is_none());
        assert!(arena.split([buffer(usize::MAX, 2)]).is_none());
        let [bytes] = arena.split([buffer(1, 8)]).unwrap();
        assert!(elements::<i32>(bytes).is_empty());
        let [bytes] = arena.split([buffer(0, 7)]).unwrap();
        assert!(elements::<i16>(bytes).is_empty());
    }
}
