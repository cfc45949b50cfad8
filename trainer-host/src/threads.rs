//! Threads of libtorch that wait rest, so that a busy neighbour does not slow training down.
//!
//! libtorch's OpenMP (GNU's) lets a thread that waits for others turn in a loop. Where another program has the core that
//! the last one needs, all others turn until it comes back, which on a shared machine takes an eighth of the speed. With
//! `OMP_WAIT_POLICY=passive` they sleep at once. The library reads the variable when it is loaded, before `main`, so the
//! program sets it and begins itself anew.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

/// Any of these says how threads are to wait.
const SAID: [&str; 3] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"];

/// Begins this program anew with threads that rest, unless the environment says how they wait.
///
/// # Errors
/// When the program cannot be started again.
pub fn rest_while_waiting() -> Result<()> {
    if SAID.iter().any(|name| env::var_os(name).is_some()) {
        return Ok(());
    }
    let program = env::current_exe().context("where this program is")?;
    let mut anew = Command::new(program);
    anew.args(env::args_os().skip(1)).env("OMP_WAIT_POLICY", "passive");
    // Comes back only where it fails.
    Err(anew.exec()).context("this program cannot be started again; set OMP_WAIT_POLICY=passive")
}
