//! What `sample` does, checked before it begins.

use std::ffi::OsStr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context, Error, Result, ensure};
use grano::Shape;
use grano_codegen::runtime::OwnedTable;
use grano_codegen::{Precision, Runtime};

use crate::args::SampleArgs;
use crate::models::Chosen;
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
    /// Pictures.
    pub count: usize,
    /// Of the noise.
    pub seed: u64,
    /// Weight of classifier-free guidance.
    pub guidance: f32,
    /// Where pictures go.
    pub output: Option<PathBuf>,
    /// Where labels go.
    pub labels_out: Option<PathBuf>,
    /// Whether checksums are wanted.
    pub crc: bool,
    /// At once.
    pub threads: usize,
}

impl Job {
    /// Checks all that can be checked before the work, and compiles the model.
    ///
    /// # Errors
    /// Names the flag that is wrong and what there is.
    pub fn new(args: SampleArgs) -> Result<Self> {
        let chosen = Chosen::new(&args.model)?;
        let header = &chosen.model.header;
        let sampler = args.sampler.as_ref().unwrap_or(&header.defaults.sampler);
        let build = chosen.build.clone().samplers([sampler]);
        header.sampler(sampler).and_then(|spec| spec.time_indices(header.schedule.steps)).map_err(|error| {
            let error = error.to_string();
            let reason = error.strip_prefix(&format!("sampler `{sampler}`: ")).unwrap_or(&error);
            Error::msg(format!("--sampler {sampler}: {reason}"))
        })?;
        let label = args.label.as_ref().map(|name| chosen.label(name)).transpose()?;
        let output = args.output.or_else(|| (!args.crc).then(|| "samples.png".into()));
        let name = args.model.model;
        let [channels, height, width] =
            chosen.model.denoiser().with_context(|| format!("--model {name}"))?.graph.input();
        let shape = Shape { height, width, channels };
        ensure!(output.is_none() || output != args.labels_out, "-o and --labels-out name the same file");
        ensure!(
            args.labels_out.is_none() || !header.data.labels.is_empty(),
            "--labels-out: the model has no labels; leave the flag out"
        );
        let count = args.count as usize;
        if let Some(path) = output.as_ref().filter(|path| path.extension() == Some(OsStr::new("png"))) {
            let (path, most) = (path.display(), sheet::most(shape));
            ensure!(sheet::can_show(shape), "-o {path}: pictures of {channels} channels make no sheet; write .npy");
            ensure!(count <= most, "--count {count}: a .png holds {most}; write .npy");
        }
        output.iter().chain(&args.labels_out).try_for_each(|path| files::check(path))?;
        let runtime = build.runtime().with_context(|| format!("--model {name}"))?;
        runtime.painter().with_context(|| format!("--model {name}"))?;
        Ok(Self {
            precision: chosen.precision,
            shape,
            table: runtime.table(sampler)?,
            label,
            count,
            seed: args.seed,
            guidance: args.guidance.unwrap_or(header.defaults.guidance),
            output,
            labels_out: args.labels_out,
            crc: args.crc,
            threads: args.threads.map_or_else(|| available_parallelism().map_or(1, NonZero::get), |n| n as usize),
            name,
            runtime,
        })
    }

    /// The class of picture i: a row of the sheet a class, where the count is 8 · classes. None of a model without labels.
    pub fn label_of(&self, i: usize) -> Option<usize> {
        let classes = self.runtime.header().data.labels.len();
        self.label.or_else(|| (classes > 0).then(|| i * classes / self.count))
    }

    /// A class's name.
    pub fn label_name(&self, label: Option<usize>) -> &str {
        label.and_then(|label| self.runtime.header().data.labels.get(label)).map_or("unlabelled", String::as_str)
    }

    /// All that is written.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.output.iter().chain(&self.labels_out).map(PathBuf::as_path)
    }
}
