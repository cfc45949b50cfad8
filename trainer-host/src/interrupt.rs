//! Ctrl-C and SIGTERM end a training after its update, with a checkpoint; the second one at once.

use std::process::exit;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whether somebody asks.
static WATCHING: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);
static TAKEN: Once = Once::new();

/// A signal that goes to a launcher and its ranks may come to a rank twice.
const TWICE: Duration = Duration::from_secs(1);

/// Exit code of what a signal ended, as shells have it for Ctrl-C.
const INTERRUPTED: i32 = 130;

/// As long as it lasts, the first signal is kept for [`requested`]; before and after, it ends the program.
pub struct Watched;

impl Drop for Watched {
    fn drop(&mut self) {
        WATCHING.store(false, Ordering::Relaxed);
    }
}

/// Takes signals from here on; `says` what the first one does.
pub fn watch(says: bool) -> Watched {
    WATCHING.store(true, Ordering::Relaxed);
    TAKEN.call_once(|| {
        let mut first: Option<Instant> = None;
        let taken = ctrlc::set_handler(move || match first {
            _ if !WATCHING.load(Ordering::Relaxed) => exit(INTERRUPTED),
            None => {
                first = Some(Instant::now());
                REQUESTED.store(true, Ordering::Relaxed);
                if says {
                    eprintln!("\nends after this update, with a checkpoint; once more ends at once");
                }
            }
            Some(first) if first.elapsed() > TWICE => exit(INTERRUPTED),
            Some(_) => (),
        });
        // Where signals cannot be taken, they end the program as ever.
        drop(taken);
    });
    Watched
}

/// Whether a signal has come.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
