//! Training on several GPUs or hosts: data-parallel ranks over PyTorch's c10d.
//!
//! Every rank is a process with the whole network. It computes the gradient of its equal part of each batch; [`Reducer`]
//! replaces gradients by their means over the ranks while the backward pass runs; every rank then makes the same update.
//! Random numbers are drawn for the whole batch from the update's seed, by every rank, which keeps its part of them: any
//! number of ranks learns from the same pictures, times and noise.
//!
//! [`settings`] reads what torchrun or [`launch`] say of a rank in the environment; [`Ranks::join`] connects the ranks
//! through [`c10d`]; [`watch`] ends all when one is lost. One process alone uses none of these.

mod c10d;
pub mod launch;
mod settings;
mod watch;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

pub use c10d::Reducer;
use c10d::{Group, Place};
use settings::Settings;
pub use watch::end;

/// How long an operation of all ranks may take, of which writing sheets and checkpoints is the longest.
const OPERATION: Duration = Duration::from_secs(30 * 60);

/// Bytes of the bucket of gradients that is reduced first, when little of the backward pass has run, and of the others:
/// the networks here have a tenth of the parameters for which PyTorch's own 1 MiB and 25 MiB are meant.
const BUCKETS: [usize; 2] = [128 << 10, 1 << 20];

/// The processes that compute together, and which of them this one is.
pub struct Ranks {
    shard: Shard,
    device: Device,
    group: Option<Group>,
}

/// Which equal part of a batch is this rank's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    rank: i64,
    ranks: i64,
}

/// Where this process computes, once it has joined others.
static DEVICE: OnceLock<Device> = OnceLock::new();

/// Where this process computes: its own GPU, or the CPU.
pub fn device() -> Device {
    DEVICE.get().copied().unwrap_or_else(Device::cuda_if_available)
}

/// Context of errors that came because another rank is lost.
#[derive(Debug)]
struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("another rank has ended or is out of reach")
    }
}

/// Whether an error came because another rank is lost.
pub fn is_lost(error: &anyhow::Error) -> bool {
    error.is::<Lost>()
}

impl Shard {
    /// All of a batch.
    pub const WHOLE: Self = Self { rank: 0, ranks: 1 };

    /// Equal parts of a batch.
    pub fn ranks(self) -> i64 {
        self.ranks
    }

    /// This rank's part of a tensor along its first axis, whose length is a multiple of the number of ranks.
    pub fn of(self, batch: &Tensor) -> Tensor {
        let n = batch.size()[0] / self.ranks;
        batch.narrow(0, self.rank * n, n)
    }

    /// Noise from N(0, 1) for this rank's part of a batch of which this part has the given shape, f32: drawn for the
    /// whole batch from libtorch's generator.
    pub fn randn(self, mut shape: [i64; 4], device: Device) -> Tensor {
        shape[0] *= self.ranks;
        self.of(&Tensor::randn(shape, (Kind::Float, device)))
    }
}

/// Checks that this process is alone, for commands that have no parts.
///
/// # Errors
/// When the environment names other ranks.
pub fn check_alone() -> Result<()> {
    ensure!(
        Settings::from_environment()?.is_none(),
        "this command is for one process; start it without torchrun or `launch`, or unset WORLD_SIZE"
    );
    Ok(())
}

impl Ranks {
    /// One process alone, on the first GPU if there is one.
    pub fn alone() -> Self {
        Self { shard: Shard::WHOLE, device: Device::cuda_if_available(), group: None }
    }

