//! Ends every rank when one is lost, with one message that names it.
//!
//! A thread of each rank counts up in the store twice a second. Rank 0 looks at all counts, the others at rank 0's. A rank
//! whose count stands still for [`SILENCE`] has died, hangs, or is cut off. A rank that fails says so in the store. The
//! first to notice prints the message; all others end without one.

use std::env;
use std::os::unix::process::parent_id;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::c10d::{Store, quit};
use super::is_lost;
use super::launch::LAUNCHER;
use super::settings::Settings;

/// Between two signs of life.
const BEAT: Duration = Duration::from_millis(500);

/// Without a sign of life for this long, a rank is lost.
const SILENCE: Duration = Duration::from_secs(10);

/// How long rank 0, which may serve the store, stays for the others to read why all end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Set when one rank is lost or failed.
const FAULT: &str = "fault";

/// Of this process, once it has joined others.
static WATCH: OnceLock<Watch> = OnceLock::new();

struct Watch {
    /// Of the threads here, which wait for nothing else in it.
    store: Store,
    /// Rank 0's serves the others, so it lasts as long as the process.
    _served: Arc<Store>,
    rank: usize,
    ranks: usize,
    /// Where the store is, for people.
    master: String,
    ended: AtomicBool,
}

/// Begins to show that this rank lives, and to look after others; keeps the store that this rank may serve.
///
/// # Errors
/// When the store is out of reach.
pub fn start(settings: &Settings, store: Arc<Store>) -> Result<()> {
    let Settings { rank, ranks, master, port, .. } = settings;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let watch = Watch {
        store: settings.connect()?,
        _served: store,
        rank: *rank,
        ranks: *ranks,
        master: format!("{master}:{port}"),
        ended: AtomicBool::new(false),
    };
    watch.store.set(&format!("process/{rank}"), format!("process {} on {}", process::id(), host.trim()).as_bytes())?;
    let watch = WATCH.get_or_init(|| watch);
    // A request to a host that is gone can take minutes: another thread looks whether they come through.
    let answered = Arc::new(Mutex::new(Instant::now()));
    let last = Arc::clone(&answered);
    thread::spawn(move || watch.look(&last));
    thread::spawn(move || {
        loop {
            sleep(BEAT);
            if answered.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > SILENCE {
                watch.without_store();
            }
        }
    });
    Ok(())
}

/// Ends a command: on success, rank 0 stays until no other rank needs its store; after an error, every rank ends.
///
/// # Errors
/// The command's own, where this process is alone.
pub fn end(result: Result<()>) -> Result<()> {
    let Some(watch) = WATCH.get() else { return result };
    let Err(error) = result else {
        watch.leave();
        return Ok(());
    };
    if is_lost(&error) {
        // Who is lost shows in the store before long, and this process then ends.
        sleep(SILENCE + FAREWELL);
    }
    watch.fail(&format!("rank {} of {}: {error:#}", watch.rank, watch.ranks))
}

impl Watch {
    /// Shows signs of life, and looks for those of others, until this rank has ended.
    fn look(&self, answered: &Mutex<Instant>) {
        let others = if self.rank == 0 { 1..self.ranks } else { 0..1 };
        let mut seen: Vec<(usize, i64, Instant)> = others.map(|rank| (rank, 0, Instant::now())).collect();
        let launcher = env::var(LAUNCHER).ok().and_then(|id| id.parse::<u32>().ok());
        while !self.ended.load(Ordering::Relaxed) {
            if launcher.is_some_and(|launcher| launcher != parent_id()) {
                quit(1);
            }
            match self.round(&mut seen) {
                Ok(()) => *answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now(),
                Err(_) => self.without_store(),
            }
            sleep(BEAT);
        }
    }

    fn round(&self, seen: &mut [(usize, i64, Instant)]) -> Result<()> {
        self.store.add(&format!("alive/{}", self.rank), 1)?;
        if self.store.has(FAULT)? && !self.ended.load(Ordering::Relaxed) {
            self.go();
        }
        for (rank, before, since) in seen {
            let count = self.store.add(&format!("alive/{rank}"), 0)?;
            // Those that have not come yet are waited for elsewhere.
            if count != *before || count == 0 {
                (*before, *since) = (count, Instant::now());
            } else if since.elapsed() > SILENCE && !self.store.has(&format!("done/{rank}"))? {
                self.lost(*rank);
            }
        }
        Ok(())
    }

    /// A rank is lost: says so if nobody has, and ends this one.
    fn lost(&self, rank: usize) -> ! {
        let key = format!("process/{rank}");
        let process = self.store.get(&key).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
        let text = format!(
            "rank {rank} of {} ({process}) has ended or hangs: no sign of life for {} s; start the ranks again, and the \
             run goes on from its last checkpoint",
            self.ranks,
            SILENCE.as_secs()
        );
        self.fail(&text)
    }

    /// The store cannot be reached: says so, and ends this rank.
    fn without_store(&self) {
        // A launcher knows more: it is quicker.
        sleep(BEAT);
        if self.ended.load(Ordering::Relaxed) {
            return;
        }
        eprintln!(
            "Error: rank {} of {}: rank 0, at {}, has ended or is out of reach; start the ranks again, and the run goes on \
             from its last checkpoint",
            self.rank, self.ranks, self.master
        );
        quit(1)
    }

    /// Ends all ranks; the first that does says why.
    fn fail(&self, text: &str) -> ! {
        self.ended.store(true, Ordering::Relaxed);
        // Where the store is gone, nobody else can have said it.
        if self.store.add("faults", 1).is_ok_and(|count| count > 1) {
            // With rank 0 the store ends, and others would not learn that it was said.
            self.stay(&|rank| format!("gone/{rank}"), FAREWELL);
            self.go();
        }
        eprintln!("Error: {text}");
        let _ = self.store.set(FAULT, text.as_bytes());
        self.stay(&|rank| format!("gone/{rank}"), FAREWELL);
        self.go()
    }

    /// Ends this rank after another's message.
    fn go(&self) -> ! {
        let _ = self.store.set(&format!("gone/{}", self.rank), b"");
        quit(1)
    }

    /// Ends this rank's part of a command that succeeded.
    fn leave(&self) {
        let done = |rank: usize| format!("done/{rank}");
        if self.store.set(&done(self.rank), b"").is_ok() {
            self.stay(&done, SILENCE);
        }
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Waits until every other rank has set its key, where this one is rank 0.
    fn stay(&self, key: &dyn Fn(usize) -> String, patience: Duration) {
        let begun = Instant::now();
        let all = || (1..self.ranks).all(|rank| self.store.has(&key(rank)).unwrap_or(true));
        while self.rank == 0 && !all() && begun.elapsed() < patience {
            sleep(BEAT / 10);
        }
    }
}
