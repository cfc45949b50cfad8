//! From noise to picture: network, update, next row; one layer at a time.

use crate::denoiser::{Denoiser, Map};
use crate::kernel::Condition;
use crate::noise::Noise;
pub use crate::request::{Request, SampleError};
use crate::schedule::{StepRow, StepTable};

/// What [`Sampler::advance`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It ran a layer of the network.
    Layer {
        /// The step that is under way, from 0.
        step: usize,
        /// The layer, `0..LAYERS`; with guidance each comes twice a step.
        layer: usize,
    },
    /// It updated x, which ends a step.
    Step {
        /// The step that is done, from 0.
        step: usize,
        /// Of the table.
        steps: usize,
    },
    /// Nothing is left to do.
    Done,
}

/// The loop, with all the memory that it takes: the network's, three maps, and a fourth for multistep samplers.
///
/// A new one is all zero bytes, so that a static one takes no flash. To pause is not to call; to begin anew, with
/// another table, label or noise, is to call [`Self::start`] again.
pub struct Sampler<D: Denoiser, N> {
    denoiser: D,
    x: D::Map,
    /// The network's input, then its output: the labelled one under guidance.
    out: D::Map,
    /// The same for the unlabelled evaluation under guidance; then the update's noise.
    spare: D::Map,
    /// x̂0 of the last step, where a table draws on it.
    previous: D::Previous,
    table: Option<&'static StepTable>,
    noise: Option<N>,
    /// `CLASSES` for none.
    class: usize,
    guidance: f32,
    /// Whether there are two evaluations a step.
    guided: bool,
    step: usize,
    /// Evaluations of this step that are done.
    evaluation: usize,
    /// Layers of this evaluation that are done.
    layer: usize,
}

impl<D: Denoiser, N: Noise> Sampler<D, N> {
    /// With nothing to do.
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(size_of::<D::Map>() == D::SHAPE.len() * size_of::<f32>(), "the map is of the shape");
            let previous = size_of::<D::Previous>();
            assert!(previous == 0 || previous == size_of::<D::Map>(), "the last estimate is a map, or not kept");
            assert!(D::LAYERS >= 2, "the first layer reads x, another writes the output");
            assert!(D::LAYER_NAMES.len() == D::LAYERS, "a name a layer");
        }
        Self {
            denoiser: D::NEW,
            x: D::Map::ZERO,
            out: D::Map::ZERO,
            spare: D::Map::ZERO,
            previous: D::Previous::ZERO,
            table: None,
            noise: None,
            class: 0,
            guidance: 0.0,
            guided: false,
            step: 0,
            evaluation: 0,
            layer: 0,
        }
    }

    /// Begins a picture, from noise.
    ///
    /// # Errors
    /// When the network has no such label, the guidance is not finite, or the table is a multistep sampler's and
    /// [`Denoiser::Previous`] is empty. Then what was under way stays as it is.
    pub fn start(&mut self, table: &'static StepTable, mut noise: N, request: Request) -> Result<(), SampleError> {
        Self::check(table, request)?;
        noise.fill(self.x.as_mut());
        self.begin(table, noise, request);
        Ok(())
    }

    /// Begins a picture from a given x; `noise` serves the steps alone.
    ///
    /// # Errors
    /// As [`Self::start`], and when `x` is not of the network's shape.
    pub fn start_from(
        &mut self,
        table: &'static StepTable,
        x: &[f32],
        noise: N,
        request: Request,
    ) -> Result<(), SampleError> {
        Self::check(table, request)?;
        if x.len() != D::SHAPE.len() {
            return Err(SampleError::WrongLength { expected: D::SHAPE.len(), got: x.len() });
        }
        self.x.as_mut().iter_mut().zip(x).for_each(|(to, from)| *to = *from);
        self.begin(table, noise, request);
        Ok(())
    }

    fn check(table: &StepTable, request: Request) -> Result<(), SampleError> {
        request.check(D::CLASSES)?;
        if size_of::<D::Previous>() == 0 && table.is_multistep() { Err(SampleError::Multistep) } else { Ok(()) }
    }

    fn begin(&mut self, table: &'static StepTable, noise: N, Request { label, guidance }: Request) {
        self.table = Some(table);
        self.noise = Some(noise);
        self.class = label.unwrap_or(D::CLASSES);
        self.guidance = guidance;
        self.guided = label.is_some() && guidance != 1.0;
        self.previous.as_mut().fill(0.0);
        (self.step, self.evaluation, self.layer) = (0, 0, 0);
    }

    /// Runs one layer, or, after the last layer of a step, the update of x.
    pub fn advance(&mut self) -> Progress {
        let Some(table) = self.table else { return Progress::Done };
        let step = self.step;
        let Some(row) = table.rows.get(step) else { return Progress::Done };
        if self.evaluation < 1 + usize::from(self.guided) {
            let layer = self.layer;
            self.run_layer(row);
            return Progress::Layer { step, layer };
        }
        self.update(row, table.clip);
        self.step += 1;
        self.evaluation = 0;
        Progress::Step { step, steps: table.rows.len() }
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

    /// The picture as it is now, `SHAPE`, about −1 to 1 at the end; see [`crate::picture`].
    #[must_use]
    pub fn x(&self) -> &[f32] {
        self.x.as_ref()
    }

    fn run_layer(&mut self, row: &StepRow) {
        let (class, map) = match self.evaluation {
            0 => (self.class, self.out.as_mut()),
            _ => (D::CLASSES, self.spare.as_mut()),
        };
        let condition = Condition { step: row.network_row.into(), class };
        if self.layer == 0 {
            map.iter_mut().zip(self.x.as_ref()).for_each(|(input, x)| *input = row.c_in * *x);
            self.denoiser.layer(0, condition, map, &mut []);
        } else if self.layer + 1 < D::LAYERS {
            self.denoiser.layer(self.layer, condition, &[], &mut []);
        } else {
            self.denoiser.layer(self.layer, condition, &[], map);
        }
        self.layer += 1;
        if self.layer == D::LAYERS {
            self.layer = 0;
            self.evaluation += 1;
        }
    }

    fn update(&mut self, row: &StepRow, clip: f32) {
        if self.guided {
            for (out, unlabelled) in self.out.as_mut().iter_mut().zip(self.spare.as_ref()) {
                *out = *unlabelled + self.guidance * (*out - *unlabelled);
            }
        }
        if row.c != 0.0
            && let Some(noise) = &mut self.noise
        {
            noise.fill(self.spare.as_mut());
        }
        row.update(clip, self.x.as_mut(), self.out.as_ref(), self.spare.as_ref(), self.previous.as_mut());
    }
}

