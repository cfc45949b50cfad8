//! Guides: a classifier's gradient, and classifier-free guidance in an interval of noise.

use crate::conditioning::Condition;
use crate::hooks::{At, Guide};
use crate::io::{Input, Io};
use crate::network::Layers;
use crate::sum::Sum;

/// Classifier guidance: ε̂ = ε − s·σ_t·∇ log p(y | x_t) (Dhariwal & Nichol 2021, algorithm 2), by a network that gives the
/// gradient as one of its outputs. Whatever the denoiser predicts, x̂0 moves by s·σ_t²/a_t·∇ log p.
///
/// The classifier runs in the denoiser's arena, before it, and costs one evaluation of its own a step.
pub struct Classifier<'a, M> {
    network: &'a dyn Layers,
    /// The number of the output that is the gradient.
    output: usize,
    class: usize,
    scale: f32,
    gradient: M,
    layer: usize,
}

impl<'a, M: AsMut<[f32]> + AsRef<[f32]>> Classifier<'a, M> {
    /// Towards class `class` of a network from x, the step's row and the class to ∇ log p(class | x_t), which is its output
    /// number `output`. Rows of time are those of the denoiser. `scale` is s, 0 for none; `gradient` is memory for a map,
    /// `[f32; N]`, `&mut [f32]` or `Vec<f32>`, as long as x.
    pub const fn new(network: &'a dyn Layers, output: usize, class: usize, scale: f32, gradient: M) -> Self {
        Self { network, output, class, scale, gradient, layer: 0 }
    }
}

impl<M: AsMut<[f32]> + AsRef<[f32]>> Guide for Classifier<'_, M> {
    fn layer(&mut self, at: &At<'_>, x: &[f32], arena: &mut [u8]) -> Option<usize> {
        let (layer, output) = (self.layer, self.output);
        if self.scale == 0.0 || layer >= self.network.layers() {
            self.layer = 0;
            return None;
        }
        let gradient = self.gradient.as_mut();
        let mut keep = |port: usize, first: usize, values: &[f32]| {
            let to = if port == output { gradient.get_mut(first..).unwrap_or_default() } else { &mut [] };
            to.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
        };
        let inputs = [Input { values: x, scale: at.row.c_in }];
        let condition = Condition { step: at.row.network_row.into(), class: self.class };
        self.network.layer(layer, condition, arena, &mut Io { inputs: &inputs, outputs: &mut keep });
        self.layer += 1;
        Some(layer)
    }

    fn guide(&mut self, at: &At<'_>, first: usize, _: &[f32], out: &mut [f32]) {
        if self.scale == 0.0 {
            return;
        }
        // x̂0 = k0·x − k1·out; of ε, σ²/(a·k1) is σ. The network read c_in·x.
        let row = at.row;
        let factor = self.scale * row.c_in * (row.sigma * row.sigma) / (row.signal * row.k1);
        let gradient = self.gradient.as_ref().get(first..).unwrap_or_default();
        out.iter_mut().zip(gradient).for_each(|(out, gradient)| *out -= factor * *gradient);
    }
}

/// Classifier-free guidance where the noise is within an interval (Kynkäänniemi et al. 2024), with the output's standard
/// deviation brought back towards that of the labelled prediction (Lin et al. 2024, eqs. 15 and 16).
#[derive(Clone, Copy, Debug)]
pub struct FreeGuidance {
    /// Guidance works where low < σ_t/a_t ≤ high; elsewhere a step takes one evaluation, the labelled one.
    pub interval: [f32; 2],
    /// φ, 0 (as it is) to 1 (the labelled prediction's deviation).
    pub rescale: f32,
    labelled: Moments,
    guided: Moments,
}

impl FreeGuidance {
    /// In all steps, as it is.
    pub const EVERYWHERE: [f32; 2] = [0.0, f32::INFINITY];

    /// In an interval of σ_t/a_t, with φ.
    #[must_use]
    pub const fn new(interval: [f32; 2], rescale: f32) -> Self {
        Self { interval, rescale, labelled: Moments::NONE, guided: Moments::NONE }
    }
}

impl Guide for FreeGuidance {
    const RESCALES: bool = true;

    fn weight(&self, at: &At<'_>, guidance: f32) -> f32 {
        let [low, high] = self.interval;
        let noise = at.row.sigma / at.row.signal;
        if noise > low && noise <= high { guidance } else { 1.0 }
    }

    fn combined(&mut self, labelled: &[f32], guided: &[f32]) {
        self.labelled.add(labelled);
        self.guided.add(guided);
    }

    fn factor(&mut self) -> f32 {
        let [labelled, guided] =
            [&mut self.labelled, &mut self.guided].map(|moments| core::mem::take(moments).deviation());
        if guided > 0.0 { self.rescale * (labelled / guided) + (1.0 - self.rescale) } else { 1.0 }
    }
}

/// Sums of values and of squares.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    values: Sum,
    squares: Sum,
}

impl Moments {
    const NONE: Self = Self { values: Sum::NONE, squares: Sum::NONE };

    fn add(&mut self, values: &[f32]) {
        for value in values {
            self.values.add(*value);
            self.squares.add(*value * *value);
        }
    }

