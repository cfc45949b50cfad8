//! Draws pictures on every core.

use anyhow::{Error, Result};
use grano::guidance::{Classifier, FreeGuidance};
use grano::hooks::{Observe, WithMap};
use grano::inverse::{Ddnm, Known, Replace};
use grano::schedule::noise_to;
use grano::{Gaussian, Hooks, Philox, Request};
use grano_codegen::model::CLASSIFIER;
use grano_codegen::runtime::{Begin, Painter, RunningNetwork};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

use crate::job::Job;
use crate::picture::Picture;
use crate::task::Task;

/// Added to the seed for noise that is not the sampler's.
const OTHER_NOISE: u64 = 1 << 63;

/// Draws all pictures of a job, one painter a thread. Picture i depends on the seed, its label and i alone.
///
/// # Errors
/// When the threads cannot be had, or the engine refuses the request.
pub fn draw(job: &Job) -> Result<Vec<Picture>> {
    // Noise counts as a step.
    let bar = ProgressBar::new((job.count * (job.table.steps() + 1)) as u64)
        .with_style(ProgressStyle::with_template("drawing {bar:40} {percent:>3} %, {eta} left")?);
    let classifier = match &job.classifier {
        Some(classifier) => Some((job.runtime.network(CLASSIFIER)?, *classifier)),
        None => None,
    };
    let paint = |painter: &mut grano_codegen::Result<Painter<'_>>, i: usize| {
        let painter = painter.as_mut().map_err(|error| Error::msg(error.to_string()))?;
        let label = job.label_of(i);
        let mut on_step = |_: &[f32]| bar.inc(1);
        let x = Drawing { job, classifier: classifier.as_ref(), painter, number: i, label }.draw(&mut on_step)?;
        Ok(Picture { label, bytes: grano::picture::Picture::new(job.shape, &x).bytes().collect() })
    };
    let threads = ThreadPoolBuilder::new().num_threads(job.threads).build()?;
    let pictures =
        threads.install(|| (0..job.count).into_par_iter().map_init(|| job.runtime.painter(), paint).collect());
    bar.finish_and_clear();
    pictures
}

/// How the model's classifier guides.
#[derive(Clone, Copy, Debug)]
pub struct Guided {
    /// The number of the output that is the gradient.
    pub output: usize,
    /// s.
    pub scale: f32,
}

/// One picture.
struct Drawing<'a, 'p> {
    job: &'a Job,
    classifier: Option<&'a (RunningNetwork<'a>, Guided)>,
    painter: &'a mut Painter<'p>,
    number: usize,
    label: Option<usize>,
}

impl Drawing<'_, '_> {
    fn noise(&self) -> Gaussian<Philox> {
        Gaussian(Philox::new(self.job.seed, self.number as u64))
    }

    fn draw(self, on_step: &mut dyn FnMut(&[f32])) -> Result<Vec<f32>> {
        let (job, len) = (self.job, self.job.shape.len());
        let channels = job.shape.channels;
        match &job.task {
            Task::Noise => self.observed(Begin::Noise, None, (), on_step),
            Task::From(all) => {
                let x = &all[self.number % all.len()];
                self.observed(Begin::At(x), None, (), on_step)
            }
            Task::Edit(picture) => {
                let (mut x, mut noise) = (picture.clone(), self.noise());
                if let Some(row) = job.table.view().rows.first() {
                    noise_to(&mut x, row.signal, row.sigma, &mut noise);
                }
                self.observed(Begin::At(&x), Some(noise), (), on_step)
            }
            Task::Inpaint { bits, picture, replace } => {
                let known = Known { bits, picture, channels };
                if *replace {
                    let noise = Gaussian(Philox::new(job.seed ^ OTHER_NOISE, self.number as u64));
                    self.observed(Begin::Noise, None, Replace::new(known, noise), on_step)
                } else {
                    self.observed(Begin::Noise, None, known, on_step)
                }
            }
            Task::Colourise(a, y) => {
                self.with(Begin::Noise, None, Ddnm { a: *a, y: &y[..], map: vec![0.0; len] }, on_step)
            }
            Task::Upscale(a, y) => {
                self.with(Begin::Noise, None, Ddnm { a: *a, y: &y[..], map: vec![0.0; len] }, on_step)
            }
        }
    }

    /// With a map where the sampler has a corrector.
    fn observed(
        self,
        begin: Begin<'_>,
        noise: Option<Gaussian<Philox>>,
        observe: impl Observe,
        on_step: &mut dyn FnMut(&[f32]),
    ) -> Result<Vec<f32>> {
        if self.job.table.view().is_corrected() {
            let map = vec![0.0; self.job.shape.len()];
            return self.with(begin, noise, WithMap { observe, map }, on_step);
        }
        self.with(begin, noise, observe, on_step)
    }

    fn with(
        self,
        begin: Begin<'_>,
        noise: Option<Gaussian<Philox>>,
        observe: impl Observe,
        on_step: &mut dyn FnMut(&[f32]),
    ) -> Result<Vec<f32>> {
        let (job, noise) = (self.job, noise.unwrap_or_else(|| self.noise()));
        let classifier = self.classifier.zip(self.label).map(|((network, guided), label)| {
            Classifier::new(network, guided.output, label, guided.scale, vec![0.0; job.shape.len()])
        });
        let guide = (classifier, job.free);
        let request = Request { label: self.label.filter(|_| job.tells_class), guidance: job.guidance };
        let mut hooks = Hooks { guide, observe, watch: () };
        Ok(self.painter.draw_with(begin, &job.table, noise, request, &mut hooks, on_step)?.to_vec())
    }
}

/// Everywhere and as it is, where the job does not say.
pub const FREE: FreeGuidance = FreeGuidance::new(FreeGuidance::EVERYWHERE, 0.0);