impl<D: Denoiser, N: Noise> Default for Sampler<D, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Gaussian, Philox};
    use crate::shape::Shape;
    use std::vec::Vec;

    /// out = x / 2 + class + step / 10, in three layers; it notes what it is asked. The last estimate has `KEPT` values.
    struct Toy<const KEPT: usize> {
        map: [f32; 6],
        calls: Vec<(usize, Condition)>,
    }

    impl<const KEPT: usize> Denoiser for Toy<KEPT> {
        const SHAPE: Shape = Shape { height: 2, width: 3, channels: 1 };
        const CLASSES: usize = 4;
        const LAYERS: usize = 3;
        const LAYER_NAMES: &'static [&'static str] = &["halve", "condition", "store"];
        type Map = [f32; 6];
        type Previous = [f32; KEPT];
        const NEW: Self = Self { map: [0.0; 6], calls: Vec::new() };

        fn layer(&mut self, index: usize, condition: Condition, x: &[f32], out: &mut [f32]) {
            self.calls.push((index, condition));
            assert_eq!((x.len(), out.len()), [(6, 0), (0, 0), (0, 6)][index]);
            match index {
                0 => self.map = core::array::from_fn(|i| x[i] / 2.0),
                1 => self.map = self.map.map(|v| v + condition.class as f32 + condition.step as f32 / 10.0),
                _ => out.copy_from_slice(&self.map),
            }
        }
    }

    const ROW: StepRow =
        StepRow { network_row: 2, c_in: 0.5, k0: 1.0, k1: 0.5, a: 0.5, b: 0.25, c: 0.125, d: 0.0, e: -0.5 };
    static TABLE: StepTable = StepTable {
        name: "toy",
        clip: 2.0,
        rows: &[ROW, StepRow { network_row: 1, c_in: 1.0, ..ROW }, StepRow { network_row: 0, c: 0.0, ..ROW }],
    };

    static MULTISTEP: StepTable =
        StepTable { name: "multistep", rows: &[ROW, StepRow { d: -0.25, ..ROW }, StepRow { d: 0.75, ..ROW }], ..TABLE };

    type Toys = Sampler<Toy<0>, Gaussian<Philox>>;

    fn started(request: Request) -> Toys {
        let mut sampler = Toys::default();
        sampler.start(&TABLE, Gaussian(Philox::new(3, 0)), request).unwrap();
        sampler
    }

    const LABELLED: Request = Request { label: Some(1), guidance: 3.0 };

    fn oracle(request: Request) -> [f32; 6] {
        drawn(&TABLE, request)
    }

    /// The same, step by step from the definitions.
    fn drawn(table: &StepTable, Request { label, guidance }: Request) -> [f32; 6] {
        let mut noise = Gaussian(Philox::new(3, 0));
        let (mut x, mut previous) = ([0.0; 6], [0.0; 6]);
        noise.fill(&mut x);
        for row in table.rows {
            let network = |x: f32, class: usize| row.c_in * x / 2.0 + class as f32 + f32::from(row.network_row) / 10.0;
            let out = x.map(|x| match label {
                Some(class) if guidance == 1.0 => network(x, class),
                Some(class) => network(x, 4) + guidance * (network(x, class) - network(x, 4)),
                None => network(x, 4),
            });
            let mut z = [0.0; 6];
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
                let mut sampler = started(Request { label, guidance });
                sampler.run();
                assert_eq!(sampler.x(), oracle(Request { label, guidance }), "{label:?} {guidance}");
            }
        }
    }

    #[test]
    fn multistep_tables_need_a_map_more() {
        let noise = || Gaussian(Philox::new(3, 0));
        let mut sampler = Sampler::<Toy<6>, _>::new();
        for table in [&MULTISTEP, &TABLE, &MULTISTEP] {
            sampler.start(table, noise(), LABELLED).unwrap();
            sampler.run();
            assert_eq!(sampler.x(), drawn(table, LABELLED));
        }
        let mut without = started(LABELLED);
        assert_eq!(without.start(&MULTISTEP, noise(), LABELLED), Err(SampleError::Multistep));
        assert_eq!(without.start_from(&MULTISTEP, &[0.0; 6], noise(), LABELLED), Err(SampleError::Multistep));
        without.run();
        assert_eq!(without.x(), oracle(LABELLED));
    }

    #[test]
    fn run_step_and_layer_by_layer_are_the_same() {
        let mut run = started(LABELLED);
        run.run();

        let mut by_step = started(LABELLED);
        for step in 0..3 {
            assert_eq!(by_step.step(), Progress::Step { step, steps: 3 });
        }
        assert_eq!(by_step.step(), Progress::Done);

        let mut by_layer = started(LABELLED);
        for step in 0..3 {
            for layer in [0, 1, 2, 0, 1, 2] {
                assert_eq!(by_layer.advance(), Progress::Layer { step, layer });
            }
            assert_eq!(by_layer.advance(), Progress::Step { step, steps: 3 });
        }
        assert_eq!([by_layer.advance(), by_layer.advance()], [Progress::Done; 2]);

        assert_eq!((run.x(), run.x()), (by_step.x(), by_layer.x()));
    }

    #[test]
    fn evaluations_and_conditions() {
        let conditions = |request| {
            let mut sampler = started(request);
            sampler.run();
            let first = sampler.denoiser.calls.iter().filter(|(layer, _)| *layer == 0);
            first.map(|(_, condition)| (condition.step, condition.class)).collect::<Vec<_>>()
        };
        assert_eq!(conditions(LABELLED), [(2, 1), (2, 4), (1, 1), (1, 4), (0, 1), (0, 4)]);
        assert_eq!(conditions(Request { guidance: 1.0, ..LABELLED }), [(2, 1), (1, 1), (0, 1)]);
        assert_eq!(conditions(Request { label: None, ..LABELLED }), [(2, 4), (1, 4), (0, 4)]);
    }

    #[test]
    fn restarts_give_the_same_picture() {
        let mut sampler = started(Request { label: Some(2), guidance: 1.5 });
        for _ in 0..9 {
            sampler.advance();
        }
        sampler.start(&TABLE, Gaussian(Philox::new(3, 0)), LABELLED).unwrap();
        sampler.run();
        assert_eq!(sampler.x(), oracle(LABELLED));
        sampler.start(&TABLE, Gaussian(Philox::new(3, 1)), LABELLED).unwrap();
        sampler.run();
        assert_ne!(sampler.x(), oracle(LABELLED));
    }

    #[test]
    fn starts_from_a_given_x() {
        let mut noise = Gaussian(Philox::new(3, 0));
        let mut x = [0.0; 6];
        noise.fill(&mut x);
        let mut sampler = Toys::new();
        sampler.start_from(&TABLE, &x, noise.clone(), LABELLED).unwrap();
        sampler.run();
        assert_eq!(sampler.x(), oracle(LABELLED));
        let error = sampler.start_from(&TABLE, &x[1..], noise, LABELLED).unwrap_err();
        assert_eq!(error, SampleError::WrongLength { expected: 6, got: 5 });
    }

    #[test]
    fn impossible_requests_leave_the_picture_alone() {
        let mut sampler = started(LABELLED);
        sampler.advance();
        let mut start = |request| sampler.start(&TABLE, Gaussian(Philox::new(9, 9)), request).unwrap_err();
        let unknown = start(Request { label: Some(4), ..LABELLED });
        assert_eq!(unknown, SampleError::UnknownLabel { label: 4, classes: 4 });
        assert!(matches!(start(Request { guidance: f32::NAN, ..LABELLED }), SampleError::Guidance(_)));
        sampler.run();
        assert_eq!(sampler.x(), oracle(LABELLED));
    }

    #[test]
    fn idle_or_empty_is_done() {
        static EMPTY: StepTable = StepTable { name: "empty", clip: 1.0, rows: &[] };
        let mut sampler = Toys::new();
        assert_eq!((sampler.advance(), sampler.step()), (Progress::Done, Progress::Done));
        sampler.start(&EMPTY, Gaussian(Philox::new(3, 0)), LABELLED).unwrap();
        assert_eq!(sampler.advance(), Progress::Done);
        assert!(sampler.x().iter().all(|x| *x != 0.0));
    }
}
