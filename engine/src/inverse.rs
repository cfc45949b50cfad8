//! Inverse problems, y = A x: observers that bring x̂0 into line with what was measured.
//!
//! [`Linear`] is an A, as two functions. [`Ddnm`] puts y into x̂0 and leaves the rest to the network (Wang et al. 2023):
//! x̂0 ← x̂0 + A⁺(y − A x̂0). For inpainting that is [`Known`], pixel by pixel, without memory for x̂0; [`Replace`] instead puts
//! a noisy y into x after each step (Song et al. 2021, appendix I.2).

use crate::hooks::{At, Observe};
use crate::noise::{Chunks, Noise};
use crate::schedule::clamp;
use crate::shape::Shape;

/// A linear A whose rows are independent, so that A A⁺ = I. x is `[height][width][channels]`.
pub trait Linear {
    /// How many values y has.
    fn measurements(&self) -> usize;

    /// Value `i` of A x.
    fn forward(&self, x: &[f32], i: usize) -> f32;

    /// Adds `r` times column `i` of A⁺ to x: value `i` of A x then is larger by `r`, and all others are as they were.
    fn add_inverse(&self, i: usize, r: f32, x: &mut [f32]);
}

/// Means of `side` × `side` boxes, channel by channel: y is `[height/side][width/side][channels]`, rounded down. Pixels
/// beside the last whole box are not measured.
#[derive(Clone, Copy, Debug)]
pub struct Boxes {
    /// Of x.
    pub shape: Shape,
    /// Pixels a side; at least 1.
    pub side: usize,
}

/// Every `side`-th pixel of every `side`-th row, from the first: y as of [`Boxes`].
#[derive(Clone, Copy, Debug)]
pub struct Decimated(
    /// Their upper left pixels are measured.
    pub Boxes,
);

/// The grey of colour pictures: y is `[height][width]`, the weighted sum of three channels.
#[derive(Clone, Copy, Debug)]
pub struct Grey {
    /// Pixels.
    pub pixels: usize,
    /// Of red, green and blue; not all 0.
    pub weights: [f32; 3],
}

impl Grey {
    /// Luma's weights (ITU-R BT.601), as most programs turn colour to grey.
    pub const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
}

impl Boxes {
    /// Shape of y.
    #[must_use]
    pub const fn measured(&self) -> Shape {
        let side = if self.side == 0 { 1 } else { self.side };
        Shape { height: self.shape.height / side, width: self.shape.width / side, channels: self.shape.channels }
    }

    /// The element of x in the upper left corner of box `i`.
    fn corner(&self, i: usize) -> usize {
        let y = self.measured();
        let (box_of, channel) = (i / y.channels.max(1), i % y.channels.max(1));
        let (row, column) = (box_of / y.width.max(1) * self.side, box_of % y.width.max(1) * self.side);
        (row * self.shape.width + column) * self.shape.channels + channel
    }

    /// The elements of box `i`, row by row.
    fn elements(&self, i: usize) -> impl Iterator<Item = usize> {
        let (corner, side, shape) = (self.corner(i), self.side, self.shape);
        let row = move |row: usize| (0..side).map(move |column| corner + (row * shape.width + column) * shape.channels);
        (0..side).flat_map(row)
    }
}

impl Linear for Boxes {
    fn measurements(&self) -> usize {
        self.measured().len()
    }

    fn forward(&self, x: &[f32], i: usize) -> f32 {
        let sum: f32 = self.elements(i).map(|at| x.get(at).copied().unwrap_or_default()).fold(0.0, |sum, x| sum + x);
        sum / (self.side * self.side) as f32
    }

    fn add_inverse(&self, i: usize, r: f32, x: &mut [f32]) {
        self.elements(i).for_each(|at| x.get_mut(at).into_iter().for_each(|x| *x += r));
    }
}

impl Linear for Decimated {
    fn measurements(&self) -> usize {
        self.0.measurements()
    }

    fn forward(&self, x: &[f32], i: usize) -> f32 {
        x.get(self.0.corner(i)).copied().unwrap_or_default()
    }

    fn add_inverse(&self, i: usize, r: f32, x: &mut [f32]) {
        x.get_mut(self.0.corner(i)).into_iter().for_each(|x| *x += r);
    }
}

