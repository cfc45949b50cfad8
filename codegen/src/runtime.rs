//! *Run*: a model in process, on the engine's own kernels and the very constants that generated code has: the same bits.
//!
//! ```no_run
//! use grano::{Gaussian, Philox, Request};
//! use grano_codegen::Build;
//!
//! let runtime = Build::new("models/fashion.safetensors").runtime()?;
//! let table = runtime.table("ddim-20")?;
//! let mut painter = runtime.painter()?;
//! let shape = painter.shape();
//! let request = Request { label: Some(7), guidance: 1.0 };
//! let x = painter.draw(&table, Gaussian(Philox::new(0, 0)), request, &mut |_| {})?;
//! let bytes: Vec<u8> = grano::picture::Picture::new(shape, x).bytes().collect();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;

use grano::blob::Line;
use grano::conditioning::Condition;
use grano::hooks::{Guide, Hooks, Observe, Watch};
use grano::io::{Input, Io};
use grano::memory::Parts;
use grano::network::{Layers, evaluate};
use grano::noise::Noise;
use grano::request::{Request, SampleError};
use grano::residual::Residual;
use grano::schedule::{StepRow, StepTable};
use grano::shape::Shape;
use grano::tap::{Stored, Tap};
use grano::trajectory::{Progress, Trajectory, check_hooks};

use crate::compile::{Compiled, CompiledNetwork};
use crate::error::{Error, Result};
use crate::geometry::engine_shape;
use crate::graph;
use crate::kernel::Element;
use crate::model::{DENOISER, Header};
use crate::run::{Machine, Maps, Operands};
use crate::schedule::Table;
use crate::wiring::{WiredResidual, Wiring, lend, wire};

/// A compiled model that runs in process.
pub struct Runtime {
    header: Header,
    compiled: Compiled,
    /// Aligned as the engine's constants are.
    constants: Vec<Line>,
    machine: Machine,
    /// By network and layer.
    layers: Vec<Vec<Wiring>>,
}

/// A sampler's table, for the rows of one [`Runtime`].
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedTable {
    name: String,
    clip: f32,
    rows: Vec<StepRow>,
}

impl OwnedTable {
    /// The table as the engine knows it.
    #[must_use]
    pub fn view(&self) -> StepTable<'_> {
        StepTable { name: &self.name, clip: self.clip, rows: &self.rows }
    }

    /// How many steps there are.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.rows.len()
    }

    /// The steps from number `first` on, for a picture that begins there.
    #[must_use]
    pub fn from_step(&self, first: usize) -> Self {
        Self { rows: self.rows.get(first..).unwrap_or_default().to_vec(), ..self.clone() }
    }
}

/// Where a picture begins.
#[derive(Clone, Copy, Debug)]
pub enum Begin<'a> {
    /// At noise.
    Noise,
    /// At a given x, `[height][width][channels]`.
    At(&'a [f32]),
}

impl Runtime {
    /// Of a compiled model.
    ///
    /// # Errors
    /// As [`Machine::of`], and when a layer's buffers overlap or are too many.
    pub(crate) fn new(header: Header, compiled: Compiled) -> Result<Self> {
        let machine = Machine::of(compiled.target)?;
        let mut constants = vec![Line::ZERO; compiled.constants.len().div_ceil(64)];
        Line::bytes_mut(&mut constants)[..compiled.constants.len()].copy_from_slice(compiled.constants.bytes());
        let layers = compiled.networks.iter().map(wire).collect::<Result<_>>()?;
        Ok(Self { header, compiled, constants, machine, layers })
    }

