//! Activations as data.

use core::fmt;

use super::normal::gelu;
use super::sigmoid::{gelu_tanh, sigmoid, silu};
use super::slope::{gelu_slope, gelu_tanh_slope, relu_slope, sigmoid_slope, silu_slope, tanh_slope};
use super::tanh::tanh;

/// What follows a floating-point sum.
///
/// Kernels hold one as data. Those functions that are variants are in every kernel's code; the others are pointers to
/// code, which only firmware whose statics name them carries, such as [`Self::TANH`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(x, 0); NaN stays NaN.
    Relu,
    /// x / (1 + e⁻ˣ) (Elfwing et al. 2017).
    Silu,
    /// SiLU, but at most this.
    ClippedSilu(f32),
    /// Another function, by one call for all elements.
    Function(&'static Function),
}

/// A function with code of its own: one of [`Activation`]'s constants.
#[derive(Clone, Copy)]
pub struct Function {
    name: &'static str,
    apply: fn(&mut [f32]),
}

impl Function {
    /// Its constant's name in small letters, such as `gelu_tanh`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl PartialEq for Function {
    /// Names are enough: one function, one name.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! function {
    ($function:ident) => {
        Self::Function(&Function {
            name: stringify!($function),
            apply: |values| values.iter_mut().for_each(|x| *x = $function(*x)),
        })
    };
}

impl Activation {
    /// tanh x, within 2.5 units in the last place.
    pub const TANH: Self = function!(tanh);
    /// 1 / (1 + e⁻ˣ), within 2.5 units in the last place for x ≥ −87.
    pub const SIGMOID: Self = function!(sigmoid);
    /// x · Φ(x) (Hendrycks and Gimpel 2016), Φ being the normal distribution's function, within 11 units in the last place.
    pub const GELU: Self = function!(gelu);
    /// ½x · (1 + tanh u), u = √(2/π) · (x + 0.044715x³) (PyTorch's `approximate="tanh"`).
    pub const GELU_TANH: Self = function!(gelu_tanh);
    /// The derivative of [`Self::Silu`], within 3e-7.
    pub const SILU_SLOPE: Self = function!(silu_slope);
    /// The derivative of [`Self::Relu`]: 1 above 0, else 0.
    pub const RELU_SLOPE: Self = function!(relu_slope);
    /// The derivative of [`Self::TANH`], within 3e-7.
    pub const TANH_SLOPE: Self = function!(tanh_slope);
    /// The derivative of [`Self::SIGMOID`], within 1e-7.
    pub const SIGMOID_SLOPE: Self = function!(sigmoid_slope);
    /// The derivative of [`Self::GELU`], within 3e-7.
    pub const GELU_SLOPE: Self = function!(gelu_slope);
    /// The derivative of [`Self::GELU_TANH`], within 6e-7.
    pub const GELU_TANH_SLOPE: Self = function!(gelu_tanh_slope);

    /// f(x) of every element, the same bits as one by one.
    #[must_use]
    #[inline(always)]
    pub fn apply_all<const N: usize>(self, values: [f32; N]) -> [f32; N] {
        let mut values = values;
        match self {
            Self::Identity => {}
            Self::Relu => values.iter_mut().for_each(|x| *x = relu(*x)),
            Self::Function(function) => values = call(function.apply, values),
            Self::Silu | Self::ClippedSilu(_) if N < 8 => values = call(few_silus, values),
            Self::Silu | Self::ClippedSilu(_) => values.iter_mut().for_each(|x| *x = silu(*x)),
        }
        if let Self::ClippedSilu(limit) = self {
            values.iter_mut().for_each(|x| *x = clip(*x, limit));
        }
        values
    }

    /// f(x).
    #[must_use]
    #[inline]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Identity => x,
            Self::Relu => relu(x),
            Self::Silu => silu(x),
            Self::ClippedSilu(limit) => clip(silu(x), limit),
            Self::Function(function) => call(function.apply, [x])[0],
        }
    }
}

/// The values through a function, by way of a copy: those that it is not called for can stay in registers.
#[inline(always)]
fn call<const N: usize>(function: fn(&mut [f32]), values: [f32; N]) -> [f32; N] {
    let mut copy = values;
    function(&mut copy);
    copy
}

/// SiLU by a call: chips, whose kernels have few lanes, hold its code once.
#[inline(never)]
fn few_silus(values: &mut [f32]) {
    values.iter_mut().for_each(|x| *x = silu(*x));
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn clip(x: f32, limit: f32) -> f32 {
    if x > limit { limit } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 14] = [
        Activation::Identity,
        Activation::Relu,
        Activation::Silu,
        Activation::ClippedSilu(4.0),
        Activation::TANH,
        Activation::SIGMOID,
        Activation::GELU,
        Activation::GELU_TANH,
        Activation::SILU_SLOPE,
        Activation::RELU_SLOPE,
        Activation::TANH_SLOPE,
        Activation::SIGMOID_SLOPE,
        Activation::GELU_SLOPE,
        Activation::GELU_TANH_SLOPE,
    ];

    #[test]
    fn one_by_one_or_all_at_once_are_the_same_bits() {
        let values = (0..=u32::MAX).step_by(1009).map(f32::from_bits).collect::<std::vec::Vec<_>>();
        for activation in ALL {
            let chunks = values.as_chunks::<16>().0;
            for chunk in chunks {
                let one_by_one = chunk.map(|x| activation.apply(x));
                let all = activation.apply_all(*chunk);
                let few = chunk.as_chunks::<4>().0.iter().flat_map(|few| activation.apply_all(*few));
                for (((x, a), b), c) in chunk.iter().zip(one_by_one).zip(all).zip(few) {
                    let same = |b: f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                    assert!(same(b) && same(c), "{activation:?} of {x}: {a} {b} {c}");
                }
            }
        }
    }

    #[test]
    fn known_points() {
        let silu = |x| Activation::Silu.apply(x);
        assert_eq!(silu(0.0), 0.0);
        assert!((silu(1.0) - 0.731_058_6).abs() < 1e-7);
        assert!((silu(-1.278_464_5) + 0.278_464_54).abs() < 1e-7, "the minimum");
        assert_eq!(silu(100.0), 100.0);
        assert_eq!(silu(-200.0), 0.0);
        assert_eq!(Activation::Identity.apply(-3.5), -3.5);
        let clipped = |x| Activation::ClippedSilu(4.0).apply(x);
        assert_eq!((clipped(1.0), clipped(100.0)), (silu(1.0), 4.0));
        assert!(clipped(f32::NAN).is_nan());
        assert_eq!([-1.0, 0.0, 2.0].map(|x| Activation::Relu.apply(x)), [0.0, 0.0, 2.0]);
        assert!(Activation::Relu.apply(f32::NAN).is_nan());
        // torch.nn.functional: tanh, sigmoid, gelu, gelu with approximate="tanh", of 1.
        let ones =
            [Activation::TANH, Activation::SIGMOID, Activation::GELU, Activation::GELU_TANH].map(|f| f.apply(1.0));
        for (ours, known) in ones.into_iter().zip([0.761_594_2, 0.731_058_6, 0.841_344_7, 0.841_192]) {
            assert!((ours - known).abs() < 2e-7, "{ours} {known}");
        }
    }

    #[test]
    fn activations_are_equal_when_their_functions_are() {
        for (i, a) in ALL.iter().enumerate() {
            for (j, b) in ALL.iter().enumerate() {
                assert_eq!(a == b, i == j, "{a:?} {b:?}");
            }
        }
    }
}
