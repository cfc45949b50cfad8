//! What other runs need of a set of pictures to hold their own against it: one small file instead of the pictures.
//!
//! It is a safetensors file of f64: `mean` `[128]`, `covariance` `[128, 128]` and `resamples` `[B]`. Its metadata
//! `statistics` is JSON with the rest.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::frechet::Frechet;
use crate::classifier::FEATURES;
use crate::files;
use crate::moments::{Moments, Real};

/// The metadata's name.
const HEADER: &str = "statistics";

/// Of the features of a set.
pub struct Statistics {
    /// The set, for people.
    pub name: String,
    /// Pictures.
    pub count: i64,
    /// Of features `[count, 128]`.
    pub moments: Moments,
    /// FD of every resample, as [`Frechet::resamples`].
    pub resamples: Vec<f64>,
    /// Says from which training pictures these distances are, and whose features are measured.
    pub fingerprint: String,
}

/// What stands beside the tensors.
#[derive(Serialize, Deserialize)]
struct Header {
    name: String,
    count: i64,
    fingerprint: String,
}

impl Statistics {
    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let header = Header { name: self.name.clone(), count: self.count, fingerprint: self.fingerprint.clone() };
        let metadata = HashMap::from([(HEADER.to_string(), serde_json::to_string(&header)?)]);
        let resamples = Tensor::from_slice(&self.resamples);
        let tensors =
            [("mean", &self.moments.mean), ("covariance", &self.moments.covariance), ("resamples", &resamples)];
        let parts = tensors.into_iter().map(|(name, tensor)| {
            let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
            let bytes: Vec<u8> =
                Vec::<f64>::try_from(tensor.reshape([-1]))?.iter().flat_map(|value| value.to_le_bytes()).collect();
            Ok((name, shape, bytes))
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let views = parts
            .iter()
            .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F64, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>>>()?;
        files::write(path, &safetensors::serialize(views, Some(metadata))?)
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// Names the file, and what it lacks or what is wrong in it.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        Self::parse(&bytes).with_context(|| format!("{}: not a set's statistics", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let text = metadata.metadata().as_ref().and_then(|metadata| metadata.get(HEADER));
        let text = text.with_context(|| format!("no metadata `{HEADER}`"))?;
        let Header { name, count, fingerprint } = serde_json::from_str(text)?;
        let tensors = SafeTensors::deserialize(bytes)?;
        let values = |name: &str, shape: &[usize]| -> Result<Vec<f64>> {
            let view = tensors.tensor(name)?;
            ensure!(view.dtype() == Dtype::F64, "`{name}` is {:?}, not F64", view.dtype());
            ensure!(view.shape() == shape, "`{name}` has shape {:?}, not {shape:?}", view.shape());
            let values: Vec<f64> = view.data().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
            ensure!(values.iter().all(|value| value.is_finite()), "`{name}` has values that are not finite");
            Ok(values)
        };
        let d = FEATURES as usize;
        let mean = Tensor::from_slice(&values("mean", &[d])?);
        let covariance = Tensor::from_slice(&values("covariance", &[d, d])?).reshape([FEATURES, FEATURES]);
        let resamples = values("resamples", &[tensors.tensor("resamples")?.shape().iter().product()])?;
        Ok(Self { name, count, moments: Moments { mean, covariance }, resamples, fingerprint })
    }

    /// The set's distance from `real`, which has this fingerprint, to compare with those of sets of `count` pictures
    /// with intervals from `resamples` resamples.
    ///
    /// # Errors
    /// When the statistics have another fingerprint, number of pictures or number of resamples; names both.
    pub fn frechet(&self, real: &Real, fingerprint: &str, count: u64, resamples: u64) -> Result<Frechet> {
        ensure!(
            self.fingerprint == fingerprint,
            "its data and classifier have the fingerprint {}, those of --data and --classifier {fingerprint}",
            self.fingerprint
        );
        ensure!(
            self.count.try_into() == Ok(count),
            "it is of {} pictures, not of {count} as --count says; distances of different numbers do not compare",
            self.count
        );
        ensure!(
            self.resamples.len() as u64 == resamples,
            "it has {} resamples, not {resamples} as --resamples says",
            self.resamples.len()
        );
        Ok(Frechet::from_moments(&self.moments, real, self.resamples.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use tch::{Device, Kind};

    /// Some features' distance from others, which are `Real`, and their statistics.
    fn example() -> (Frechet, Real, Statistics) {
        let _alone = testing::seed(0);
        let normal = |n| Tensor::randn([n, FEATURES], (Kind::Float, Device::Cpu));
        let (features, real) = (normal(300) + 0.5, Real::new(Moments::of(&normal(1000))));
        let frechet = Frechet::of(&features, &real, 3);
        let statistics = Statistics {
            name: "model: f32 ancestral-1000 w1".into(),
            count: 300,
            moments: Moments::of(&features),
            resamples: frechet.resamples.clone(),
            fingerprint: "pictures classifier".into(),
        };
        (frechet, real, statistics)
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let (frechet, real, statistics) = example();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.statistics.safetensors");
        statistics.write(&path).unwrap();
        let read = Statistics::read(&path).unwrap();
        assert_eq!((&read.name, read.count), (&statistics.name, 300));
        assert_eq!((&read.resamples, &read.fingerprint), (&statistics.resamples, &statistics.fingerprint));
        assert_eq!(read.moments.mean, statistics.moments.mean);
        assert_eq!(read.moments.covariance, statistics.moments.covariance);

        let again = read.frechet(&real, "pictures classifier", 300, 3).unwrap();
        assert!((again.fd - frechet.fd).abs() < 1e-9 * frechet.fd, "{} is not {}", again.fd, frechet.fd);
        let (ratio, interval) = frechet.over(&again);
        assert!([ratio, interval.low, interval.high].iter().all(|ratio| (ratio - 1.0).abs() < 1e-9), "{ratio}");

        let bytes = std::fs::read(&path).unwrap();
        statistics.write(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "the same bytes every time");
    }

    #[test]
    fn what_does_not_compare_is_refused() {
        let (_, real, statistics) = example();
        let refusal = |fingerprint, count, resamples| {
            statistics.frechet(&real, fingerprint, count, resamples).unwrap_err().to_string()
        };
        let foreign = refusal("pictures another", 300, 3);
        assert!(foreign.contains("fingerprint pictures classifier, ") && foreign.ends_with(" pictures another"));
        assert!(refusal("pictures classifier", 200, 3).contains("of 300 pictures, not of 200 as --count says"));
        assert!(refusal("pictures classifier", 300, 4).contains("3 resamples, not 4 as --resamples says"));
    }

    #[test]
    fn errors_name_the_file_and_what_is_wrong() {
        let (_, _, statistics) = example();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.statistics.safetensors");
        let refusal = || {
            let error = format!("{:#}", Statistics::read(&path).err().unwrap());
            assert!(error.contains("a.statistics.safetensors: "), "{error}");
            error
        };
        refusal();
        statistics.write(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 7, 100, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            refusal();
        }

        // The file with one of its tensors changed, or without it.
        let (_, metadata) = SafeTensors::read_metadata(&whole).unwrap();
        let tensors = SafeTensors::deserialize(&whole).unwrap();
        let nan = f64::NAN.to_le_bytes();
        let change = |name: &str, view: Option<(Dtype, Vec<usize>, &[u8])>| {
            let kept = tensors.iter().filter(|(other, _)| *other != name);
            let changed = view.map(|(dtype, shape, bytes)| (name, TensorView::new(dtype, shape, bytes).unwrap()));
            let bytes = safetensors::serialize(kept.chain(changed), metadata.metadata().clone()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            refusal()
        };
        assert!(change("mean", None).contains("mean"));
        assert!(change("resamples", None).contains("resamples"));
        assert!(change("mean", Some((Dtype::F64, vec![1], &[0; 8]))).contains("`mean` has shape [1], not [128]"));
        assert!(change("mean", Some((Dtype::F32, vec![128], &[0; 512]))).contains("`mean` is F32, not F64"));
        assert!(change("resamples", Some((Dtype::F64, vec![1, 1], &[0; 8]))).contains("`resamples` has shape"));
        assert!(change("resamples", Some((Dtype::F64, vec![1], &nan))).contains("`resamples` has values"));
        std::fs::write(&path, safetensors::serialize(tensors.iter(), None).unwrap()).unwrap();
        assert!(refusal().contains("no metadata `statistics`"));
    }
}
