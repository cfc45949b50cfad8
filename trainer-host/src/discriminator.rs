//! The discriminator: tells real pictures from those that a model draws, given the label.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use grano_codegen::graph::{Activation, Builder, ChannelBias, Conv2d, Embedding, Function, Graph, LABEL, Linear, X};
use tch::{Device, Kind, Tensor};

use crate::distributed::{Ranks, Shard};
use crate::network::Network;
use crate::state::Adam;

/// A network D(x, label) with the state of its training.
pub struct Discriminator {
    network: Network,
    adam: Adam,
    rate: f64,
}

/// Pictures of one batch that are compared pair by pair, f32 `[N, C, H, W]` each, of the same `labels`, i64 `[N]`.
pub struct Pairs<'a> {
    /// Draws from the data.
    pub real: &'a Tensor,
    /// What the model drew.
    pub drawn: &'a Tensor,
    /// The number of classes where there is none.
    pub labels: &'a Tensor,
}

/// Weight γ of the gradient penalties, of the order of Huang et al.'s (2024).
const PENALTY: f64 = 1.0;

/// Updates from one penalty to the next, which counts as many times as much (Karras et al. 2020, appendix B).
const PENALTY_EVERY: u64 = 4;

/// Standard deviation of the noise by which they are estimated.
const NUDGE: f64 = 0.03;

impl Discriminator {
    /// Untrained, for pictures of a shape; learns with Adam at `rate`. Draws from libtorch's generator.
    ///
    /// # Errors
    /// When pictures are smaller than 8×8.
    pub fn new(input: [usize; 3], classes: usize, rate: f64, device: Device) -> Result<Self> {
        let network = Network::new(graph(input, classes)?, device)?;
        let adam = Adam::new(network.flat(), 0.0);
        Ok(Self { network, adam, rate })
    }

    /// What changes while it learns, by name; shares its values.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let Adam { first, second, .. } = &self.adam;
        let all = [("", self.network.flat()), (".first", first), (".second", second)];
        all.map(|(name, tensor)| (format!("discriminator{name}"), tensor.shallow_clone())).into()
    }

    /// Learns from a batch, of which `pairs` are this rank's part; `update` counts from 1.
    ///
    /// The loss is relativistic, softplus(−(D(real) − D(drawn))), with penalties on the gradient at either (Huang et
    /// al. 2024, "The GAN is dead; long live the GAN!", R1 and R2); they are estimated by nudges of the pictures,
    /// E(D(x + δ) − D(x))² ≈ |δ|²·|∇D|² (Lin et al. 2025, section 3.3), which need no second derivatives.
    ///
    /// # Errors
    /// Those of [`Network::forward`]. When another rank is lost.
    pub fn learn(&mut self, pairs: &Pairs<'_>, update: u64, ranks: &Ranks) -> Result<()> {
        let both = Tensor::cat(&[pairs.real, pairs.drawn], 0);
        let labels = Tensor::cat(&[pairs.labels, pairs.labels], 0);
        let plain = self.logits(&both, &labels)?;
        let [real, drawn] = [0, 1].map(|i| plain.reshape([2, -1]).select(0, i));
        let mut loss = (drawn - real).softplus().mean(Kind::Float);
        if update.is_multiple_of(PENALTY_EVERY) {
            let nudged = self.logits(&(&both + nudge(&both, ranks.shard()) * NUDGE), &labels)?;
            let weight = 0.5 * PENALTY * PENALTY_EVERY as f64 / NUDGE.powi(2);
            loss += (nudged - plain).square().mean(Kind::Float) * (2.0 * weight);
        }
        loss.backward();
        let mut gradient = self.network.take_gradient();
        ranks.mean(&mut gradient)?;
        tch::no_grad(|| self.adam.step(self.network.flat(), &gradient, self.rate, update));
        Ok(())
    }

    /// The loss of the model that drew, a scalar, and its gradient with respect to what was drawn, like `pairs.drawn`.
    ///
    /// # Errors
    /// Those of [`Network::forward`].
    pub fn judge(&self, pairs: &Pairs<'_>) -> Result<(Tensor, Tensor)> {
        let real = tch::no_grad(|| self.logits(pairs.real, pairs.labels))?;
        let drawn = pairs.drawn.detach().set_requires_grad(true);
        let loss = (real - self.logits(&drawn, pairs.labels)?).softplus().mean(Kind::Float);
        let gradient = Tensor::run_backward(&[&loss], &[&drawn], false, false).swap_remove(0);
        Ok((loss.detach(), gradient))
    }

    /// f32 `[N]`.
    fn logits(&self, x: &Tensor, labels: &Tensor) -> Result<Tensor> {
        Ok(self.network.forward(x, &labels.zeros_like(), labels, Kind::Float)?.reshape([-1]))
    }
}

