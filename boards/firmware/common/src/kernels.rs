//! A program for the emulator that holds an instruction set's kernels to the portable definition.

use grano::isa::Isa;
pub use grano_kernel_checks::Room;
use grano_kernel_checks::check_all;

use crate::{Board, print, semihosting, stack};

/// Makes `main`: `kernels!(#[entry] Dsp on mps::AN386)`. The checks may panic, which ends the emulator with 1; that the
/// kernels cannot is proved by the boards' other programs.
#[macro_export]
macro_rules! kernels {
    (#[$entry:meta] $isa:ident on $board:expr) => {
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo) -> ! {
            $crate::semihosting::print_line("a check panicked");
            $crate::semihosting::end(false)
        }

        #[$entry]
        fn main() -> ! {
            use $crate::kernels::{Room, run};
            static ROOM: static_cell::ConstStaticCell<Room> = static_cell::ConstStaticCell::new(Room::new());
            run::<grano::isa::$isa, _>(&mut $board, ROOM.try_take())
        }
    };
}

/// Makes every check, says which it is at, and ends the emulator; with 1 at the first mismatch. The room is the one
/// that `main` has just taken, so it is there.
pub fn run<I: Isa, B: Board>(board: &mut B, room: Option<&mut Room>) -> ! {
    stack::paint();
    let name = board.name();
    print(board, format_args!("# {} on {name}", I::NAME));
    let Some(room) = room else { semihosting::end(false) };
    let result = check_all::<I>(room, |check| print(board, format_args!("# {check}")));
    match result {
        Ok(cases) => print(board, format_args!("cases = {cases}")),
        Err(mismatch) => print(board, format_args!("{mismatch}")),
    }
    stack::report(board);
    semihosting::end(result.is_ok())
}
