//! The order in which a network's layers run: of all that are possible, one that needs little memory.
//!
//! What is live after some layers have run depends on which have run, not on their order. So the best way to a set of
//! layers is the best way to one without its last layer, and that layer: dynamic programming over the sets that an
//! order can pass through, level by level (Held and Karp 1962; for memory, Ahn et al. 2020, "Ordering Chaos"). A
//! U-net has few such sets. Where a level has more than [`WIDTH`], the most promising are kept: a beam search.

use std::collections::BTreeMap;

use crate::limits::Effort;

/// Most sets that are kept of a level.
const WIDTH: usize = 2048;
/// Most layers that are tried after the sets of a level: networks of more than 64 layers keep fewer sets.
const TRIALS: usize = WIDTH * 64;
/// Of a search's effort: beyond it a level keeps one set.
const MOST_EFFORT: u64 = 1 << 23;

/// What a layer needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Indices of the layers whose results it reads.
    pub reads: Vec<usize>,
    /// Those of them whose buffers the result may take, if nothing else reads them afterwards.
    pub overwrites: Vec<usize>,
    /// Size of its result in the arena.
    pub bytes: usize,
    /// What it needs in the arena only while it runs.
    pub scratch_bytes: usize,
}

/// An order and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Indices of the steps.
    pub steps: Vec<usize>,
    /// The most bytes that are live at once.
    pub peak_bytes: usize,
    /// Whether no order needs fewer.
    pub exact: bool,
}

/// Finds an order. The steps are given in one that is possible; the last one stays last. The order given is kept
/// unless another needs less, or there is no effort left.
#[must_use]
pub fn search(steps: &[Step], effort: &Effort) -> Order {
    let graph = Graph::new(steps);
    let given = graph.follow(0..steps.len());
    let as_given = |exact| Order { steps: (0..steps.len()).collect(), peak_bytes: given.peak_bytes, exact };
    let before = effort.spent();
    // To look at a layer, and to copy a set.
    let (look, copy) = (1 + steps.len() / 16, 4 + steps.len() / 16);
    effort.spend(copy * steps.len());
    let mut levels: Vec<Vec<State>> = vec![vec![State::start(steps.len())]];
    let mut exact = true;
    while levels.len() <= steps.len() {
        let from = &levels[levels.len() - 1];
        let mut reached: BTreeMap<Vec<u64>, State> = BTreeMap::new();
        for (parent, state) in from.iter().enumerate() {
            effort.spend(look);
            for step in graph.ready(state) {
                effort.spend(copy);
                let next = State { parent, ..graph.run(state, step) };
                // What needs as much as the order given is of no use.
                if next.peak_bytes >= given.peak_bytes {
                    continue;
                }
                let best = reached.entry(next.done.clone()).or_insert_with(|| next.clone());
                if next.peak_bytes < best.peak_bytes {
                    *best = next;
                }
            }
        }
        let mut level: Vec<State> = reached.into_values().collect();
        let is_short = effort.spent() - before > MOST_EFFORT;
        let width = if is_short { 1 } else { WIDTH.min(TRIALS / steps.len()) };
        if level.len() > width {
            exact = false;
            level.sort_by_key(|state| (state.peak_bytes, state.live_bytes));
            level.truncate(width);
        }
        if level.is_empty() {
            return as_given(exact);
        }
        if effort.is_spent() {
            return as_given(false);
        }
        levels.push(level);
    }
    let peak_bytes = levels[steps.len()][0].peak_bytes;
    let mut parent = 0;
    let mut order: Vec<usize> = levels[1..]
        .iter()
        .rev()
        .map(|level| {
            let state = &level[parent];
            parent = state.parent;
            state.step
        })
        .collect();
    order.reverse();
    Order { steps: order, peak_bytes, exact }
}

/// The most bytes that are live at once when the steps run in that order, which must be a possible one.
#[must_use]
pub fn peak_bytes(steps: &[Step], order: &[usize]) -> usize {
    Graph::new(steps).follow(order.iter().copied()).peak_bytes
}

/// Some layers have run.
#[derive(Clone, Debug)]
struct State {
    /// Which, a bit a layer.
    done: Vec<u64>,
    /// Results that are still to be read.
    live_bytes: usize,
    /// The most that was live at once so far.
    peak_bytes: usize,
    /// The layer that ran last, and the place in the level before of the state that it ran in.
    step: usize,
    parent: usize,
}

impl State {
    fn start(steps: usize) -> Self {
        Self { done: vec![0; steps.div_ceil(64)], live_bytes: 0, peak_bytes: 0, step: 0, parent: 0 }
    }

    fn has(&self, step: usize) -> bool {
        self.done[step / 64] >> (step % 64) & 1 == 1
    }
}

struct Graph<'a> {
    steps: &'a [Step],
    readers: Vec<Vec<usize>>,
}

impl<'a> Graph<'a> {
    fn new(steps: &'a [Step]) -> Self {
        let mut readers = vec![Vec::new(); steps.len()];
        for (index, step) in steps.iter().enumerate() {
            step.reads.iter().for_each(|&read| readers[read].push(index));
        }
        Self { steps, readers }
    }

    /// The layers that can run next, ascending.
    fn ready(&self, state: &State) -> impl Iterator<Item = usize> {
        let last = self.steps.len() - 1;
        let others_done = (0..last).all(|step| state.has(step));
        (0..self.steps.len()).filter(move |&step| {
            let possible = !state.has(step) && self.steps[step].reads.iter().all(|&read| state.has(read));
            possible && (step != last || others_done)
        })
    }

