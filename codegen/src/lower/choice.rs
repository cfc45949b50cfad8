//! The algorithms that a layer can be computed by, which of them it uses, and why.

use crate::algorithm::{Algorithm, Candidate};

/// The algorithms of a layer, and which of them it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The direct one first.
    pub candidates: Vec<Candidate>,
    /// Why each is used or not.
    pub verdicts: Vec<Verdict>,
    /// Place of the one that is used.
    pub chosen: usize,
}

/// Why an algorithm is used or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the fastest that there is room for.
    Chosen,
    /// It is no faster than that.
    Slower,
    /// Flash is short of this many bytes.
    Flash(usize),
    /// The arena is short of this many bytes.
    Ram(usize),
}

impl Choice {
    /// The direct way.
    #[must_use]
    pub fn new(candidates: Vec<Candidate>) -> Self {
        Self { verdicts: vec![Verdict::Slower; candidates.len()], candidates, chosen: 0 }
    }

    /// The one that is used.
    #[must_use]
    pub fn candidate(&self) -> &Candidate {
        &self.candidates[self.chosen]
    }

    /// How the layer is computed.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.candidate().algorithm
    }
}
