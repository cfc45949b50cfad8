//! A sampler is a table. `grano-codegen` computes the rows in f64; here they are run.
//!
//! ```text
//! out = network(c_in·x, row)
//! x̂0  = clip(k0·x − k1·out)
//! x   = a·x̂0 + b·x + c·z + d·x̂0' + e·out        z ~ N(0, I), x̂0' of the step before
//! ```
//!
//! In f32, from left to right, without FMA, so that every chip computes the same bits. A term whose coefficient `c` or
//! `d` is 0 is left out, and no noise is drawn for it.
//!
//! A row whose `snr` is not 0 is a corrector's instead (Song et al. 2021, algorithms 4 and 5): with the score
//! s = (signal·x̂0 − x)/sigma² of D values,
//!
//! ```text
//! α = 2·(snr·√D/‖s‖)²        √D is the root mean square of ‖z‖
//! x = x + α·s + √(2α)·z
//! ```

use crate::noise::{CHUNK, Noise};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRow {
    /// The network's row of time biases.
    pub network_row: u16,
    /// Factor of the network's input.
    pub c_in: f32,
    /// x's part in x̂0.
    pub k0: f32,
    /// The network's (negative) part in x̂0.
    pub k1: f32,
    /// x̂0's part in the next x.
    pub a: f32,
    /// x's part in the next x.
    pub b: f32,
    /// Noise in the next x.
    pub c: f32,
    /// The part of the last step's x̂0 in the next x.
    pub d: f32,
    /// The network's part in the next x.
    pub e: f32,
    /// a_t = √ᾱ_t, the picture's part in x as the step finds it; for hooks.
    pub signal: f32,
    /// σ_t, the standard deviation of the noise in x as the step finds it; for hooks.
    pub sigma: f32,
    /// A corrector's signal-to-noise ratio; 0 of other steps.
    pub snr: f32,
}

/// A sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepTable<'a> {
    /// By which users choose it, such as `ddim-20`.
    pub name: &'a str,
    /// |x̂0| is held to this; infinite for no clip.
    pub clip: f32,
    /// From noise to picture.
    pub rows: &'a [StepRow],
}

impl StepTable<'_> {
    /// Whether a step draws on x̂0 of the step before.
    #[must_use]
    pub const fn is_multistep(&self) -> bool {
        let mut step = 0;
        while step < self.rows.len() {
            if self.rows[step].d != 0.0 {
                return true;
            }
            step += 1;
        }
        false
    }

    /// Whether a step is a corrector's, which needs all of x̂0 at once: a hook with a map.
    #[must_use]
    pub const fn is_corrected(&self) -> bool {
        let mut step = 0;
        while step < self.rows.len() {
            if self.rows[step].snr != 0.0 {
                return true;
            }
            step += 1;
        }
        false
    }

    /// Whether a step draws on the network's output but through x̂0; hooks with a map have no place for it.
    #[must_use]
    pub const fn draws_on_output(&self) -> bool {
        let mut step = 0;
        while step < self.rows.len() {
            if self.rows[step].e != 0.0 {
                return true;
            }
            step += 1;
        }
        false
    }
}

impl StepRow {
    /// The next x, in place. `out` is the network's output; `z` counts only where `c` is not 0. `previous` holds x̂0 of
    /// the step before, then of this one; empty, it stands for a map of 0 that is not kept.
    pub fn update(&self, clip: f32, x: &mut [f32], out: &[f32], z: &[f32], previous: &mut [f32]) {
        let Self { k0, k1, a, b, c, d, e, .. } = *self;
        let mut previous = previous.iter_mut();
        for ((x, out), z) in x.iter_mut().zip(out).zip(z) {
            let x0 = clamp(k0 * *x - k1 * *out, clip);
            let sum = a * x0 + b * *x;
            let sum = if c == 0.0 { sum } else { sum + c * *z };
            let before = previous.next().map_or(0.0, |previous| core::mem::replace(previous, x0));
            let sum = if d == 0.0 { sum } else { sum + d * before };
            *x = sum + e * *out;
        }
    }

    /// x̂0, the first half of [`Self::update`].
    pub(crate) fn estimate(&self, clip: f32, x: &[f32], out: &[f32], x0: &mut [f32]) {
        for ((x0, x), out) in x0.iter_mut().zip(x).zip(out) {
            *x0 = clamp(self.k0 * *x - self.k1 * *out, clip);
        }
    }