impl Linear for Grey {
    fn measurements(&self) -> usize {
        self.pixels
    }

    fn forward(&self, x: &[f32], i: usize) -> f32 {
        let pixel = x.get(3 * i..).unwrap_or_default();
        pixel.iter().zip(self.weights).fold(0.0, |sum, (x, weight)| sum + weight * *x)
    }

    fn add_inverse(&self, i: usize, r: f32, x: &mut [f32]) {
        let square = self.weights.iter().fold(0.0, |sum, weight| sum + weight * weight);
        let pixel = x.get_mut(3 * i..).unwrap_or_default();
        pixel.iter_mut().zip(self.weights).for_each(|(x, weight)| *x += weight / square * r);
    }
}

/// Largest error of A A⁺ = I that [`check`] takes for rounding.
const TOLERANCE: f32 = 1e-3;

/// Whether A and A⁺ fit each other, in memory of x's length: measurement by measurement, A A⁺ = I. Work grows with the
/// square of the measurements.
///
/// # Errors
/// The pair of measurements `[i, j]` of which r added to number i changes number j by something else than it should.
pub fn check(a: &impl Linear, x: &mut [f32]) -> Result<(), [usize; 2]> {
    for i in 0..a.measurements() {
        x.fill(0.0);
        a.add_inverse(i, 1.0, x);
        let wrong = |j: &usize| {
            let error = a.forward(x, *j) - if *j == i { 1.0 } else { 0.0 };
            error.is_nan() || error.abs() > TOLERANCE
        };
        if let Some(j) = (0..a.measurements()).find(wrong) {
            return Err([i, j]);
        }
    }
    Ok(())
}

/// Most times that the last step holds x̂0 to its range and to y, in turn: both sets are convex and have a picture in
/// common, so that x ends near both (alternating projections).
const LAST_ROUNDS: usize = 200;
/// Over-relaxation of these projections, 1 to 2, where values at the ends of the range leave the others little say.
const RELAXATION: f32 = 1.5;
/// Error of a measurement at which they end: an eighth of a step of 8 bits.
const CLOSE: f32 = 1e-3;

/// x̂0 ← x̂0 + A⁺(y − A x̂0) at every step (Wang et al. 2023, eq. 13). After the last step A x = y, and x is within about
/// −1 to 1 wherever y allows it.
#[derive(Clone, Copy, Debug)]
pub struct Ddnm<A, Y, M> {
    /// What is measured.
    pub a: A,
    /// What was measured, as long as A says.
    pub y: Y,
    /// Memory for x̂0: `[f32; N]`, `&mut [f32]` or `Vec<f32>`, as long as x.
    pub map: M,
}

impl<A: Linear, Y: AsRef<[f32]>, M: AsMut<[f32]>> Observe for Ddnm<A, Y, M> {
    const HAS_MAP: bool = true;

    fn map(&mut self) -> &mut [f32] {
        self.map.as_mut()
    }

    fn whole(&mut self, at: &At<'_>) {
        let Self { a, y, map } = self;
        let x0 = map.as_mut();
        // As A A⁺ = I, a measurement that is put right leaves all others as they are.
        let approach = |share: f32, x0: &mut [f32]| {
            let mut largest: f32 = 0.0;
            for (i, y) in y.as_ref().iter().enumerate().take(a.measurements()) {
                let r = *y - a.forward(x0, i);
                a.add_inverse(i, share * r, x0);
                largest = largest.max(r.abs());
            }
            largest
        };
        if at.next.is_none() {
            for _ in 0..LAST_ROUNDS {
                x0.iter_mut().for_each(|x0| *x0 = clamp(*x0, 1.0));
                if approach(RELAXATION, x0) < CLOSE {
                    break;
                }
            }
            x0.iter_mut().for_each(|x0| *x0 = clamp(*x0, 1.0));
        }
        approach(1.0, x0);
    }
}

/// Whether pixel `pixel` is known: bit `pixel` of `bits`, the least significant of each byte first.
#[must_use]
pub fn is_known(bits: &[u8], pixel: usize) -> bool {
    bits.get(pixel / 8).is_some_and(|byte| byte >> (pixel % 8) & 1 == 1)
}

