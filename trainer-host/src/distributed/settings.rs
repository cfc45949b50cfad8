//! What the environment says of a rank, in torchrun's variables, and how the ranks meet.

use std::env;
use std::fmt::Display;
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tch::{Cuda, Device};

use super::Lost;
use super::c10d::Store;

/// Between two looks for ranks that have not come yet.
const POLL: Duration = Duration::from_millis(20);

/// Which rank of how many, and where rank 0 is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From 0.
    pub rank: usize,
    /// At least 2.
    pub ranks: usize,
    /// Of those on this host, from 0.
    pub local_rank: usize,
    /// Rank 0's host.
    pub master: String,
    /// Its store's port.
    pub port: u16,
    /// Whether torchrun already serves the store.
    pub served: bool,
    /// Tells attempts in one store apart.
    pub prefix: String,
    /// How long ranks wait for each other at the start.
    pub patience: Duration,
}

impl Settings {
    /// Reads the environment; `None` for one process alone.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_environment() -> Result<Option<Self>> {
        Self::read(&|name| env::var(name).ok())
    }

    fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        fn parse<T: FromStr<Err: Display>>(name: &str, value: &str) -> Result<T> {
            value.parse().map_err(|error| anyhow::anyhow!("{name}={value}: {error}"))
        }
        let ranks = match variable("WORLD_SIZE") {
            None => return Ok(None),
            Some(value) => parse("WORLD_SIZE", &value)?,
        };
        ensure!(ranks > 0, "WORLD_SIZE=0: there is at least one rank");
        if ranks == 1 {
            return Ok(None);
        }
        let needed = |name: &str| {
            let value = variable(name);
            value.with_context(|| format!("{name} is not set, but WORLD_SIZE={ranks}; torchrun and `launch` set both"))
        };
        let rank = parse("RANK", &needed("RANK")?)?;
        ensure!(rank < ranks, "RANK={rank}: of WORLD_SIZE={ranks} ranks the last is {}", ranks - 1);
        let local_rank = variable("LOCAL_RANK").map_or(Ok(0), |value| parse("LOCAL_RANK", &value))?;
        let (master, port) = (needed("MASTER_ADDR")?, parse("MASTER_PORT", &needed("MASTER_PORT")?)?);
        ensure!(port > 0, "MASTER_PORT=0: give 1 to 65535");
        let seconds = variable("GRANO_JOIN_SECONDS").map_or(Ok(300), |value| parse("GRANO_JOIN_SECONDS", &value))?;
        ensure!(seconds > 0, "GRANO_JOIN_SECONDS=0: give at least 1");
        let attempt = variable("TORCHELASTIC_RESTART_COUNT").unwrap_or_else(|| "0".into());
        Ok(Some(Self {
            rank,
            ranks,
            local_rank,
            master,
            port,
            served: variable("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|value| value == "True"),
            prefix: format!("grano/attempt{attempt}"),
            patience: Duration::from_secs(seconds),
        }))
    }

    /// The GPU of this rank's number on its host, or the CPU where there is none.
    ///
    /// # Errors
    /// When there are GPUs, but too few.
    pub fn device(&self) -> Result<Device> {
        let gpus = if Cuda::is_available() { Cuda::device_count() as usize } else { 0 };
        if gpus == 0 {
            return Ok(Device::Cpu);
        }
        let local_rank = self.local_rank;
        ensure!(
            local_rank < gpus,
            "LOCAL_RANK={local_rank}: this host has {gpus} GPUs; start one rank for each at most"
        );
        Ok(Device::Cuda(local_rank))
    }

    /// Another connection to the store that every rank reaches; rank 0 serves it from its first on.
    ///
    /// # Errors
    /// When it is out of reach.
    pub fn connect(&self) -> Result<Store> {
        Store::open(&self.master, self.port, false, self.patience, &self.prefix)
    }

    /// Connects to the store that every rank reaches; rank 0 serves it, unless torchrun does.
    ///
    /// # Errors
    /// When the port is taken, or rank 0 is out of reach.
    pub fn open_store(&self) -> Result<Store> {
        let Self { master, port, patience, .. } = self;
        let serve = self.rank == 0 && !self.served;
        if !serve {
            return self.connect().map_err(|error| {
                anyhow::anyhow!(
                    "rank {}: no answer from MASTER_ADDR={master}, MASTER_PORT={port} within {} s ({error}); start rank \
                     0 there, and let its firewall pass that port",
                    self.rank,
                    patience.as_secs()
                )
            });
        }
        Store::open(master, *port, true, *patience, &self.prefix).map_err(|error| {
            anyhow::anyhow!(
                "rank 0 cannot serve MASTER_ADDR={master}, MASTER_PORT={port} ({error}); give this host's address and a \
                 port that nobody has"
            )
        })
    }

    /// Takes this rank, which no other process may have.
    ///
    /// # Errors
    /// When another has.
    pub fn claim(&self, store: &Store) -> Result<()> {
        let rank = self.rank;
        ensure!(store.add(&format!("come/{rank}"), 1)? == 1, "RANK={rank}: another process has this rank");
        Ok(())
    }

    /// Waits for all ranks, each of which shows what must be equal.
    ///
    /// # Errors
    /// Names the ranks that do not come, and what another rank has otherwise.
    pub fn meet(&self, store: &Store, own: &Value) -> Result<()> {
        let Self { rank, ranks, patience, .. } = self;
        let key = |rank: usize| format!("arguments/{rank}");
        store.set(&key(*rank), &serde_json::to_vec(own)?).context(Lost)?;
        let deadline = Instant::now() + *patience;
        let mut missing: Vec<usize> = (0..*ranks).collect();
        loop {
            let mut still = Vec::new();
            for &rank in &missing {
                if !store.has(&key(rank)).context(Lost)? {
                    still.push(rank);
                }
            }
            missing = still;
            if missing.is_empty() {
                break;
            }
            let late: Vec<_> = missing.iter().map(ToString::to_string).collect();
            ensure!(
                Instant::now() < deadline,
                "of {ranks} ranks, {} did not come within {} s; start them with the same MASTER_ADDR and MASTER_PORT",
                late.join(", "),
                patience.as_secs()
            );
            sleep(POLL);
        }
        let first: Value = serde_json::from_slice(&store.get(&key(0)).context(Lost)?)?;
        for rank in 1..*ranks {
            let other: Value = serde_json::from_slice(&store.get(&key(rank)).context(Lost)?)?;
            let different = different(&first, &other);
            if !different.is_empty() {
                bail!("rank {rank} was started otherwise than rank 0: {}", different.join(", "));
            }
        }
        Ok(())
    }
}

