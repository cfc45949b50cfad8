//! Several ranks on this machine.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use super::command;

/// Nothing here takes so long.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Begins a command as several ranks.
pub fn launch(ranks: usize, arguments: &[&str]) -> Child {
    spawn(command(&[&["launch", "--ranks", &ranks.to_string(), "--"], arguments].concat()))
}

/// Begins one rank, as a cluster's own launcher would.
pub fn rank(rank: usize, ranks: usize, port: u16, arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    command.env("RANK", rank.to_string()).env("WORLD_SIZE", ranks.to_string()).env("LOCAL_RANK", rank.to_string());
    command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
    command
}

pub fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// What a process says until its end, which must come in time.
pub fn end_within(mut child: Child, time: Duration) -> Output {
    fn all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            bytes
        })
    }
    let (stdout, stderr) = (all(child.stdout.take().unwrap()), all(child.stderr.take().unwrap()));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > time {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("still running after {time:?}");
        }
        sleep(Duration::from_millis(10));
    };
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Runs a command as several ranks, which must succeed.
pub fn succeed_in_ranks(ranks: usize, arguments: &[&str]) {
    let output = end_within(launch(ranks, arguments), PATIENCE);
    assert!(output.status.success(), "{ranks} ranks, {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The lines of errors in what a process said.
pub fn errors(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    text.lines().filter(|line| line.to_lowercase().starts_with("error")).map(String::from).collect()
}
