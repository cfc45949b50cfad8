//! Where each buffer lies in the arena: lifetimes in, offsets out.
//!
//! Packing lifetimes is NP-hard (dynamic storage allocation), but a network has few buffers: several greedy
//! orders and a short local search over orders reach the lower bound, or come near it, in milliseconds. A
//! pure function, the same on every machine.

use crate::error::{Error, Result};
use crate::limits::Effort;

/// A buffer's need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// For errors and the picture.
    pub name: String,
    /// Size.
    pub bytes: usize,
    /// The layer that writes it.
    pub first: usize,
    /// The last layer that reads it, inclusive; at least `first`.
    pub last: usize,
    /// Its offset is a multiple of this, a power of two.
    pub align: usize,
}

/// A layout of the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where each buffer starts, in bytes, in the order in which the lifetimes were given.
    pub offsets: Vec<usize>,
    /// The arena's size, a multiple of the largest alignment.
    pub arena_bytes: usize,
    /// No layout is smaller: the most bytes that are live at one layer, each buffer rounded up to the
    /// smallest alignment, the sum to the largest.
    pub lower_bound: usize,
}

/// Most moves of the local search. Of 15,000 random chains of up to 40 buffers with skips, the greedy orders
/// alone leave 4,008 above the bound (by up to 45 %), 2,000 moves 90, 20,000 moves 47 (by up to 9 %).
const MOVES: usize = 20_000;
/// A move costs about n² for n buffers: larger graphs get fewer, to take about as long as 40 buffers do.
const WORK: usize = MOVES * 40 * 40;
/// Bytes times buffers stay far from overflow below this.
const LARGEST_BYTES: usize = 1 << 28;

/// Lays out the arena: no two buffers that are live at the same layer overlap.
///
/// # Errors
/// Names the buffer whose lifetime ends before it starts, whose alignment is not a power of two, or which is
/// too large (2²⁸ bytes).
pub fn plan(lifetimes: &[Lifetime], effort: &Effort) -> Result<Plan> {
    for Lifetime { name, bytes, first, last, align } in lifetimes {
        if first > last {
            return Err(Error::node(name, format!("its buffer lives from layer {first} back to layer {last}")));
        }
        if !align.is_power_of_two() || *align > LARGEST_BYTES || *bytes > LARGEST_BYTES {
            let reason = format!("a buffer of {bytes} bytes aligned to {align}: align to a power of two, take less");
            return Err(Error::node(name, reason));
        }
    }
    let lower_bound = lower_bound(lifetimes);
    let mut best = greedy_orders(lifetimes)
        .into_iter()
        .map(|order| Layout::new(lifetimes, order))
        .min_by_key(|layout| layout.arena_bytes)
        .unwrap_or_default();
    improve(lifetimes, &mut best, lower_bound, effort);
    Ok(Plan { offsets: best.offsets, arena_bytes: best.arena_bytes, lower_bound })
}

impl Plan {
    /// The arena over time: a line a buffer, a column a layer, █ where the buffer is live.
    ///
    /// `lifetimes` are those that were planned.
    #[must_use]
    pub fn picture(&self, lifetimes: &[Lifetime]) -> String {
        let layers = layers(lifetimes);
        let live_bytes =
            |layer: usize| -> usize { lifetimes.iter().filter(|l| l.lives_at(layer)).map(|l| l.bytes).sum() };
        // The first of equals, as max_by_key takes the last.
        let peak = (0..layers).rev().max_by_key(|&layer| live_bytes(layer)).unwrap_or(0);
        let total: usize = lifetimes.iter().map(|l| l.bytes).sum();
        let name_width = lifetimes.iter().map(|l| l.name.chars().count()).max().unwrap_or(0).max("buffer".len());
        let mut text = format!(
            "arena {} bytes, lower bound {} (layer {peak}), end to end {total}\n\n{:name_width$}  {:>8}  {:>8}  layers 0 to {}\n",
            self.arena_bytes,
            self.lower_bound,
            "buffer",
            "offset",
            "bytes",
            layers.saturating_sub(1),
        );
        for (lifetime, offset) in lifetimes.iter().zip(&self.offsets) {
            let bar: String = (0..layers).map(|layer| if lifetime.lives_at(layer) { '█' } else { '·' }).collect();
            text += &format!("{:name_width$}  {offset:>8}  {:>8}  {bar}\n", lifetime.name, lifetime.bytes);
        }
        text
    }
}

