//! The memory that a sampler needs, of sizes known at compile time ([`Memory`]) or lent as slices ([`Parts`]).

pub use crate::blob::{Arena, Line};

/// A sampler's memory, lent. Maps are `[height][width][channels]`.
pub struct Parts<'a> {
    /// The network's working memory: aligned as [`Arena`] is, as long as the network needs.
    pub arena: &'a mut [u8],
    /// The picture; its length is the map's.
    pub x: &'a mut [f32],
    /// x̂0 of the step before, as long as `x`; empty where no table is a multistep sampler's.
    pub previous: &'a mut [f32],
    /// The labelled prediction, as long as `x`; empty where classifier-free guidance is left out.
    pub labelled: &'a mut [f32],
}

/// How long [`Parts`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the arena.
    pub arena: usize,
    /// Elements of x.
    pub x: usize,
    /// Elements of the estimate of the step before.
    pub previous: usize,
    /// Elements of the labelled prediction.
    pub labelled: usize,
}

/// Memory of sizes known at compile time. [`Memory`] is the one that models use.
pub trait Storage: 'static {
    /// All zero, so that a static takes no flash.
    const ZERO: Self;
    /// Of the parts.
    const SIZES: Sizes;

    /// All of it.
    fn parts(&mut self) -> Parts<'_>;

    /// The picture.
    fn x(&self) -> &[f32];

    /// The network's working memory, for a look at what layers left.
    fn arena(&self) -> &[u8];
}

/// A sampler's memory: `ARENA` bytes for the networks of a model, which run in turn; a map of `X` elements; and one
/// each for multistep samplers and for guidance, where `PREVIOUS` and `LABELLED` are not 0.
#[repr(C)]
pub struct Memory<const ARENA: usize, const X: usize, const PREVIOUS: usize, const LABELLED: usize> {
    arena: Arena<ARENA>,
    x: [f32; X],
    previous: [f32; PREVIOUS],
    labelled: [f32; LABELLED],
}

impl<const ARENA: usize, const X: usize, const PREVIOUS: usize, const LABELLED: usize> Storage
    for Memory<ARENA, X, PREVIOUS, LABELLED>
{
    const ZERO: Self = Self { arena: Arena::new(), x: [0.0; X], previous: [0.0; PREVIOUS], labelled: [0.0; LABELLED] };
    const SIZES: Sizes = Sizes { arena: ARENA, x: X, previous: PREVIOUS, labelled: LABELLED };

    fn parts(&mut self) -> Parts<'_> {
        let Self { arena, x, previous, labelled } = self;
        Parts { arena: arena.bytes_mut(), x, previous, labelled }
    }

    fn x(&self) -> &[f32] {
        &self.x
    }

    fn arena(&self) -> &[u8] {
        self.arena.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_long_as_stated_and_the_arena_is_aligned() {
        type Whole = Memory<100, 6, 5, 4>;
        let mut memory = Whole::ZERO;
        let parts = memory.parts();
        assert!(parts.arena.as_ptr().addr().is_multiple_of(align_of::<Arena<1>>()));
        let (arena, x) = (parts.arena.len(), parts.x.len());
        let sizes = Sizes { arena, x, previous: parts.previous.len(), labelled: parts.labelled.len() };
        assert_eq!(sizes, Whole::SIZES);
        (parts.arena[99], parts.x[5]) = (7, 2.0);
        assert_eq!((memory.arena()[99], memory.x()[5]), (7, 2.0));
    }

    /// What a build has no use for takes no memory.
    #[test]
    fn sizes_are_what_is_needed() {
        assert_eq!(size_of::<Memory<1024, 256, 0, 0>>(), 1024 + 4 * 256);
        assert_eq!(size_of::<Memory<1024, 256, 256, 0>>(), 1024 + 8 * 256);
        assert_eq!(size_of::<Memory<1024, 256, 256, 256>>(), 1024 + 12 * 256);
    }
}