    /// The standard deviation.
    fn deviation(self) -> f32 {
        let count = self.values.terms().max(1) as f32;
        let mean = self.values.value() / count;
        libm::sqrtf((self.squares.value() / count - mean * mean).max(0.0))
    }
}

/// None changes nothing.
impl<G: Guide> Guide for Option<G> {
    const RESCALES: bool = G::RESCALES;

    fn weight(&self, at: &At<'_>, guidance: f32) -> f32 {
        self.as_ref().map_or(guidance, |guide| guide.weight(at, guidance))
    }

    fn layer(&mut self, at: &At<'_>, x: &[f32], arena: &mut [u8]) -> Option<usize> {
        self.as_mut()?.layer(at, x, arena)
    }

    fn combined(&mut self, labelled: &[f32], guided: &[f32]) {
        self.iter_mut().for_each(|guide| guide.combined(labelled, guided));
    }

    fn factor(&mut self) -> f32 {
        self.as_mut().map_or(1.0, Guide::factor)
    }

    fn guide(&mut self, at: &At<'_>, first: usize, x: &[f32], out: &mut [f32]) {
        self.iter_mut().for_each(|guide| guide.guide(at, first, x, out));
    }
}

/// Both: `A` alone may run a network.
impl<A: Guide, B: Guide> Guide for (A, B) {
    const IS_EMPTY: bool = A::IS_EMPTY && B::IS_EMPTY;
    const RESCALES: bool = A::RESCALES || B::RESCALES;

    fn weight(&self, at: &At<'_>, guidance: f32) -> f32 {
        self.1.weight(at, self.0.weight(at, guidance))
    }

    fn layer(&mut self, at: &At<'_>, x: &[f32], arena: &mut [u8]) -> Option<usize> {
        self.0.layer(at, x, arena)
    }

    fn combined(&mut self, labelled: &[f32], guided: &[f32]) {
        self.0.combined(labelled, guided);
        self.1.combined(labelled, guided);
    }

    fn factor(&mut self) -> f32 {
        self.0.factor() * self.1.factor()
    }

    fn guide(&mut self, at: &At<'_>, first: usize, x: &[f32], out: &mut [f32]) {
        self.0.guide(at, first, x, out);
        self.1.guide(at, first, x, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::StepRow;

    const ROW: StepRow = StepRow {
        network_row: 5,
        c_in: 0.5,
        k0: 2.0,
        k1: 0.75,
        a: 1.0,
        b: 0.0,
        c: 0.0,
        d: 0.0,
        e: 0.0,
        signal: 0.8,
        sigma: 0.6,
        snr: 0.0,
    };
    const AT: At<'_> = At { step: 0, row: &ROW, next: None };

    /// Three layers; the last gives logits, then a gradient, 10·class + row + c_in·x.
    struct Slope;

    impl Layers for Slope {
        fn layers(&self) -> usize {
            3
        }

        fn layer(&self, index: usize, condition: Condition, _: &mut [u8], io: &mut Io<'_>) {
            let Input { values, scale } = io.input(0);
            if index == 2 {
                io.outputs.put(0, 0, &[f32::NAN; 3]);
                for (i, x) in values.iter().enumerate() {
                    io.outputs.put(1, i, &[10.0 * condition.class as f32 + condition.step as f32 + scale * x]);
                }
            }
        }
    }

    #[test]
    fn a_classifier_moves_the_estimate_by_its_gradient() {
        let mut guide = Classifier::new(&Slope, 1, 2, 3.0, [0.0; 2]);
        let (x, mut out) = ([1.0, -1.0], [0.25, 0.5]);
        for _ in 0..2 {
            let layers = core::iter::from_fn(|| guide.layer(&AT, &x, &mut []));
            assert!(layers.eq(0..3));
        }
        let gradient = x.map(|x| 20.0 + 5.0 + 0.5 * x);
        let before = out;
        guide.guide(&AT, 0, &x, &mut out);
        for ((out, before), gradient) in out.iter().zip(before).zip(gradient) {
            // x̂0 moves by s·σ²/a times the gradient with respect to x.
            let moved = -ROW.k1 * (*out - before);
            assert!((moved - 3.0 * 0.36 / 0.8 * 0.5 * gradient).abs() < 1e-4, "{moved}");
        }
        let mut none = Classifier::new(&Slope, 1, 2, 0.0, [f32::NAN; 2]);
        assert_eq!(none.layer(&AT, &x, &mut []), None);
        none.guide(&AT, 0, &x, &mut out);
        assert!(out.iter().all(|out| out.is_finite()));
    }

    #[test]
    fn free_guidance_keeps_to_its_interval_and_rescales() {
        let guide = FreeGuidance::new([0.7, 0.75], 0.5);
        assert_eq!(guide.weight(&AT, 3.0), 3.0);
        for interval in [[0.75, 9.0], [0.0, 0.7]] {
            assert_eq!(FreeGuidance::new(interval, 0.0).weight(&AT, 3.0), 1.0, "{interval:?}");
        }
        let mut guide = ((), guide);
        for _ in 0..2 {
            guide.combined(&[1.0, 2.0, 3.0, 4.0], &[10.0, 12.0, 14.0, 16.0]);
            assert_eq!(guide.factor(), 0.5 * 0.5 + 0.5);
        }
        assert_eq!(FreeGuidance::new(FreeGuidance::EVERYWHERE, 1.0).factor(), 1.0);
    }
}
