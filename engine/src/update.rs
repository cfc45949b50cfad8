//! What becomes of a network's output: it is kept, or becomes the next x, strip by strip, with what hooks do to it.

use crate::hooks::{At, Guide, Hooks, Observe, Watch};
use crate::io::Sink;
use crate::noise::{CHUNK, Chunks, Noise};
use crate::sum::Sum;

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
pub(crate) struct Update<'a, 'n, G, O, W> {
    pub(crate) at: At<'a>,
    pub(crate) clip: f32,
    pub(crate) guidance: f32,
    pub(crate) x: &'a mut [f32],
    pub(crate) previous: &'a mut [f32],
    /// The labelled prediction, where this is the unlabelled one; else empty.
    pub(crate) labelled: &'a mut [f32],
    pub(crate) noise: Chunks<&'n mut dyn Noise>,
    pub(crate) hooks: &'a mut Hooks<G, O, W>,
}

impl<G: Guide, O: Observe, W: Watch> Sink for Update<'_, '_, G, O, W> {
    fn put(&mut self, output: usize, mut first: usize, mut values: &[f32]) {
        while output == 0 && first < self.x.len() {
            let len = values.len().min(CHUNK - first % CHUNK).min(self.x.len() - first);
            let Some((out @ [_, ..], rest)) = values.split_at_checked(len) else { return };
            if Hooks::<G, O, W>::ARE_EMPTY {
                self.strip(first, out);
            } else {
                self.hooked(first, out);
            }
            (first, values) = (first + len, rest);
        }
    }
}

impl<G: Guide, O: Observe, W: Watch> Update<'_, '_, G, O, W> {
    /// A strip within x and within one chunk of noise, without hooks.
    fn strip(&mut self, first: usize, out: &[f32]) {
        let row = self.at.row;
        let z = if row.c == 0.0 { out } else { self.noise.at(first, self.x.len()) };
        let (x, previous) = (part(self.x, first, out), part(self.previous, first, out));
        let labelled = part(self.labelled, first, out);
        // Guidance combines in place.
        let combine = |(labelled, out): (&mut f32, &f32)| *labelled = *out + self.guidance * (*labelled - *out);
        labelled.iter_mut().zip(out).for_each(combine);
        row.update(self.clip, x, if labelled.is_empty() { out } else { labelled }, z, previous);
    }

    /// The same with hooks.
    fn hooked(&mut self, first: usize, out: &[f32]) {
        let mut buffer = [0.0; CHUNK];
        let (strip, _) = buffer.split_at_mut(out.len());
        strip.copy_from_slice(out);
        let labelled = part(self.labelled, first, out);
        for (labelled, out) in labelled.iter_mut().zip(strip.iter_mut()) {
            *out += self.guidance * (*labelled - *out);
        }
        if !G::RESCALES || labelled.is_empty() {
            return self.guided(first, strip);
        }
        self.hooks.guide.combined(labelled, strip);
        // Guidance combines in place: the factor is known after the last strip.
        labelled.copy_from_slice(strip);
        if first + out.len() >= self.x.len() {
            let factor = self.hooks.guide.factor();
            self.each_chunk(|this, first, strip| {
                let labelled = part(this.labelled, first, strip);
                strip.iter_mut().zip(labelled).for_each(|(out, guided)| *out = factor * *guided);
                this.guided(first, strip);
            });
        }
    }

    /// A strip of the output with classifier-free guidance in it.
    fn guided(&mut self, first: usize, out: &mut [f32]) {
        let mut buffer = [0.0; CHUNK];
        let (x0, _) = buffer.split_at_mut(out.len());
        let (at, x, hooks) = (self.at, part(self.x, first, out), &mut *self.hooks);
        hooks.guide.guide(&at, first, x, out);
        at.row.estimate(self.clip, x, out, x0);
        hooks.observe.x0(&at, first, x0);
        hooks.watch.watch(&at, first, x, out, x0);
        if !O::HAS_MAP {
            return self.proceed(first, x0, out);
        }
        part(hooks.observe.map(), first, x0).iter_mut().zip(&*x0).for_each(|(to, x0)| *to = *x0);
        if first + out.len() >= self.x.len() {
            hooks.observe.whole(&at);
            if at.row.snr == 0.0 {
                self.each_chunk(|this, first, x0| {
                    let map = part(this.hooks.observe.map(), first, x0);
                    x0.iter_mut().zip(map).for_each(|(x0, map)| *x0 = *map);
                    // Of a table without parts of the output.
                    this.proceed(first, x0, x0);
                });
            } else {
                self.correct();
            }
        }
    }

