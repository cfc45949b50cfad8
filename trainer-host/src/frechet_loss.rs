//! The Fréchet distance as a loss: what is drawn is to have the means and covariances of the data, in the features of
//! classifiers.
//!
//! A batch is too small for a covariance. The moments of what was drawn are therefore averages over the last batches, and
//! the pictures of the newest are moved along the distance's gradient at these: it is a critic, quadratic in the features,
//! that needs no training. One classifier can be pleased by patterns that no other sees; so there are several, and `eval`
//! measures by none of them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use grano_trainer_front::arguments::measure::{Architecture, ClassifierArgs};
use tch::{Kind, Tensor};

use crate::classifier::Classifier;
use crate::data::Dataset;
use crate::distributed::Ranks;
use crate::moments::{Moments, Real};

/// How much of the moments' average stays when a batch comes: 0.98 of batches of 64 are worth 6,300 pictures.
const DECAY: f64 = 0.98;

/// Batches, and pictures of each, that are drawn before the first moments are used.
const FIRST: [i64; 2] = [10, 200];

/// Passes over the training set from which a classifier learns.
const EPOCHS: i64 = 2;

/// Classifiers, and what they see of the pictures that samplers draw.
pub struct FrechetLoss {
    views: Vec<View>,
}

/// What one classifier sees.
struct View {
    classifier: Classifier,
    real: Real,
    /// Moments by sampler: f32 `[samplers, d]` and `[samplers, d, d]`.
    mean: Tensor,
    covariance: Tensor,
    /// Pictures seen by sampler, f32 `[samplers]`.
    seen: Tensor,
}

impl FrechetLoss {
    /// For the pictures of so many samplers, in the features of `classifiers` classifiers, which rank 0 keeps in `folder`,
    /// and trains first on `data` (seeds 1, 2, …) where they are not there.
    ///
    /// # Errors
    /// When pictures have no classes; when a file in the folder is another network or cannot be written; when a rank is
    /// lost.
    pub fn new(classifiers: u64, data: &Dataset, samplers: usize, folder: &Path, ranks: &Ranks) -> Result<Self> {
        ensure!(data.names.len() > 1, "--frechet: pictures without classes train no classifier; leave it out");
        let view = |seed: u64| {
            let classifier = folder.join(format!("classifier-{seed}.safetensors"));
            let args = ClassifierArgs {
                classifier: Some(classifier),
                architecture: Architecture::Plain,
                epochs: Some(EPOCHS),
            };
            let classifier = Classifier::load_or_train(&args, data, seed as i64, ranks)?;
            let moments = Moments::of(&classifier.look(&data.images).features);
            let (d, samplers) = (moments.mean.size()[0], samplers as i64);
            let options = (Kind::Float, moments.mean.device());
            Ok(View {
                classifier,
                real: Real::new(moments),
                mean: Tensor::zeros([samplers, d], options),
                covariance: Tensor::zeros([samplers, d, d], options),
                seen: Tensor::zeros([samplers], options),
            })
        };
        Ok(Self { views: (1..=classifiers).map(view).collect::<Result<_>>()? })
    }

    /// What changes while pictures are seen, by name; shares its values.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let of = |(i, view): (usize, &View)| {
            let View { mean, covariance, seen, .. } = view;
            [("mean", mean), ("covariance", covariance), ("seen", seen)]
                .map(|(name, tensor)| (format!("classifier{}.{name}", i + 1), tensor.shallow_clone()))
        };
        self.views.iter().enumerate().flat_map(of).collect()
    }

    /// The distance of what a sampler drew lately, the mean over the classifiers, and its gradient with respect to `drawn`,
    /// f32 `[N, C, H, W]`, this rank's part of the newest of it. `draw(n)` draws n pictures more, the same on every rank,
    /// when there are none to compare with yet.
    ///
    /// # Errors
    /// Those of `draw`. When another rank is lost.
    pub fn judge(
        &mut self,
        drawn: &Tensor,
        sampler: usize,
        draw: &mut dyn FnMut(i64) -> Result<Tensor>,
        ranks: &Ranks,
    ) -> Result<(f64, Tensor)> {
        if self.views.first().is_some_and(|view| view.seen.double_value(&[sampler as i64]) == 0.0) {
            for _ in 0..FIRST[0] {
                let pictures = draw(FIRST[1])?;
                for view in &mut self.views {
                    let features = view.classifier.look(&pictures).features;
                    view.see(&features, sampler);
                }
            }
        }
        let share = 1.0 / self.views.len() as f64;
        let (mut distance, mut gradient) = (0.0, drawn.zeros_like());
        for view in &mut self.views {
            let drawn = drawn.detach().set_requires_grad(true);
            let features = view.classifier.features(&drawn);
            let moments = view.see(&ranks.gather(&features.detach())?, sampler);
            let (one, by_features) = view.real.gradient(&moments, &features.detach().to_kind(Kind::Double));
            let carrier = (features * by_features.to_kind(Kind::Float)).sum(Kind::Float);
            let by_pixels = Tensor::run_backward(&[carrier], &[&drawn], false, false).swap_remove(0);
            gradient += by_pixels * (share / drawn.size()[0] as f64);
            distance += one * share;
        }
        Ok((distance, gradient))
    }
}