    /// The next x of an x̂0, the second half of [`Self::update`].
    pub(crate) fn proceed(&self, x: &mut [f32], x0: &[f32], out: &[f32], z: &[f32], previous: &mut [f32]) {
        let Self { a, b, c, d, e, .. } = *self;
        let mut previous = previous.iter_mut();
        for (((x, x0), out), z) in x.iter_mut().zip(x0).zip(out).zip(z) {
            let sum = a * *x0 + b * *x;
            let sum = if c == 0.0 { sum } else { sum + c * *z };
            let before = previous.next().map_or(0.0, |previous| core::mem::replace(previous, *x0));
            let sum = if d == 0.0 { sum } else { sum + d * before };
            *x = sum + e * *out;
        }
    }

    /// x of q(x_t | x_0) at the step's noise: x = signal·x + sigma·z, in place. `x` is the picture, about −1 to 1.
    pub fn noise_to(&self, x: &mut [f32], noise: &mut dyn Noise) {
        noise_to(x, self.signal, self.sigma, noise);
    }
}

/// x = signal·x + sigma·z, in place: the forward process (Ho et al. 2020, eq. 4).
pub fn noise_to(x: &mut [f32], signal: f32, sigma: f32, noise: &mut dyn Noise) {
    let mut z = [0.0; CHUNK];
    for x in x.chunks_mut(CHUNK) {
        let (z, _) = z.split_at_mut(x.len());
        noise.fill(z);
        x.iter_mut().zip(&*z).for_each(|(x, z)| *x = signal * *x + sigma * *z);
    }
}

/// `value` held to ±`limit`; NaN stays.
pub(crate) fn clamp(value: f32, limit: f32) -> f32 {
    if value > limit {
        limit
    } else if value < -limit {
        -limit
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: StepRow = StepRow {
        network_row: 0,
        c_in: 1.0,
        k0: 2.0,
        k1: 0.5,
        a: 0.25,
        b: 3.0,
        c: 0.0,
        d: 0.0,
        e: -1.0,
        signal: 0.8,
        sigma: 0.6,
        snr: 0.0,
    };

    fn update(row: StepRow, clip: f32, x: f32, out: f32, z: f32) -> f32 {
        let mut x = [x];
        row.update(clip, &mut x, &[out], &[z], &mut []);
        x[0]
    }

    #[test]
    fn the_last_estimate_is_drawn_on_and_replaced_by_the_clipped_one() {
        let (mut x, mut previous) = ([2.0, 1.0], [8.0, f32::NAN]);
        StepRow { d: 0.5, ..ROW }.update(1.0, &mut x[..1], &[1.0], &[0.0], &mut previous[..1]);
        ROW.update(1.0, &mut x[1..], &[3.0], &[0.0], &mut previous[1..]);
        assert_eq!(x, [0.25 + 6.0 + 4.0 - 1.0, 0.125 + 3.0 - 3.0], "no last estimate where d is 0");
        assert_eq!(previous, [1.0, 0.5]);
    }

    #[test]
    fn is_the_formula() {
        assert_eq!(update(ROW, f32::INFINITY, 1.0, 4.0, f32::NAN), 0.25 * 0.0 + 3.0 - 4.0, "no noise where c is 0");
        assert_eq!(update(StepRow { c: 2.0, ..ROW }, f32::INFINITY, 1.0, 4.0, 10.0), 19.0);
        assert_eq!(update(ROW, 1.0, 2.0, 0.0, 0.0), 0.25 + 6.0, "clipped above");
        assert_eq!(update(ROW, 1.0, -2.0, 0.0, 0.0), -0.25 - 6.0, "clipped below");
        assert!(update(ROW, 1.0, f32::NAN, 0.0, 0.0).is_nan(), "errors are not clipped away");
    }

    #[test]
    fn rounds_from_left_to_right_without_fma() {
        let row = StepRow { k0: 0.1, k1: 0.3, a: 0.7, b: 0.9, c: 1.1, d: 1.2, e: 1.3, ..ROW };
        for i in 0..1000 {
            let [x, out, z] = [3, 7, 11].map(|n| ((i * n) % 1000) as f32 / 300.0 - 1.6);
            let x0 = std::hint::black_box(0.1f32 * x) - std::hint::black_box(0.3f32 * out);
            let sum = std::hint::black_box(0.7f32 * x0) + std::hint::black_box(0.9f32 * x);
            let sum = sum + std::hint::black_box(1.1f32 * z);
            let sum = sum + std::hint::black_box(1.2f32 * 0.7);
            let expected = sum + std::hint::black_box(1.3f32 * out);
            let mut x = [x];
            row.update(100.0, &mut x, &[out], &[z], &mut [0.7]);
            assert_eq!(x[0].to_bits(), expected.to_bits());
        }
    }
}