    /// A strip of the next x.
    fn proceed(&mut self, first: usize, x0: &[f32], out: &[f32]) {
        let row = self.at.row;
        let z = if row.c == 0.0 { x0 } else { self.noise.at(first, self.x.len()) };
        let (x, previous) = (part(self.x, first, x0), part(self.previous, first, x0));
        row.proceed(x, x0, out, z, previous);
        self.hooks.observe.x(&self.at, first, x);
    }

    /// A corrector's step, x̂0 being in the observer's map, which becomes the score.
    fn correct(&mut self) {
        let (row, len) = (self.at.row, self.x.len());
        let (signal, inverse) = (row.signal, 1.0 / (row.sigma * row.sigma));
        let mut square = Sum::NONE;
        for (x, map) in self.x.iter().zip(self.hooks.observe.map()) {
            *map = (signal * *map - *x) * inverse;
            square.add(*map * *map);
        }
        let square = square.value();
        // Where the score is 0, x stays.
        let alpha = if square > 0.0 { 2.0 * (row.snr * row.snr) * len as f32 / square } else { 0.0 };
        let of_noise = crate::isa::sqrt(2.0 * alpha);
        self.each_chunk(|this, first, strip| {
            let z = this.noise.at(first, len);
            let map = part(this.hooks.observe.map(), first, strip);
            for ((strip, map), z) in strip.iter_mut().zip(map).zip(z) {
                *strip = alpha * *map + of_noise * *z;
            }
            let x = part(this.x, first, strip);
            x.iter_mut().zip(&*strip).for_each(|(x, change)| *x += *change);
            this.hooks.observe.x(&this.at, first, x);
        });
    }

    /// Does something chunk by chunk; the strip is zero.
    fn each_chunk(&mut self, mut work: impl FnMut(&mut Self, usize, &mut [f32])) {
        let len = self.x.len();
        for first in (0..len).step_by(CHUNK) {
            let mut buffer = [0.0; CHUNK];
            let (strip, _) = buffer.split_at_mut(CHUNK.min(len - first));
            work(self, first, strip);
        }
    }
}

/// As many elements as there are `values`, from element `first` on; empty where the map is.
fn part<'a>(map: &'a mut [f32], first: usize, values: &[f32]) -> &'a mut [f32] {
    map.get_mut(first..first + values.len()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::StepRow;

    /// With and without guidance, whose labelled prediction is 10.
    #[test]
    fn what_leads_out_of_the_map_is_dropped() {
        let row = StepRow {
            network_row: 0,
            c_in: 1.0,
            k0: 0.0,
            k1: 0.0,
            a: 0.0,
            b: 0.0,
            c: 0.0,
            d: 0.0,
            e: 1.0,
            signal: 0.8,
            sigma: 0.6,
            snr: 0.0,
        };
        for (c, guidance, labelled, expected) in
            [(0.0, 1.0, &mut [][..], [0.0, 1.0, 2.0]), (1.0, 3.0, &mut [10.0; 3][..], [0.0, 28.0, 26.0])]
        {
            let (row, mut x, mut kept, mut noise) = (StepRow { c, ..row }, [0.0; 3], [0.0; 3], Zero);
            let noise = Chunks::new(&mut noise as &mut dyn Noise);
            let at = At { step: 0, row: &row, next: None };
            let hooks = &mut Hooks::<()>::default();
            let mut update = Update { at, clip: 1.0, guidance, x: &mut x, previous: &mut [], labelled, noise, hooks };
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
