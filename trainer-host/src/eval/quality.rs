//! What is measured of every set of pictures, drawn or real, against the same real pictures.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::frechet::Frechet;
use super::neighbours::{Closeness, Nearest, closeness, nearest};
use super::pictures::choose;
use super::precision_recall::{NEIGHBOUR, PrecisionRecall, precision_recall};
use super::statistics::Statistics;
use super::store::Store;
use crate::classifier::Classifier;
use crate::data::{Dataset, normalize};
use crate::distributed::Ranks;
use crate::files::short_hash;
use crate::moments::{Moments, Real};

/// The real pictures, looked at once.
pub struct Judge<'a> {
    classifier: &'a Classifier,
    train: &'a Dataset,
    store: &'a Store,
    /// Of every training picture, f32 `[N, 128]`.
    features: Tensor,
    /// From those.
    real: Real,
    /// Says which pictures and which classifier these are, to the pieces of a run.
    settings: String,
    /// Says the same to other runs, on whatever machine.
    fingerprint: String,
    resamples: u64,
}

/// A set to judge.
pub struct Set {
    /// For people and files.
    pub name: String,
    /// u8, or f32 in [−1, 1], `[N, C, H, W]`.
    pub images: Tensor,
    /// What they should show, if that is known: i64 `[N]`.
    pub labels: Option<Tensor>,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quality {
    /// The set's name.
    pub name: String,
    /// Pictures.
    pub count: i64,
    /// Fréchet distance to all training pictures.
    pub frechet: Frechet,
    /// Against as many training pictures.
    pub precision_recall: Option<PrecisionRecall>,
    /// How many the classifier finds to be what they should be: of all, and of each class.
    pub accuracy: Option<Accuracy>,
    /// Nearest training pictures in pixels, of [−1, 1].
    pub by_pixels: Nearest,
    /// Nearest training pictures in features.
    pub by_features: Nearest,
}

/// Parts of pictures, 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Of all.
    pub overall: f64,
    /// By class; none where the set has no picture of the class.
    pub by_class: Vec<Option<f64>>,
}

impl<'a> Judge<'a> {
    /// Looks at the training pictures.
    ///
    /// # Errors
    /// When the store fails.
    pub fn new(classifier: &'a Classifier, train: &'a Dataset, store: &'a Store, resamples: u64) -> Result<Self> {
        let pictures = hash(&train.images)?;
        // What the classifier says of some pictures stands for its weights.
        let probe = classifier.look(&train.images.narrow(0, 0, train.len().min(100))).features;
        let settings = format!("{pictures} {}", hash(&probe)?);
        // Features differ in their last bits from machine to machine and by the number of threads; weights do not.
        let weights = classifier.weights().into_iter().map(|(name, values)| Ok(format!("{name} {}\n", hash(&values)?)));
        let weights = weights.collect::<Result<String>>()?;
        let fingerprint = format!("{pictures} {}", short_hash([weights.as_bytes()]));
        const PIECE: i64 = 10_000;
        let features =
            store.tensor::<f32>("features of real pictures", &[&settings], train.len(), PIECE, |from, _| {
                let images = train.images.narrow(0, from, (train.len() - from).min(PIECE));
                Ok(classifier.look(&images).features.to_device(tch::Device::Cpu))
            })?;
        let real = Real::new(Moments::of(&features));
        Ok(Self { classifier, train, store, features, real, settings, fingerprint, resamples })
    }

    /// The ranks that measure.
    pub fn ranks(&self) -> &Ranks {
        self.store.ranks()
    }

    /// Measures a set, or finds what was measured of the same pictures.
    ///
    /// # Errors
    /// When the store fails.
    pub fn judge(&self, set: &Set) -> Result<Quality> {
        let labels = set.labels.as_ref().map(hash).transpose()?.unwrap_or_default();
        let resamples = self.resamples.to_string();
        let settings = [&self.settings, &set.name, &hash(&set.images)?, &labels, &resamples];
        self.store.result(&format!("quality of {}", set.name), &settings.map(String::as_str), || self.measure(set))
    }