    /// Everything in the model file but the tensors.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was compiled: programs, memory, constants.
    #[must_use]
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// A network by name.
    ///
    /// # Errors
    /// Names those that there are.
    pub fn network(&self, name: &str) -> Result<RunningNetwork<'_>> {
        let mut networks = self.compiled.networks.iter().zip(&self.layers);
        let (network, layers) = networks.find(|(network, _)| network.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.compiled.networks.iter().map(|network| network.name.as_str()).collect();
            Error::Model(format!("the model has no network `{name}`; it has {}", names.join(", ")))
        })?;
        let constants = bytemuck::cast_slice(&self.constants);
        Ok(RunningNetwork { network, layers, constants, machine: self.machine })
    }

    /// A sampler by name, `ddim-37` or one of the model's own.
    ///
    /// # Errors
    /// When there is no such sampler, or it visits time indices that the build has no rows for.
    pub fn table(&self, name: &str) -> Result<OwnedTable> {
        let spec = self.header.sampler(name)?;
        self.own(&spec.table(&self.header.schedule, self.header.prediction)?)
    }

    /// A table for this runtime's rows.
    ///
    /// # Errors
    /// When it visits time indices that the build has no rows for, or has a number that f32 does not hold.
    pub fn own(&self, table: &Table) -> Result<OwnedTable> {
        let times = &self.network(DENOISER)?.network.times;
        let rows: BTreeMap<usize, usize> = times.iter().enumerate().map(|(row, &t)| (t, row)).collect();
        let row = |row: &crate::schedule::Row| {
            let network_row = rows.get(&row.t).and_then(|&row| u16::try_from(row).ok()).ok_or_else(|| {
                Error::Model(format!("sampler `{}`: the build has no row for t = {}", table.name, row.t))
            })?;
            let coefficients = row.coefficients().map(|v| v as f32);
            if coefficients.iter().any(|v| !v.is_finite()) {
                let (name, t) = (&table.name, row.t);
                return Err(Error::Model(format!("sampler `{name}`: a coefficient at t = {t} is not finite")));
            }
            let [c_in, k0, k1, a, b, c, d, e, signal, sigma, snr] = coefficients;
            Ok(StepRow { network_row, c_in, k0, k1, a, b, c, d, e, signal, sigma, snr })
        };
        let rows = table.rows.iter().map(row).collect::<Result<_>>()?;
        let clip = table.clip.map_or(f32::INFINITY, |clip| clip as f32);
        Ok(OwnedTable { name: table.name.clone(), clip, rows })
    }

    /// Memory for one picture at a time.
    ///
    /// # Errors
    /// When the model has no denoiser, or one that is not from a map `x` to one of its shape in at least two layers.
    pub fn painter(&self) -> Result<Painter<'_>> {
        let network = self.network(DENOISER)?;
        let inputs = network.maps().map(|(_, shape)| shape);
        let outputs: Vec<[usize; 3]> = network.network.outputs.iter().map(|(_, shape)| *shape).collect();
        let shape = match outputs[..] {
            [shape] if inputs.eq([shape]) && network.layers() > 1 => engine_shape(shape),
            _ => {
                return Err(Error::Model(format!(
                    "network `{DENOISER}`: samplers call networks from one map to one of its shape, in two layers or more"
                )));
            }
        };
        let map = || vec![0.0; shape.len()];
        Ok(Painter {
            network,
            // Of all networks: one that guides runs in the same.
            arena: vec![Line::ZERO; self.compiled.arena_bytes().div_ceil(size_of::<Line>())],
            x: map(),
            previous: map(),
            labelled: map(),
            trajectory: Trajectory::new(),
            shape,
        })
    }
}

/// A network in process. Its arena has the length of the program's plan.
#[derive(Clone, Copy)]
pub struct RunningNetwork<'a> {
    network: &'a CompiledNetwork,
    layers: &'a [Wiring],
    constants: &'a [u8],
    machine: Machine,
}

