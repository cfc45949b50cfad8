//! Draws pictures on every core.

use anyhow::{Error, Result};
use grano::{Gaussian, Philox, Request, picture};
use grano_codegen::runtime::Painter;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

use crate::job::Job;
use crate::picture::Picture;

/// Draws all pictures of a job, one painter a thread. Picture i depends on the seed, its label and i alone.
///
/// # Errors
/// When the threads cannot be had or the guidance is not finite.
pub fn draw(job: &Job) -> Result<Vec<Picture>> {
    // Noise counts as a step.
    let bar = ProgressBar::new((job.count * (job.table.steps() + 1)) as u64)
        .with_style(ProgressStyle::with_template("drawing {bar:40} {percent:>3} %, {eta} left")?);
    let paint = |painter: &mut grano_codegen::Result<Painter<'_>>, i: usize| {
        let painter = painter.as_mut().map_err(|error| Error::msg(error.to_string()))?;
        let label = job.label_of(i);
        let request = Request { label, guidance: job.guidance };
        let noise = Gaussian(Philox::new(job.seed, i as u64));
        let x = painter.draw(&job.table, noise, request, &mut |_| bar.inc(1))?;
        Ok(Picture { label, bytes: picture::rows(job.shape, x).flatten().collect() })
    };
    let threads = ThreadPoolBuilder::new().num_threads(job.threads).build()?;
    let pictures =
        threads.install(|| (0..job.count).into_par_iter().map_init(|| job.runtime.painter(), paint).collect());
    bar.finish_and_clear();
    pictures
}
