//! A generated model's sampler: the loop of [`Trajectory`] with the model, its memory and its noise.

use crate::hooks::{Guide, Hooks, Observe, Watch};
use crate::memory::{Parts, Sizes, Storage};
use crate::model::{Model, Table};
use crate::network::{Network, is_one_map};
use crate::noise::Noise;
use crate::request::{Request, SampleError};
use crate::schedule::StepTable;
use crate::trajectory::{Progress, Trajectory};

/// Draws with a generated model, in memory of its own: the network's arena, x, and a map each for multistep samplers
/// and for guidance where the model has them.
///
/// A new one is all zero bytes, so that a static one takes no flash. To pause is not to call; to begin anew, with
/// another table, label or noise, is to call [`Self::start`] again.
///
/// ```
/// use grano::{Gaussian, Model, Philox, Progress, Request, Sampler, Table};
///
/// fn draw<M: Model>(sampler: &mut Sampler<M, Gaussian<Philox>>) -> Result<(), grano::SampleError> {
///     let request = Request { label: Some(0), guidance: M::GUIDANCE };
///     sampler.start(Table::default(), Gaussian(Philox::new(0, 0)), request)?;
///     while sampler.step() != Progress::Done {}
///     Ok(()) // the picture is `sampler.x()`
/// }
/// ```
pub struct Sampler<M: Model, N> {
    memory: M::Memory,
    trajectory: Trajectory,
    table: Option<Table<M>>,
    noise: Option<N>,
}

impl<M: Model, N: Noise> Sampler<M, N> {
    /// With nothing to do.
    #[must_use]
    pub const fn new() -> Self {
        const { check::<M>() };
        Self { memory: M::Memory::ZERO, trajectory: Trajectory::new(), table: None, noise: None }
    }

    /// Begins a picture, from noise.
    ///
    /// # Errors
    /// When the model has no such label, the guidance is not finite, or the request takes guidance and the model was
    /// generated without. Then what was under way stays as it is.
    pub fn start(&mut self, table: Table<M>, mut noise: N, request: Request) -> Result<(), SampleError> {
        self.trajectory.start(M::Denoiser::CLASSES, &table, self.memory.parts(), &mut noise, request)?;
        (self.table, self.noise) = (Some(table), Some(noise));
        Ok(())
    }

    /// Begins a picture from a given x; `noise` serves the steps alone.
    ///
    /// # Errors
    /// As [`Self::start`], and when `x` is not of the model's shape.
    pub fn start_from(&mut self, table: Table<M>, x: &[f32], noise: N, request: Request) -> Result<(), SampleError> {
        self.trajectory.start_from(M::Denoiser::CLASSES, &table, self.memory.parts(), x, request)?;
        (self.table, self.noise) = (Some(table), Some(noise));
        Ok(())
    }

    /// Runs one layer, or, after the last layer of a step, ends the step. Of a model with a corrector among its samplers
    /// it does not compile: such a sampler needs [`Self::advance_with`].
    pub fn advance(&mut self) -> Progress {
        const { assert!(!any_corrected(M::SAMPLERS), "a sampler with a corrector needs an observer with a map") };
        let (Some(table), Some(noise)) = (&self.table, &mut self.noise) else { return Progress::Done };
        self.trajectory.advance(&M::Denoiser::NEW, table, self.memory.parts(), noise)
    }

    /// The same with hooks, which are the same at every call for one picture. Whether they fit a sampler of the model is
    /// found out where this is compiled; an observer's map is as long as x, or [`crate::trajectory::check_hooks`] says so.
    pub fn advance_with<G: Guide, O: Observe, W: Watch>(&mut self, hooks: &mut Hooks<G, O, W>) -> Progress {
        const {
            assert!(
                O::HAS_MAP || !any_corrected(M::SAMPLERS),
                "a sampler with a corrector needs an observer with a map"
            );
            assert!(
                !O::HAS_MAP || !any_of_output(M::SAMPLERS),
                "a sampler draws on the output, an observer has x̂0 alone"
            );
        }
        let (Some(table), Some(noise)) = (&self.table, &mut self.noise) else { return Progress::Done };
        self.trajectory.advance_with(&M::Denoiser::NEW, table, self.memory.parts(), noise, hooks)
    }

    /// Runs to the end of the step with hooks.
    pub fn step_with<G: Guide, O: Observe, W: Watch>(&mut self, hooks: &mut Hooks<G, O, W>) -> Progress {
        loop {
            match self.advance_with(hooks) {
                Progress::Layer { .. } => {}
                progress => return progress,
            }
        }
    }

    /// Runs to the end of the picture with hooks.
    pub fn run_with<G: Guide, O: Observe, W: Watch>(&mut self, hooks: &mut Hooks<G, O, W>) {
        while self.step_with(hooks) != Progress::Done {}
    }