/// Inpainting: x̂0 ← the picture where it is known; [`Ddnm`] for a mask. It needs no memory for x̂0.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// A bit a pixel, see [`is_known`].
    pub bits: &'a [u8],
    /// The picture, as long as x; what is not known is not read.
    pub picture: &'a [f32],
    /// Values a pixel.
    pub channels: usize,
}

impl Known<'_> {
    /// Puts known values, of a strip, into it.
    fn put(&self, first: usize, values: &mut [f32], mut known: impl FnMut(usize, f32) -> f32) {
        for ((i, value), picture) in values.iter_mut().enumerate().zip(self.picture.get(first..).unwrap_or_default()) {
            if is_known(self.bits, (first + i) / self.channels.max(1)) {
                *value = known(i, *picture);
            }
        }
    }
}

impl Observe for Known<'_> {
    fn x0(&mut self, _: &At<'_>, first: usize, x0: &mut [f32]) {
        self.put(first, x0, |_, picture| picture);
    }
}

/// Inpainting by replacement: after each step x becomes a·y + σ·z where the picture is known. The rest of x does not know
/// what it will be held against, so that edges show; [`Known`] is the better one, this is the older.
#[derive(Clone, Debug)]
pub struct Replace<'a, N> {
    known: Known<'a>,
    noise: Chunks<N>,
}

impl<'a, N: Noise> Replace<'a, N> {
    /// With noise of its own: another stream than the sampler's.
    pub const fn new(known: Known<'a>, noise: N) -> Self {
        Self { known, noise: Chunks::new(noise) }
    }
}

