//! Hooks: what a program does to a step between the network's output and the next x.
//!
//! A step computes `out`, then x̂0 of it, then the next x ([`crate::schedule`]). Three traits reach in between, strip by
//! strip as the output arrives:
//!
//! - [`Guide`] adds to `out`: a classifier's gradient, an interval of steps for classifier-free guidance;
//! - [`Observe`] changes x̂0 or the next x: inpainting, colourisation, super-resolution;
//! - [`Watch`] reads: previews, terms of a likelihood.
//!
//! `()` is the empty hook. The loop is compiled for the hooks that a program uses: empty ones leave no code and no memory
//! behind. A hook serves one picture at a time; for a picture begun anew before the last ended, make a new one.

use crate::schedule::StepRow;

/// The step that is under way.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// Its number, from 0.
    pub step: usize,
    /// Its row: `signal` and `sigma` are those of x before the step.
    pub row: &'a StepRow,
    /// The row of the step after it; none for the last.
    pub next: Option<&'a StepRow>,
}

impl At<'_> {
    /// The picture's part in x after the step; 1 after the last.
    #[must_use]
    pub fn next_signal(&self) -> f32 {
        self.next.map_or(1.0, |row| row.signal)
    }

    /// The standard deviation of the noise in x after the step; 0 after the last.
    #[must_use]
    pub fn next_sigma(&self) -> f32 {
        self.next.map_or(0.0, |row| row.sigma)
    }
}

/// Adds to the network's output. In every method, maps and strips are of x's shape, and `first` is the index of a strip's
/// first element in the map.
pub trait Guide {
    /// Whether it does nothing.
    const IS_EMPTY: bool = false;
    /// Whether it scales the output of classifier-free guidance by a factor of all of it.
    const RESCALES: bool = false;

    /// The weight of classifier-free guidance in a step, where the picture's is `guidance`; with 1 the step takes one
    /// evaluation. It is asked for several times a step and must answer the same.
    fn weight(&self, _at: &At<'_>, guidance: f32) -> f32 {
        guidance
    }

    /// Runs the next layer of a network of the hook's own and gives its number; none when there is no more to do before
    /// the denoiser runs. The loop calls it at the beginning of a step until it gives none. `arena` is the denoiser's,
    /// which may be overwritten; it is as long as the largest network of the model needs.
    fn layer(&mut self, _at: &At<'_>, _x: &[f32], _arena: &mut [u8]) -> Option<usize> {
        None
    }

    /// Sees the labelled prediction and what guidance made of it, strip by strip, where [`Self::RESCALES`].
    fn combined(&mut self, _labelled: &[f32], _guided: &[f32]) {}

    /// The factor of the whole output, after its last strip, where [`Self::RESCALES`]; forgets the strips.
    fn factor(&mut self) -> f32 {
        1.0
    }

    /// Changes a strip of the output.
    fn guide(&mut self, _at: &At<'_>, _first: usize, _x: &[f32], _out: &mut [f32]) {}
}

/// Changes the estimate x̂0, or x.
pub trait Observe {
    /// Whether it does nothing.
    const IS_EMPTY: bool = false;
    /// Whether it has memory for all of x̂0, which correctors and [`Self::whole`] need.
    const HAS_MAP: bool = false;

    /// Changes a strip of x̂0, which was clipped; what it becomes is not clipped again.
    fn x0(&mut self, _at: &At<'_>, _first: usize, _x0: &mut [f32]) {}

    /// The memory for x̂0, as long as x; empty without [`Self::HAS_MAP`].
    fn map(&mut self) -> &mut [f32] {
        &mut []
    }

    /// Changes all of x̂0, which lies in [`Self::map`].
    fn whole(&mut self, _at: &At<'_>) {}

    /// Changes a strip of x after the step.
    fn x(&mut self, _at: &At<'_>, _first: usize, _x: &mut [f32]) {}
}

/// Reads what a step computes.
pub trait Watch {
    /// Whether it does nothing.
    const IS_EMPTY: bool = false;

    /// Sees a strip of x before the step, of the output and of x̂0. An observer with a map changes x̂0 afterwards.
    fn watch(&mut self, _at: &At<'_>, _first: usize, _x: &[f32], _out: &[f32], _x0: &[f32]) {}
}

impl Guide for () {
    const IS_EMPTY: bool = true;
}

impl Observe for () {
    const IS_EMPTY: bool = true;
}

impl Watch for () {
    const IS_EMPTY: bool = true;
}

impl<F: FnMut(&At<'_>, usize, &[f32])> Watch for F {
    /// A closure sees x̂0: `|at, first, x0| …`.
    fn watch(&mut self, at: &At<'_>, first: usize, _: &[f32], _: &[f32], x0: &[f32]) {
        self(at, first, x0);
    }
}

/// The hooks of a picture.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hooks<G = (), O = (), W = ()> {
    /// Adds to the network's output.
    pub guide: G,
    /// Changes x̂0 or x.
    pub observe: O,
    /// Reads.
    pub watch: W,
}

impl<G: Guide, O: Observe, W: Watch> Hooks<G, O, W> {
    /// Whether none of them does anything.
    pub(crate) const ARE_EMPTY: bool = G::IS_EMPTY && O::IS_EMPTY && W::IS_EMPTY;
}

/// An observer with memory for x̂0, such as a corrector needs: `[f32; N]`, `&mut [f32]` or `Vec<f32>`, as long as x.
#[derive(Clone, Copy, Debug, Default)]
pub struct WithMap<O, M> {
    /// What it does to x̂0 and x.
    pub observe: O,
    /// The memory.
    pub map: M,
}

impl<O: Observe, M: AsMut<[f32]>> Observe for WithMap<O, M> {
    const HAS_MAP: bool = true;

    fn x0(&mut self, at: &At<'_>, first: usize, x0: &mut [f32]) {
        self.observe.x0(at, first, x0);
    }

    fn map(&mut self) -> &mut [f32] {
        self.map.as_mut()
    }

    fn x(&mut self, at: &At<'_>, first: usize, x: &mut [f32]) {
        self.observe.x(at, first, x);
    }
}
