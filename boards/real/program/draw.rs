//! Draws with {model} on the {board}: `cargo run --release`.

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

#[entry]
fn main() -> ! {
    let mut board = Board::new();
    let mut seed = 0;
    loop {
        let Some(painter) = model::painter() else { continue };
        // Flash that was written in part, or has aged, blinks.
        while let Err(error) = painter.check() {
            let _ = writeln!(board, "{error}");
            board.toggle_led();
        }
        loop {
            let start = board.micros();
            painter.start({label}, seed);
            while painter.step() != Progress::Done {
                board.toggle_led();
                // On some boards its counter turns over within seconds.
                board.micros();
            }
            let milliseconds = (board.micros() - start) / 1000;
            for row in painter.picture().rows() {
                let _ = writeln!(board, "{row}");
            }
            let _ = writeln!(board, "seed {seed}, {milliseconds} ms");
            let _ = writeln!(board, "crc32 = {:08x}", painter.picture().crc32());
            seed = board.random();
        }
    }
}
