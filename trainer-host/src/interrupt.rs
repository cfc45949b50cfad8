//! Ctrl-C and SIGTERM end a training after its update, with a checkpoint; the second one at once.

use std::process::exit;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static WATCHED: Once = Once::new();

/// A signal that goes to a launcher and its ranks may come to a rank twice.
const TWICE: Duration = Duration::from_secs(1);

/// Exit code of what a signal ended, as shells have it for Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Takes signals from here on; `says` what the first one does.
pub fn watch(says: bool) {
    WATCHED.call_once(|| {
        let mut first: Option<Instant> = None;
        let taken = ctrlc::set_handler(move || match first {
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
}

/// Whether a signal has come.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