impl Lifetime {
    fn lives_at(&self, layer: usize) -> bool {
        (self.first..=self.last).contains(&layer)
    }

    /// Whether both are live at some layer.
    fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// One past the last layer.
fn layers(lifetimes: &[Lifetime]) -> usize {
    lifetimes.iter().map(|lifetime| lifetime.last + 1).max().unwrap_or(0)
}

/// The arena's alignment.
fn largest_align(lifetimes: &[Lifetime]) -> usize {
    lifetimes.iter().map(|lifetime| lifetime.align).max().unwrap_or(1)
}

/// See [`Plan::lower_bound`]. Every offset is a multiple of the smallest alignment, so that the room up to
/// the next multiple is of use to no other buffer.
fn lower_bound(lifetimes: &[Lifetime]) -> usize {
    let smallest_align = lifetimes.iter().map(|lifetime| lifetime.align).min().unwrap_or(1);
    // The most are live where some buffer begins.
    let live_bytes = lifetimes.iter().map(|start| {
        let live = lifetimes.iter().filter(|lifetime| lifetime.lives_at(start.first));
        live.map(|lifetime| lifetime.bytes.next_multiple_of(smallest_align)).sum()
    });
    live_bytes.max().unwrap_or(0usize).next_multiple_of(largest_align(lifetimes))
}

/// An order of placing, and what came of it.
#[derive(Default)]
struct Layout {
    order: Vec<usize>,
    offsets: Vec<usize>,
    arena_bytes: usize,
}

impl Layout {
    /// Places the buffers in that order, each into the smallest gap that holds it (the lowest of equals), or
    /// on top of what is live with it.
    fn new(lifetimes: &[Lifetime], order: Vec<usize>) -> Self {
        let mut offsets = vec![0; lifetimes.len()];
        let mut arena_bytes = 0;
        let mut below: Vec<(usize, usize)> = Vec::new(); // offset and end of placed buffers that meet this one
        for (count, &index) in order.iter().enumerate() {
            let buffer = &lifetimes[index];
            below.clear();
            let met = order[..count].iter().filter(|&&placed| lifetimes[placed].meets(buffer));
            below.extend(met.map(|&placed| (offsets[placed], offsets[placed] + lifetimes[placed].bytes)));
            below.sort_unstable();
            let mut top: usize = 0;
            let mut best: Option<(usize, usize)> = None; // the gap's size and the offset in it
            for &(start, end) in &below {
                let offset = top.next_multiple_of(buffer.align);
                if offset + buffer.bytes <= start && best.is_none_or(|(gap, _)| start - top < gap) {
                    best = Some((start - top, offset));
                }
                top = top.max(end);
            }
            offsets[index] = best.map_or(top.next_multiple_of(buffer.align), |(_, offset)| offset);
            arena_bytes = arena_bytes.max(offsets[index] + buffer.bytes);
        }
        Self { order, offsets, arena_bytes: arena_bytes.next_multiple_of(largest_align(lifetimes)) }
    }
}

/// As given, and by size, size × lifetime, lifetime (largest first), and start; ties by index. The order given
/// stays within its end-to-end layout, because every buffer finds room at or below its place there.
fn greedy_orders(lifetimes: &[Lifetime]) -> Vec<Vec<usize>> {
    let given: Vec<usize> = (0..lifetimes.len()).collect();
    let span = |l: &Lifetime| (l.last - l.first).saturating_add(1);
    let keys: [&dyn Fn(&Lifetime) -> usize; 4] = [
        &|l| usize::MAX - l.bytes,
        &|l| usize::MAX - l.bytes.saturating_mul(span(l)),
        &|l| usize::MAX - span(l),
        &|l| l.first,
    ];
    let sorted = keys.map(|key| {
        let mut order = given.clone();
        order.sort_by_key(|&index| key(&lifetimes[index]));
        order
    });
    std::iter::once(given).chain(sorted).collect()
}

/// Hill climbing on the order: the buffer that reaches the arena's top, or any other, moves to another place
/// in it. Equal results are taken too, to cross plateaus; accepting worse ones for a while gained next to nothing.
fn improve(lifetimes: &[Lifetime], best: &mut Layout, lower_bound: usize, effort: &Effort) {
    let n = lifetimes.len();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64; // xorshift64 (Marsaglia 2003): one seed, one plan everywhere
    let mut below_n = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % n as u64) as usize
    };
    let moves = MOVES.min(WORK / (n * n).max(1));
    for step in 0..moves {
        if best.arena_bytes <= lower_bound || effort.is_spent() {
            return;
        }
        effort.spend(1 + n * n / 64);
        let end = |index: usize| best.offsets[index] + lifetimes[index].bytes;
        let from =
            if step % 2 == 0 { (0..n).max_by_key(|&place| end(best.order[place])).unwrap_or(0) } else { below_n() };
        let to = below_n();
        let mut order = best.order.clone();
        if to < from {
            order[to..=from].rotate_right(1);
        } else {
            order[from..=to].rotate_left(1);
        }
        let next = Layout::new(lifetimes, order);
        if next.arena_bytes <= best.arena_bytes {
            *best = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn lifetime(name: &str, bytes: usize, first: usize, last: usize) -> Lifetime {
        Lifetime { name: name.into(), bytes, first, last, align: 16 }
    }

    fn check(lifetimes: &[Lifetime], plan: &Plan) {
        assert_eq!(plan.offsets.len(), lifetimes.len());
        for (i, (p, &p_offset)) in lifetimes.iter().zip(&plan.offsets).enumerate() {
            assert!(p_offset.is_multiple_of(p.align) && p_offset + p.bytes <= plan.arena_bytes, "{p:?} at {p_offset}");
            for (q, &q_offset) in lifetimes.iter().zip(&plan.offsets).take(i) {
                let apart = p_offset + p.bytes <= q_offset || q_offset + q.bytes <= p_offset;
                let empty = p.bytes == 0 || q.bytes == 0;
                assert!(apart || empty || !p.meets(q), "{p:?} at {p_offset} and {q:?} at {q_offset}");
            }
        }
        assert!(plan.arena_bytes >= plan.lower_bound);
        let end_to_end = lifetimes.iter().fold(0, |end: usize, l| end.next_multiple_of(l.align) + l.bytes);
        assert!(plan.arena_bytes <= end_to_end.next_multiple_of(largest_align(lifetimes)));
    }

    fn any_lifetimes() -> impl Strategy<Value = Vec<Lifetime>> {
        let any = (0_usize..2_000, 0_usize..20, 0_usize..8, 0_u32..6).prop_map(|(bytes, first, length, align)| {
            Lifetime { name: String::new(), bytes, first, last: first + length, align: 1 << align }
        });
        prop::collection::vec(any, 0..24)
    }

    /// Layer i writes map i, which layer i + 1 reads; one map in three is also read some layers later.
    fn chain_with_skips() -> impl Strategy<Value = Vec<Lifetime>> {
        prop::collection::vec((1_usize..200, 0_usize..18), 2..40).prop_map(|maps| {
            let n = maps.len();
            let lifetime = |(i, (size, skip)): (usize, (usize, usize))| {
                let length = if skip < 6 { 2 + skip } else { 1 };
                lifetime("", 16 * size, i, (i + length).min(n))
            };
            maps.into_iter().enumerate().map(lifetime).collect()
        })
    }

    proptest! {
        #[test]
        fn plans_are_valid_and_repeatable(lifetimes in any_lifetimes()) {
            let first = plan(&lifetimes, &Effort::default()).unwrap();
            check(&lifetimes, &first);
            prop_assert_eq!(first, plan(&lifetimes, &Effort::default()).unwrap());
        }
    }

    proptest! {
        // A fixed seed: how near is a matter of luck, and a test must not be.
        #![proptest_config(ProptestConfig { cases: 1000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

        #[test]
        fn chains_with_skips_come_near_the_bound(lifetimes in chain_with_skips()) {
            let plan = plan(&lifetimes, &Effort::default()).unwrap();
            check(&lifetimes, &plan);
            prop_assert!(plan.arena_bytes * 100 <= plan.lower_bound * 110, "{:?}", plan);
        }
    }

    #[test]
    fn a_plain_chain_needs_its_largest_pair() {
        let chain: Vec<Lifetime> =
            [512, 4096, 1024, 2048, 2048, 64].iter().enumerate().map(|(i, &n)| lifetime("", n, i, i + 1)).collect();
        let plan = plan(&chain, &Effort::default()).unwrap();
        assert_eq!((plan.arena_bytes, plan.lower_bound), (5120, 5120));
    }

    /// Where the greedy orders stop 18 % above the bound, and a search that only moves buffers forward 14 %.
    #[test]
    fn a_hard_chain_reaches_the_bound() {
        let hard = [
            (16, 0, 1),
            (2032, 1, 2),
            (3008, 2, 5),
            (1360, 3, 10),
            (688, 4, 10),
            (912, 5, 6),
            (640, 6, 7),
            (1952, 7, 8),
            (1904, 8, 9),
            (1136, 9, 14),
            (864, 10, 17),
            (2048, 11, 12),
            (1184, 12, 13),
            (416, 13, 14),
            (2208, 14, 15),
            (1808, 15, 17),
            (3072, 16, 17),
            (256, 17, 19),
            (16, 18, 19),
            (1120, 19, 20),
            (1856, 20, 21),
            (544, 21, 22),
        ];
        let hard = hard.map(|(bytes, first, last)| lifetime("", bytes, first, last));
        let plan = plan(&hard, &Effort::default()).unwrap();
        check(&hard, &plan);
        assert_eq!((plan.arena_bytes, plan.lower_bound), (6000, 6000));
    }

    #[test]
    fn nothing_needs_nothing() {
        let plan = plan(&[], &Effort::default()).unwrap();
        assert_eq!(plan, Plan { offsets: vec![], arena_bytes: 0, lower_bound: 0 });
        assert!(plan.picture(&[]).starts_with("arena 0 bytes"));
    }

    #[test]
    fn impossible_lifetimes_are_named() {
        let bad = [
            lifetime("backwards", 1, 3, 2),
            Lifetime { align: 12, ..lifetime("crooked", 1, 0, 0) },
            Lifetime { align: 0, ..lifetime("nowhere", 1, 0, 0) },
            lifetime("huge", usize::MAX, 0, 0),
        ];
        for bad in bad {
            assert!(plan(std::slice::from_ref(&bad), &Effort::default()).unwrap_err().to_string().contains(&bad.name));
        }
    }

    #[test]
    fn the_picture_shows_buffers_over_layers() {
        let lifetimes = [
            lifetime("stem", 6272, 0, 4),
            lifetime("down.conv", 2352, 1, 2),
            lifetime("down.block", 2352, 2, 3),
            lifetime("up", 6272, 3, 4),
        ];
        let plan = plan(&lifetimes, &Effort::default()).unwrap();
        let expected = "\
arena 14896 bytes, lower bound 14896 (layer 3), end to end 17248

buffer        offset     bytes  layers 0 to 4
stem               0      6272  █████
down.conv       6272      2352  ·██··
down.block     12544      2352  ··██·
up              6272      6272  ···██
";
        assert_eq!(plan.picture(&lifetimes), expected);
    }
}