    /// What other runs need of a set, of which `quality` was measured; they know it as `name`.
    pub fn statistics(&self, set: &Set, quality: &Quality, name: String) -> Statistics {
        Statistics {
            name,
            count: quality.count,
            moments: Moments::of(&self.classifier.look(&set.images).features.to_device(tch::Device::Cpu)),
            resamples: quality.frechet.resamples.clone(),
            fingerprint: self.fingerprint.clone(),
        }
    }

    /// The distance of another run's set, to compare with those of sets of `count` pictures.
    ///
    /// # Errors
    /// When it does not compare: see [`Statistics::frechet`].
    pub fn frechet(&self, statistics: &Statistics, count: u64) -> Result<Frechet> {
        statistics.frechet(&self.real, &self.fingerprint, count, self.resamples)
    }

    /// Each rank looks at a part of the set; what it sees is gathered.
    fn measure(&self, set: &Set) -> Result<Quality> {
        let count = set.images.size()[0];
        let ranks = self.store.ranks();
        let [begin, part] = ranks.rows(count);
        let images = set.images.narrow(0, begin, part);
        let seen = self.classifier.look(&images);
        let own_features = seen.features.to_device(tch::Device::Cpu);
        let features = ranks.gather_rows(&own_features, count)?;
        let classes = ranks.gather_rows(&seen.classes.to_device(tch::Device::Cpu), count)?;
        let gather = |own: Nearest| -> Result<Nearest> {
            let index = ranks.gather_rows(&Tensor::from_slice(&own.index), count)?;
            let distance = ranks.gather_rows(&Tensor::from_slice(&own.distance), count)?;
            Ok(Nearest { index: Vec::try_from(index)?, distance: Vec::try_from(distance)? })
        };
        let same = self.features.index_select(0, &choose(self.train.len(), count, 1));
        let bytes = set.images.kind() == Kind::Uint8;
        let pixels = if bytes { normalize(&images) } else { images }.flatten(1, -1);
        Ok(Quality {
            name: set.name.clone(),
            count,
            frechet: Frechet::of(&features, &self.real, self.resamples),
            precision_recall: (count.min(same.size()[0]) > NEIGHBOUR).then(|| precision_recall(&features, &same)),
            accuracy: set.labels.as_ref().map(|labels| accuracy(&classes, labels, self.train.names.len())),
            by_pixels: gather(nearest(&pixels, &normalize(&self.train.images).flatten(1, -1))?)?,
            by_features: gather(nearest(&own_features, &self.features)?)?,
        })
    }
}

impl Quality {
    /// Distances to the nearest training pictures, in pixels and in features, against those of test pictures.
    pub fn closeness(&self, test: &Self) -> [Closeness; 2] {
        [closeness(&self.by_pixels, &test.by_pixels), closeness(&self.by_features, &test.by_features)]
    }
}

fn accuracy(found: &Tensor, labels: &Tensor, classes: usize) -> Accuracy {
    let labels = labels.to_device(found.device());
    let right = found.eq_tensor(&labels).to_kind(Kind::Double);
    let mean = |right: &Tensor| right.mean(Kind::Double).double_value(&[]);
    let of_class = |class| {
        let chosen = right.masked_select(&labels.eq(class));
        (chosen.size()[0] > 0).then(|| mean(&chosen))
    };
    Accuracy { overall: mean(&right), by_class: (0..classes as i64).map(of_class).collect() }
}

/// Of the values of a tensor of u8, i64 or f32.
///
/// # Errors
/// None in practice: those are the kinds that there are.
pub fn hash(tensor: &Tensor) -> Result<String> {
    let flat = tensor.to_device(tch::Device::Cpu).contiguous().reshape([-1]);
    let bytes = match flat.kind() {
        Kind::Uint8 => Vec::<u8>::try_from(&flat)?,
        Kind::Int64 => Vec::<i64>::try_from(&flat)?.iter().flat_map(|value| value.to_le_bytes()).collect(),
        _ => Vec::<f32>::try_from(&flat.to_kind(Kind::Float))?.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    Ok(short_hash([&bytes[..]]))
}
