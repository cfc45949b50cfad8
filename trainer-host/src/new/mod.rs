//! `new`: from a folder to a model, by a recipe of the other commands.
//!
//! [`plan`] chooses a network that fits the board and measures how fast it trains; [`recipe`] turns that into a file of
//! stages, each a command of its own, and runs those that have not ended yet.

mod plan;
mod recipe;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use grano_trainer_front::arguments::Command;
use grano_trainer_front::arguments::data::Look;
use grano_trainer_front::arguments::new::New as Args;
use grano_trainer_front::data;
use grano_trainer_front::look::look;

use crate::files;
use recipe::Recipe;

/// Runs the command; `run` runs those of the stages.
///
/// # Errors
/// Names what is wrong with the data, the recipe or a stage; those that have ended are not run again.
pub fn new(args: &Args, run: &dyn Fn(&Command) -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    let safetensors = args.output.extension().is_some_and(|extension| extension == "safetensors");
    ensure!(safetensors, "--output {}: name a .safetensors", args.output.display());
    let folder = args.run.clone().unwrap_or_else(|| {
        PathBuf::from("runs/new").join(args.output.with_extension("").file_name().unwrap_or_default())
    });
    std::fs::create_dir_all(&folder).with_context(|| format!("{}: this folder cannot be made", folder.display()))?;
    look(&Look { data: args.data.clone(), labels: args.labels.clone(), output: folder.join("look.png") })?;
    let path = folder.join("recipe.toml");
    if !path.exists() {
        let loaded = data::load(&args.data, args.labels.as_deref())?;
        let plan = plan::plan(args, &loaded, &folder, run)?;
        files::write(&path, Recipe::of(args, &loaded, &plan).text()?.as_bytes())?;
        println!("recipe: {}, which can be edited", path.display());
    }
    let recipe = Recipe::read(&path)?;
    recipe.run(args, &folder, run)?;
    println!(
        "{}: made in {:.0} minutes of this sitting; report: {}",
        args.output.display(),
        begun.elapsed().as_secs_f64() / 60.0,
        folder.join("eval/report.html").display()
    );
    Ok(())
}
