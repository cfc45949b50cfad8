//! The forward process in libtorch: batches of pictures at random times.

use anyhow::Result;
use grano_codegen::forward::NoiseSchedule;
use grano_codegen::schedule::Prediction;
use tch::{Device, Kind, Tensor};

use crate::data::Dataset;
use crate::distributed::Shard;

/// a_t and σ_t of q(x_t | x_0) = N(a_t·x_0, σ_t²·I).
pub struct Process {
    /// f32 `[T]`.
    signal: Tensor,
    /// f32 `[T]`.
    sigma: Tensor,
    /// Which part of a batch is drawn here.
    shard: Shard,
}

/// A batch of draws from q(x_t | x_0), t uniform.
pub struct Noisy {
    /// x_t, f32 `[N, C, H, W]`.
    pub x: Tensor,
    /// x_0, like `x`.
    pub x0: Tensor,
    /// ε, like `x`.
    pub noise: Tensor,
    /// Time indices, i64 `[N]`.
    pub t: Tensor,
    /// i64 `[N]`; the number of classes where the label is hidden.
    pub labels: Tensor,
    /// What a network of the asked prediction is to say, like `x`: ε, or v = a_t·ε − σ_t·x_0.
    pub target: Tensor,
}

impl Process {
    /// Of a schedule; draws a part of each batch.
    ///
    /// # Errors
    /// As [`NoiseSchedule::betas`].
    pub fn new(schedule: &NoiseSchedule, device: Device, shard: Shard) -> Result<Self> {
        let alpha_bars = Tensor::from_slice(&schedule.alpha_bars()?).to_device(device);
        let root = |tensor: Tensor| tensor.sqrt().to_kind(Kind::Float);
        Ok(Self { signal: root(alpha_bars.shallow_clone()), sigma: root(alpha_bars.rsub_scalar(1.0)), shard })
    }

    /// a_t, f32 `[N, 1, 1, 1]`, for `t` i64 `[N]`.
    pub fn signal(&self, t: &Tensor) -> Tensor {
        self.signal.index_select(0, t).reshape([-1, 1, 1, 1])
    }

    /// σ_t, f32 `[N, 1, 1, 1]`, for `t` i64 `[N]`.
    pub fn sigma(&self, t: &Tensor) -> Tensor {
        self.sigma.index_select(0, t).reshape([-1, 1, 1, 1])
    }

    /// This rank's part of `n` pictures, of which a share of `label_dropout` have their labels hidden.
    pub fn noisy(&self, data: &Dataset, n: i64, label_dropout: f64, prediction: Prediction) -> Noisy {
        self.noisy_below(self.signal.size()[0], data, n, label_dropout, prediction)
    }

    /// The same with t uniform below `end`.
    pub fn noisy_below(&self, end: i64, data: &Dataset, n: i64, label_dropout: f64, prediction: Prediction) -> Noisy {
        let device = data.images.device();
        let part = |whole: Tensor| self.shard.of(&whole);
        let (x0, labels) = data.batch(&part(Tensor::randint(data.len(), [n], (Kind::Int64, device))));
        let x0 = data.vary(x0, n, self.shard);
        let hidden = part(Tensor::rand([n], (Kind::Float, device)).lt(label_dropout));
        let labels = labels.masked_fill(&hidden, data.names.len() as i64);
        let t = part(Tensor::randint(end, [n], (Kind::Int64, device)));
        let [part, c, h, w] = x0.size()[..] else { unreachable!("pictures have four axes") };
        let noise = self.shard.randn([part, c, h, w], device);
        self.with_noise(x0, noise, t, labels, prediction)
    }

    /// `n` pictures at time `t`; all of them on every rank.
    pub fn noisy_at(&self, t: i64, data: &Dataset, n: i64) -> Noisy {
        let device = data.images.device();
        let (x0, labels) = data.batch(&Tensor::randint(data.len(), [n], (Kind::Int64, device)));
        let noise = x0.randn_like();
        self.with_noise(x0, noise, Tensor::full([n], t, (Kind::Int64, device)), labels, Prediction::Epsilon)
    }

    /// Number of time indices.
    pub fn len(&self) -> i64 {
        self.signal.size()[0]
    }

    fn with_noise(&self, x0: Tensor, noise: Tensor, t: Tensor, labels: Tensor, prediction: Prediction) -> Noisy {
        let target = match prediction {
            Prediction::Epsilon => noise.shallow_clone(),
            Prediction::Velocity => &noise * self.signal(&t) - &x0 * self.sigma(&t),
            Prediction::X0 => x0.shallow_clone(),
            Prediction::Mean => {
                let (signal, sigma) = (self.signal(&t), self.sigma(&t));
                // √α = a_t/a_{t−1}, a = 1 before t = 0.
                let before = self.signal(&(&t - 1).clamp_min(0));
                let before = before.where_self(&t.reshape([-1, 1, 1, 1]).gt(0), &before.ones_like());
                let root = &signal / before;
                let beta = 1.0 - &root * &root;
                (&x0 * &signal + &noise * &sigma - &noise * (beta / &sigma)) / root
            }
        };
        Noisy { x: self.at(&t, &x0, &noise), x0, noise, t, labels, target }
    }

    /// x_t = a_t·x_0 + σ_t·ε for `t` i64 `[N]`, f32 `[N, C, H, W]` like both others.
    pub fn at(&self, t: &Tensor, x0: &Tensor, noise: &Tensor) -> Tensor {
        x0 * self.signal(t) + noise * self.sigma(t)
    }
}
