//! A recipe: stages, each a command of `grano-train`, in a file that people read and edit.

use std::path::Path;

use anyhow::{Context, Result};
use grano_trainer_front::arguments::new::New as Args;
use grano_trainer_front::arguments::{Arguments, Command};
use grano_trainer_front::data::Loaded;
use serde::{Deserialize, Serialize};

use super::plan::{EVALUATIONS, Plan};
use crate::files;

/// All stages, in turn.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// In the order in which they run.
    stage: Vec<Stage>,
}

/// A stage.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stage {
    /// By which it is known.
    name: String,
    /// The words of its command; `@` stands for the folder of the run, and `data` for the arguments that say which data.
    command: Vec<String>,
}

/// What stands above the stages.
const HEAD: &str = "\
# The stages of `grano-train new`, each a command of grano-train. `@` stands for this folder, the word `data` for the
# arguments that say which data there are. A stage that was changed runs again, and so do those after it.

";

/// The words that begin the training of a network.
pub fn training_words(args: &Args, (channels, blocks): ([usize; 2], [usize; 3])) -> Vec<String> {
    let list = |numbers: &[usize]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut words = vec!["train".to_string()];
    words.extend(args.data.words());
    words.extend(args.labels.iter().map(|labels| format!("--labels={}", labels.join(","))));
    words.extend(variation(args));
    words.extend(["--prediction=velocity".into(), format!("--channels={}", list(&channels))]);
    words.push(format!("--blocks={}", list(&blocks)));
    words
}

fn variation(args: &Args) -> Vec<String> {
    let mut words = Vec::new();
    if args.augment.flip {
        words.push("--flip".to_string());
    }
    if args.augment.shift > 0 {
        words.push(format!("--shift={}", args.augment.shift));
    }
    words
}

impl Recipe {
    /// The recipe for some data, a network and a time: the one by which the shipped models were made, with as many updates
    /// as the time has room for.
    pub fn of(args: &Args, loaded: &Loaded, plan: &Plan) -> Self {
        // An update of `batch` pictures takes as long as `cost` of those of the first training.
        let updates = |part: f64, cost: f64, batch: f64| {
            ((plan.samples_per_second * plan.seconds * part / (cost * batch)) as u64).max(10)
        };
        let words = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
        let mut stage = Vec::new();
        let mut add = |name: &str, command: Vec<String>| stage.push(Stage { name: name.into(), command });
        let mut train = training_words(args, plan.network);
        // The data's own words have their place in the file.
        train.splice(1..1 + args.data.words().len(), ["data".to_string()]);
        // As many updates as half a thousand passes, at most: with few pictures more learns them by heart.
        let passes = loaded.train.labels.len() as u64 * 500 / 128;
        let steps = updates(0.55, 1.0, 128.0).min(passes.max(500));
        train.extend(words(&format!("--steps={steps} --sample-every={} --run=@/train", (steps / 4).max(1))));
        add("train", train);
        add("trained", words("export --run=@/train --output=@/trained.safetensors --sampler=dpm-8"));
        let mut model = "trained";
        if !loaded.names.is_empty() {
            let steps = updates(0.12, 2.0, 128.0).min(4000);
            add(
                "guide",
                words(&format!(
                    "finetune data --model=@/trained.safetensors --guidance=1.6 --learning-rate=6e-4 --ema=0.998 --steps={steps} --run=@/guide"
                )),
            );
            add("guided", words("export --run=@/guide --output=@/guided.safetensors --sampler=dpm-8"));
            model = "guided";
        }
        add(
            "steps",
            words(&format!("steps --model=@/{model}.safetensors --rule=dpm --steps={EVALUATIONS} --pictures=16")),
        );
        let searched = format!("dpm-{EVALUATIONS}-searched");
        let steps = updates(0.25, 3.0 * EVALUATIONS as f64, 64.0).min(4000);
        add(
            "refine",
            words(&format!(
                "refine data --model=@/{model}.safetensors --samplers={searched} --batch=64 --steps={steps} --run=@/refine"
            )),
        );
        add("model", words(&format!("export --run=@/refine --output=@/model.safetensors --sampler={searched}")));
        add(
            "eval",
            words(
                "eval data --model=@/model.safetensors --run=@/eval --count=500 --precision=int8,f32 --reference=none --elbo=0 --classifier=@/classifier.safetensors",
            ),
        );
        Self { stage }
    }

    /// The file.
    ///
    /// # Errors
    /// None in practice.
    pub fn text(&self) -> Result<String> {
        Ok(HEAD.to_string() + &toml::to_string(self)?)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// Names it and what is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{}: no recipe; repair or delete it", path.display()))
    }

    /// Runs the stages that have not ended, and puts the model in its place.
    ///
    /// # Errors
    /// Those of the stages, which are named.
    pub fn run(&self, args: &Args, folder: &Path, run: &dyn Fn(&Command) -> Result<()>) -> Result<()> {
        // All commands are read before the first runs.
        let commands = self.stage.iter().map(|stage| {
            let words = stage.words(args, folder);
            Ok((stage, Arguments::of(&words).with_context(|| format!("stage {}", stage.name))?.command, words))
        });
        let count = self.stage.len();
        let mut before = String::new();
        for (i, (stage, command, words)) in commands.collect::<Result<Vec<_>>>()?.into_iter().enumerate() {
            let done = folder.join(format!("{}.done", stage.name));
            // With the hash of all before: what comes after a changed stage is another.
            before = files::short_hash([before.as_bytes(), words.join("\n").as_bytes()]);
            if std::fs::read_to_string(&done).is_ok_and(|hash| hash == before) {
                println!("stage {} of {count}, {}: has ended", i + 1, stage.name);
                continue;
            }
            println!("stage {} of {count}, {}: {}", i + 1, stage.name, words.join(" "));
            let started = folder.join(format!("{}.begun", stage.name));
            if std::fs::read_to_string(&started).is_ok_and(|hash| hash != before) {
                // What another command has begun is not gone on with.
                let begun = folder.join(&stage.name);
                if begun.exists() {
                    std::fs::remove_dir_all(&begun)
                        .with_context(|| format!("{}: cannot be removed; remove it", begun.display()))?;
                }
            }
            files::write(&started, before.as_bytes())?;
            run(&command).with_context(|| format!("stage {}", stage.name))?;
            files::write(&done, before.as_bytes())?;
        }
        files::make_parent(&args.output)?;
        let model = folder.join("model.safetensors");
        let bytes = std::fs::read(&model).with_context(|| format!("{}: no stage has made it", model.display()))?;
        files::write(&args.output, &bytes)
    }
}

impl Stage {
    /// The words of its command, as on a command line.
    fn words(&self, args: &Args, folder: &Path) -> Vec<String> {
        let mut words = vec!["grano-train".to_string()];
        for word in &self.command {
            match word.as_str() {
                "data" => words.extend(args.data.words()),
                word => words.push(word.replace('@', &folder.display().to_string())),
            }
        }
        words
    }
}
