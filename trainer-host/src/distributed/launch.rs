//! `launch`: ranks on this host, started as torchrun starts them, without Python.

use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio, exit, id};
use std::thread::{available_parallelism, sleep};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use grano_trainer_front::arguments::Launch as Args;

use crate::interrupt;

/// The variable that tells ranks their launcher's process, without which they end.
pub const LAUNCHER: &str = "GRANO_LAUNCHER";

/// Between two looks at the ranks.
const POLL: Duration = Duration::from_millis(20);

/// Ranks that are stopped when this is dropped.
struct Running(Vec<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended already cannot be stopped.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs the command; ends with the exit code of the rank that failed first, which has said why.
///
/// # Errors
/// When a rank cannot be started or is killed.
pub fn launch(args: &Args) -> Result<()> {
    let program = env::current_exe().context("where this program is")?;
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    let port = free.context("no free port on 127.0.0.1")?.port();
    let ranks = usize::from(args.ranks);
    // Ranks that together take more threads than there are cores wait for each other.
    let threads = (available_parallelism().map_or(1, usize::from) / ranks).max(1).to_string();
    let start = |rank: usize| {
        let mut command = Command::new(&program);
        let rank = rank.to_string();
        for name in ["OMP_NUM_THREADS", "RAYON_NUM_THREADS"] {
            if env::var_os(name).is_none() {
                command.env(name, &threads);
            }
        }
        command
            .args(&args.command)
            .env("RANK", &rank)
            .env("LOCAL_RANK", &rank)
            .env("WORLD_SIZE", ranks.to_string())
            .env("LOCAL_WORLD_SIZE", ranks.to_string())
            .env("MASTER_ADDR", Ipv4Addr::LOCALHOST.to_string())
            .env("MASTER_PORT", port.to_string())
            .env(LAUNCHER, id().to_string())
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("rank {rank} cannot be started"))
    };
    let mut running = Running(Vec::new());
    for rank in 0..ranks {
        running.0.push(start(rank)?);
    }
    // Ranks decide what a signal ends; one that came to the launcher alone is handed on.
    let _watched = interrupt::watch(false);
    let mut handed_on = false;
    loop {
        if interrupt::requested() && !handed_on {
            handed_on = true;
            running.0.iter().for_each(|child| terminate(child.id()));
        }
        // One that has ended says the same every time.
        let states = running.0.iter_mut().map(Child::try_wait).collect::<Result<Vec<_>, _>>()?;
        let mut ended = states.iter().flatten();
        if let Some(rank) = states.iter().position(|state| state.is_some_and(|status| !status.success())) {
            drop(running);
            return failed(rank, ranks, states[rank].unwrap_or_default());
        }
        if ended.by_ref().count() == ranks {
            return Ok(());
        }
        sleep(POLL);
    }
}

/// Asks a process to end.
fn terminate(process: u32) {
    // One that has ended already cannot be asked.
    let _ = Command::new("kill").args(["-TERM", &process.to_string()]).stderr(Stdio::null()).status();
}

/// What there is to say of the rank that ended first.
fn failed(rank: usize, ranks: usize, status: ExitStatus) -> Result<()> {
    match (status.code(), status.signal()) {
        (Some(code), _) => exit(code),
        (None, signal) => bail!(
            "rank {rank} of {ranks} was killed by signal {}, and the others were stopped; run the same command again, and \
             it goes on from its last checkpoint",
            signal.unwrap_or_default()
        ),
    }
}