impl<'a> RunningNetwork<'a> {
    /// What was compiled.
    #[must_use]
    pub fn compiled(&self) -> &'a CompiledNetwork {
        self.network
    }

    /// Names and shapes, `[channels, height, width]`, of the maps and vectors that it reads, in the order in which
    /// [`Self::evaluate`] takes them. A vector is a map of 1 × 1.
    pub fn maps(&self) -> impl Iterator<Item = (&'a str, [usize; 3])> + use<'a> {
        self.network.inputs.iter().filter_map(|port| Some((port.name.as_str(), graph::Shape::from(port.kind).map()?)))
    }

    /// Memory that it needs.
    #[must_use]
    pub fn arena(&self) -> Vec<Line> {
        vec![Line::ZERO; self.network.program.plan.arena_bytes.div_ceil(64)]
    }

    /// The row of a time index; row 0 of a network that time plays no part in.
    ///
    /// # Errors
    /// When the build has no row for it.
    pub fn row(&self, t: usize) -> Result<usize> {
        let reads_time = self.network.inputs.iter().any(|port| matches!(port.kind, graph::PortKind::Time {}));
        match self.network.times.iter().position(|&time| time == t) {
            Some(row) => Ok(row),
            None if !reads_time => Ok(0),
            None => Err(Error::Model(format!("the build has no row for t = {t}"))),
        }
    }

    /// One evaluation: the outputs, `[height][width][channels]`, for inputs in the order of the network's maps.
    ///
    /// # Errors
    /// When an input is missing, superfluous or of the wrong length, or the condition is none of the network's.
    pub fn evaluate(&self, condition: Condition, inputs: &[&[f32]]) -> Result<Vec<Vec<f32>>> {
        self.check(condition, inputs)?;
        let mut arena = self.arena();
        let inputs: Vec<Input<'_>> = inputs.iter().map(|input| Input::new(input)).collect();
        let mut outputs: Vec<Vec<f32>> =
            self.network.outputs.iter().map(|(_, shape)| vec![0.0; shape.iter().product()]).collect();
        let mut slices: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        evaluate(self, condition, Line::bytes_mut(&mut arena), &inputs, &mut slices);
        Ok(outputs)
    }

    /// That inputs and condition are the network's.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn check(&self, condition: Condition, inputs: &[&[f32]]) -> Result<()> {
        let CompiledNetwork { name, classes, times, .. } = self.network;
        let ports: Vec<(&str, [usize; 3])> = self.maps().collect();
        if inputs.len() != ports.len() {
            return Err(Error::Model(format!("network `{name}` reads {} maps, not {}", ports.len(), inputs.len())));
        }
        for ((port, shape), input) in ports.iter().zip(inputs) {
            let (len, got) = (shape.iter().product::<usize>(), input.len());
            if got != len {
                return Err(Error::Model(format!("network `{name}`: its input `{port}` has {len} values, not {got}")));
            }
        }
        if condition.class > *classes || condition.step >= times.len().max(1) {
            let (class, step) = (condition.class, condition.step);
            return Err(Error::Model(format!(
                "network `{name}` has {classes} classes and {} rows of time; class {class} and row {step} are none",
                times.len()
            )));
        }
        Ok(())
    }

    /// Runs layer after layer on `arena`, and shows every value that a layer leaves there; gives the outputs.
    pub fn watch(
        &self,
        condition: Condition,
        inputs: &[&[f32]],
        arena: &mut [Line],
        seen: &mut dyn FnMut(&str, &Tap, &[u8]),
    ) -> Vec<Vec<f32>> {
        let mut outputs: Vec<Vec<f32>> =
            self.network.outputs.iter().map(|(_, shape)| vec![0.0; shape.iter().product()]).collect();
        let mut put = |output: usize, first: usize, values: &[f32]| {
            outputs[output][first..][..values.len()].copy_from_slice(values);
        };
        let inputs: Vec<Input<'_>> = inputs.iter().map(|input| Input::new(input)).collect();
        for index in 0..self.layers() {
            let bytes = Line::bytes_mut(arena);
            self.layer(index, condition, bytes, &mut Io { inputs: &inputs, outputs: &mut put });
            if let Some((name, shape, buffer, element)) = self.network.tap(&self.network.groups[index])
                && let Some(stored) = stored(element)
            {
                seen(name, &Tap { name: "", layer: index, shape, buffer, stored }, Line::bytes_mut(arena));
            }
        }
        outputs
    }
}

/// How an element is read back.
fn stored(element: Element) -> Option<Stored> {
    Some(match element {
        Element::I8(affine) => Stored::I8 { scale: affine.scale as f32, zero_point: affine.zero_point },
        Element::I16 { affine, .. } => Stored::I16 { scale: affine.scale as f32, zero_point: affine.zero_point },
        Element::F16 => Stored::F16,
        Element::F32 => Stored::F32,
        Element::I32 => return None,
    })
}