    /// Joins the other ranks that the environment names, which must have the same `arguments`; is alone without any.
    ///
    /// # Errors
    /// Names what is wrong with the environment, the rank that has other arguments, or those that do not come.
    pub fn join(arguments: &Value) -> Result<Self> {
        let Some(settings) = Settings::from_environment()? else { return Ok(Self::alone()) };
        let device = settings.device()?;
        let device = *DEVICE.get_or_init(|| device);
        let store = Arc::new(settings.open_store()?);
        settings.claim(&store)?;
        watch::start(&settings, Arc::clone(&store))?;
        let own = json!({
            "arguments": shared(arguments),
            "ranks": settings.ranks,
            "version": env!("CARGO_PKG_VERSION"),
            "nccl": c10d::has_nccl(),
        });
        settings.meet(&store, &own)?;
        let Settings { rank, ranks, .. } = settings;
        let loopback = settings.master.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let loopback = loopback || settings.master == "localhost";
        let interface = std::env::var("GLOO_SOCKET_IFNAME").unwrap_or_default();
        let place = Place { interface: &interface, address: if loopback { "127.0.0.1" } else { "" } };
        let group = Group::open(&store, [rank, ranks], device.is_cuda(), &place, OPERATION).context(Lost)?;
        let joined = Self { shard: Shard { rank: rank as i64, ranks: ranks as i64 }, device, group: Some(group) };
        joined.say(&format!("{ranks} ranks over {}", joined.transport()));
        Ok(joined)
    }

