//! Whole programs: pictures a second on one core and on all, memory, size.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use super::{
    rounds::{median, ratio},
    setup::{self, Bench},
};
use crate::shell::Shell;

/// Turns of each number of threads. Odd, so that the median is one of them.
const ROUNDS: usize = 7;
/// Pictures a turn and thread: about a second.
const SECONDS: f64 = 1.0;

/// What came out.
pub struct Programs {
    /// By threads, 1 and then as many as there are cores.
    pub pictures_per_second: Vec<(usize, f64)>,
    /// Of all cores, against as many times one core's; it takes a machine with nothing else to do.
    pub scaling: f64,
    /// The processor time of a picture on one core, in that on all cores: what is left of linear scaling if nothing
    /// else runs.
    pub efficiency: f64,
    /// Of one picture, by the desktop's program and by the small one.
    pub peak_kib: [u64; 2],
    /// Of the small program's file.
    pub embedded_bytes: u64,
}

/// Measures all of it.
pub fn measure(bench: &Bench) -> Result<Programs> {
    let cores = setup::processors()?.len();
    let threads = if cores > 1 { vec![1, cores] } else { vec![1] };
    took(bench, 1, 1)?;
    let pictures = (SECONDS * 16.0 / took(bench, 16, 1)?.processor).ceil() as usize;
    let mut rates = vec![Vec::new(); threads.len()];
    let mut costs = rates.clone();
    for round in 0..ROUNDS {
        eprint!("\rpictures: round {} of {ROUNDS} ", round + 1);
        for (i, threads) in threads.iter().enumerate() {
            let pictures = pictures * threads;
            let took = took(bench, pictures, *threads)?;
            rates[i].push(pictures as f64 / took.wall);
            costs[i].push(took.processor / pictures as f64);
        }
    }
    eprintln!();
    Ok(Programs {
        scaling: ratio(&rates[rates.len() - 1], &rates[0]) / threads[threads.len() - 1] as f64,
        efficiency: ratio(&costs[0], &costs[costs.len() - 1]),
        pictures_per_second: threads.into_iter().zip(rates.into_iter().map(median)).collect(),
        peak_kib: [
            peak_kib(bench, &bench.program, &["sample", "--count", "1", "--crc"])?,
            peak_kib(bench, &bench.embedded, &[])?,
        ],
        embedded_bytes: fs::metadata(&bench.embedded)?.len(),
    })
}

/// Seconds, the program's start included.
struct Took {
    wall: f64,
    processor: f64,
}

/// How long the program takes.
fn took(bench: &Bench, pictures: usize, threads: usize) -> Result<Took> {
    let (pictures, threads) = (pictures.to_string(), threads.to_string());
    let words = ["sample", "--crc", "--count", &pictures, "--threads", &threads];
    match timed(bench, "%e %U %S", &bench.program, &words)?[..] {
        [wall, user, system] => Ok(Took { wall, processor: user + system }),
        ref numbers => bail!("GNU time said {numbers:?}"),
    }
}

/// The most memory that a program has at any time.
fn peak_kib(bench: &Bench, program: &Path, words: &[&str]) -> Result<u64> {
    Ok(timed(bench, "%M", program, words)?.first().copied().unwrap_or_default() as u64)
}

/// Numbers that GNU time gives for a program that works.
fn timed(bench: &Bench, format: &str, program: &Path, words: &[&str]) -> Result<Vec<f64>> {
    let shell = Shell::new(bench.time.display().to_string()).args(["--format", format, &program.display().to_string()]);
    let output = shell.args(words.iter().copied()).output(None)?;
    let text = String::from_utf8_lossy(&output.stderr);
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    numbers.with_context(|| format!("`{}` said: {text}", program.display()))
}
