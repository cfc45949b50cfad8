//! The loop from noise to picture: network, update, next row; one layer at a time.

use crate::conditioning::Condition;
use crate::hooks::{At, Guide, Hooks, Observe, Watch};
use crate::io::{Input, Io, Sink};
use crate::memory::Parts;
use crate::network::Layers;
use crate::noise::{Chunks, Noise};
use crate::request::{Request, SampleError};
use crate::schedule::{StepRow, StepTable};
use crate::update::{Keep, Update};

/// What [`Trajectory::advance`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It ran a layer of the network; after the last layer of a step x is updated already.
    Layer {
        /// The step that is under way, from 0.
        step: usize,
        /// The layer; with guidance each comes twice a step, and the layers of a network that guides come before.
        layer: usize,
    },
    /// It ended a step.
    Step {
        /// The step that is done, from 0.
        step: usize,
        /// Of the table.
        steps: usize,
    },
    /// Nothing is left to do.
    Done,
}

/// Where the loop stands. It serves every network of at least two layers with one map as input and one as output. The
/// caller keeps the network, the table, the memory and the noise, and gives the same ones at every call for one
/// picture; for a generated model [`crate::Sampler`] does that.
///
/// The last layer's output updates x as it comes. So the network can read x, times the step's c_in, in all layers but
/// the last, which is given no inputs; and only the last layer's output is taken.
///
/// To pause is not to call; to begin anew is to call [`Self::start`] again. A new one is all zero bytes.
#[derive(Clone, Debug)]
pub struct Trajectory {
    /// Whether a picture was begun.
    begun: bool,
    /// Whether there are two evaluations a step.
    guided: bool,
    guidance: f32,
    /// `unlabelled` for none.
    class: usize,
    /// The class that stands for none.
    unlabelled: usize,
    step: usize,
    /// Evaluations of this step that are done.
    evaluation: usize,
    /// Layers of this evaluation that are done.
    layer: usize,
}

impl Trajectory {
    /// With nothing to do.
    #[must_use]
    pub const fn new() -> Self {
        Self { begun: false, guided: false, guidance: 0.0, class: 0, unlabelled: 0, step: 0, evaluation: 0, layer: 0 }
    }

    /// Begins a picture, from noise, with a network of `classes` classes.
    ///
    /// # Errors
    /// When the network has no such label, the guidance is not finite, the table is a multistep sampler's and
    /// `memory.previous` is shorter than x, or the request takes guidance and `memory.labelled` is shorter than x.
    /// Then what was under way stays as it is.
    pub fn start(
        &mut self,
        classes: usize,
        table: &StepTable<'_>,
        memory: Parts<'_>,
        noise: &mut dyn Noise,
        request: Request,
    ) -> Result<(), SampleError> {
        check(classes, table, &memory, request)?;
        noise.fill(memory.x);
        self.begin(classes, memory, request);
        Ok(())
    }

    /// Begins a picture from a given x; noise serves the steps alone.
    ///
    /// # Errors
    /// As [`Self::start`], and when `x` is not as long as `memory.x`.
    pub fn start_from(
        &mut self,
        classes: usize,
        table: &StepTable<'_>,
        memory: Parts<'_>,
        x: &[f32],
        request: Request,
    ) -> Result<(), SampleError> {
        check(classes, table, &memory, request)?;
        if x.len() != memory.x.len() {
            return Err(SampleError::WrongLength { expected: memory.x.len(), got: x.len() });
        }
        memory.x.iter_mut().zip(x).for_each(|(to, from)| *to = *from);
        self.begin(classes, memory, request);
        Ok(())
    }

    fn begin(&mut self, classes: usize, memory: Parts<'_>, request: Request) {
        memory.previous.fill(0.0);
        let Request { label, guidance } = request;
        let (guided, class) = (request.is_guided(), label.unwrap_or(classes));
        *self = Self { begun: true, guided, guidance, class, unlabelled: classes, ..Self::new() };
    }

    /// Runs one layer, or, after the last layer of a step, ends the step.
    pub fn advance(
        &mut self,
        network: &dyn Layers,
        table: &StepTable<'_>,
        memory: Parts<'_>,
        noise: &mut dyn Noise,
    ) -> Progress {
        self.advance_with(network, table, memory, noise, &mut Hooks::<()>::default())
    }

