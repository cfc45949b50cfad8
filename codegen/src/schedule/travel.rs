//! Time travel: stretches of time that are run several times, so that what was put into the picture from outside can be
//! brought into line with the rest (Lugmayr et al. 2022, section 4.2; Wang et al. 2023, algorithm 3).

/// Stretches of `length` time indices, from the noisiest on, are each run `times` times: after a run but the last, noise leads
/// back to where it began. The last stretch may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Travel {
    /// Time indices of a stretch.
    pub length: usize,
    /// Runs of each.
    pub times: usize,
}

/// A time index that is visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visit {
    /// Its place in the list.
    pub index: usize,
    /// Where noise leads to after the step, in place of the next.
    pub back: Option<usize>,
}

/// The visits of a list of `count` time indices.
pub(super) fn visits(count: usize, travel: Option<Travel>) -> Vec<Visit> {
    let Travel { length, times } = travel.unwrap_or(Travel { length: count.max(1), times: 1 });
    let mut visits = Vec::new();
    for start in (0..count).step_by(length) {
        let end = count.min(start + length);
        for run in 0..times {
            let back = |index: usize| (index + 1 == end && run + 1 < times).then_some(start);
            visits.extend((start..end).map(|index| Visit { index, back: back(index) }));
        }
    }
    visits
}
