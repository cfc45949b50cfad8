//! Boards in an emulator: text out, words in and the exit, through semihosting.
//!
//! Only calls that cannot panic are used of the crate `semihosting`; its `println!` and its `args` can.
#![allow(unsafe_code)]

use core::ffi::CStr;

use grano::Model;
use semihosting::{
    fd::AsFd,
    io::stdout,
    process::exit,
    sys::arm_compat::{
        sys_write_orig,
        syscall::{OperationNumber, ParamRegW, syscall},
    },
};

use crate::{
    Board, BoardSampler, Failed,
    draw::{Job, draw},
    evaluate::evaluate,
    stack,
};

/// Room for the program's name and its words, with the NUL at the end.
const COMMAND_LINE_BYTES: usize = 96;

/// Prints a line to the emulator's standard output.
pub fn print_line(text: &str) {
    if let Ok(stdout) = stdout() {
        // Nobody is left to tell when the emulator does not take it.
        let _ = sys_write_orig(stdout.as_fd(), text.as_bytes());
        let _ = sys_write_orig(stdout.as_fd(), b"\n");
    }
}

/// What stands after the program's name on the emulator's command line; nothing when it is too long for `buffer`.
fn request(buffer: &mut [u8; COMMAND_LINE_BYTES]) -> &[u8] {
    let len = buffer.len();
    let mut block = [ParamRegW::buf(buffer), ParamRegW::usize(len)];
    // SAFETY: SYS_GET_CMDLINE takes a block of a buffer and its length and writes no more than that, which the
    // two words above say and the borrow allows.
    let status = unsafe { syscall(OperationNumber::SYS_GET_CMDLINE, ParamRegW::block(&mut block)) };
    let line = CStr::from_bytes_until_nul(buffer).ok().filter(|_| status.usize() == 0);
    line.and_then(|line| line.to_bytes().splitn(2, is_blank).nth(1)).unwrap_or_default()
}

fn is_blank(byte: &u8) -> bool {
    *byte == b' '
}

/// Draws what the command line asks for, `PROGRAM LABEL SEED`, or `PROGRAM SEED` of a model without labels; or evaluates
/// the network once when it asks for nothing. A label may hold blanks.
/// Then it prints how deep the stack was and ends the emulator; with 1 when something could not be done.
/// The sampler is the one that `main` has just taken, so it is there.
pub fn run<B: Board, M: Model>(board: &mut B, sampler: Option<&mut BoardSampler<M>>) -> ! {
    let mut command_line = [0; COMMAND_LINE_BYTES];
    let request = request(&mut command_line);
    let mut words = request.rsplitn(2, is_blank).map(|word| str::from_utf8(word).unwrap_or_default());
    let (seed, label) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let done = match (sampler, seed.parse()) {
        (Some(sampler), _) if request.is_empty() => {
            evaluate(board, sampler);
            Ok(())
        }
        (Some(sampler), Ok(seed)) => draw(board, sampler, Job { label, seed }),
        _ => {
            print_line("usage: PROGRAM [[LABEL] SEED]");
            Err(Failed)
        }
    };
    stack::report(board);
    end(done.is_ok())
}

/// Ends the emulator, with 0 when all went well and with 1 otherwise.
pub fn end(well: bool) -> ! {
    exit(i32::from(!well))
}