    /// Runs to the end of the step.
    pub fn step(&mut self) -> Progress {
        loop {
            match self.advance() {
                Progress::Layer { .. } => {}
                progress => return progress,
            }
        }
    }

    /// Runs to the end of the picture.
    pub fn run(&mut self) {
        while self.step() != Progress::Done {}
    }

    /// The picture as it is now, [`Model::SHAPE`], about −1 to 1 at the end; see [`crate::picture`].
    #[must_use]
    pub fn x(&self) -> &[f32] {
        self.memory.x()
    }

    /// The network's working memory, for [`crate::tap::Tap`]s to read.
    #[must_use]
    pub fn arena(&self) -> &[u8] {
        self.memory.arena()
    }

    /// All of the memory, to run a network in between two pictures, such as one that reads x. What is written there
    /// while a picture is under way spoils it.
    pub fn parts(&mut self) -> Parts<'_> {
        self.memory.parts()
    }
}

impl<M: Model, N: Noise> Default for Sampler<M, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a sampler has a corrector's rows.
const fn any_corrected(tables: &[StepTable<'_>]) -> bool {
    let mut index = 0;
    while index < tables.len() {
        if tables[index].is_corrected() {
            return true;
        }
        index += 1;
    }
    false
}

/// Whether a sampler draws on the network's output but through x̂0.
const fn any_of_output(tables: &[StepTable<'_>]) -> bool {
    let mut index = 0;
    while index < tables.len() {
        if tables[index].draws_on_output() {
            return true;
        }
        index += 1;
    }
    false
}

/// Whether the model's parts fit each other.
const fn check<M: Model>() {
    let Sizes { arena, x, previous, labelled } = M::Memory::SIZES;
    assert!(x == M::SHAPE.len(), "x is of the model's shape");
    assert!(arena >= M::Denoiser::ARENA_BYTES, "the arena is as long as the network needs");
    assert!(previous == 0 || previous == x, "the estimate of the step before is a map, or not kept");
    assert!(labelled == 0 || labelled == x, "the labelled prediction is a map, or not kept");
    assert!(is_one_map(M::Denoiser::INPUTS, M::SHAPE), "the network reads one map, x");
    assert!(is_one_map(M::Denoiser::OUTPUTS, M::SHAPE), "the network's output is one map of x's shape");
    assert!(M::Denoiser::LAYER_NAMES.len() >= 2, "the first layer reads x, another writes the output");
    assert!(M::LABELS.len() == M::Denoiser::CLASSES, "a name a class");
    assert!(!M::SAMPLERS.is_empty(), "the first sampler is the default");
    let mut index = 0;
    while index < M::SAMPLERS.len() {
        assert!(previous == x || !M::SAMPLERS[index].is_multistep(), "a multistep sampler's last estimate is kept");
        index += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::elements;
    use crate::memory::Memory;
    use crate::model::{Corrupted, Label};
    use crate::network::{Condition, Input, Io, Layers, Port, PortKind};
    use crate::noise::{Gaussian, Philox};
    use crate::schedule::StepRow;
    use crate::shape::Shape;
    use crate::tap::{Stored, Tap};
    use std::vec::Vec;

    const SHAPE: Shape = Shape { height: 1, width: 3, channels: 1 };

    /// out = c_in · x + class, in two layers and strips of two.
    #[derive(Clone, Copy)]
    struct Toy;

    impl Layers for Toy {
        fn layers(&self) -> usize {
            2
        }

        fn layer(&self, index: usize, condition: Condition, arena: &mut [u8], io: &mut Io<'_>) {
            let Input { values, scale } = io.input(0);
            let map = elements::<f32>(arena);
            if index == 0 {
                map.iter_mut().zip(values).for_each(|(v, x)| *v = scale * x + condition.class as f32);
            } else {
                map.chunks(2).enumerate().for_each(|(strip, values)| io.outputs.put(0, 2 * strip, values));
            }
        }
    }

    impl Network for Toy {
        const NAME: &'static str = "toy";
        const INPUTS: &'static [Port] =
            &[Port { name: "x", kind: PortKind::Map(SHAPE) }, Port { name: "class", kind: PortKind::Label }];
        const OUTPUTS: &'static [Port] = &[Port { name: "epsilon", kind: PortKind::Map(SHAPE) }];
        const CLASSES: usize = 2;
        const LAYER_NAMES: &'static [&'static str] = &["add", "store"];
        const TAPS: &'static [Tap] = &[Tap {
            name: "sum",
            layer: 0,
            shape: SHAPE,
            buffer: crate::blob::Buffer { offset: 0, len: 12 },
            stored: Stored::F32,
        }];
        const ARENA_BYTES: usize = 12;
        const NEW: Self = Self;
    }

    /// A model of that network, in memory of any sizes.
    struct Toys<const ARENA: usize, const X: usize, const PREVIOUS: usize, const LABELLED: usize>;

    impl<const ARENA: usize, const X: usize, const PREVIOUS: usize, const LABELLED: usize> Model
        for Toys<ARENA, X, PREVIOUS, LABELLED>
    {
        type Denoiser = Toy;
        const SHAPE: Shape = SHAPE;
        type Label = Class;
        const GUIDANCE: f32 = 2.0;
        const SAMPLERS: &'static [StepTable<'static>] = if PREVIOUS == 0 { &[PLAIN] } else { &[PLAIN, MULTISTEP] };
        type Memory = Memory<ARENA, X, PREVIOUS, LABELLED>;

        fn check_constants() -> Result<(), Corrupted> {
            Ok(())
        }
    }

    /// Of two.
    #[derive(Clone, Copy)]
    enum Class {
        One,
        Two,
    }

    impl Label for Class {
        const ALL: &'static [Self] = &[Self::One, Self::Two];
        const NAMES: &'static [&'static str] = &["one", "two"];

        fn index(self) -> usize {
            self as usize
        }
    }

    /// With a multistep sampler and no room for its last estimate.
    struct Forgetful;

    impl Model for Forgetful {
        type Denoiser = Toy;
        const SHAPE: Shape = SHAPE;
        type Label = Class;
        const GUIDANCE: f32 = Whole::GUIDANCE;
        const SAMPLERS: &'static [StepTable<'static>] = Whole::SAMPLERS;
        type Memory = <Once as Model>::Memory;

        fn check_constants() -> Result<(), Corrupted> {
            Ok(())
        }
    }

    /// With room for all.
    type Whole = Toys<12, 3, 3, 3>;
    /// Without guidance.
    type Once = Toys<12, 3, 0, 0>;

    const ROW: StepRow = StepRow {
        network_row: 0,
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
    const PLAIN: StepTable<'_> = StepTable { name: "plain", clip: 2.0, rows: &[ROW, ROW] };
    const MULTISTEP: StepTable<'_> = StepTable { name: "multistep", rows: &[ROW, StepRow { d: 0.75, ..ROW }], ..PLAIN };
    const REQUEST: Request = Request { label: Some(1), guidance: 2.0 };

    fn noise() -> Gaussian<Philox> {
        Gaussian(Philox::new(3, 0))
    }

    /// By the loop itself, in memory that was lent.
    fn expected(table: &StepTable<'_>, request: Request) -> [f32; 3] {
        let (mut memory, mut noise, mut trajectory) = (Memory::<12, 3, 3, 3>::ZERO, noise(), Trajectory::new());
        trajectory.start(2, table, memory.parts(), &mut noise, request).unwrap();
        while trajectory.advance(&Toy, table, memory.parts(), &mut noise) != Progress::Done {}
        memory.x().try_into().unwrap()
    }

    #[test]
    fn is_the_loop_with_every_table_of_the_model() {
        let mut sampler = Sampler::<Whole, _>::default();
        assert_eq!((sampler.advance(), sampler.step()), (Progress::Done, Progress::Done));
        for table in Table::all() {
            sampler.start(table, noise(), REQUEST).unwrap();
            sampler.run();
            assert_eq!(sampler.x(), expected(&table, REQUEST), "{table:?}");
        }
        assert_ne!(expected(&PLAIN, REQUEST), expected(&MULTISTEP, REQUEST));
    }

    #[test]
    fn tables_are_chosen_by_name() {
        let names: Vec<&str> = Table::<Whole>::all().map(|table| table.name).collect();
        assert_eq!(names, ["plain", "multistep"]);
        assert_eq!(*Table::<Whole>::default(), PLAIN);
        assert_eq!(Table::<Whole>::named("multistep").as_deref(), Some(&MULTISTEP));
        assert!(Table::<Whole>::named("ddim-20").is_none());
        assert_eq!(std::format!("{:?}", Table::<Whole>::default()), "Table(\"plain\")");
    }

    #[test]
    fn run_step_and_layer_by_layer_are_the_same() {
        let started = || {
            let mut sampler = Sampler::<Whole, _>::new();
            sampler.start(Table::default(), noise(), REQUEST).unwrap();
            sampler
        };
        let (mut run, mut by_step, mut by_layer) = (started(), started(), started());
        run.run();
        assert_eq!(by_step.step(), Progress::Step { step: 0, steps: 2 });
        assert_eq!(by_step.step(), Progress::Step { step: 1, steps: 2 });
        assert_eq!(by_step.step(), Progress::Done);
        let calls = core::iter::from_fn(|| Some(by_layer.advance()).filter(|progress| *progress != Progress::Done));
        assert_eq!(calls.count(), 2 * (2 * Toy::LAYER_NAMES.len() + 1));
        assert_eq!((run.x(), run.x()), (by_step.x(), by_layer.x()));
    }

    #[test]
    fn pictures_that_are_watched_are_the_same() {
        let (mut sampler, mut seen) = (Sampler::<Whole, _>::new(), 0);
        sampler.start(Table::default(), noise(), REQUEST).unwrap();
        let watch = |_: &crate::hooks::At<'_>, _: usize, x0: &[f32]| seen += x0.len();
        sampler.run_with(&mut Hooks { guide: (), observe: (), watch });
        assert_eq!((sampler.x(), seen), (&expected(&PLAIN, REQUEST)[..], 6));
        assert_eq!(size_of::<Hooks>(), 0);
    }

    #[test]
    fn taps_read_the_arena_and_other_networks_borrow_it() {
        let mut sampler = Sampler::<Whole, _>::new();
        sampler.start_from(Table::default(), &[1.0, 2.0, 3.0], noise(), REQUEST).unwrap();
        sampler.advance();
        let sum = |arena: &[u8]| [0, 1, 2].map(|index| Toy::TAPS[0].value(arena, index).unwrap());
        assert_eq!(sum(sampler.arena()), [1.5, 2.0, 2.5]);
        let Parts { arena, x, previous, .. } = sampler.parts();
        crate::evaluate(&Toy, Condition { step: 0, class: 0 }, arena, &[Input::new(x)], &mut [previous]);
        assert_eq!(sampler.parts().previous, [1.0, 2.0, 3.0]);
        assert_eq!(sum(sampler.arena()), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn impossible_requests_leave_the_picture_alone() {
        let once = Request { guidance: 1.0, ..REQUEST };
        let mut sampler = Sampler::<Once, _>::new();
        sampler.start(Table::default(), noise(), once).unwrap();
        sampler.advance();
        let mut start = |request| sampler.start(Table::default(), Gaussian(Philox::new(9, 9)), request).unwrap_err();
        let unknown = start(Request { label: Some(2), ..once });
        assert_eq!(unknown, SampleError::UnknownLabel { label: 2, classes: 2 });
        assert!(matches!(start(Request { guidance: f32::NAN, ..once }), SampleError::Guidance(_)));
        assert_eq!(start(REQUEST), SampleError::WithoutGuidance { guidance: 2.0 });
        let short = sampler.start_from(Table::default(), &[0.0; 2], noise(), once).unwrap_err();
        assert_eq!(short, SampleError::WrongLength { expected: 3, got: 2 });
        sampler.run();
        assert_eq!(sampler.x(), expected(&PLAIN, once));
    }

    #[test]
    fn starts_from_a_given_x() {
        let (mut noise, mut x) = (noise(), [0.0; 3]);
        noise.fill(&mut x);
        let mut sampler = Sampler::<Whole, _>::new();
        sampler.start_from(Table::default(), &x, noise, REQUEST).unwrap();
        sampler.run();
        assert_eq!(sampler.x(), expected(&PLAIN, REQUEST));
    }

    /// What `Sampler::new` asserts where it is compiled.
    #[test]
    fn memory_that_does_not_fit_is_an_error() {
        let fits = [check::<Whole>, check::<Once>, check::<Toys<16, 3, 0, 3>>];
        assert!(fits.iter().all(|check| std::panic::catch_unwind(check).is_ok()));
        let misfits = [
            check::<Toys<11, 3, 3, 3>>,
            check::<Toys<12, 4, 4, 4>>,
            check::<Toys<12, 3, 2, 3>>,
            check::<Toys<12, 3, 3, 4>>,
            check::<Forgetful>,
        ];
        assert!(misfits.iter().all(|check| std::panic::catch_unwind(check).is_err()));
    }

    /// The arena, x, and a map each for what the model can do; the loop and the noise besides.
    #[test]
    fn memory_is_what_is_needed() {
        type Picture<const PREVIOUS: usize, const LABELLED: usize> =
            Sampler<Large<PREVIOUS, LABELLED>, Gaussian<Philox>>;
        let rest = size_of::<Picture<0, 0>>() - (1024 + 4 * 256);
        assert!(rest <= 192, "{rest} bytes");
        assert_eq!(size_of::<Picture<256, 256>>() - size_of::<Picture<0, 0>>(), 2 * 4 * 256);
    }

    type Large<const PREVIOUS: usize, const LABELLED: usize> = Toys<1024, 256, PREVIOUS, LABELLED>;
}