impl Layers for RunningNetwork<'_> {
    fn layers(&self) -> usize {
        self.network.groups.len()
    }

    fn layer(&self, index: usize, condition: Condition, arena: &mut [u8], io: &mut Io<'_>) {
        let (Some(group), Some(wiring)) = (self.network.groups.get(index), self.layers.get(index)) else { return };
        let Some(pieces) = lend(arena, &wiring.pieces) else {
            debug_assert!(false, "the arena is as long as the plan says");
            return;
        };
        let [output, scratch, window, read @ ..] = pieces;
        let read = read.map(|piece| &*piece);
        let map = |place: Option<usize>| place.map_or(&[][..], |place| read[place]);
        let outputs = &mut *io.outputs;
        let operands = Operands {
            machine: self.machine,
            condition,
            input: wiring.port.and_then(|port| io.inputs.get(port).copied()).unwrap_or(Input::new(&[])),
            maps: Maps::new(wiring.maps.iter().map(|&place| map(place))),
            is_in_place: wiring.is_in_place,
            residual: match wiring.residual {
                WiredResidual::None => Residual::None,
                WiredResidual::InOutput => Residual::InOutput,
                WiredResidual::Read(place) => Residual::From(read[place]),
            },
            scratch,
            window,
            output,
            put: &mut |first, values| outputs.put(wiring.head, first, values),
        };
        group.packed.run(self.constants, operands);
    }
}

/// Memory for one picture at a time, and the loop from noise to picture.
pub struct Painter<'a> {
    network: RunningNetwork<'a>,
    arena: Vec<Line>,
    x: Vec<f32>,
    previous: Vec<f32>,
    labelled: Vec<f32>,
    trajectory: Trajectory,
    shape: Shape,
}

impl Painter<'_> {
    /// Of the picture.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    fn parts(&mut self) -> (RunningNetwork<'_>, &mut Trajectory, Parts<'_>) {
        let Self { network, arena, x, previous, labelled, trajectory, .. } = self;
        (*network, trajectory, Parts { arena: Line::bytes_mut(arena), x, previous, labelled })
    }

    /// Draws a picture from noise: x at the end, `[height][width][channels]`, about −1 to 1. `on_step` sees x before the
    /// first step and after each.
    ///
    /// # Errors
    /// When the label is unknown, the guidance is not finite, or the sampler has a corrector.
    pub fn draw(
        &mut self,
        table: &OwnedTable,
        noise: impl Noise,
        request: Request,
        on_step: &mut dyn FnMut(&[f32]),
    ) -> Result<&[f32], SampleError> {
        self.draw_with(Begin::Noise, table, noise, request, &mut Hooks::<()>::default(), on_step)
    }

    /// The same from noise or a given x, with hooks.
    ///
    /// # Errors
    /// As [`Self::draw`]; when the given x is of another length; when hooks and table do not fit each other, see
    /// [`grano::trajectory::check_hooks`].
    pub fn draw_with<G: Guide, O: Observe, W: Watch>(
        &mut self,
        begin: Begin<'_>,
        table: &OwnedTable,
        mut noise: impl Noise,
        request: Request,
        hooks: &mut Hooks<G, O, W>,
        on_step: &mut dyn FnMut(&[f32]),
    ) -> Result<&[f32], SampleError> {
        let classes = self.network.network.classes;
        check_hooks(&table.view(), &mut hooks.observe, self.shape.len())?;
        let (_, trajectory, parts) = self.parts();
        match begin {
            Begin::Noise => trajectory.start(classes, &table.view(), parts, &mut noise, request)?,
            Begin::At(x) => trajectory.start_from(classes, &table.view(), parts, x, request)?,
        }
        on_step(&self.x);
        loop {
            let (network, trajectory, parts) = self.parts();
            match trajectory.advance_with(&network, &table.view(), parts, &mut noise, hooks) {
                Progress::Layer { .. } => {}
                Progress::Step { .. } => on_step(&self.x),
                Progress::Done => return Ok(&self.x),
            }
        }
    }
}
