//! Draws pictures on every core.

use anyhow::Result;
use grano::noise::{Gaussian, Philox};
use grano::sampler::Request;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

use crate::args::Job;
use crate::models::Painter;

/// A picture that has been drawn.
pub struct Picture {
    /// Its class.
    pub label: usize,
    /// `[H, W, C]`, rows from the top.
    pub bytes: Vec<u8>,
}

/// Draws all pictures of a job, one sampler a thread. Picture i depends on the seed, its label and i alone.
///
/// # Errors
/// When the threads cannot be had or the guidance is not finite.
pub fn draw(job: &Job) -> Result<Vec<Picture>> {
    let bar = ProgressBar::new((job.count * job.table.rows.len()) as u64)
        .with_style(ProgressStyle::with_template("drawing {bar:40} {percent:>3} %, {eta} left")?);
    let paint = |painter: &mut Box<dyn Painter>, i: usize| {
        let label = job.label_of(i);
        let request = Request { label: (!job.model.labels.is_empty()).then_some(label), guidance: job.guidance };
        let noise = Gaussian(Philox::new(job.seed, i as u64));
        Ok(Picture { label, bytes: painter.paint(job.table, noise, request, &|| bar.inc(1))? })
    };
    let threads = ThreadPoolBuilder::new().num_threads(job.threads).build()?;
    let pictures = threads.install(|| (0..job.count).into_par_iter().map_init(job.model.painter, paint).collect());
    bar.finish_and_clear();
    pictures
}