    /// What carries tensors between ranks.
    fn transport(&self) -> &'static str {
        match (self.device.is_cuda(), c10d::has_nccl()) {
            (true, true) => "NCCL",
            (true, false) => "gloo, through the hosts' memory: this build has no NCCL",
            (false, true) => "gloo: NCCL needs a GPU, and here is none",
            (false, false) => "gloo; this build has no NCCL, and here is no GPU",
        }
    }

    /// Where this rank computes: its own GPU, or the CPU.
    pub fn device(&self) -> Device {
        self.device
    }

    /// This rank's part of batches.
    pub fn shard(&self) -> Shard {
        self.shard
    }

    /// Whether this is rank 0, which alone writes files and reports.
    pub fn is_first(&self) -> bool {
        self.shard.rank == 0
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shard.ranks as usize
    }

    /// Whether this process is alone.
    pub fn is_alone(&self) -> bool {
        self.group.is_none()
    }

    /// Whether piece `i` of independent pieces of work is this rank's, which take turns.
    pub fn owns(&self, i: usize) -> bool {
        self.owner(i) == self.shard.rank as usize
    }

    /// Whose piece `i` of independent pieces of work is.
    pub fn owner(&self, i: usize) -> usize {
        i % self.shard.ranks as usize
    }

    /// Checks that every rank gets the same part of `count` pictures, of which `argument` says how many they are.
    ///
    /// # Errors
    /// Names the argument and numbers that would do.
    pub fn check_parts(&self, argument: &str, count: i64) -> Result<()> {
        let ranks = self.shard.ranks;
        let below = count - count % ranks;
        ensure!(
            below == count && count > 0,
            "{argument}: {count} pictures are not a multiple of {ranks} ranks; {} or {} are",
            below.max(ranks),
            below + ranks
        );
        Ok(())
    }

    /// Checks that these tensors are the same on every rank; `what` they are is for the error.
    ///
    /// # Errors
    /// Names the rank that has others.
    pub fn agree(&self, what: &str, tensors: &[&Tensor]) -> Result<()> {
        if self.is_alone() {
            return Ok(());
        }
        let mut hash = Sha256::new();
        for tensor in tensors {
            let bytes = tensor.to_device(Device::Cpu).contiguous().view_dtype(Kind::Uint8).reshape([-1]);
            hash.update(format!("{:?}{:?}", tensor.kind(), tensor.size()));
            hash.update(Vec::<u8>::try_from(bytes)?);
        }
        let own = Tensor::from_slice(hash.finalize().as_slice()).unsqueeze(0);
        let all = Vec::<u8>::try_from(self.gather(&own)?.reshape([-1]))?;
        let digests: Vec<&[u8]> = all.chunks(own.numel()).collect();
        match digests.iter().position(|digest| *digest != digests[0]) {
            Some(rank) => bail!("rank {rank} has other {what} than rank 0; give every rank the same"),
            None => Ok(()),
        }
    }

    /// Replaces a tensor by its mean over the ranks.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn mean(&self, tensor: &mut Tensor) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        group.sum(tensor).context(Lost)?;
        let _ = tensor.g_div_scalar_(self.shard.ranks);
        Ok(())
    }

    /// The mean of a number over the ranks.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn mean_of(&self, value: f64) -> Result<f64> {
        let mut tensor = Tensor::from_slice(&[value]);
        self.mean(&mut tensor)?;
        Ok(tensor.double_value(&[0]))
    }

    /// Prints a line, on rank 0 alone.
    pub fn say(&self, line: &str) {
        if self.is_first() {
            println!("{line}");
        }
    }

    /// Every rank's tensor, one behind another along the first axis; all have the same shape.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn gather(&self, own: &Tensor) -> Result<Tensor> {
        let Some(group) = &self.group else { return Ok(own.shallow_clone()) };
        let own = own.contiguous();
        let mut shape = own.size();
        shape[0] *= self.shard.ranks;
        let all = Tensor::zeros(&shape[..], (own.kind(), own.device()));
        group.gather(&all, &own).context(Lost)?;
        Ok(all)
    }

    /// Which rows of `count`, as equal a part as can be, are this rank's: where they begin and how many.
    pub fn rows(&self, count: i64) -> [i64; 2] {
        let Shard { rank, ranks } = self.shard;
        let begin = |rank: i64| rank * count / ranks;
        [begin(rank), begin(rank + 1) - begin(rank)]
    }

    /// Every rank's [`Self::rows`] of `count`, one behind another.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn gather_rows(&self, own: &Tensor, count: i64) -> Result<Tensor> {
        let Shard { ranks, .. } = self.shard;
        let longest = (count + ranks - 1) / ranks;
        let mut missing = own.size();
        missing[0] = longest - missing[0];
        let padded = Tensor::cat(&[own, &Tensor::zeros(&missing[..], (own.kind(), own.device()))], 0);
        let all = self.gather(&padded)?;
        let part = |rank: i64| {
            let [_, n] = Self { shard: Shard { rank, ranks }, device: self.device, group: None }.rows(count);
            all.narrow(0, rank * longest, n)
        };
        Ok(Tensor::cat(&(0..ranks).map(part).collect::<Vec<_>>(), 0))
    }

    /// Replaces a tensor by rank `root`'s, of the same shape.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<()> {
        self.group.as_ref().map_or(Ok(()), |group| group.broadcast(&tensor.detach(), root).context(Lost))
    }

    /// What rank 0 reads, given to every rank.
    ///
    /// # Errors
    /// Rank 0's; when a rank is lost.
    pub fn read_first(&self, read: impl FnOnce() -> Result<Option<Vec<u8>>>) -> Result<Option<Vec<u8>>> {
        let bytes = if self.is_first() { read()? } else { None };
        self.share(bytes, 0)
    }

    /// Rank `root`'s bytes, given to every rank; the others' are not looked at.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn share(&self, bytes: Option<Vec<u8>>, root: usize) -> Result<Option<Vec<u8>>> {
        if self.is_alone() {
            return Ok(bytes);
        }
        let bytes = bytes.filter(|_| self.shard.rank == root as i64);
        let length = Tensor::from_slice(&[bytes.as_ref().map_or(-1, |bytes| bytes.len() as i64)]);
        self.broadcast(&length, root)?;
        let length = length.int64_value(&[0]);
        if length <= 0 {
            return Ok((length == 0).then(Vec::new));
        }
        let tensor = match &bytes {
            Some(bytes) => Tensor::from_slice(bytes),
            None => Tensor::zeros([length], (Kind::Uint8, Device::Cpu)),
        };
        self.broadcast(&tensor, root)?;
        Ok(Some(Vec::<u8>::try_from(tensor)?))
    }

    /// What reduces the gradients of parameters, in the order of the forward pass; none where this process is alone.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn reducer(&self, parameters: &[&Tensor]) -> Result<Option<Reducer>> {
        self.group.as_ref().map(|group| Reducer::new(group, parameters, BUCKETS).context(Lost)).transpose()
    }

    /// Runs the backward pass of a loss, with the gradients' means over the ranks for its result.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn backward(&self, loss: &Tensor, reducer: &mut Option<Reducer>) -> Result<()> {
        match reducer {
            None => loss.backward(),
            Some(reducer) => {
                reducer.prepare().context(Lost)?;
                loss.f_backward().map_err(first_line).context(Lost)?;
            }
        }
        Ok(())
    }
}

