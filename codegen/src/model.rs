//! What a model file holds: named networks, their parameters, and how they are to be sampled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::forward::NoiseSchedule;
use crate::graph::Graph;
use crate::limits::quoted;
use crate::schedule::{Method, Prediction, SamplerSpec, Spacing};

/// The version of the header that this code writes. It reads version 1 as well, see [`crate::load`].
pub const VERSION: u32 = 2;
/// The safetensors metadata entry under which the header stands, as JSON.
pub const METADATA_KEY: &str = "grano";
/// The name of the network that samplers call.
pub const DENOISER: &str = "denoiser";
/// The name of the network that guides samplers: p(label | x_t), with [`crate::backward::GRADIENT`] among its outputs.
pub const CLASSIFIER: &str = "classifier";

/// Everything in a model file but the tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// The networks by name. Tensors are named `{network}.{node}.weight` and `….bias`.
    pub networks: BTreeMap<String, Graph>,
    /// The forward process that the denoiser was trained on.
    pub schedule: NoiseSchedule,
    /// What the denoiser's output is; ε where the file does not say.
    #[serde(default)]
    pub prediction: Prediction,
    /// Samplers of the model's own, by name.
    #[serde(default)]
    pub samplers: BTreeMap<String, StepList>,
    /// What the pictures are.
    pub data: Data,
    /// Names of the classes of networks whose classes are others than the data's, by network, in the order of labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Vec<String>>,
    /// What calibration saw, by network.
    pub ranges: BTreeMap<String, Ranges>,
    /// Ranges of the denoiser's values that serve likelihoods best, on pictures with noise, x_t of q(x_t | x_0), in place of
    /// those on trajectories; see [`crate::Purpose`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likelihood: Option<Ranges>,
    /// How the model is meant to be sampled.
    pub defaults: Defaults,
}

/// What the pictures are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Names of the classes, in the order of their labels; empty for an unconditional model.
    pub labels: Vec<String>,
    /// The values that bytes 0 and 255 stand for; only `[-1, 1]` today.
    pub range: [f64; 2],
}

/// Ranges of every value on the trajectories of the real sampler, on a grid of times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranges {
    /// Time indices, ascending.
    pub times: Vec<usize>,
    /// Node name → `[low, high]` per time of the grid. Maps only.
    pub values: BTreeMap<String, Vec<[f32; 2]>>,
    /// Values of which int8 loses too much: [`crate::Precision::Mixed`] keeps them in int16. Results of convolutions, with
    /// what is added and the activation, that convolutions alone read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fine: Vec<String>,
}

/// A sampler that visits time indices of its own, found for one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepList {
    /// The update rule, as [`Method::named`] reads it.
    pub rule: String,
    /// Time indices, falling, in `0..T`.
    pub times: Vec<usize>,
}

/// How the model is meant to be sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// A name that [`Header::sampler`] knows.
    pub sampler: String,
    /// Weight w of ε_uncond + w·(ε_cond − ε_uncond); 1 is no guidance.
    pub guidance: f32,
}

/// A network with its parameters.
#[derive(Clone, Debug)]
pub struct Network {
    /// Sorted and checked.
    pub graph: Graph,
    /// Values by `{node}.weight` and `{node}.bias`, in PyTorch's axis order.
    pub parameters: BTreeMap<String, Vec<f32>>,
}

/// A model file, read and checked.
#[derive(Clone, Debug)]
pub struct Model {
    /// Everything but the tensors.
    pub header: Header,
    /// The networks by name.
    pub networks: BTreeMap<String, Network>,
    /// SHA-256 of the file's bytes, hexadecimal.
    pub sha256: String,
}

impl Header {
    /// Names of the classes of a network: its own, or the data's.
    #[must_use]
    pub fn labels_of(&self, network: &str) -> &[String] {
        self.labels.get(network).unwrap_or(&self.data.labels)
    }

    /// Names of the model's own samplers: the one that it is meant for, then its step lists, those of most steps first.
    #[must_use]
    pub fn own_samplers(&self) -> Vec<String> {
        let mut lists: Vec<_> = self.samplers.iter().filter(|(name, _)| **name != self.defaults.sampler).collect();
        lists.sort_by_key(|(_, list)| std::cmp::Reverse(list.times.len()));
        std::iter::once(&self.defaults.sampler).chain(lists.into_iter().map(|(name, _)| name)).cloned().collect()
    }

