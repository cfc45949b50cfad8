//! What changes while training: weights, their average, the optimiser.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::network::Network;

/// Everything that changes while training; saved and restored as a whole.
pub struct State {
    /// The network with its current weights.
    pub network: Network,
    /// Moving average of the weights, flat.
    pub ema: Tensor,
    /// The optimiser of the weights.
    pub adam: Adam,
    /// What the task changes beside the network, by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Updates made.
    pub step: u64,
    /// Seconds of training, over all sittings.
    pub seconds: f64,
    /// Where the run was made longer, the last time.
    pub extended: Option<Extended>,
}

/// Where a run was made longer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub struct Extended {
    /// Updates made until then.
    pub step: u64,
    /// The learning rate that it had come to.
    pub rate: f64,
}

impl State {
    /// Before the first update.
    pub fn new(network: Network) -> Self {
        let (ema, adam) = (network.flat().copy(), Adam::new(network.flat(), Adam::BETA1));
        Self { network, ema, adam, tensors: BTreeMap::new(), step: 0, seconds: 0.0, extended: None }
    }

    /// Keeps the task's `tensors` from here on, whose values it shares; they get those of the checkpoint first, where
    /// there is one.
    ///
    /// # Errors
    /// When the checkpoint has others.
    pub fn share(&mut self, mut tensors: BTreeMap<String, Tensor>) -> Result<()> {
        for (name, kept) in &self.tensors {
            let tensor = tensors.get_mut(name).with_context(|| format!("the checkpoint's `{name}` is not known"))?;
            tch::no_grad(|| tensor.f_copy_(&kept.f_reshape(tensor.size())?))
                .with_context(|| format!("the checkpoint's `{name}`"))?;
        }
        self.tensors = tensors;
        Ok(())
    }

    /// The network with the averaged weights.
    ///
    /// # Errors
    /// None in practice: the average has the network's length.
    pub fn averaged(&self) -> Result<Network> {
        self.network.with_flat(self.ema.copy())
    }
}

/// Adam (Kingma & Ba 2015), β2 = 0.99, for parameters in one flat vector.
pub struct Adam {
    /// First moment, flat.
    pub first: Tensor,
    /// Second moment, flat.
    pub second: Tensor,
    beta1: f64,
}

impl Adam {
    /// β1 of networks that learn alone.
    pub const BETA1: f64 = 0.9;
    const BETA2: f64 = 0.99;

    /// Before the first update of parameters like `flat`.
    pub fn new(flat: &Tensor, beta1: f64) -> Self {
        Self { first: flat.zeros_like(), second: flat.zeros_like(), beta1 }
    }

    /// The `time`-th update, counted from 1.
    pub fn step(&mut self, flat: &Tensor, gradient: &Tensor, rate: f64, time: u64) {
        let (beta1, beta2) = (self.beta1, Self::BETA2);
        let unbiased = |beta: f64| 1.0 - beta.powf(time as f64);
        let _ = self.first.lerp_(gradient, 1.0 - beta1);
        let _ = self.second.lerp_(&gradient.square(), 1.0 - beta2);
        let root = (&self.second / unbiased(beta2)).sqrt() + 1e-8;
        let _ = flat.shallow_clone().addcdiv_(&(&self.first * (-rate / unbiased(beta1))), &root);
    }
}
