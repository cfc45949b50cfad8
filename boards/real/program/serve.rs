//! Draws with {model} on the {board} what the console asks for: `cargo run --release`, then `grano view --port …`.

#![no_std]
#![no_main]

#[allow(dead_code, reason = "programs use what they need of it")]
mod board;
mod model {
    include!(concat!(env!("OUT_DIR"), "/model/model.rs"));
}

use core::fmt::Write;

use board::{Board, entry};
use grano::Progress;
use grano::serial::{Reply, Requests};

#[entry]
fn main() -> ! {
    let mut board = Board::new();
    loop {
        let Some(painter) = model::painter() else { continue };
        // Flash that was written in part, or has aged, blinks.
        while let Err(error) = painter.check() {
            let _ = writeln!(board, "E {error}");
            board.toggle_led();
        }
        let mut requests = Requests::<model::Model>::new();
        let _ = writeln!(board, "send `G SEED [CLASS [GUIDANCE]]`");
        loop {
            let Some(request) = board.read().and_then(|byte| requests.receive(byte)) else { continue };
            if let Err(error) = request.and_then(|request| request.start(painter)) {
                let _ = writeln!(board, "E {error}");
                continue;
            }
            while painter.step() != Progress::Done {
                board.toggle_led();
            }
            let _ = write!(board, "{}", Reply(painter.picture()));
        }
    }
}
