//! The whole pipeline in one place, the same for build scripts, the command line and the in-process runtime.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chip::Chip;
use crate::compile::{Budget, Compiled, compile};
use crate::emit::{Extras, emit};
use crate::error::{Error, Result};
use crate::limits::{MOST_STEPS, at_most, one_line};
use crate::load::{check, load};
use crate::model::{DENOISER, Model, Ranges};
use crate::precision::Precision;
use crate::quantize::Numbers;
use crate::report;
use crate::resources::Resources;
use crate::runtime::Runtime;
use crate::schedule::{SamplerSpec, Table};
use crate::target::Target;

/// A build of one model. In a build script:
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
    source: Source,
    precision: Precision,
    purpose: Purpose,
    target: Target,
    samplers: Vec<String>,
    times: Vec<usize>,
    guided: Option<bool>,
    flash_budget: usize,
    ram_budget: usize,
}

/// Where the model comes from.
#[derive(Clone, Debug)]
enum Source {
    File(PathBuf),
    Model(Arc<Model>),
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
    /// `model.rs`.
    pub source: String,
    /// `model.bin`.
    pub constants: Vec<u8>,
    /// `plan.txt`: memory and work by layer, and the algorithms with the reason for each.
    pub plan: String,
    /// `report.html`: the same as a page, with pictures.
    pub report: String,
    /// What the user should know, a line each.
    pub warnings: Vec<String>,
}

/// A compiled model and its samplers.
struct Stage {
    model: Arc<Model>,
    compiled: Compiled,
    samplers: Vec<(SamplerSpec, Table)>,
    resources: Resources,
}

impl Build {
    /// Starts a build of a model file: int8, for any chip, the model's own sampler, no budgets.
    #[must_use]
    pub fn new(model: impl AsRef<Path>) -> Self {
        Self::from(Source::File(model.as_ref().to_path_buf()))
    }

    /// Starts a build of a model in memory.
    #[must_use]
    pub fn of(model: Arc<Model>) -> Self {
        Self::from(Source::Model(model))
    }

