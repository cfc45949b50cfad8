//! One engine in a process of its own, on one core, that does what it is asked to (boards/host/bench/protocol).

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::setup::{self, Bench};

/// What runs a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// This one, or the core's limit.
    Grano,
    /// Another Rust crate.
    Rust,
    /// A Python package.
    Python,
}

use Engine::{Grano, Python, Rust};

/// All that are measured, the first being the core's limit. rten's int8 quantises activations as it runs, which is what
/// it has integer kernels for; the others' scales are known beforehand.
const ENGINES: [(&str, Engine); 14] = [
    (PEAK, Grano),
    ("grano-int8", Grano),
    ("grano-f32", Grano),
    ("grano-f16", Grano),
    ("litert-int8", Python),
    ("onnxruntime-int8", Python),
    ("rten-int8", Rust),
    ("tract-int8", Rust),
    ("litert-f32", Python),
    ("onnxruntime-f32", Python),
    (REFERENCE, Python),
    ("rten-f32", Rust),
    ("tract-f32", Rust),
    ("candle-f32", Rust),
];

/// The core's limit, as if it were an engine.
pub const PEAK: &str = "peak";
/// That whose output is right.
pub const REFERENCE: &str = "pytorch-f32";

/// Every engine's way to say how many threads.
const THREADS: [&str; 5] =
    ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "RTEN_NUM_THREADS"];

/// A process that waits.
pub struct Runner {
    /// Engine and numbers, such as `rten-f32`.
    pub name: &'static str,
    /// What it said at its start.
    pub version: String,
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
}

/// An engine that cannot run the network, and what it said.
pub struct Absent {
    pub name: &'static str,
    pub reason: String,
}

impl Runner {
    /// Starts all; a peer that cannot run the network is left out.
    pub fn start_all(bench: &Bench) -> Result<(Vec<Self>, Vec<Absent>)> {
        let (mut runners, mut absent) = (Vec::new(), Vec::new());
        for (name, engine) in ENGINES {
            match Self::start(bench, name, engine) {
                Ok(runner) => runners.push(runner),
                Err(error) if engine == Grano => return Err(error),
                Err(error) => absent.push(Absent { name, reason: format!("{error:#}") }),
            }
        }
        Ok((runners, absent))
    }

    fn start(bench: &Bench, name: &'static str, engine: Engine) -> Result<Self> {
        let core = setup::processors()?.last().map_or_else(String::new, usize::to_string);
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &core]);
        match engine {
            Grano => command.arg(&bench.grano).arg(name.trim_start_matches("grano-")),
            Rust => command.arg(&bench.peers).arg(name).arg(&bench.networks),
            Python => command.arg(&bench.python).args(["runner.py", name]).arg(&bench.networks),
        };
        let log = bench.networks.join(name).with_extension("log");
        // Some machines ask for the kernels of another core than they have.
        command.envs(THREADS.map(|name| (name, "1"))).env_remove("OPENBLAS_CORETYPE").env("RUST_BACKTRACE", "0");
        command.current_dir(setup::folder().join("python")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.stderr(File::create(&log)?).spawn().context("cannot start `taskset`")?;
        let (requests, answers) = (process.stdin.take(), process.stdout.take());
        let requests = requests.context("no standard input")?;
        let answers = BufReader::new(answers.context("no standard output")?);
        let mut runner = Self { name, version: String::new(), process, requests, answers, log };
        runner.version = runner.answer()?;
        // Also shows that it can.
        runner.ask("evaluate 1")?;
        Ok(runner)
    }

    /// The answer to a line.
    pub fn ask(&mut self, request: &str) -> Result<String> {
        writeln!(self.requests, "{request}").and_then(|()| self.requests.flush()).or_else(|_| self.failed())?;
        self.answer()
    }

    /// Nanoseconds for each of n `evaluate` or `picture`.
    pub fn nanoseconds(&mut self, what: &str, n: u32) -> Result<f64> {
        let answer = self.ask(&format!("{what} {n}"))?;
        answer.parse().with_context(|| format!("{} answered `{answer}`", self.name))
    }

    /// The network's output, `[28][28]`.
    pub fn output(&mut self) -> Result<Vec<f64>> {
        let answer = self.ask("output")?;
        let values = answer.split(' ').map(str::parse).collect::<Result<_, _>>();
        values.with_context(|| format!("{} answered `{answer}`", self.name))
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line)? {
            0 => self.failed(),
            _ => Ok(line.trim().to_owned()),
        }
    }

    /// The error that it left behind: the last words of what it said.
    fn failed<T>(&mut self) -> Result<T> {
        self.process.wait()?;
        let log = fs::read_to_string(&self.log)?;
        let lines: Vec<_> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let words = lines[lines.len().saturating_sub(3)..].join("; ");
        bail!("{} ended: {words}", self.name)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // It ends by itself at the end of its input, too; here there is nobody left to hear of a failure.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
