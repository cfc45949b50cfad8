//! DDIM as grano's table has it, for programs that have no sampler of their own.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::protocol::Runner;

/// A sampler's table, and the noise that it starts from.
#[derive(Deserialize, Serialize)]
pub struct Sampler {
    /// Bound of x̂0.
    pub clip: f32,
    /// x at first, `[28][28]`.
    pub noise: Vec<f32>,
    /// In order.
    pub steps: Vec<Step>,
}

/// A row: `x̂0 = clip(k0·x − k1·out)`, `x = a·x̂0 + b·x + e·out`.
#[derive(Deserialize, Serialize)]
#[expect(missing_docs, reason = "the formula says it")]
pub struct Step {
    /// Of the time index, `[16]`: the time network's input.
    pub sinusoid: Vec<f32>,
    /// The network is given c_in·x.
    pub c_in: f32,
    pub k0: f32,
    pub k1: f32,
    pub a: f32,
    pub b: f32,
    pub e: f32,
}

impl Sampler {
    /// Reads `sampler.json`.
    ///
    /// # Errors
    /// When it is not there or no sampler.
    pub fn load(folder: &Path) -> Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(folder.join("sampler.json"))?)?)
    }
}

/// A network, from x and sinusoid to the output, and the sampler that drives it.
pub struct Sampled<F> {
    /// The network.
    pub network: F,
    /// Its sampler.
    pub sampler: Sampler,
}

impl<F: FnMut(&[f32], &[f32]) -> Result<Vec<f32>>> Runner for Sampled<F> {
    fn evaluate(&mut self) -> Result<Vec<f32>> {
        let step = &self.sampler.steps[0];
        let x: Vec<_> = self.sampler.noise.iter().map(|x| step.c_in * x).collect();
        (self.network)(&x, &step.sinusoid)
    }

    fn picture(&mut self) -> Result<Vec<f32>> {
        let mut x = self.sampler.noise.clone();
        for step in &self.sampler.steps {
            let input: Vec<_> = x.iter().map(|x| step.c_in * x).collect();
            let out = (self.network)(&input, &step.sinusoid)?;
            for (x, out) in x.iter_mut().zip(out) {
                let clean = (step.k0 * *x - step.k1 * out).clamp(-self.sampler.clip, self.sampler.clip);
                *x = step.a * clean + step.b * *x + step.e * out;
            }
        }
        Ok(x)
    }
}
