//! A program for the emulator: a network on a board.

/// Makes `main` and what it needs: the model that the build script called `$module`, on `$board`, which implements
/// [`Board`](crate::Board). The attribute is the processor's: `cortex_m_rt::entry` or `riscv_rt::entry`.
///
/// Without words on its command line the program evaluates the network once, with `LABEL SEED` it draws; see
/// [`semihosting::run`](crate::semihosting::run).
#[macro_export]
macro_rules! program {
    (#[$entry:ident] $module:ident :: $model:ident on $board:expr) => {
        mod $module {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($module), "/model.rs"));
        }

        static SAMPLER: static_cell::ConstStaticCell<$crate::BoardSampler<$module::$model>> =
            static_cell::ConstStaticCell::new($crate::BoardSampler::new());

        #[$entry]
        fn main() -> ! {
            $crate::stack::paint();
            $crate::semihosting::run(&mut $board, SAMPLER.try_take())
        }
    };
}