/// Noise from N(0, 1) like `both`, real and drawn pictures, which are a part of the whole batch's.
fn nudge(both: &Tensor, shard: Shard) -> Tensor {
    let [n, c, h, w] = both.size()[..] else { unreachable!("pictures have four axes") };
    let whole = Tensor::randn([2, n / 2 * shard.ranks(), c, h, w], (Kind::Float, both.device()));
    Tensor::cat(&[whole.get(0), whole.get(1)].map(|half| shard.of(&half)), 0)
}

/// Four convolutions, the first three at strides of two and steered by the class, the last over all that is left.
fn graph([c, h, w]: [usize; 3], classes: usize) -> Result<Graph> {
    const CHANNELS: [usize; 3] = [32, 64, 128];
    const EMBEDDING: usize = 64;
    const SILU: Activation = Activation { function: Function::Silu };
    ensure!(h >= 8 && w >= 8, "pictures are {h}×{w}; a discriminator needs 8×8");
    let mut b = Builder::new([c, h, w], classes);
    let linear = |out_features| Linear { out_features };
    if classes > 0 {
        b.node("class", Embedding { dim: EMBEDDING }, &[LABEL]);
    }
    let conv = |out_channels, kernel, stride, padding| Conv2d {
        out_channels,
        kernel,
        stride: [stride; 2],
        padding: [padding; 2].into(),
        upsample: [1; 2],
        groups: 1,
    };
    let mut x = X.to_string();
    let mut left = [h, w];
    for (i, channels) in CHANNELS.into_iter().enumerate() {
        x = b.node(format!("conv{i}"), conv(channels, [4; 2], 2, 1), &[&x]);
        if classes > 0 {
            let vector = b.node(format!("class{i}"), linear(channels), &["class"]);
            x = b.node(format!("add_class{i}"), ChannelBias {}, &[&x, &vector]);
        }
        x = b.node(format!("silu{i}"), SILU, &[&x]);
        left = left.map(|side| side / 2);
    }
    let logit = b.node("logit", conv(1, left, 1, 0), &[&x]);
    Ok(b.finish(&logit)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn it_learns_what_sets_pictures_apart_and_where_the_real_ones_lie() {
        tch::set_num_threads(1);
        let _alone = testing::seed(0);
        let mut discriminator = Discriminator::new([1, 8, 12], 2, 2e-3, Device::Cpu).unwrap();
        // Real pictures are bright in class 0 and dark in class 1, and drawn ones the other way round.
        let labels = Tensor::from_slice(&[0i64, 1].repeat(8));
        let sign = (labels.to_kind(Kind::Float) * -2.0 + 1.0).reshape([-1, 1, 1, 1]);
        let draw = |level: f64| Tensor::randn([16, 1, 8, 12], (Kind::Float, Device::Cpu)) * 0.1 + &sign * level;
        let mut before = None;
        for update in 1..=300 {
            let (real, drawn) = (draw(0.1), draw(-0.1));
            let pairs = Pairs { real: &real, drawn: &drawn, labels: &labels };
            before = before.or_else(|| Some(discriminator.judge(&pairs).unwrap().0.double_value(&[])));
            discriminator.learn(&pairs, update, &Ranks::alone()).unwrap();
        }
        let (real, drawn) = (draw(0.1), draw(-0.1));
        let (loss, gradient) = discriminator.judge(&Pairs { real: &real, drawn: &drawn, labels: &labels }).unwrap();
        let (before, after) = (before.unwrap(), loss.double_value(&[]));
        assert!(before < 1.0 && after > before + 0.2, "the loss of who draws went from {before} to {after}");
        let towards = (gradient * &sign).sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float);
        let right = towards.lt(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!(right > 0.8, "{right} of the gradients lead to what is real, bright in class 0 and dark in class 1");
        assert!(Discriminator::new([1, 4, 12], 2, 2e-3, Device::Cpu).is_err());
    }
}