impl View {
    /// Takes features f32 `[n, d]` of pictures of a sampler into its moments, and gives these.
    fn see(&mut self, features: &Tensor, sampler: usize) -> Moments {
        let sampler = sampler as i64;
        let [mut mean, mut covariance, mut seen] =
            [&self.mean, &self.covariance, &self.seen].map(|all| all.get(sampler));
        let (n, before) = (features.size()[0] as f64, seen.double_value(&[]));
        // Young averages weigh all pictures alike.
        let weight = (1.0 - DECAY).max(n / (before + n));
        let new = Moments::of(features);
        let step = new.mean - &mean;
        let between = step.outer(&step) * (weight * (1.0 - weight));
        let within = &covariance * (1.0 - weight) + new.covariance * weight;
        tch::no_grad(|| {
            let _ = mean.g_add_(&(step * weight).to_kind(Kind::Float));
            covariance.copy_(&(within + between).to_kind(Kind::Float));
            let _ = seen.fill_(before + n);
        });
        Moments { mean: mean.to_kind(Kind::Double), covariance: covariance.to_kind(Kind::Double) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use tch::Device;

    /// Pictures of 8×8 noise, class 1 brighter than class 0.
    fn data(n: i64) -> Dataset {
        let labels = Tensor::arange(n, (Kind::Int64, Device::Cpu)).remainder(2);
        let images =
            Tensor::randint(160, [n, 1, 8, 8], (Kind::Int64, Device::Cpu)) + labels.reshape([-1, 1, 1, 1]) * 90;
        Dataset {
            images: images.to_kind(Kind::Uint8),
            labels,
            names: vec!["dark".into(), "bright".into()],
            augment: Default::default(),
        }
    }

    #[test]
    fn what_is_moved_along_the_gradient_comes_nearer() {
        tch::set_num_threads(1);
        let _alone = testing::seed(0);
        let data = data(400);
        let folder = tempfile::tempdir().unwrap();
        let mut loss = FrechetLoss::new(2, &data, 2, folder.path(), &Ranks::alone()).unwrap();
        assert!(folder.path().join("classifier-2.safetensors").exists());
        // All too grey, and none bright.
        let mut drawn = Tensor::rand([64, 1, 8, 8], (Kind::Float, Device::Cpu)) * 0.5 - 0.5;
        let mut distances = Vec::new();
        for _ in 0..60 {
            let pictures = drawn.repeat([4, 1, 1, 1]);
            let (distance, gradient) =
                loss.judge(&drawn, 1, &mut |n| Ok(pictures.narrow(0, 0, n)), &Ranks::alone()).unwrap();
            drawn -= &gradient / gradient.norm();
            distances.push(distance);
        }
        let (first, last) = (distances[0], *distances.last().unwrap());
        assert!(last < 0.3 * first, "the distance went from {first} to {last}");
        assert_eq!(loss.tensors()["classifier2.seen"].double_value(&[0]), 0.0, "of the other sampler nothing was seen");
    }

    #[test]
    fn young_moments_are_those_of_all_that_was_seen() {
        let _alone = testing::seed(0);
        let folder = tempfile::tempdir().unwrap();
        let mut loss = FrechetLoss::new(1, &data(400), 1, folder.path(), &Ranks::alone()).unwrap();
        let batches = [40, 10, 30].map(|n| Tensor::randn([n, 128], (Kind::Float, Device::Cpu)) + n as f64 * 0.1);
        let [.., seen] = batches.each_ref().map(|batch| loss.views[0].see(batch, 0));
        let all = Moments::of(&Tensor::cat(&batches, 0));
        let apart = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
        assert!(apart(&seen.mean, &all.mean) < 1e-5);
        // Up to the divisors, n − 1 of each batch.
        assert!(apart(&seen.covariance, &all.covariance) < 0.2, "{}", apart(&seen.covariance, &all.covariance));
    }

    #[test]
    fn pictures_without_classes_are_refused() {
        let _alone = testing::seed(0);
        let folder = tempfile::tempdir().unwrap();
        let nameless = Dataset { names: Vec::new(), ..data(10) };
        let error = FrechetLoss::new(1, &nameless, 1, folder.path(), &Ranks::alone()).err().unwrap().to_string();
        assert!(error.contains("--frechet"), "{error}");
    }
}
