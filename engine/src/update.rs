//! What becomes of a network's output: it is kept, or becomes the next x, strip by strip.

use crate::io::Sink;
use crate::noise::Noise;
use crate::schedule::StepRow;

/// Values of noise that are drawn at once: even, so that [`crate::Gaussian`] throws away no value but an odd map's
/// last.
const CHUNK: usize = 32;

/// Keeps output 0.
pub(crate) struct Keep<'a>(pub(crate) &'a mut [f32]);

impl Sink for Keep<'_> {
    fn put(&mut self, output: usize, first: usize, values: &[f32]) {
        if output == 0 {
            let kept = self.0.get_mut(first..).unwrap_or_default();
            kept.iter_mut().zip(values).for_each(|(kept, value)| *kept = *value);
        }
    }
}

/// Makes output 0 the next x, strip by strip.
pub(crate) struct Update<'a> {
    pub(crate) row: &'a StepRow,
    pub(crate) clip: f32,
    pub(crate) guidance: f32,
    pub(crate) x: &'a mut [f32],
    pub(crate) previous: &'a mut [f32],
    /// The labelled prediction, where this is the unlabelled one; else empty.
    pub(crate) labelled: &'a mut [f32],
    pub(crate) noise: Chunks<'a>,
}

impl Sink for Update<'_> {
    fn put(&mut self, output: usize, mut first: usize, mut values: &[f32]) {
        while output == 0 && first < self.x.len() {
            let len = values.len().min(CHUNK - first % CHUNK).min(self.x.len() - first);
            let Some((out @ [_, ..], rest)) = values.split_at_checked(len) else { return };
            self.strip(first, out);
            (first, values) = (first + len, rest);
        }
    }
}

impl Update<'_> {
    /// A strip within x and within one chunk of noise.
    fn strip(&mut self, first: usize, out: &[f32]) {
        let row = self.row;
        let z = if row.c == 0.0 { out } else { self.noise.at(first, self.x.len()) };
        let (x, previous) = (part(self.x, first, out), part(self.previous, first, out));
        let labelled = part(self.labelled, first, out);
        // Guidance combines in place.
        let combine = |(labelled, out): (&mut f32, &f32)| *labelled = *out + self.guidance * (*labelled - *out);
        labelled.iter_mut().zip(out).for_each(combine);
        row.update(self.clip, x, if labelled.is_empty() { out } else { labelled }, z, previous);
    }
}

/// As many elements as there are `values`, from element `first` on; empty where the map is.
fn part<'a>(map: &'a mut [f32], first: usize, values: &[f32]) -> &'a mut [f32] {
    map.get_mut(first..first + values.len()).unwrap_or_default()
}

/// A map of noise, of which a chunk is kept. Chunks lie at multiples of [`CHUNK`], so that the values are those of one
/// [`Noise::fill`] of the map, and do not depend on the strips.
pub(crate) struct Chunks<'a> {
    noise: &'a mut dyn Noise,
    z: [f32; CHUNK],
    /// Values of the map that have been drawn.
    drawn: usize,
}

impl<'a> Chunks<'a> {
    /// Before the first.
    pub(crate) const fn new(noise: &'a mut dyn Noise) -> Self {
        Self { noise, z: [0.0; CHUNK], drawn: 0 }
    }

    /// From element `first` to the end of its chunk, in a map of `len`; strips come in order.
    fn at(&mut self, first: usize, len: usize) -> &[f32] {
        while self.drawn <= first {
            let (chunk, _) = self.z.split_at_mut(CHUNK.min(len - self.drawn));
            self.noise.fill(chunk);
            self.drawn += CHUNK;
        }
        self.z.get(first % CHUNK..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Gaussian, Philox};
    use std::vec;

    #[test]
    fn chunks_are_the_noise_of_the_whole_map() {
        for len in [1, 2, 31, 32, 33, 63, 64, 65, 100] {
            let (mut whole, mut chunked) = (Gaussian(Philox::new(5, 1)), Gaussian(Philox::new(5, 1)));
            let mut z = vec![0.0; len];
            whole.fill(&mut z);
            for stride in [1, 3, 40] {
                chunked = Gaussian(Philox::new(5, 1));
                let mut chunks = Chunks::new(&mut chunked);
                for first in (0..len).step_by(stride).chain([len - 1]) {
                    assert_eq!(chunks.at(first, len)[0], z[first], "element {first} of {len}");
                }
            }
            assert_eq!(chunked, whole, "as much was drawn");
        }
    }

    /// With and without guidance, whose labelled prediction is 10.
    #[test]
    fn what_leads_out_of_the_map_is_dropped() {
        let row = StepRow { network_row: 0, c_in: 1.0, k0: 0.0, k1: 0.0, a: 0.0, b: 0.0, c: 0.0, d: 0.0, e: 1.0 };
        for (c, guidance, labelled, expected) in
            [(0.0, 1.0, &mut [][..], [0.0, 1.0, 2.0]), (1.0, 3.0, &mut [10.0; 3][..], [0.0, 28.0, 26.0])]
        {
            let (row, mut x, mut kept, mut noise) = (StepRow { c, ..row }, [0.0; 3], [0.0; 3], Zero);
            let noise = Chunks::new(&mut noise);
            let mut update = Update { row: &row, clip: 1.0, guidance, x: &mut x, previous: &mut [], labelled, noise };
            for sink in [&mut update as &mut dyn Sink, &mut Keep(&mut kept)] {
                sink.put(0, 1, &[1.0, 2.0, 3.0]);
                sink.put(0, usize::MAX, &[4.0]);
                sink.put(1, 0, &[5.0]);
                sink.put(0, 0, &[]);
            }
            assert_eq!((x, kept), (expected, [0.0, 1.0, 2.0]));
        }
    }

    struct Zero;

    impl Noise for Zero {
        fn fill(&mut self, z: &mut [f32]) {
            z.fill(0.0);
        }
    }
}
