//! Every engine in turn, many times over: what slows the machine down for a while slows all of them down.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;

use super::runner::Runner;

/// Turns of each engine. Odd, so that the median is one of them.
const ROUNDS: usize = 25;
/// How long a turn takes, about.
const TURN: Duration = Duration::from_millis(40);
/// What a turn can be made of.
pub const WORK: [&str; 2] = ["evaluate", "picture"];

/// Nanoseconds by work and engine, one a round.
pub type Times = BTreeMap<(&'static str, &'static str), Vec<f64>>;

/// Runs all rounds.
pub fn measure(runners: &mut [Runner]) -> Result<Times> {
    let mut times = Times::new();
    for work in WORK {
        let turns = runners.iter_mut().map(|runner| turn(runner, work)).collect::<Result<Vec<_>>>()?;
        for round in 0..ROUNDS {
            eprint!("\r{work}: round {} of {ROUNDS} ", round + 1);
            for (runner, n) in runners.iter_mut().zip(&turns) {
                let nanoseconds = runner.nanoseconds(work, *n)?;
                times.entry((work, runner.name)).or_default().push(nanoseconds);
            }
        }
        eprintln!();
    }
    Ok(times)
}

/// How many make a turn; finding out warms the engine up.
fn turn(runner: &mut Runner, work: &str) -> Result<u32> {
    runner.nanoseconds(work, 2)?;
    let nanoseconds = runner.nanoseconds(work, 2)?;
    Ok((TURN.as_nanos() as f64 / nanoseconds).clamp(1.0, 1e6) as u32)
}

/// The middle value; 0 where there is none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The median of a's part in b, each taken in the same round.
pub fn ratio(a: &[f64], b: &[f64]) -> f64 {
    median(a.iter().zip(b).map(|(a, b)| a / b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        // The machine was three times slower in the second round.
        assert_eq!(ratio(&[2.0, 6.0, 2.2], &[1.0, 3.0, 1.0]), 2.0);
    }
}
