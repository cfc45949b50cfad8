//! Denoising errors of a given picture, at noise that is the same for every picture and on every chip: terms of a bound on
//! its likelihood (Ho et al. 2020), and, by themselves, a sign that it is like the training's pictures (Graham et al. 2023).

use crate::hooks::{At, Observe};
use crate::noise::{CHUNK, Chunks, Noise};
use crate::schedule::StepRow;
use crate::sum::Sum;

/// Runs with any table, whose rows say at which noise: the x that a step reads is a_t·x_0 + σ_t·z, whatever the step before
/// made of it. After step i, `errors[i]` is the sum of (x̂0 − x_0)².
///
/// x of the first step comes from [`Self::begin`]. So that x̂0 is what the network says, the table's clip is none.
#[derive(Debug)]
pub struct Errors<'a, N> {
    picture: &'a [f32],
    noise: Chunks<N>,
    errors: &'a mut [f32],
    sum: Sum,
}

impl<'a, N: Noise> Errors<'a, N> {
    /// For a picture, as long as x. `errors` has a place a step.
    pub const fn new(picture: &'a [f32], noise: N, errors: &'a mut [f32]) -> Self {
        Self { picture, noise: Chunks::new(noise), errors, sum: Sum::NONE }
    }

    /// x of the first step, whose row is `row`.
    pub fn begin(&mut self, row: &StepRow, x: &mut [f32]) {
        let strips = x.chunks_mut(CHUNK).enumerate();
        strips.for_each(|(i, strip)| self.noisy(row.signal, row.sigma, i * CHUNK, strip));
    }

    /// A strip of a·x_0 + σ·z.
    fn noisy(&mut self, signal: f32, sigma: f32, first: usize, x: &mut [f32]) {
        if first == 0 {
            self.noise.restart();
        }
        let z = self.noise.at(first, self.picture.len());
        let picture = self.picture.get(first..).unwrap_or_default();
        x.iter_mut().zip(picture).zip(z).for_each(|((x, picture), z)| *x = signal * *picture + sigma * *z);
    }
}

impl<N: Noise> Observe for Errors<'_, N> {
    fn x0(&mut self, at: &At<'_>, first: usize, x0: &mut [f32]) {
        let picture = self.picture.get(first..).unwrap_or_default();
        for (x0, picture) in x0.iter().zip(picture) {
            let error = *x0 - *picture;
            self.sum.add(error * error);
        }
        if first + x0.len() >= self.picture.len() {
            let sum = core::mem::take(&mut self.sum).value();
            self.errors.get_mut(at.step).into_iter().for_each(|error| *error = sum);
        }
    }

    fn x(&mut self, at: &At<'_>, first: usize, x: &mut [f32]) {
        if let Some(next) = at.next {
            self.noisy(next.signal, next.sigma, first, x);
        }
    }
}
