//! Runs a case, and tells panics, slow cases and large ones.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::memory;

/// Processor time of one case.
const MOST_TIME: Duration = Duration::from_secs(10);
/// Memory of one case.
const MOST_BYTES: usize = 1 << 30;

thread_local! {
    /// What the last panic said, and where.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    /// Whether a case runs: other panics are the test's own.
    static IS_CASE: Cell<bool> = const { Cell::new(false) };
}

/// The case that runs, with the clock's time when it began.
type Running = Arc<Mutex<Option<(u64, Duration)>>>;

pub struct Watch {
    clock: Clock,
    running: Running,
}

impl Watch {
    /// A thread ends the process when a case takes several times as long as it may: what does not return cannot be caught.
    pub fn start() -> Self {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IS_CASE.get() {
                PANIC.with(|panic| *panic.borrow_mut() = info.to_string());
            } else {
                others(info);
            }
        }));
        let (clock, running) = (Clock::of_this_thread(), Running::default());
        let (watched, running_there) = (clock.clone(), Arc::clone(&running));
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let running = running_there.lock().map_or(None, |running| *running);
                if let Some((seed, start)) = running
                    && watched.now().saturating_sub(start) > 3 * MOST_TIME
                {
                    eprintln!("seed {seed} does not end");
                    std::process::abort();
                }
            }
        });
        Self { clock, running }
    }

    /// The case's end, or how it failed.
    pub fn run<T>(&self, seed: u64, case: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        let (start, live_bytes) = (self.clock.now(), memory::reset());
        *self.running.lock().unwrap() = Some((seed, start));
        IS_CASE.set(true);
        let end = catch_unwind(AssertUnwindSafe(case));
        IS_CASE.set(false);
        *self.running.lock().unwrap() = None;
        let (time, bytes) = (self.clock.now().saturating_sub(start), memory::peak_bytes().saturating_sub(live_bytes));
        match end {
            Err(_) => Err(PANIC.with(|panic| panic.borrow().clone())),
            Ok(_) if time > MOST_TIME => Err(format!("it took {time:?}")),
            Ok(_) if bytes > MOST_BYTES => Err(format!("it took {bytes} bytes")),
            Ok(end) => end,
        }
    }
}

/// Time that a thread ran on a processor, where Linux counts it: other programs do not matter. Else time that passed.
#[derive(Clone)]
struct Clock {
    counter: Option<PathBuf>,
    start: Instant,
}

impl Clock {
    fn of_this_thread() -> Self {
        let thread = std::fs::read_link("/proc/thread-self").map(|thread| PathBuf::from("/proc").join(thread));
        let counter = thread.ok().map(|thread| thread.join("schedstat"));
        Self { counter, start: Instant::now() }
    }

    fn now(&self) -> Duration {
        let text = self.counter.as_ref().and_then(|counter| std::fs::read_to_string(counter).ok());
        let nanoseconds = text.as_ref().and_then(|text| text.split(' ').next()).and_then(|count| count.parse().ok());
        nanoseconds.map_or_else(|| self.start.elapsed(), Duration::from_nanos)
    }
}