    /// The same with hooks. Where the observer has a map, it is as long as x and no row of the table draws on the output;
    /// where a row is a corrector's, the observer has one: see [`check_hooks`].
    pub fn advance_with<G: Guide, O: Observe, W: Watch>(
        &mut self,
        network: &dyn Layers,
        table: &StepTable<'_>,
        memory: Parts<'_>,
        noise: &mut dyn Noise,
        hooks: &mut Hooks<G, O, W>,
    ) -> Progress {
        let (step, layer) = (self.step, self.layer);
        let row = table.rows.get(step).filter(|_| self.begun);
        let Some(row) = row else { return Progress::Done };
        let next = if Hooks::<G, O, W>::ARE_EMPTY { None } else { table.rows.get(step + 1) };
        let at = At { step, row, next };
        let (mut guided, mut guidance) = (self.guided, self.guidance);
        if !G::IS_EMPTY {
            guidance = hooks.guide.weight(&at, guidance);
            guided &= guidance != 1.0;
        }
        if self.evaluation > usize::from(guided) {
            (self.step, self.evaluation) = (step + 1, 0);
            return Progress::Step { step, steps: table.rows.len() };
        }
        if !G::IS_EMPTY
            && self.evaluation == 0
            && layer == 0
            && let Some(layer) = hooks.guide.layer(&at, memory.x, memory.arena)
        {
            return Progress::Layer { step, layer };
        }
        if layer + 1 < network.layers() {
            let inputs = [Input { values: memory.x, scale: row.c_in }];
            let mut nowhere = |_: usize, _: usize, _: &[f32]| {};
            let mut io = Io { inputs: &inputs, outputs: &mut nowhere };
            network.layer(layer, self.condition(row), memory.arena, &mut io);
            self.layer += 1;
            return Progress::Layer { step, layer };
        }
        // The last layer's output becomes the labelled prediction or the next x.
        let Parts { arena, x, previous, labelled } = memory;
        let condition = self.condition(row);
        let mut run = |outputs: &mut dyn Sink| network.layer(layer, condition, arena, &mut Io { inputs: &[], outputs });
        if guided && self.evaluation == 0 {
            run(&mut Keep(labelled));
        } else {
            let labelled = if guided { labelled } else { &mut [] };
            let noise = Chunks::new(noise);
            run(&mut Update { at, clip: table.clip, guidance, x, previous, labelled, noise, hooks });
        }
        (self.layer, self.evaluation) = (0, self.evaluation + 1);
        Progress::Layer { step, layer }
    }

    /// Of the evaluation that is under way: the labelled one is first.
    fn condition(&self, row: &StepRow) -> Condition {
        let class = if self.evaluation == 0 { self.class } else { self.unlabelled };
        Condition { step: row.network_row.into(), class }
    }
}

