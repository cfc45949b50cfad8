//! The whole pipeline in one function, the same for build scripts and the command line.

use std::path::{Path, PathBuf};

use crate::emit::{Extras, Generated, emit};
use crate::error::{Error, Result};
use crate::fold::fold;
use crate::load::load;
use crate::lower::{Room, direct, lower};
use crate::model::{DENOISER, Model, Ranges};
use crate::precision::Precision;
use crate::quantize::quantize;
use crate::schedule::{SamplerSpec, Table};
use crate::target::Target;
use crate::{float, report};

/// A build of one model file. In a build script:
///
/// ```no_run
/// use grano_codegen::{Build, Precision};
///
/// Build::new("../models/fashion.safetensors").precision(Precision::Int8).samplers(["ddim-20"]).emit("fashion");
/// ```
///
/// and in the crate: `mod fashion { include!(concat!(env!("OUT_DIR"), "/fashion/model.rs")); }`.
#[derive(Clone, Debug)]
pub struct Build {
    model: PathBuf,
    precision: Precision,
    purpose: Purpose,
    target: Target,
    samplers: Vec<String>,
    flash_budget: usize,
    ram_budget: usize,
}

/// What an int8 network is for: which values its codes are to hold. Its weights are the same for both. Other precisions
/// have no use for the question: they lose little either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To draw pictures: the values on a sampler's trajectories.
    #[default]
    Sampling,
    /// To bound the likelihood of real pictures: the values at x_t of q(x_t | x_0), see
    /// [`crate::model::Header::likelihood`].
    Likelihood,
}

/// What a build writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// `model.rs` and `model.bin`.
    pub generated: Generated,
    /// `plan.txt`: memory and work by layer, and the algorithms with the reason for each.
    pub plan: String,
    /// `report.html`: the same as a page, with pictures.
    pub report: String,
    /// What the user should know, a line each.
    pub warnings: Vec<String>,
}

impl Build {
    /// Starts a build: int8, for any chip, the model's own sampler, no budgets.
    #[must_use]
    pub fn new(model: impl AsRef<Path>) -> Self {
        let model = model.as_ref().to_path_buf();
        Self {
            model,
            precision: Precision::Int8,
            purpose: Purpose::default(),
            target: Target::default(),
            samplers: Vec::new(),
            flash_budget: usize::MAX,
            ram_budget: usize::MAX,
        }
    }

    /// Chooses what an int8 network is for.
    #[must_use]
    pub fn purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// Chooses the numbers.
    #[must_use]
    pub fn precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Names the chip, whose instructions the network will be made of; else it runs anywhere.
    #[must_use]
    pub fn target(self, target: Target) -> Self {
        Self { target, ..self }
    }

    /// Names the samplers whose tables the code holds, the default first.
    #[must_use]
    pub fn samplers(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { samplers: names.into_iter().map(Into::into).collect(), ..self }
    }

    /// Most bytes of constants.
    #[must_use]
    pub fn flash_budget(self, bytes: usize) -> Self {
        Self { flash_budget: bytes, ..self }
    }

    /// Most bytes of a sampler's memory. Where whole maps take more, pairs of int8 convolutions run strip by strip.
    #[must_use]
    pub fn ram_budget(self, bytes: usize) -> Self {
        Self { ram_budget: bytes, ..self }
    }

    /// Runs the pipeline.
    ///
    /// # Errors
    /// Names the file, tensor, node, sampler or budget that is wrong.
    pub fn generate(&self, name: &str) -> Result<Output> {
        let model = load(&self.model)?;
        let samplers = self.tables(&model)?;
        let times = times(&samplers);
        let folded = fold(model.denoiser()?, &times)?;
        let none = Ranges::default();
        let ranges = match (self.precision, self.purpose) {
            (Precision::Int8, Purpose::Likelihood) => model.header.likelihood.as_ref().ok_or_else(|| {
                Error::Model("the model has no codes for likelihoods; `grano-train sensitivity` finds them".into())
            })?,
            _ => model.header.ranges.get(DENOISER).unwrap_or(&none),
        };
        let kernels = match self.precision {
            Precision::Int8 => quantize(&folded, ranges, &[])?,
            Precision::Mixed if ranges.fine.is_empty() => {
                return Err(Error::Model(
                    "the model names no maps for int16; `grano-train sensitivity` finds them, or choose int8".into(),
                ));
            }
            Precision::Mixed => quantize(&folded, ranges, &ranges.fine)?,
            precision => float::kernels(&folded, precision.float())?,
        };
        let tables: Vec<Table> = samplers.iter().map(|(_, table)| table.clone()).collect();
        let extras = Extras {
            type_name: &type_name(name),
            comment: &self.comment(&model),
            labels: &model.header.data.labels,
            guidance: model.header.defaults.guidance,
            samplers: &tables,
            times: &times,
            float: self.precision.float(),
            target: self.target,
        };
        // What faster algorithms may take is what the slowest, which take the least, leave.
        let least = direct(&folded, &kernels, self.target)?;
        let room = Room {
            flash_bytes: self.flash_budget.saturating_sub(emit(&least, &extras)?.constants.len()),
            arena_bytes: self.ram_budget.saturating_sub(report::picture_bytes(&least, &tables)),
        };
        let program = lower(&folded, &kernels, self.target, room)?;
        let generated = emit(&program, &extras)?;
        self.check_budgets(name, report::ram_bytes(&program, &tables), generated.constants.len())?;
        let subject = report::Subject {
            name,
            precision: self.precision,
            target: self.target,
            program: &program,
            generated: &generated,
            samplers: &tables,
        };
        let (plan, report) = (report::text(&subject), report::html(&subject));
        let warnings = samplers.iter().flat_map(|(spec, table)| spec.warnings(table)).collect();
        Ok(Output { generated, plan, report, warnings })
    }

