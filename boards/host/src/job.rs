//! What `sample` does, checked before it begins.

use std::ffi::OsStr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context, Error, Result, ensure};
use grano::Shape;
use grano::guidance::FreeGuidance;
use grano_codegen::backward::GRADIENT;
use grano_codegen::model::{CLASSIFIER, DENOISER};
use grano_codegen::runtime::OwnedTable;
use grano_codegen::{Precision, Runtime};

use crate::args::SampleArgs;
use crate::batch::{FREE, Guided};
use crate::models::Chosen;
use crate::task::Task;
use crate::{files, sheet};

/// A sound request: what to draw, how, and where to.
pub struct Job {
    /// The model's name, or its file's.
    pub name: String,
    /// The model, ready to run.
    pub runtime: Runtime,
    /// Its numbers.
    pub precision: Precision,
    /// Of a picture.
    pub shape: Shape,
    /// The sampler.
    pub table: OwnedTable,
    /// The class of every picture; none for all in turn.
    pub label: Option<usize>,
    /// Names of the classes, those of the classifier where that guides.
    pub labels: Vec<String>,
    /// Pictures.
    pub count: usize,
    /// Of the noise.
    pub seed: u64,
    /// Weight of classifier-free guidance.
    pub guidance: f32,
    /// Where that guidance works, and how it is rescaled.
    pub free: FreeGuidance,
    /// Guidance by the model's classifier.
    pub classifier: Option<Guided>,
    /// Whether the denoiser is told the class.
    pub tells_class: bool,
    /// What pictures are drawn from.
    pub task: Task,
    /// Where pictures go.
    pub output: Option<PathBuf>,
    /// Where labels go.
    pub labels_out: Option<PathBuf>,
    /// Whether checksums are wanted.
    pub crc: bool,
    /// At once.
    pub threads: usize,
}

/// What verbs differ in.
pub struct Verb<'a> {
    /// Name of the file that is written where none is named.
    pub name: &'a str,
    /// Pictures, where the user does not say.
    pub count: u32,
    /// The sampler, where the user does not say; none for the model's own.
    pub sampler: Option<&'a str>,
    /// Whether x̂0 is not clipped.
    pub is_unclipped: bool,
}

impl Verb<'_> {
    /// `sample`.
    pub const SAMPLE: Self = Self { name: "samples", count: 16, sampler: None, is_unclipped: false };
}

/// What a verb draws from, and with which steps.
type Given = (Task, OwnedTable);

