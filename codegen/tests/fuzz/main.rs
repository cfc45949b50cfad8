//! Structure-aware fuzzing of `load → generate`: mutated model files give code, or one error of one line; never a panic, nor
//! more than ten seconds of processor time or a gigabyte of memory.
//!
//! `cargo test` runs some thousand cases of a fixed seed. For hours, with a seed per run:
//!
//! ```text
//! FUZZ_MINUTES=60 FUZZ_SEED=1 cargo test --release -p grano-codegen --test fuzz -- --ignored --nocapture
//! ```
//!
//! Arithmetic that overflows is seen where it is checked: `CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true`. A case that fails is
//! written to the temporary folder, as the file that it is.

mod bases;
mod case;
mod memory;
mod mutate;
mod random;
mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use case::{Case, End};
use watch::Watch;

/// What the cases came to.
#[derive(Debug, Default)]
struct Tally {
    cases: u64,
    loaded: u64,
    generated: u64,
    failures: Vec<String>,
}

impl Tally {
    /// Runs the case of a seed.
    fn run(&mut self, bases: &[Case], watch: &Watch, seed: u64) {
        let (bytes, order) = mutate::case(bases, seed);
        self.cases += 1;
        let failure = match watch.run(seed, || order.run(&bytes)) {
            Ok(End::Refused) => return,
            Ok(End::Loaded) => return self.loaded += 1,
            Ok(End::Generated) => {
                self.loaded += 1;
                return self.generated += 1;
            }
            Err(failure) => failure,
        };
        // One case for each place that fails.
        if !self.failures.iter().any(|known| known.starts_with(&failure)) {
            let file = save(seed, &bytes);
            let failure = format!("{failure}\n    seed {seed}, {order:?}, {}", file.display());
            println!("{failure}");
            self.failures.push(failure);
        }
    }
}

fn save(seed: u64, bytes: &[u8]) -> PathBuf {
    let file = std::env::temp_dir().join(format!("grano-fuzz-{seed}.safetensors"));
    // What cannot be written is still found by its seed.
    let _ = std::fs::write(&file, bytes);
    file
}

#[test]
fn mutated_files_give_code_or_one_error() {
    let (bases, watch, mut tally) = (bases::all(), Watch::start(), Tally::default());
    for seed in 0..2000 {
        tally.run(&bases, &watch, seed);
    }
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    // Mutations that are all refused would try the first check alone.
    assert!(tally.loaded > tally.cases / 8 && tally.generated > tally.cases / 25, "{tally:?}");
}

#[test]
fn bases_are_sound() {
    for base in bases::all() {
        for order in case::Order::sound() {
            assert_eq!(order.run(&base.bytes()).unwrap(), End::Generated, "{order:?}");
        }
    }
}

#[test]
#[ignore = "runs for FUZZ_MINUTES"]
fn for_minutes() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (minutes, seed) = (number("FUZZ_MINUTES", 1), number("FUZZ_SEED", 1));
    let (bases, watch, mut tally, start) = (bases::all(), Watch::start(), Tally::default(), Instant::now());
    let mut next = seed << 40;
    while start.elapsed() < Duration::from_secs(60 * minutes) {
        tally.run(&bases, &watch, next);
        next += 1;
        if tally.cases.is_multiple_of(10_000) {
            println!("{} cases, {} loaded, {} generated", tally.cases, tally.loaded, tally.generated);
        }
    }
    println!("{} cases, {} loaded, {} generated", tally.cases, tally.loaded, tally.generated);
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
}