    /// Writes `model.rs`, `model.bin`, `plan.txt` and `report.html` to a folder.
    ///
    /// # Errors
    /// As [`Self::generate`], and when the folder cannot be written.
    pub fn write(&self, name: &str, folder: &Path) -> Result<Output> {
        let output = self.generate(name)?;
        std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        let files: [(&str, &[u8]); 4] = [
            ("model.rs", output.generated.source.as_bytes()),
            ("model.bin", &output.generated.constants),
            ("plan.txt", output.plan.as_bytes()),
            ("report.html", output.report.as_bytes()),
        ];
        // All are written before any is put in its place, so that a full disk leaves what was there.
        for (file, bytes) in files {
            let partial = folder.join(format!("{file}.partial"));
            std::fs::write(&partial, bytes).map_err(|error| Error::io(&partial, error))?;
        }
        for (file, _) in files {
            let path = folder.join(file);
            std::fs::rename(folder.join(format!("{file}.partial")), &path).map_err(|error| Error::io(&path, error))?;
        }
        Ok(output)
    }

    /// In a build script: writes to `$OUT_DIR/{name}`; what is wrong becomes the crate's compile error.
    pub fn emit(&self, name: &str) {
        println!("cargo::rerun-if-changed={}", self.model.display());
        println!("cargo::rerun-if-changed=build.rs");
        let folder = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join(name);
        match self.write(name, &folder) {
            Ok(output) => output.warnings.iter().for_each(|warning| println!("cargo::warning={warning}")),
            Err(error) => println!("cargo::error={error}"),
        }
    }

    fn tables(&self, model: &Model) -> Result<Vec<(SamplerSpec, Table)>> {
        let header = &model.header;
        let own = [header.defaults.sampler.clone()];
        let names = if self.samplers.is_empty() { &own[..] } else { &self.samplers };
        let table = |name: &String| {
            let spec = header.sampler(name)?;
            let table = spec.table(&header.schedule, header.prediction)?;
            Ok((spec, table))
        };
        names.iter().map(table).collect()
    }

    fn comment(&self, model: &Model) -> String {
        let file = self.model.file_name().unwrap_or_default().to_string_lossy();
        format!(
            "// Generated by grano-codegen in {} from {file}\n// (sha256 {}). Do not edit.\n",
            self.precision.name(),
            model.sha256
        )
    }

    fn check_budgets(&self, name: &str, ram: usize, flash: usize) -> Result<()> {
        if flash > self.flash_budget {
            return Err(Error::Model(format!(
                "`{name}` takes {flash} bytes of flash, {} more than its budget of {}; name fewer samplers or steps, or train a smaller network",
                flash - self.flash_budget,
                self.flash_budget
            )));
        }
        if ram > self.ram_budget {
            return Err(Error::Model(format!(
                "`{name}` takes {ram} bytes of RAM, {} more than its budget of {}; choose int8, or train a network with fewer channels",
                ram - self.ram_budget,
                self.ram_budget
            )));
        }
        Ok(())
    }
}

/// The time indices of all samplers, ascending: the network's rows.
fn times(samplers: &[(SamplerSpec, Table)]) -> Vec<usize> {
    let all = samplers.iter().flat_map(|(_, table)| table.rows.iter().map(|row| row.t));
    all.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// `fashion-fast` becomes `FashionFast`.
fn type_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name: String = words.map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("Model{name}") }
}