    fn run(&self, state: &State, index: usize) -> State {
        let step = &self.steps[index];
        let mut done = state.done.clone();
        done[index / 64] |= 1 << (index % 64);
        let after = State { done, step: index, ..*state };
        let is_read = |result: usize| self.readers[result].iter().any(|&reader| !after.has(reader));
        let mut dead: Vec<usize> = step.reads.iter().copied().filter(|&read| !is_read(read)).collect();
        dead.sort_unstable();
        dead.dedup();
        let overwritten = step.overwrites.iter().any(|result| dead.contains(result));
        let new_bytes = if overwritten { 0 } else { step.bytes };
        let peak_bytes = state.peak_bytes.max(state.live_bytes + new_bytes + step.scratch_bytes);
        let dead_bytes: usize = dead.iter().map(|&result| self.steps[result].bytes).sum();
        let kept_bytes = if is_read(index) { step.bytes } else { 0 };
        State { live_bytes: state.live_bytes - dead_bytes + kept_bytes, peak_bytes, ..after }
    }

    fn follow(&self, order: impl Iterator<Item = usize>) -> State {
        order.fold(State::start(self.steps.len()), |state, step| self.run(&state, step))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Up to `most` layers; each but the first reads one to three earlier ones, and may overwrite them.
    fn networks(most: usize) -> impl Strategy<Value = Vec<Step>> {
        let step = (prop::collection::vec(any::<prop::sample::Index>(), 1..4), 1_usize..20, 0_usize..20, any::<bool>());
        prop::collection::vec(step, 1..most).prop_map(|all| {
            let mut steps: Vec<Step> = Vec::new();
            for (reads, bytes, scratch_bytes, in_place) in all {
                let reads: Vec<usize> = match steps.len() {
                    0 => Vec::new(),
                    n => reads.into_iter().map(|read| read.index(n)).collect(),
                };
                let overwrites = reads.iter().copied().filter(|&r| in_place && steps[r].bytes == bytes).collect();
                steps.push(Step { reads, overwrites, bytes, scratch_bytes });
            }
            steps
        })
    }

    /// The least peak of all orders, by trying them.
    fn brute_force(graph: &Graph<'_>, state: &State, count: usize) -> usize {
        if count == graph.steps.len() {
            return state.peak_bytes;
        }
        graph.ready(state).map(|step| brute_force(graph, &graph.run(state, step), count + 1)).min().unwrap()
    }

    fn check(steps: &[Step], order: &Order) {
        let place = |step: usize| order.steps.iter().position(|&other| other == step).unwrap();
        assert_eq!(order.steps.len(), steps.len());
        for (index, step) in steps.iter().enumerate() {
            assert!(step.reads.iter().all(|&read| place(read) < place(index)));
        }
        assert_eq!(order.steps.last(), Some(&(steps.len() - 1)));
        assert_eq!(order.peak_bytes, peak_bytes(steps, &order.steps));
        let given: Vec<usize> = (0..steps.len()).collect();
        assert!(order.peak_bytes <= peak_bytes(steps, &given));
    }

    proptest! {
        #[test]
        fn small_networks_get_the_best_order(steps in networks(8)) {
            let order = search(&steps, &Effort::default());
            check(&steps, &order);
            let graph = Graph::new(&steps);
            prop_assert_eq!(order.peak_bytes, brute_force(&graph, &State::start(steps.len()), 0));
            prop_assert!(order.exact);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn orders_are_possible_repeatable_and_no_worse(steps in networks(40)) {
            let order = search(&steps, &Effort::default());
            check(&steps, &order);
            prop_assert_eq!(order, search(&steps, &Effort::default()));
        }
    }

    #[test]
    fn the_branch_that_ends_small_runs_first() {
        let step = |reads: &[usize], bytes| Step { reads: reads.to_vec(), bytes, ..Step::default() };
        // Two branches widen the first result; one of them narrows again.
        let steps = [step(&[], 10), step(&[0], 50), step(&[0], 80), step(&[2], 5), step(&[1, 3], 10)];
        let order = search(&steps, &Effort::default());
        assert_eq!(order, Order { steps: vec![0, 2, 3, 1, 4], peak_bytes: 95, exact: true });
        assert_eq!(peak_bytes(&steps, &[0, 1, 2, 3, 4]), 140);
    }

    #[test]
    fn a_network_that_is_all_branches_is_searched_in_bounded_time() {
        // As many orders as there are permutations, none better than another until the last: what a hostile file would hold.
        let count = crate::limits::MOST_NODES;
        let mut steps = vec![Step { bytes: 1, ..Step::default() }];
        steps.extend((2..count).map(|i| Step {
            reads: vec![0],
            bytes: i,
            scratch_bytes: count - i,
            ..Step::default()
        }));
        steps.push(Step { reads: (1..count - 1).collect(), bytes: 1, ..Step::default() });
        let effort = Effort::default();
        let order = search(&steps, &effort);
        check(&steps, &order);
        assert!(!order.exact && effort.spent() < 1 << 25, "{}", effort.spent());
        // With nothing left the order given is the order.
        effort.spend(usize::MAX);
        assert_eq!(search(&steps, &effort).steps, (0..steps.len()).collect::<Vec<_>>());
    }

    #[test]
    fn a_wide_network_takes_the_beam() {
        let leaf = |i: usize| Step { reads: vec![0], bytes: 10 + i, ..Step::default() };
        let mut steps = vec![Step { bytes: 1, ..Step::default() }];
        steps.extend((0..16).map(leaf));
        // Each leaf shrinks to a byte when it is read, in the order that is worst.
        steps.extend((1..=16).map(|i| Step { reads: vec![i], bytes: 1, ..Step::default() }));
        steps.push(Step { reads: (17..33).collect(), bytes: 1, ..Step::default() });
        let order = search(&steps, &Effort::default());
        check(&steps, &order);
        assert!(!order.exact && order.peak_bytes < 60, "{order:?}");
    }
}