impl Default for Trajectory {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the loop can do it in this memory.
fn check(classes: usize, table: &StepTable<'_>, memory: &Parts<'_>, request: Request) -> Result<(), SampleError> {
    request.check(classes)?;
    if table.is_multistep() && memory.previous.len() < memory.x.len() {
        return Err(SampleError::Multistep);
    }
    if request.is_guided() && memory.labelled.len() < memory.x.len() {
        return Err(SampleError::WithoutGuidance { guidance: request.guidance });
    }
    Ok(())
}

/// Whether the loop can run a table on maps of `len` elements with such an observer.
///
/// # Errors
/// When a row is a corrector's and the observer has no map, when it has one and a row draws on the network's output, or
/// when the map is not as long as x.
pub fn check_hooks<O: Observe>(table: &StepTable<'_>, observe: &mut O, len: usize) -> Result<(), SampleError> {
    if !O::HAS_MAP {
        return if table.is_corrected() { Err(SampleError::Corrector) } else { Ok(()) };
    }
    if table.draws_on_output() {
        return Err(SampleError::DrawsOnOutput);
    }
    match observe.map().len() {
        got if got == len => Ok(()),
        got => Err(SampleError::WrongLength { expected: len, got }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{Line, elements};
    use crate::noise::{Gaussian, Philox};
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::{vec, vec::Vec};

    /// out = x / 2 + class + step / 10, in three layers; it notes what it is asked, and gives its output in strips.
    struct Toy {
        strip: usize,
        calls: RefCell<Vec<(usize, Condition)>>,
    }

    impl Layers for Toy {
        fn layers(&self) -> usize {
            3
        }

        fn layer(&self, index: usize, condition: Condition, arena: &mut [u8], io: &mut Io<'_>) {
            self.calls.borrow_mut().push((index, condition));
            assert_eq!(io.inputs.len(), [1, 1, 0][index]);
            let Input { values, scale } = io.input(0);
            let map = elements::<f32>(arena);
            match index {
                0 => map.iter_mut().zip(values).for_each(|(v, x)| *v = scale * x / 2.0),
                1 => map.iter_mut().for_each(|v| *v += condition.class as f32 + condition.step as f32 / 10.0),
                _ => map.chunks(self.strip).enumerate().for_each(|(i, strip)| io.outputs.put(0, i * self.strip, strip)),
            }
            io.outputs.put(1, 0, &[f32::NAN]);
        }
    }

    const ROW: StepRow = StepRow {
        network_row: 2,
        c_in: 0.5,
        k0: 1.0,
        k1: 0.5,
        a: 0.5,
        b: 0.25,
        c: 0.125,
        d: 0.0,
        e: -0.5,
        signal: 0.8,
        sigma: 0.6,
        snr: 0.0,
    };
    const TABLE: StepTable<'_> = StepTable {
        name: "toy",
        clip: 2.0,
        rows: &[ROW, StepRow { network_row: 1, c_in: 1.0, ..ROW }, StepRow { network_row: 0, c: 0.0, ..ROW }],
    };
    const MULTISTEP: StepTable<'_> =
        StepTable { name: "multistep", rows: &[ROW, StepRow { d: -0.25, ..ROW }, StepRow { d: 0.75, ..ROW }], ..TABLE };
    const LABELLED: Request = Request { label: Some(1), guidance: 3.0 };
    const CLASSES: usize = 4;

    /// The loop with its memory, of `len` values a map.
    struct Machine {
        network: Toy,
        trajectory: Trajectory,
        table: StepTable<'static>,
        noise: Gaussian<Philox>,
        arena: Vec<Line>,
        maps: [Vec<f32>; 3],
    }

    impl Machine {
        fn new(len: usize, strip: usize) -> Self {
            Self {
                network: Toy { strip, calls: RefCell::default() },
                trajectory: Trajectory::new(),
                table: TABLE,
                noise: noise(),
                arena: vec![Line::ZERO; len.div_ceil(16)],
                maps: [vec![0.0; len], vec![0.0; len], vec![0.0; len]],
            }
        }

        fn started(request: Request) -> Self {
            let mut machine = Self::new(6, 4);
            machine.start(TABLE, request).unwrap();
            machine
        }

        fn start(&mut self, table: StepTable<'static>, request: Request) -> Result<(), SampleError> {
            let mut noise = noise();
            with(&mut self.arena, &mut self.maps, |memory| {
                self.trajectory.start(CLASSES, &table, memory, &mut noise, request)
            })?;
            (self.table, self.noise) = (table, noise);
            Ok(())
        }

        fn advance(&mut self) -> Progress {
            let Self { network, trajectory, table, noise, .. } = self;
            with(&mut self.arena, &mut self.maps, |memory| trajectory.advance(network, table, memory, noise))
        }

        fn run(&mut self) -> &[f32] {
            while self.advance() != Progress::Done {}
            self.x()
        }

        fn x(&self) -> &[f32] {
            &self.maps[0]
        }
    }

    fn with<T>(arena: &mut [Line], [x, previous, labelled]: &mut [Vec<f32>; 3], f: impl FnOnce(Parts<'_>) -> T) -> T {
        let arena = &mut Line::bytes_mut(arena)[..4 * x.len()];
        f(Parts { arena, x, previous, labelled })
    }

    fn noise() -> Gaussian<Philox> {
        Gaussian(Philox::new(3, 0))
    }

    fn oracle(request: Request) -> Vec<f32> {
        drawn(&TABLE, request, 6)
    }

    /// x, step by step from the definitions, of whole maps.
    fn drawn(table: &StepTable<'_>, Request { label, guidance }: Request, len: usize) -> Vec<f32> {
        let (mut noise, zero) = (noise(), vec![0.0; len]);
        let (mut x, mut previous) = (zero.clone(), zero.clone());
        noise.fill(&mut x);
        for row in table.rows {
            let network =
                |x: f32, class: usize| row.c_in * x / 2.0 + (class as f32 + f32::from(row.network_row) / 10.0);
            let predict = |x: &f32| match label {
                Some(class) if guidance == 1.0 => network(*x, class),
                Some(class) => network(*x, 4) + guidance * (network(*x, class) - network(*x, 4)),
                None => network(*x, 4),
            };
            let out: Vec<f32> = x.iter().map(predict).collect();
            let mut z = zero.clone();
            if row.c != 0.0 {
                noise.fill(&mut z);
            }
            row.update(table.clip, &mut x, &out, &z, &mut previous);
        }
        x
    }

    #[test]
    fn equals_the_definition_with_and_without_guidance() {
        for label in [None, Some(0), Some(3)] {
            for guidance in [1.0, 3.0, 0.0, -1.0] {
                let request = Request { label, guidance };
                assert_eq!(Machine::started(request).run(), oracle(request), "{label:?} {guidance}");
            }
        }
    }

    proptest! {
        /// Maps of one element, of an odd number, of whole chunks of noise; strips of one element, over chunks, whole.
        #[test]
        fn strips_do_not_matter(len in 1usize..100, strip in 1usize..110, guided: bool, multistep: bool) {
            let request = Request { guidance: if guided { 3.0 } else { 1.0 }, ..LABELLED };
            let table = if multistep { MULTISTEP } else { TABLE };
            let mut machine = Machine::new(len, strip);
            machine.start(table, request).unwrap();
            prop_assert_eq!(machine.run(), drawn(&table, request, len));
        }
    }

    /// Guides by x, scales the output by a factor of all of it, and leaves out guidance in step 1.
    struct Bend {
        layers: usize,
        sums: [f32; 2],
    }

    impl Guide for Bend {
        const RESCALES: bool = true;

        fn weight(&self, at: &At<'_>, guidance: f32) -> f32 {
            if at.step == 1 { 1.0 } else { guidance }
        }

        fn layer(&mut self, _: &At<'_>, x: &[f32], arena: &mut [u8]) -> Option<usize> {
            elements::<f32>(arena).iter_mut().for_each(|v| *v = x[0]);
            self.layers = (self.layers + 1) % 3;
            self.layers.checked_sub(1)
        }

        fn combined(&mut self, labelled: &[f32], guided: &[f32]) {
            self.sums[0] += labelled.len() as f32;
            self.sums[1] += guided.iter().filter(|v| v.is_finite()).count() as f32;
        }

        fn factor(&mut self) -> f32 {
            let [labelled, guided] = core::mem::take(&mut self.sums);
            0.5 * labelled / guided
        }

        fn guide(&mut self, at: &At<'_>, first: usize, x: &[f32], out: &mut [f32]) {
            for (i, (x, out)) in x.iter().zip(out).enumerate() {
                *out += at.row.sigma * *x + (first + i) as f32;
            }
        }
    }

    /// Changes x̂0 and x by place, and, where there is a map, all of x̂0 by its first value.
    struct Shift {
        map: Vec<f32>,
    }

    struct Whole(Shift);

    fn shift(at: &At<'_>, first: usize, values: &mut [f32]) {
        for (i, value) in values.iter_mut().enumerate() {
            *value += at.next_signal() - at.next_sigma() * ((first + i) % 3) as f32;
        }
    }

    impl Observe for Shift {
        fn x0(&mut self, at: &At<'_>, first: usize, x0: &mut [f32]) {
            shift(at, first, x0);
        }

        fn x(&mut self, at: &At<'_>, first: usize, x: &mut [f32]) {
            shift(at, first, x);
        }
    }

    impl Observe for Whole {
        const HAS_MAP: bool = true;

        fn x0(&mut self, at: &At<'_>, first: usize, x0: &mut [f32]) {
            self.0.x0(at, first, x0);
        }

        fn map(&mut self) -> &mut [f32] {
            &mut self.0.map
        }

        fn whole(&mut self, _: &At<'_>) {
            let first = self.0.map[0];
            self.0.map.iter_mut().rev().for_each(|v| *v -= 0.25 * first);
        }

        fn x(&mut self, at: &At<'_>, first: usize, x: &mut [f32]) {
            self.0.x(at, first, x);
        }
    }

    /// As [`drawn`], with the hooks above; x, and x̂0 as it was watched.
    fn drawn_with_hooks(table: &StepTable<'_>, request: Request, len: usize, whole: bool) -> [Vec<f32>; 2] {
        let (mut noise, mut x, mut watched) = (noise(), vec![0.0; len], Vec::new());
        noise.fill(&mut x);
        let mut previous = vec![0.0; len];
        for (step, row) in table.rows.iter().enumerate() {
            let at = At { step, row, next: table.rows.get(step + 1) };
            let network =
                |x: f32, class: usize| row.c_in * x / 2.0 + (class as f32 + f32::from(row.network_row) / 10.0);
            let class = request.label.unwrap();
            let mut out: Vec<f32> = x.iter().map(|x| network(*x, class)).collect();
            if request.guidance != 1.0 && step != 1 {
                let unlabelled = x.iter().map(|x| network(*x, 4));
                let guide = |(out, u): (&mut f32, f32)| *out = 0.5 * (u + request.guidance * (*out - u));
                out.iter_mut().zip(unlabelled).for_each(guide);
            }
            for (i, (out, x)) in out.iter_mut().zip(&x).enumerate() {
                *out += row.sigma * *x + i as f32;
            }
            let clip = table.clip;
            let estimate = |(x, out): (&f32, &f32)| (row.k0 * *x - row.k1 * *out).clamp(-clip, clip);
            let mut x0: Vec<f32> = x.iter().zip(&out).map(estimate).collect();
            shift(&at, 0, &mut x0);
            watched.extend_from_slice(&x0);
            if whole {
                let first = x0[0];
                x0.iter_mut().for_each(|v| *v -= 0.25 * first);
            }
            let mut z = vec![0.0; len];
            if row.c != 0.0 || row.snr != 0.0 {
                noise.fill(&mut z);
            }
            if row.snr == 0.0 {
                row.proceed(&mut x, &x0, &out, &z, &mut previous);
            } else {
                let variance = row.sigma * row.sigma;
                let score: Vec<f32> =
                    x.iter().zip(&x0).map(|(x, x0)| (row.signal * x0 - x) * (1.0 / variance)).collect();
                let chunks = score.chunks(32).map(|chunk| chunk.iter().fold(0.0, |sum, s| sum + s * s));
                let square: f32 = chunks.fold(0.0, |sum, chunk| sum + chunk);
                let alpha = 2.0 * (row.snr * row.snr) * len as f32 / square;
                for ((x, s), z) in x.iter_mut().zip(score).zip(z) {
                    *x += alpha * s + (2.0 * alpha).sqrt() * z;
                }
            }
            shift(&at, 0, &mut x);
        }
        [x, watched]
    }

    /// Parts of x̂0, x, noise and the step before, and of a corrector; none of the output, which a map has no place for.
    const OF_ESTIMATE: StepTable<'_> = StepTable {
        name: "corrected",
        rows: &[
            StepRow { e: 0.0, ..ROW },
            StepRow { snr: 0.2, e: 0.0, signal: 0.9, sigma: 0.4, ..ROW },
            StepRow { d: 0.5, e: 0.0, signal: 0.95, sigma: 0.3, ..ROW },
        ],
        ..TABLE
    };

    fn run_with<O: Observe>(machine: &mut Machine, observe: O) -> [Vec<f32>; 2] {
        let (mut watched, guide) = (Vec::new(), Bend { layers: 0, sums: [0.0; 2] });
        let watch = |_: &At<'_>, _: usize, x0: &[f32]| watched.extend_from_slice(x0);
        let mut hooks = Hooks { guide, observe, watch };
        let Machine { network, trajectory, table, noise, arena, maps } = machine;
        let mut advance =
            || with(arena, maps, |memory| trajectory.advance_with(network, table, memory, noise, &mut hooks));
        assert_eq!([advance(), advance()], [0, 1].map(|layer| Progress::Layer { step: 0, layer }));
        while advance() != Progress::Done {}
        [machine.x().to_vec(), watched]
    }

    proptest! {
        #[test]
        fn hooks_equal_the_definition(len in 1usize..100, strip in 1usize..110, guided: bool, whole: bool) {
            let request = Request { guidance: if guided { 3.0 } else { 1.0 }, ..LABELLED };
            let table = if whole { OF_ESTIMATE } else { MULTISTEP };
            let mut machine = Machine::new(len, strip);
            machine.start(table, request).unwrap();
            let observe = Shift { map: vec![0.0; len] };
            let drawn = if whole { run_with(&mut machine, Whole(observe)) } else { run_with(&mut machine, observe) };
            prop_assert_eq!(drawn, drawn_with_hooks(&table, request, len, whole));
        }
    }

    #[test]
    fn hooks_that_do_nothing_change_nothing() {
        let mut machine = Machine::started(LABELLED);
        let mut hooks = Hooks { guide: (), observe: Idle, watch: |_: &At<'_>, _: usize, _: &[f32]| {} };
        let Machine { network, trajectory, table, noise, arena, maps } = &mut machine;
        while with(arena, maps, |memory| trajectory.advance_with(network, table, memory, noise, &mut hooks))
            != Progress::Done
        {}
        assert_eq!(machine.x(), oracle(LABELLED));
    }

    struct Idle;

    impl Observe for Idle {}

    #[test]
    fn tables_and_observers_fit_each_other() {
        let map = |len: usize| crate::hooks::WithMap { observe: (), map: vec![0.0; len] };
        assert_eq!(check_hooks(&TABLE, &mut (), 6), Ok(()));
        assert_eq!(check_hooks(&OF_ESTIMATE, &mut (), 6), Err(SampleError::Corrector));
        assert_eq!(check_hooks(&OF_ESTIMATE, &mut map(6), 6), Ok(()));
        assert_eq!(check_hooks(&TABLE, &mut map(6), 6), Err(SampleError::DrawsOnOutput));
        let short = SampleError::WrongLength { expected: 6, got: 5 };
        assert_eq!(check_hooks(&OF_ESTIMATE, &mut map(5), 6), Err(short));
    }

    #[test]
    fn multistep_tables_and_guidance_need_a_map_each() {
        let mut machine = Machine::new(6, 6);
        for table in [MULTISTEP, TABLE, MULTISTEP] {
            machine.start(table, LABELLED).unwrap();
            assert_eq!(machine.run(), drawn(&table, LABELLED, 6));
        }
        let once = Request { guidance: 1.0, ..LABELLED };
        let mut without = Machine::started(once);
        (without.maps[1], without.maps[2]) = (Vec::new(), Vec::new());
        without.advance();
        assert_eq!(without.start(MULTISTEP, once), Err(SampleError::Multistep));
        assert_eq!(without.start(TABLE, LABELLED), Err(SampleError::WithoutGuidance { guidance: 3.0 }));
        assert_eq!(without.run(), oracle(once), "what was under way stays");
        without.start(TABLE, Request { label: None, guidance: 3.0 }).unwrap();
        assert_eq!(without.run(), oracle(Request { label: None, guidance: 3.0 }));
    }

    #[test]
    fn progress_counts_layers_and_steps() {
        let mut machine = Machine::started(LABELLED);
        for step in 0..3 {
            for layer in [0, 1, 2, 0, 1, 2] {
                assert_eq!(machine.advance(), Progress::Layer { step, layer });
            }
            let x = machine.x().to_vec();
            assert_eq!(machine.advance(), Progress::Step { step, steps: 3 });
            assert_eq!(machine.x(), x, "x was updated with the last layer");
        }
        assert_eq!([machine.advance(), machine.advance()], [Progress::Done; 2]);
    }

    #[test]
    fn evaluations_and_conditions() {
        let conditions = |request| {
            let mut machine = Machine::started(request);
            machine.run();
            let calls = machine.network.calls.into_inner();
            let first = calls.iter().filter(|(layer, _)| *layer == 0);
            first.map(|(_, condition)| (condition.step, condition.class)).collect::<Vec<_>>()
        };
        assert_eq!(conditions(LABELLED), [(2, 1), (2, 4), (1, 1), (1, 4), (0, 1), (0, 4)]);
        assert_eq!(conditions(Request { guidance: 1.0, ..LABELLED }), [(2, 1), (1, 1), (0, 1)]);
        assert_eq!(conditions(Request { label: None, ..LABELLED }), [(2, 4), (1, 4), (0, 4)]);
    }

    #[test]
    fn restarts_give_the_same_picture() {
        let mut machine = Machine::started(Request { label: Some(2), guidance: 1.5 });
        for _ in 0..9 {
            machine.advance();
        }
        machine.start(TABLE, LABELLED).unwrap();
        assert_eq!(machine.run(), oracle(LABELLED));
    }

    #[test]
    fn idle_or_empty_is_done() {
        const EMPTY: StepTable<'_> = StepTable { rows: &[], ..TABLE };
        let mut machine = Machine::new(6, 6);
        assert_eq!(machine.advance(), Progress::Done);
        machine.start(EMPTY, LABELLED).unwrap();
        assert_eq!(machine.advance(), Progress::Done);
        assert!(machine.x().iter().all(|x| *x != 0.0));
    }
}