    fn from(source: Source) -> Self {
        Self {
            source,
            precision: Precision::Int8,
            purpose: Purpose::default(),
            target: Target::default(),
            samplers: Vec::new(),
            times: Vec::new(),
            guided: None,
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

    /// Names time indices, `0..T`, that the networks can be evaluated at beside those of the samplers.
    #[must_use]
    pub fn times(self, times: impl IntoIterator<Item = usize>) -> Self {
        Self { times: times.into_iter().collect(), ..self }
    }

    /// Whether a sampler has the memory that classifier-free guidance takes, a map of f32; else it has where the model is
    /// meant to be sampled with guidance.
    #[must_use]
    pub fn guided(self, guided: bool) -> Self {
        Self { guided: Some(guided), ..self }
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
        let stage = self.stage()?;
        let Stage { model, compiled, samplers, resources } = &stage;
        resources.check(name, self.flash_budget, self.ram_budget)?;
        let tables: Vec<Table> = samplers.iter().map(|(_, table)| table.clone()).collect();
        let extras = Extras {
            type_name: &type_name(name),
            comment: &self.comment(model),
            labels: &model.header.data.labels,
            guidance: model.header.defaults.guidance,
            samplers: &tables,
            guided: self.is_guided(model),
        };
        compiled.prove()?;
        let source = emit(compiled, &extras)?;
        let subject = report::Subject {
            name,
            precision: self.precision,
            target: self.target,
            compiled,
            resources,
            samplers: &tables,
        };
        let (plan, report) = (report::text(&subject), report::html(&subject));
        let mut warnings: Vec<String> = samplers.iter().flat_map(|(spec, table)| spec.warnings(table)).collect();
        warnings.extend(self.price_of_flash(name, &stage)?);
        warnings.extend(compiled.gave_up.then(|| {
            format!("`{name}`: the search for orders, algorithms and strips ended at its limit of work; with fewer nodes or larger budgets it may find ones that take less")
        }));
        Ok(Output { source, constants: compiled.constants.bytes().to_vec(), plan, report, warnings })
    }

    /// What the build would take, without its code.
    ///
    /// # Errors
    /// As [`Self::generate`], but for budgets.
    pub fn measure(&self) -> Result<Resources> {
        Ok(self.stage()?.resources)
    }

    /// The model ready to run in process, in place of code: the same bits.
    ///
    /// # Errors
    /// As [`Self::generate`], and when a network for the target does not run here.
    pub fn runtime(&self) -> Result<Runtime> {
        let Stage { model, compiled, .. } = self.stage()?;
        Runtime::new(model.header.clone(), compiled)
    }

    /// Runs the pipeline up to the packed networks.
    fn stage(&self) -> Result<Stage> {
        let model = match &self.source {
            Source::File(path) => Arc::new(load(path)?),
            Source::Model(model) => {
                check(&model.header)?;
                Arc::clone(model)
            }
        };
        let samplers = if model.networks.contains_key(DENOISER) { self.tables(&model)? } else { Vec::new() };
        let tables: Vec<&Table> = samplers.iter().map(|(_, table)| table).collect();
        let maps_bytes = Resources::maps_bytes(&model, &tables, self.is_guided(&model));
        let arena_bytes = match self.ram_budget {
            usize::MAX => usize::MAX,
            bytes => bytes.saturating_sub(maps_bytes),
        };
        let budget = Budget { flash_bytes: self.flash_budget, arena_bytes };
        let none = Ranges::default();
        let compiled = compile(&model, &self.all_times(&model, &tables)?, self.target, budget, |network| {
            let ranges = match (self.precision, self.purpose) {
                (Precision::Int8, Purpose::Likelihood) if network == DENOISER => {
                    model.header.likelihood.as_ref().ok_or_else(|| {
                        Error::Model(
                            "the model has no codes for likelihoods; `grano-train sensitivity` finds them".into(),
                        )
                    })?
                }
                _ => model.header.ranges.get(network).unwrap_or(&none),
            };
            match self.precision {
                Precision::Int8 => Ok(Numbers::Integers { ranges, fine: &[] }),
                Precision::Mixed if ranges.fine.is_empty() && network == DENOISER => Err(Error::Model(
                    "the model names no maps for int16; `grano-train sensitivity` finds them, or choose int8".into(),
                )),
                Precision::Mixed => Ok(Numbers::Integers { ranges, fine: &ranges.fine }),
                precision => Ok(Numbers::Floats(precision.float())),
            }
        })?;
        let resources = Resources::of(&compiled, maps_bytes);
        Ok(Stage { model: Arc::clone(&model), compiled, samplers, resources })
    }

    /// The time indices of all samplers, and those asked for, ascending: the networks' rows. Index 0 alone where there are
    /// none.
    fn all_times(&self, model: &Model, tables: &[&Table]) -> Result<Vec<usize>> {
        let steps = model.header.schedule.steps;
        if let Some(t) = self.times.iter().find(|&&t| t >= steps) {
            return Err(Error::Model(format!(
                "time index {t}; the model was trained with T = {steps}, give 0 to {}",
                steps - 1
            )));
        }
        let sampled = tables.iter().flat_map(|table| table.rows.iter().map(|row| row.t));
        let times: BTreeSet<usize> = sampled.chain(self.times.iter().copied()).collect();
        Ok(if times.is_empty() { vec![0] } else { times.into_iter().collect() })
    }

    fn is_guided(&self, model: &Model) -> bool {
        self.guided.unwrap_or(model.header.defaults.guidance != 1.0)
    }

    /// What a flash budget costs in RAM, where it costs any and nothing said how much there is.
    fn price_of_flash(&self, name: &str, stage: &Stage) -> Result<Option<String>> {
        if self.flash_budget == usize::MAX || self.ram_budget != usize::MAX {
            return Ok(None);
        }
        let without = Self {
            flash_budget: usize::MAX,
            ..Self { source: Source::Model(Arc::clone(&stage.model)), ..self.clone() }
        };
        let (with, without) = (stage.resources.ram_bytes, without.measure()?.ram_bytes);
        let price = with.checked_sub(without).filter(|&price| price > 0);
        Ok(price.map(|price| {
            format!("`{name}`: weights that the flash budget has no room for are transformed in RAM, {price} bytes more of it; set a RAM budget to bound that")
        }))
    }

    /// Writes `model.rs`, `model.bin`, `plan.txt` and `report.html` to a folder.
    ///
    /// # Errors
    /// As [`Self::generate`], and when the folder cannot be written.
    pub fn write(&self, name: &str, folder: &Path) -> Result<Output> {
        let output = self.generate(name)?;
        std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        let files: [(&str, &[u8]); 4] = [
            ("model.rs", output.source.as_bytes()),
            ("model.bin", &output.constants),
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

    /// In a build script: writes to `$OUT_DIR/{name}`; what is wrong becomes the crate's compile error, and so does a target
    /// whose instructions the chip that cargo builds for lacks, see [`Chip::check`].
    pub fn emit(&self, name: &str) {
        if let Source::File(path) = &self.source {
            println!("cargo::rerun-if-changed={}", one_line(&path.display().to_string()));
        }
        println!("cargo::rerun-if-changed=build.rs");
        if let Err(reason) = Chip::of_build_script().check(self.target) {
            return report_error(&format!("`{name}`: {reason}"));
        }
        let folder = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join(name);
        match self.write(name, &folder) {
            Ok(output) => {
                output.warnings.iter().for_each(|warning| println!("cargo::warning={}", one_line(warning)));
            }
            Err(error) => report_error(&error),
        }
    }

    fn tables(&self, model: &Model) -> Result<Vec<(SamplerSpec, Table)>> {
        let header = &model.header;
        let own = [header.defaults.sampler.clone()];
        let names = if self.samplers.is_empty() { &own[..] } else { &self.samplers };
        let mut steps = 0_usize;
        let table = |name: &String| {
            let spec = header.sampler(name)?;
            steps = spec.evaluations().saturating_add(steps);
            at_most("steps of all samplers of the build", steps, MOST_STEPS)?;
            let table = spec.table(&header.schedule, header.prediction)?;
            Ok((spec, table))
        };
        names.iter().map(table).collect()
    }

    fn comment(&self, model: &Model) -> String {
        let file = match &self.source {
            Source::File(path) => one_line(&path.file_name().unwrap_or_default().to_string_lossy()),
            Source::Model(_) => "a model in memory".into(),
        };
        format!(
            "// Generated by grano-codegen in {} from {file}\n// (sha256 {}). Do not edit.\n",
            self.precision.name(),
            model.sha256
        )
    }
}

/// In a build script: makes an error the crate's compile error.
pub fn report_error(error: &dyn std::fmt::Display) {
    println!("cargo::error={}", one_line(&error.to_string()));
}

/// `fashion-fast` becomes `FashionFast`; what would be no name for a type gets `Model` before it.
fn type_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name: String = words.map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect();
    // Generated code has types of its own.
    let taken = ["Label", "Painter"].contains(&&*name);
    match syn::parse_str::<proc_macro2::Ident>(&name) {
        Ok(_) if !taken => name,
        _ => format!("Model{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_names() {
        for (name, expected) in [
            ("fashion-fast", "FashionFast"),
            ("self", "ModelSelf"),
            ("8", "Model8"),
            ("", "Model"),
            ("label", "ModelLabel"),
        ] {
            assert_eq!(type_name(name), expected);
        }
    }
}
