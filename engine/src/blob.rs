//! Bytes as typed slices: weights in flash ([`Blob`]), activations in RAM ([`Arena`]).
//!
//! Both are aligned to 16 bytes, so that an offset that is a multiple of an element's alignment is aligned; on x86-64 to 64, a
//! line of a cache and a vector.

#![allow(unsafe_code)]

use bytemuck::{AnyBitPattern, Pod, Zeroable};

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

    /// [`checksum`] of the bytes, for constants: generated code asserts at compile time that its `model.bin` is the one
    /// that it was generated with.
    ///
    /// The compiler's interpreter takes less than a second for a megabyte. From 32 MB on the lint
    /// `long_running_const_eval` has to be allowed where the constant is.
    #[must_use]
    pub const fn checksum(&self) -> u64 {
        const { assert!(cfg!(target_endian = "little"), "the blob is little-endian") };
        // SAFETY: the pointer comes from a live array and is aligned for u32, as the blob's alignment is a multiple of
        // u32's. N / 16 times four words lie within the array, hence in less than isize::MAX bytes. Every bit pattern
        // is a u32. The blob is borrowed for as long as the slice, and has no interior mutability.
        let blocks = unsafe { core::slice::from_raw_parts(self.0.as_ptr().cast::<[u32; 4]>(), N / 16) };
        let (mut hash, mut index) = (FNV_BASIS, 0);
        while index < blocks.len() {
            // `fnv`, four at a time and without calls: the interpreter takes half of the time.
            let [a, b, c, d] = blocks[index];
            hash = ((hash ^ a as u64) as u128 * FNV_PRIME as u128) as u64;
            hash = ((hash ^ b as u64) as u128 * FNV_PRIME as u128) as u64;
            hash = ((hash ^ c as u64) as u128 * FNV_PRIME as u128) as u64;
            hash = ((hash ^ d as u64) as u128 * FNV_PRIME as u128) as u64;
            index += 1;
        }
        fnv_all(hash, self.0.as_chunks::<16>().1)
    }
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x100_0000_01b3;

/// 64-bit FNV-1a (Fowler, Noll, Vo) over little-endian 32-bit words instead of bytes, the last word filled up with 0:
/// of each word `hash = (hash xor word) · 0x100_0000_01b3 mod 2⁶⁴`, from `0xcbf2_9ce4_8422_2325` on.
///
/// It finds any one wrong word, and other damage with a probability of nearly 1; it is no defence against forgery.
#[must_use]
pub const fn checksum(bytes: &[u8]) -> u64 {
    fnv_all(FNV_BASIS, bytes)
}

/// The words' part in [`checksum`].
const fn fnv_all(mut hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut index = 0;
    while index < words.len() {
        hash = fnv(hash, words[index]);
        index += 1;
    }
    match *rest {
        [] => hash,
        [a] => fnv(hash, [a, 0, 0, 0]),
        [a, b] => fnv(hash, [a, b, 0, 0]),
        [a, b, c, ..] => fnv(hash, [a, b, c, 0]),
    }
}

/// A word's part in [`checksum`].
const fn fnv(hash: u64, word: [u8; 4]) -> u64 {
    (hash ^ u32::from_le_bytes(word) as u64).wrapping_mul(FNV_PRIME)
}

/// Where a buffer lies in an [`Arena`], in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Of its first byte; a multiple of its elements' alignment.
    pub offset: usize,
    /// Bytes.
    pub len: usize,
}

/// A network's working memory. Buffers that are not used at the same time share bytes.
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
    pub const fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Everything, for a network to work in.
    #[must_use]
    pub const fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl<const N: usize> Default for Arena<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// 64 bytes, aligned as an [`Arena`] on any machine: a slice of them is an arena whose length the program finds out
/// when it runs, `vec![Line::ZERO; bytes.div_ceil(64)]`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Line([u8; 64]);

impl Line {
    /// All zero.
    pub const ZERO: Self = Self([0; 64]);

    /// The bytes of an arena.
    #[must_use]
    pub fn bytes_mut(lines: &mut [Self]) -> &mut [u8] {
        bytemuck::cast_slice_mut(lines)
    }
}

/// The buffers of one layer, all at once; none when two overlap or one leads out of the arena.
pub fn split<const K: usize>(arena: &mut [u8], buffers: [Buffer; K]) -> Option<[&mut [u8]; K]> {
    arena.get_disjoint_mut(buffers.map(|Buffer { offset, len }| offset..offset.saturating_add(len))).ok()
}

