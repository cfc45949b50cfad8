//! Must not link: an index that nothing keeps in bounds. `cargo xtask test` builds this to see that a panic is found.

#![no_std]
#![no_main]

use cortex_m::peripheral::SYST;
use cortex_m_rt::entry;
use grano_firmware::semihosting;
use panic_never as _;

static TABLE: [u8; 4] = *b"boom";

#[entry]
fn main() -> ! {
    let index = SYST::get_current() as usize;
    semihosting::print_line(if TABLE[index] == b'b' { "b" } else { "oom" });
    loop {
        cortex_m::asm::wfi();
    }
}