/// The values, anywhere in two objects of the same form, that differ.
fn different(first: &Value, other: &Value) -> Vec<String> {
    let (Value::Object(one), Value::Object(two)) = (first, other) else { return Vec::new() };
    let mut names: Vec<_> = one.keys().chain(two.keys()).collect();
    names.sort();
    names.dedup();
    let of = |name: &String| match (one.get(name), two.get(name)) {
        (Some(one @ Value::Object(_)), Some(two @ Value::Object(_))) => different(one, two),
        (one, two) if one == two => Vec::new(),
        (one, two) => {
            let text = |value: Option<&Value>| value.map_or("absent".to_string(), ToString::to_string);
            vec![format!("{} is {} there, {} at rank 0", name.replace('_', "-"), text(two), text(one))]
        }
    };
    names.into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        Settings::read(&|name| variables.get(name).map(ToString::to_string))
    }

    const TWO: [(&str, &str); 4] =
        [("WORLD_SIZE", "2"), ("RANK", "1"), ("MASTER_ADDR", "node0"), ("MASTER_PORT", "29500")];

    #[test]
    fn one_rank_is_alone() {
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[("WORLD_SIZE", "1"), ("RANK", "0")]).unwrap(), None);
    }

    #[test]
    fn what_torchrun_says_is_read() {
        let torchrun = [
            ("LOCAL_RANK", "1"),
            ("TORCHELASTIC_USE_AGENT_STORE", "True"),
            ("TORCHELASTIC_RESTART_COUNT", "3"),
            ("GRANO_JOIN_SECONDS", "5"),
        ];
        let settings = read(&[&TWO[..], &torchrun].concat()).unwrap().unwrap();
        let expected = Settings {
            rank: 1,
            ranks: 2,
            local_rank: 1,
            master: "node0".into(),
            port: 29500,
            served: true,
            prefix: "grano/attempt3".into(),
            patience: Duration::from_secs(5),
        };
        assert_eq!(settings, expected);
        assert!(!read(&TWO).unwrap().unwrap().served);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = [
            (("WORLD_SIZE", "two"), "WORLD_SIZE=two: "),
            (("WORLD_SIZE", "0"), "WORLD_SIZE=0: "),
            (("WORLD_SIZE", "-2"), "WORLD_SIZE=-2: "),
            (("RANK", "2"), "RANK=2: of WORLD_SIZE=2 ranks the last is 1"),
            (("RANK", ""), "RANK=: "),
            (("LOCAL_RANK", "x"), "LOCAL_RANK=x: "),
            (("MASTER_PORT", "65536"), "MASTER_PORT=65536: "),
            (("MASTER_PORT", "0"), "MASTER_PORT=0: "),
            (("GRANO_JOIN_SECONDS", "0"), "GRANO_JOIN_SECONDS=0: "),
            (("GRANO_JOIN_SECONDS", "soon"), "GRANO_JOIN_SECONDS=soon: "),
        ];
        for (variable, text) in wrong {
            let others: Vec<_> = TWO.into_iter().filter(|(name, _)| *name != variable.0).collect();
            let error = read(&[&others[..], &[variable]].concat()).unwrap_err().to_string();
            assert!(error.starts_with(text) && !error.contains('\n'), "{variable:?}: {error}");
        }
        for missing in ["RANK", "MASTER_ADDR", "MASTER_PORT"] {
            let others: Vec<_> = TWO.into_iter().filter(|(name, _)| *name != missing).collect();
            let error = read(&others).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{missing} is not set")), "{error}");
        }
    }

    /// torchrun serves the store itself, and starts the ranks again in the same one.
    #[test]
    fn ranks_meet_in_torchruns_store() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let agent = Store::open("127.0.0.1", port, true, Duration::from_secs(20), "agent").unwrap();
        for attempt in ["0", "1"] {
            let meet = |rank: &'static str| {
                let port = port.to_string();
                std::thread::spawn(move || {
                    let torchrun = [
                        ("WORLD_SIZE", "2"),
                        ("RANK", rank),
                        ("MASTER_ADDR", "127.0.0.1"),
                        ("MASTER_PORT", &port),
                        ("GRANO_JOIN_SECONDS", "20"),
                        ("TORCHELASTIC_USE_AGENT_STORE", "True"),
                        ("TORCHELASTIC_RESTART_COUNT", attempt),
                    ];
                    let settings = read(&torchrun).unwrap().unwrap();
                    let store = settings.open_store().unwrap();
                    settings.claim(&store).unwrap();
                    settings.meet(&store, &json!({"arguments": {"batch": 8}})).unwrap();
                })
            };
            [meet("0"), meet("1")].into_iter().for_each(|rank| rank.join().unwrap());
        }
        assert!(!agent.has("come/0").unwrap(), "ranks' keys have a prefix of their own");
    }

    #[test]
    fn differences_are_named() {
        let first = json!({"arguments": {"batch": 64, "learning_rate": 0.002}, "ranks": 2});
        let other = json!({"arguments": {"batch": 32, "learning_rate": 0.002, "seed": 1}, "ranks": 2});
        assert_eq!(different(&first, &other), ["batch is 32 there, 64 at rank 0", "seed is 1 there, absent at rank 0"]);
        assert!(different(&first, &first).is_empty());
    }
}