impl Job {
    /// Checks all that can be checked before the work, and compiles the model. `given` reads what the verb draws from, for
    /// the model's shape, the sampler's table with its time indices, and T.
    ///
    /// # Errors
    /// Names the flag that is wrong and what there is.
    pub fn new(
        args: SampleArgs,
        verb: &Verb<'_>,
        given: impl FnOnce(Shape, OwnedTable, &[usize], usize) -> Result<Given>,
    ) -> Result<Self> {
        let chosen = Chosen::new(&args.model)?;
        let header = &chosen.model.header;
        let sampler = args.sampler.as_deref().or(verb.sampler).unwrap_or(&header.defaults.sampler);
        let build = chosen.build.clone().samplers([sampler]);
        let wrong = |error: grano_codegen::Error| {
            let error = error.to_string();
            let reason = error.strip_prefix(&format!("sampler `{sampler}`: ")).unwrap_or(&error);
            Error::msg(format!("--sampler {sampler}: {reason}"))
        };
        let mut spec = header.sampler(sampler).map_err(wrong)?;
        if verb.is_unclipped {
            spec.clip = None;
        }
        let table = spec.table(&header.schedule, header.prediction).map_err(wrong)?;
        let times: Vec<usize> = table.rows.iter().map(|row| row.t).collect();
        // The class is the classifier's where that guides.
        let labelled = if args.classifier_scale.is_some() { CLASSIFIER } else { DENOISER };
        let output = args.output.or_else(|| (!args.crc).then(|| format!("{}.png", verb.name).into()));
        let name = args.model.model;
        let denoiser = chosen.model.denoiser().with_context(|| format!("--model {name}"))?;
        let [channels, height, width] = denoiser.graph.input();
        let shape = Shape { height, width, channels };
        ensure!(output.is_none() || output != args.labels_out, "-o and --labels-out name the same file");
        ensure!(
            args.labels_out.is_none() || !header.labels_of(labelled).is_empty(),
            "--labels-out: the model has no labels; leave the flag out"
        );
        let classifier = match args.classifier_scale {
            Some(scale) => Some(Guided { output: gradient(&chosen, shape)?, scale }),
            None => None,
        };
        ensure!(
            classifier.is_none() || args.guidance.is_none() || header.labels_of(CLASSIFIER) == header.data.labels,
            "--guidance: the classifier's classes are others than the denoiser's; leave the flag out"
        );
        let label = args.label.as_ref().map(|name| chosen.label_of(labelled, name)).transpose()?;
        let labels = header.labels_of(labelled).to_vec();
        let count = args.count.unwrap_or(verb.count) as usize;
        if let Some(path) = output.as_ref().filter(|path| path.extension() == Some(OsStr::new("png"))) {
            let (path, most) = (path.display(), sheet::most(shape));
            ensure!(sheet::can_show(shape), "-o {path}: pictures of {channels} channels make no sheet; write .npy");
            ensure!(count <= most, "--count {count}: a .png holds {most}; write .npy");
        }
        output.iter().chain(&args.labels_out).try_for_each(|path| files::check(path))?;
        let runtime = build.runtime().with_context(|| format!("--model {name}"))?;
        runtime.painter().with_context(|| format!("--model {name}"))?;
        let (task, table) = given(shape, runtime.own(&table)?, &times, header.schedule.steps)?;
        ensure!(
            args.labels_out.is_none() || label.is_some() || matches!(task, Task::Noise),
            "--labels-out: no class is drawn; give --label, or leave the flag out"
        );
        let free = FreeGuidance::new(
            args.guidance_interval.unwrap_or(FREE.interval),
            args.guidance_rescale.unwrap_or(FREE.rescale),
        );
        Ok(Self {
            precision: chosen.precision,
            shape,
            table,
            label,
            labels,
            count,
            seed: args.seed,
            guidance: args.guidance.unwrap_or(header.defaults.guidance),
            free,
            classifier,
            tells_class: denoiser.graph.classes() > 0 && (classifier.is_none() || args.guidance.is_some()),
            task,
            output,
            labels_out: args.labels_out,
            crc: args.crc,
            threads: args.threads.map_or_else(|| available_parallelism().map_or(1, NonZero::get), |n| n as usize),
            name,
            runtime,
        })
    }

    /// The class of picture i: where noise alone is given, a row of the sheet a class, where the count is 8 · classes. None
    /// of a model without labels.
    pub fn label_of(&self, i: usize) -> Option<usize> {
        let classes = self.labels.len();
        let in_turn = classes > 0 && matches!(self.task, Task::Noise);
        self.label.or_else(|| in_turn.then(|| i * classes / self.count))
    }

    /// A class's name.
    pub fn label_name(&self, label: Option<usize>) -> &str {
        label.and_then(|label| self.labels.get(label)).map_or("unlabelled", String::as_str)
    }

    /// All that is written.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.output.iter().chain(&self.labels_out).map(PathBuf::as_path)
    }
}

/// The number of the classifier's output that is its gradient.
///
/// # Errors
/// Says what the model lacks.
fn gradient(chosen: &Chosen, shape: Shape) -> Result<usize> {
    let networks = &chosen.model.networks;
    let names = || networks.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let classifier = networks.get(CLASSIFIER);
    let graph = &classifier
        .with_context(|| format!("--classifier-scale: the model has no network `{CLASSIFIER}`, only {}", names()))?
        .graph;
    let shapes = graph.shapes()?;
    let Shape { height, width, channels } = shape;
    let wanted = [channels, height, width];
    let is_sound = graph.input() == wanted && graph.classes() > 0;
    let found = graph.outputs.iter().position(|output| output == GRADIENT && shapes[output].map() == Some(wanted));
    found.filter(|_| is_sound).with_context(|| {
        format!(
            "--classifier-scale: the model's `{CLASSIFIER}` does not read a picture and a label and give `{GRADIENT}` of {wanted:?}; make it with `grano-train classify`"
        )
    })
}