    /// The sampler of a name: one of the model's own, else what [`SamplerSpec`] reads in it.
    ///
    /// # Errors
    /// When it is neither, or the list's rule is unknown.
    pub fn sampler(&self, name: &str) -> Result<SamplerSpec> {
        let Some(StepList { rule, times }) = self.samplers.get(name) else {
            return name.parse().map_err(|error| match self.samplers.is_empty() {
                true => error,
                false => {
                    let own: Vec<_> = self.samplers.keys().map(String::as_str).collect();
                    Error::Model(format!("{error}; the model's own: {}", own.join(", ")))
                }
            });
        };
        let method = Method::named(rule)
            .ok_or_else(|| {
                let rule = quoted(rule);
                Error::Model(format!("sampler `{name}` of the model: unknown rule {rule}; give ddim, ddim-etaETA (0 ≤ ETA ≤ 1), dpm, ancestral, ancestral-large, langevin-eachE-stepA, pc-snrR or consistency"))
            })?;
        let spacing = Spacing::Listed(times.clone());
        let steps = times.len().saturating_mul(method.evaluations_each());
        Ok(SamplerSpec { name: name.into(), method, steps, spacing, clip: Some(1.0), travel: None })
    }
}

impl Model {
    /// The network that samplers call.
    ///
    /// # Errors
    /// When the file has none.
    pub fn denoiser(&self) -> Result<&Network> {
        self.networks.get(DENOISER).ok_or_else(|| {
            let names: Vec<_> = self.networks.keys().map(String::as_str).collect();
            Error::Model(format!("the model has no network `{DENOISER}`, only [{}]", names.join(", ")))
        })
    }
}

impl Ranges {
    /// The least and the greatest that `value` takes at any time of the grid.
    ///
    /// # Errors
    /// When calibration did not see the value.
    pub fn over_all(&self, value: &str) -> Result<[f32; 2]> {
        self.over(value, self.times.iter().copied())
    }

    /// The least and the greatest that `value` takes at any of `times`, linearly interpolated on the grid.
    ///
    /// # Errors
    /// When calibration did not see the value.
    pub fn over(&self, value: &str, times: impl IntoIterator<Item = usize>) -> Result<[f32; 2]> {
        let missing = || Error::node(value, "calibration has no range for it; export the model again");
        let grid = self
            .values
            .get(value)
            .filter(|grid| grid.len() == self.times.len() && !grid.is_empty())
            .ok_or_else(missing)?;
        let mut all = [f32::INFINITY, f32::NEG_INFINITY];
        for time in times {
            let after = self.times.partition_point(|&t| t < time);
            let [low, high] = match (after.checked_sub(1), grid.get(after)) {
                (Some(before), Some(next)) => {
                    let (t0, t1) = (self.times[before] as f32, self.times[after] as f32);
                    let weight = (time as f32 - t0) / (t1 - t0);
                    [0, 1].map(|end| grid[before][end] + weight * (next[end] - grid[before][end]))
                }
                (_, Some(end)) => *end,
                (_, None) => grid[grid.len() - 1],
            };
            all = [all[0].min(low), all[1].max(high)];
        }
        if all[0] <= all[1] && all.iter().all(|end| end.is_finite()) { Ok(all) } else { Err(missing()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_interpolated_between_and_held_outside_the_grid() {
        let values = BTreeMap::from([("a".to_string(), vec![[-1.0, 1.0], [-2.0, 3.0]])]);
        let ranges = Ranges { times: vec![100, 200], values, fine: Vec::new() };
        assert_eq!(ranges.over("a", [150]).unwrap(), [-1.5, 2.0]);
        assert_eq!(ranges.over("a", [0]).unwrap(), [-1.0, 1.0]);
        assert_eq!(ranges.over("a", [0, 999]).unwrap(), [-2.0, 3.0]);
        assert!(ranges.over("b", [0]).unwrap_err().to_string().contains("`b`"));
    }
}
