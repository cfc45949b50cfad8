//! A measured program does, at a driver's word, a number of evaluations or pictures; so all can take turns.

use std::hint::black_box;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};

/// A network that is ready to run.
pub trait Runner {
    /// Its output, `[28][28]`, at the sampler's first step.
    ///
    /// # Errors
    /// When it cannot run.
    fn evaluate(&mut self) -> Result<Vec<f32>>;

    /// x, `[28][28]`, after all steps.
    ///
    /// # Errors
    /// When it cannot run.
    fn picture(&mut self) -> Result<Vec<f32>>;
}

/// Prints `version`, then answers each line of standard input with one line: `evaluate N` and `picture N` with
/// nanoseconds of processor time for each of N, `output` with the network's output.
///
/// # Errors
/// When the runner fails, or a line is none of these.
pub fn serve(version: &str, runner: &mut dyn Runner) -> Result<()> {
    let answer = |text: &dyn std::fmt::Display| {
        println!("{text}");
        stdout().flush()
    };
    answer(&version)?;
    for line in stdin().lock().lines() {
        match line?.split_whitespace().collect::<Vec<_>>()[..] {
            ["evaluate", n] => answer(&nanoseconds(n, || runner.evaluate())?)?,
            ["picture", n] => answer(&nanoseconds(n, || runner.picture())?)?,
            ["output"] => {
                let values: Vec<_> = runner.evaluate()?.iter().map(f32::to_string).collect();
                answer(&values.join(" "))?;
            }
            ref request => bail!("unknown request {request:?}"),
        }
    }
    Ok(())
}

/// For each of n runs.
fn nanoseconds(n: &str, mut run: impl FnMut() -> Result<Vec<f32>>) -> Result<f64> {
    let n: u32 = n.parse().context("how many?")?;
    let start = processor_time()?;
    for _ in 0..n {
        black_box(run()?);
    }
    Ok((processor_time()? - start).as_nanos() as f64 / f64::from(n))
}

/// That this process has had, in all threads: what other programs take of the core does not count, nor would it pay to
/// use more cores.
fn processor_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::ProcessCPUTime).try_into()?)
}
