//! WebAssembly with simd128 in Node: the kernels' checks and a picture. `run.mjs` calls it, `cargo xtask wasm` that.
#![no_std]
#![allow(unsafe_code)]

use core::panic::PanicInfo;

use grano::isa::Simd128;
use grano_firmware::{
    Board, BoardSampler,
    draw::{Job, draw},
    print,
};
use grano_kernel_checks::{Room, check_all};
use static_cell::ConstStaticCell;

mod fashion {
    include!(concat!(env!("OUT_DIR"), "/fashion/model.rs"));
}

static SAMPLER: ConstStaticCell<BoardSampler<fashion::Fashion>> = ConstStaticCell::new(BoardSampler::new());
static ROOM: ConstStaticCell<Room> = ConstStaticCell::new(Room::new());

unsafe extern "C" {
    /// Prints a line of UTF-8.
    safe fn print_line(text: *const u8, len: usize);
    /// Milliseconds since some moment.
    safe fn now() -> f64;
}

struct Node;

impl Board for Node {
    const UNIT: &'static str = "microseconds";

    fn name(&self) -> &'static str {
        "WebAssembly in Node"
    }

    fn print_line(&mut self, text: &str) {
        print_line(text.as_ptr(), text.len());
    }

    fn ticks(&self) -> u32 {
        (now() * 1000.0) as u64 as u32
    }

    fn between(&self, start: u32, end: u32) -> u64 {
        end.wrapping_sub(start).into()
    }
}

/// Holds the kernels to the portable definition. Once.
#[unsafe(no_mangle)]
pub extern "C" fn check_kernels() -> bool {
    let Some(room) = ROOM.try_take() else { return false };
    let result = check_all::<Simd128>(room, |check| print(&mut Node, format_args!("# {check}")));
    match result {
        Ok(cases) => print(&mut Node, format_args!("cases = {cases}")),
        Err(mismatch) => print(&mut Node, format_args!("{mismatch}")),
    }
    result.is_ok()
}

/// Draws the picture that every chip draws when it is checked. Once.
#[unsafe(no_mangle)]
pub extern "C" fn draw_picture() -> bool {
    let Some(sampler) = SAMPLER.try_take() else { return false };
    draw(&mut Node, sampler, Job { label: "sneaker", seed: 0 }).is_ok()
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}
