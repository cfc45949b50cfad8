//! Whole programs: pictures a second on one core and on all, memory, size.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, Result};

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
    /// Of all cores, against as many times one core's.
    pub scaling: f64,
    /// Of one picture, by the desktop's program and by the small one.
    pub peak_kib: [u64; 2],
    /// Of the small program's file.
    pub embedded_bytes: u64,
}

/// Measures all of it.
pub fn measure(bench: &Bench) -> Result<Programs> {
    let cores = setup::processors()?.len();
    let threads = if cores > 1 { vec![1, cores] } else { vec![1] };
    seconds(bench, 1, 1)?;
    let pictures = (SECONDS * 8.0 / seconds(bench, 8, 1)?).ceil() as usize;
    let mut rates = vec![Vec::new(); threads.len()];
    for round in 0..ROUNDS {
        eprint!("\rpictures: round {} of {ROUNDS} ", round + 1);
        for (rates, threads) in rates.iter_mut().zip(&threads) {
            let pictures = pictures * threads;
            rates.push(pictures as f64 / seconds(bench, pictures, *threads)?);
        }
    }
    eprintln!();
    Ok(Programs {
        scaling: ratio(&rates[rates.len() - 1], &rates[0]) / threads[threads.len() - 1] as f64,
        pictures_per_second: threads.into_iter().zip(rates.into_iter().map(median)).collect(),
        peak_kib: [
            peak_kib(bench, &bench.program, &["sample", "--count", "1", "--crc"])?,
            peak_kib(bench, &bench.embedded, &[])?,
        ],
        embedded_bytes: fs::metadata(&bench.embedded)?.len(),
    })
}

/// How long the program takes, its start included.
fn seconds(bench: &Bench, pictures: usize, threads: usize) -> Result<f64> {
    let (pictures, threads) = (pictures.to_string(), threads.to_string());
    let words = ["sample", "--crc", "--count", &pictures, "--threads", &threads];
    let start = Instant::now();
    Shell::new(bench.program.display().to_string()).args(words).text()?;
    Ok(start.elapsed().as_secs_f64())
}

/// The most memory that a program has at any time.
fn peak_kib(bench: &Bench, program: &Path, words: &[&str]) -> Result<u64> {
    let shell = Shell::new(bench.time.display().to_string()).args(["--format", "%M", &program.display().to_string()]);
    let output = shell.args(words.iter().copied()).output(None)?;
    let text = String::from_utf8_lossy(&output.stderr);
    text.trim().parse().with_context(|| format!("`{}` said: {text}", program.display()))
}
