//! `score`: how likely given pictures are.

use std::ffi::OsStr;
use std::fmt::Write;
use std::num::NonZero;
use std::path::Path;

use anyhow::{Context, Error, Result};
use grano::Shape;
use grano_codegen::score::{Score, Scored};
use grano_codegen::{Precision, Purpose};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde::Serialize;

use crate::args::ScoreArgs;
use crate::files::{self, Files};
use crate::models::Chosen;
use crate::photo;

/// Errors that the text shows: at so many noises, evenly from all.
const SHOWN: usize = 5;

/// What is written.
#[derive(Serialize)]
struct Report {
    model: String,
    precision: String,
    budget: usize,
    /// Time indices of the errors.
    times: Vec<usize>,
    /// Mean of the pictures' bits per dimension.
    mean_bits_per_dimension: f64,
    pictures: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    /// The file, with the picture's number where it holds several.
    picture: String,
    bits_per_dimension: f64,
    /// Mean squares of x̂0 − x_0, by time index.
    errors: Vec<f32>,
}

/// Scores all pictures, writes what was asked for, and says the rest.
///
/// # Errors
/// Names the flag or file that is wrong and what there is.
pub fn run(args: &ScoreArgs) -> Result<String> {
    let chosen = Chosen::new(&args.model)?;
    let (name, header) = (&args.model.model, &chosen.model.header);
    let [channels, height, width] = chosen.model.denoiser().with_context(|| format!("--model {name}"))?.graph.input();
    let shape = Shape { height, width, channels };
    let label = args.label.as_ref().map(|name| chosen.label(name)).transpose()?;
    let score = Score::new(header, args.budget).with_context(|| format!("--budget {}", args.budget))?;
    args.output.iter().try_for_each(|path| files::check(path))?;
    let mut pictures = Vec::new();
    for path in &args.picture {
        let all = photo::read_all("--picture", path, shape)?;
        let several = all.len() > 1;
        let named =
            |(i, bytes)| (if several { format!("{}:{i}", path.display()) } else { path.display().to_string() }, bytes);
        pictures.extend(all.into_iter().enumerate().map(named));
    }
    let times: Vec<usize> = score.table().rows.iter().map(|row| row.t).collect();
    let mut build = chosen.build.clone().times(times.iter().copied());
    if chosen.precision == Precision::Int8 && header.likelihood.is_some() {
        build = build.purpose(Purpose::Likelihood);
    }
    let runtime = build.runtime().with_context(|| format!("--model {name}"))?;
    let table = runtime.own(score.table())?;
    let bar = ProgressBar::new(pictures.len() as u64)
        .with_style(ProgressStyle::with_template("scoring {bar:40} {percent:>3} %, {eta} left")?);
    let one = |painter: &mut grano_codegen::Result<_>, (picture, bytes): (String, Vec<u8>)| {
        let painter = painter.as_mut().map_err(|error: &mut grano_codegen::Error| Error::msg(error.to_string()))?;
        let Scored { bits, errors } = score.run(painter, &table, &bytes, label)?;
        bar.inc(1);
        Ok(Line { picture, bits_per_dimension: bits, errors })
    };
    let lines: Result<Vec<Line>> = pictures.into_par_iter().map_init(|| runtime.painter(), one).collect();
    bar.finish_and_clear();
    let lines = lines?;
    let report = Report {
        model: name.clone(),
        precision: chosen.precision.name().into(),
        budget: args.budget,
        times,
        mean_bits_per_dimension: lines.iter().map(|line| line.bits_per_dimension).sum::<f64>() / lines.len() as f64,
        pictures: lines,
    };
    let mut text = report.text();
    if let Some(path) = &args.output {
        write(&report, path)?;
        writeln!(text, "Wrote {}", path.display())?;
    }
    Ok(text)
}

fn write(report: &Report, path: &Path) -> Result<()> {
    let bytes = if path.extension() == Some(OsStr::new("csv")) {
        report.csv()?
    } else {
        serde_json::to_string_pretty(report)? + "\n"
    };
    let mut files = Files::default();
    files.add(path, |file| Ok(file.write_all(bytes.as_bytes())?))?;
    files.keep()
}

impl Report {
    /// A line a picture, a column a noise.
    fn csv(&self) -> Result<String> {
        let mut table = csv::Writer::from_writer(Vec::new());
        let columns = self.times.iter().map(|t| format!("error_t{t}"));
        table.write_record(["picture", "bits_per_dimension"].map(String::from).into_iter().chain(columns))?;
        for Line { picture, bits_per_dimension, errors } in &self.pictures {
            let errors = errors.iter().map(ToString::to_string);
            table.write_record([picture.clone(), bits_per_dimension.to_string()].into_iter().chain(errors))?;
        }
        Ok(String::from_utf8(table.into_inner()?)?)
    }

    /// For people.
    fn text(&self) -> String {
        let shown = SHOWN.min(self.times.len());
        let columns: Vec<usize> = (0..shown).map(|i| i * (self.times.len() - 1) / (shown - 1).max(1)).collect();
        let heads: Vec<String> = columns.iter().map(|&at| format!("t={:<7}", self.times[at])).collect();
        let mut text = format!("bits/dim  mean squared error of x̂0 at {} picture\n", heads.join(" "));
        for line in &self.pictures {
            let errors: Vec<String> = columns.iter().map(|&at| format!("{:<9.6}", line.errors[at])).collect();
            text += &format!("{:8.4}  {:28}{} {}\n", line.bits_per_dimension, "", errors.join(" "), line.picture);
        }
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let (count, mean) = (self.pictures.len(), self.mean_bits_per_dimension);
        text + &format!(
            "{mean:8.4}  mean of {count}: {}, {}, {} evaluations each, threads {threads}\n",
            self.model, self.precision, self.budget
        )
    }
}