impl<N: Noise> Observe for Replace<'_, N> {
    fn x(&mut self, at: &At<'_>, first: usize, x: &mut [f32]) {
        let (signal, sigma) = (at.next_signal(), at.next_sigma());
        if first == 0 {
            self.noise.restart();
        }
        let z = if sigma == 0.0 { &[] } else { self.noise.at(first, self.known.picture.len()) };
        self.known.put(first, x, |i, picture| signal * picture + sigma * z.get(i).copied().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Gaussian, Philox};
    use crate::schedule::StepRow;
    use proptest::prelude::*;
    use std::vec::Vec;

    const SHAPE: Shape = Shape { height: 7, width: 6, channels: 3 };
    const ROW: StepRow = StepRow {
        network_row: 0,
        c_in: 1.0,
        k0: 1.0,
        k1: 1.0,
        a: 1.0,
        b: 0.0,
        c: 0.0,
        d: 0.0,
        e: 0.0,
        signal: 0.8,
        sigma: 0.6,
        snr: 0.0,
    };
    const LAST: At<'_> = At { step: 3, row: &ROW, next: None };

    fn noise(seed: u64, len: usize) -> Vec<f32> {
        let mut z = std::vec![0.0; len];
        Gaussian(Philox::new(seed, 0)).fill(&mut z);
        z
    }

    /// A whose second row is the first.
    struct Twice;

    impl Linear for Twice {
        fn measurements(&self) -> usize {
            2
        }

        fn forward(&self, x: &[f32], _: usize) -> f32 {
            x[0]
        }

        fn add_inverse(&self, _: usize, r: f32, x: &mut [f32]) {
            x[0] += r;
        }
    }

    #[test]
    fn inverses_are_found_to_be_ones_or_not() {
        let x = &mut [0.0; 126];
        for side in 1..8 {
            let boxes = Boxes { shape: SHAPE, side };
            assert_eq!(boxes.measurements(), 7 / side * (6 / side) * 3);
            assert_eq!((check(&boxes, x), check(&Decimated(boxes), x)), (Ok(()), Ok(())), "{side}");
        }
        assert_eq!(check(&Grey { pixels: 42, weights: Grey::LUMA }, x), Ok(()));
        assert_eq!(check(&Twice, x), Err([0, 1]));
        assert!(check(&Grey { pixels: 42, weights: [0.0; 3] }, x).is_err());
    }

    #[test]
    fn boxes_are_means_by_hand() {
        let shape = Shape { height: 3, width: 4, channels: 1 };
        let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let boxes = Boxes { shape, side: 2 };
        assert_eq!([0, 1].map(|i| boxes.forward(&x, i)), [2.5, 4.5]);
        assert_eq!([0, 1].map(|i| Decimated(boxes).forward(&x, i)), [0.0, 2.0]);
        let grey = Grey { pixels: 1, weights: [0.5, 0.25, 0.25] };
        assert_eq!(grey.forward(&[1.0, 2.0, 4.0], 0), 2.0);
    }

    /// What is measured holds, at any step; what A does not see stays as it was.
    fn holds<A: Linear>(a: A, seed: u64, at: &At<'_>, len: usize) {
        let truth: Vec<f32> = noise(seed, len).iter().map(|x| clamp(*x, 1.0)).collect();
        let y: Vec<f32> = (0..a.measurements()).map(|i| a.forward(&truth, i)).collect();
        let before = noise(seed + 1, len);
        let mut ddnm = Ddnm { a, y, map: before.clone() };
        ddnm.whole(at);
        let Ddnm { a, y, map } = ddnm;
        for (i, y) in y.iter().enumerate() {
            assert!((a.forward(&map, i) - y).abs() < 1e-4, "measurement {i}");
        }
        if at.next.is_some() {
            // The change is in the range of A⁺: taking its measurements out leaves nothing.
            let mut change: Vec<f32> = map.iter().zip(&before).map(|(after, before)| after - before).collect();
            for i in 0..a.measurements() {
                let r = a.forward(&change, i);
                a.add_inverse(i, -r, &mut change);
            }
            assert!(change.iter().all(|change| change.abs() < 1e-4));
        } else {
            // Pictures of bytes: saturating changes no measurement by a step, 2/255.
            let cut: Vec<f32> = map.iter().map(|x| clamp(*x, 1.0)).collect();
            for (i, y) in y.iter().enumerate() {
                assert!((a.forward(&cut, i) - y).abs() < 1.0 / 255.0, "measurement {i} of {}", y);
            }
        }
    }

    proptest! {
        #[test]
        fn measurements_hold(seed in 0u64..1000, side in 1usize..8, is_last: bool) {
            let at = At { next: Some(&ROW).filter(|_| !is_last), ..LAST };
            let boxes = Boxes { shape: SHAPE, side };
            holds(boxes, seed, &at, SHAPE.len());
            holds(Decimated(boxes), seed, &at, SHAPE.len());
            holds(Grey { pixels: 42, weights: Grey::LUMA }, seed, &at, SHAPE.len());
        }

        /// By strips of any length, as of a whole map.
        #[test]
        fn known_pixels_are_put_in(bits in proptest::array::uniform6(0u8..), strip in 1usize..33, channels in 1usize..4) {
            let len = 14 * channels;
            let (picture, before) = (noise(1, len), noise(2, len));
            let known = Known { bits: &bits, picture: &picture, channels };
            let next = At { next: Some(&ROW), ..LAST };
            let mut z = std::vec![0.0; len];
            let mut source = Gaussian(Philox::new(7, 0));
            let mut replace = Replace::new(known, source.clone());
            for at in [next, LAST, next] {
                let (mut x0, mut x) = (before.clone(), before.clone());
                if at.next.is_some() {
                    source.fill(&mut z);
                }
                for first in (0..len).step_by(strip) {
                    // Strips end where chunks of noise do.
                    let mut from = first;
                    while from < len.min(first + strip) {
                        let end = len.min(first + strip).min(from / 32 * 32 + 32);
                        { known }.x0(&at, from, &mut x0[from..end]);
                        replace.x(&at, from, &mut x[from..end]);
                        from = end;
                    }
                }
                for (i, (x0, x)) in x0.iter().zip(&x).enumerate() {
                    let is_known = bits[i / channels / 8] >> (i / channels % 8) & 1 == 1;
                    let (picture, before, z) = (picture[i], before[i], z[i]);
                    let noisy = if at.next.is_some() { 0.8 * picture + 0.6 * z } else { picture };
                    prop_assert_eq!(*x0, if is_known { picture } else { before });
                    prop_assert_eq!(*x, if is_known { noisy } else { before });
                }
            }
        }
    }
}