/// C++ adds a backtrace to an error's text.
fn first_line(error: tch::TchError) -> anyhow::Error {
    anyhow::Error::msg(error.to_string().lines().next().unwrap_or_default().to_string())
}

/// The arguments that must be the same on every rank: paths may differ, what lies there is compared by itself.
fn shared(arguments: &Value) -> Value {
    const OWN: [&str; 6] = ["data", "csv", "run", "model", "teacher", "from"];
    let Value::Object(all) = arguments else { return arguments.clone() };
    all.iter()
        .filter(|(name, _)| !OWN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_up_the_batch() {
        let batch = Tensor::arange(12, (Kind::Int64, Device::Cpu)).reshape([6, 2]);
        let parts: Vec<_> = (0..3).map(|rank| Shard { rank, ranks: 3 }.of(&batch)).collect();
        assert!(parts.iter().all(|part| part.size() == [2, 2]));
        assert!(Tensor::cat(&parts, 0) == batch);
        assert!(Shard::WHOLE.of(&batch) == batch);
    }

    #[test]
    fn noise_is_that_of_the_whole_batch() {
        let _alone = crate::testing::seed(3);
        let whole = Tensor::randn([4, 1, 2, 2], (Kind::Float, Device::Cpu));
        for rank in 0..2 {
            tch::manual_seed(3);
            let part = Shard { rank, ranks: 2 }.randn([2, 1, 2, 2], Device::Cpu);
            assert!(part == whole.narrow(0, 2 * rank, 2));
        }
    }

    #[test]
    fn rows_make_up_all() {
        for count in [0, 1, 5, 8] {
            let rows = (0..3)
                .map(|rank| Ranks { shard: Shard { rank, ranks: 3 }, device: Device::Cpu, group: None }.rows(count));
            let end = rows.fold(0, |end, [begin, n]| {
                assert!(begin == end && n <= (count + 2) / 3);
                begin + n
            });
            assert_eq!(end, count);
        }
    }

    #[test]
    fn batches_are_equal_parts() {
        let four = Ranks { shard: Shard { rank: 1, ranks: 4 }, device: Device::Cpu, group: None };
        four.check_parts("--batch", 8).unwrap();
        let error = four.check_parts("--batch", 6).unwrap_err().to_string();
        assert_eq!(error, "--batch: 6 pictures are not a multiple of 4 ranks; 4 or 8 are");
        let error = four.check_parts("--batch", 3).unwrap_err().to_string();
        assert!(error.ends_with("4 or 4 are"), "{error}");
    }

    #[test]
    fn alone_nothing_is_exchanged() {
        let alone = Ranks::alone();
        let tensor = Tensor::from_slice(&[1.0f32, 2.0]);
        let mut mean = tensor.copy();
        alone.mean(&mut mean).unwrap();
        alone.broadcast(&mean, 0).unwrap();
        assert!(alone.gather_rows(&tensor, 2).unwrap() == tensor && alone.rows(2) == [0, 2]);
        assert!(mean == tensor && alone.gather(&tensor).unwrap() == tensor);
        assert_eq!(alone.read_first(|| Ok(Some(vec![7]))).unwrap(), Some(vec![7]));
        assert!(alone.is_first() && alone.owns(5) && alone.reducer(&[&tensor]).unwrap().is_none());
    }
}