/// Whether [`split`] and [`elements`] can lend a layer these buffers: each lies within an arena of `arena_bytes`, none
/// overlaps another, and each begins at a multiple of its elements' size, the number next to it, and holds whole
/// elements.
///
/// Generated code proves it at compile time: `const _: () = assert!(are_apart(ARENA_BYTES, &[(INPUT, 1), …]));`
#[must_use]
pub const fn are_apart(arena_bytes: usize, buffers: &[(Buffer, usize)]) -> bool {
    let mut index = 0;
    while index < buffers.len() {
        let (Buffer { offset, len }, size) = buffers[index];
        if offset > arena_bytes || len > arena_bytes - offset || size == 0 || offset % size != 0 || len % size != 0 {
            return false;
        }
        let mut other = 0;
        while other < index {
            // Both end within the arena, so that no sum overflows.
            let (before, _) = buffers[other];
            if offset < before.offset + before.len && before.offset < offset + len {
                return false;
            }
            other += 1;
        }
        index += 1;
    }
    true
}

/// A buffer's bytes as elements, in the machine's byte order; empty when they are not aligned or not whole elements.
pub fn elements<T: Pod>(bytes: &mut [u8]) -> &mut [T] {
    bytemuck::try_cast_slice_mut(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;
    use proptest::array::uniform3;
    use proptest::prelude::*;
    use std::vec;

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
        let [x, y, z] = split(arena.bytes_mut(), [a, b, c]).unwrap();
        elements::<i8>(x).fill(-1);
        elements::<f32>(y).fill(2.5);
        elements::<i16>(z).fill(-300);
        let [y, x] = split(arena.bytes_mut(), [b, a]).unwrap();
        assert_eq!(elements::<f32>(y), [2.5; 4]);
        assert_eq!(elements::<i8>(x), [-1; 8]);
        assert_eq!(arena.bytes()[48..], [0; 16]);
    }

    #[test]
    fn misfitting_buffers_give_nothing() {
        let mut arena = Arena::<64>::default();
        let buffer = |offset, len| Buffer { offset, len };
        assert!(split(arena.bytes_mut(), [buffer(0, 9), buffer(8, 8)]).is_none());
        assert!(split(arena.bytes_mut(), [buffer(60, 5)]).is_none());
        assert!(split(arena.bytes_mut(), [buffer(usize::MAX, 2)]).is_none());
        let [bytes] = split(arena.bytes_mut(), [buffer(1, 8)]).unwrap();
        assert!(elements::<i32>(bytes).is_empty());
        let [bytes] = split(arena.bytes_mut(), [buffer(0, 7)]).unwrap();
        assert!(elements::<i16>(bytes).is_empty());
    }

    #[test]
    fn lines_are_an_aligned_arena() {
        let mut lines = vec![Line::ZERO; 3];
        let bytes = Line::bytes_mut(&mut lines);
        assert_eq!(bytes, [0; 192]);
        assert!(bytes.as_ptr().addr().is_multiple_of(align_of::<Arena<1>>()));
    }

    proptest! {
        /// What is proved can be lent, as elements of that size; and what can be lent is proved.
        #[test]
        fn the_proof_is_right(
            buffers in uniform3((0usize..24, 0usize..12, 0usize..3)), arena_bytes in 0usize..32, far in any::<bool>(),
        ) {
            let mut buffers = buffers.map(|(offset, len, log)| (Buffer { offset, len }, 1 << log));
            if far {
                buffers[0].0.offset = usize::MAX;
            }
            let mut arena = Arena::<32>::new();
            let lent = split(&mut arena.bytes_mut()[..arena_bytes], buffers.map(|(buffer, _)| buffer));
            let lent = lent.is_some_and(|lent| lent.into_iter().zip(buffers).all(|(bytes, (buffer, size))| {
                let aligned = buffer.offset.is_multiple_of(size);
                let count = match size {
                    1 => elements::<i8>(bytes).len(),
                    2 => elements::<i16>(bytes).len(),
                    _ => elements::<i32>(bytes).len(),
                };
                aligned && count * size == buffer.len
            }));
            prop_assert_eq!(are_apart(arena_bytes, &buffers), lent);
        }
    }

    /// FNV-1a of one word: (offset basis xor word) · prime.
    #[test]
    fn checksums_are_known_and_cover_every_byte() {
        assert_eq!(checksum(&[]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(checksum(&[1, 2, 3, 4]), (0xcbf2_9ce4_8422_2325u64 ^ 0x0403_0201).wrapping_mul(1_099_511_628_211));
        // Bytes as words of one byte each are plain FNV-1a; its published value of "foobar".
        let words = b"foobar".map(|byte| [byte, 0, 0, 0]).concat();
        assert_eq!(checksum(&words), 0x8594_4171_f739_67e8);
        const KNOWN: u64 = BLOB.checksum();
        assert_eq!(KNOWN, checksum(&BLOB.0));
        let all = [Blob([1; 1]).checksum(), Blob([1; 18]).checksum(), Blob([1; 39]).checksum()];
        assert_eq!(all, [checksum(&[1; 1]), checksum(&[1; 18]), checksum(&[1; 39])]);
        for index in 0..24 {
            let mut bytes = BLOB.0;
            bytes[index] ^= 0x80;
            assert_ne!(Blob(bytes).checksum(), KNOWN, "{index}");
        }
        assert_eq!(checksum(&[5]), checksum(&[5, 0, 0, 0]));
    }
}
