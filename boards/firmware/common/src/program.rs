//! Programs for the emulator: a model that draws, or all networks of a model, on a board.

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

/// Makes `main` and what it needs: each of the networks `$network` of the models that the build script called `$module`, on
/// `$board`, evaluated once in the same memory.
#[macro_export]
macro_rules! networks {
    (#[$entry:ident] $($module:ident :: {$($network:ident),+}),+ on $board:expr) => {
        $(
            #[allow(dead_code, reason = "the networks are called by themselves, not by a sampler")]
            mod $module {
                include!(concat!(env!("OUT_DIR"), "/", stringify!($module), "/model.rs"));
            }
        )+

        const ARENA_BYTES: usize = {
            let mut len = 0;
            $(
                len = $crate::evaluate::larger(len, $module::ARENA_BYTES);
            )+
            len
        };
        const INPUT_LEN: usize = {
            let mut len = 0;
            $($(
                let inputs = <$module::$network::Network as grano::Network>::INPUTS;
                len = $crate::evaluate::larger(len, $crate::evaluate::input_len(inputs));
            )+)+
            len
        };
        static ARENA: static_cell::ConstStaticCell<grano::memory::Arena<ARENA_BYTES>> =
            static_cell::ConstStaticCell::new(grano::memory::Arena::new());
        static INPUTS: static_cell::ConstStaticCell<[f32; INPUT_LEN]> =
            static_cell::ConstStaticCell::new([0.0; INPUT_LEN]);

        #[$entry]
        fn main() -> ! {
            $crate::stack::paint();
            let memory = ARENA.try_take().zip(INPUTS.try_take());
            let well = memory.is_some();
            if let Some((arena, inputs)) = memory {
                let mut evaluations = $crate::evaluate::Evaluations::default();
                $($(
                    let values = inputs.get_mut(
                        ..$crate::evaluate::input_len(<$module::$network::Network as grano::Network>::INPUTS)
                    );
                    evaluations.add::<_, $module::$network::Network>(
                        &mut $board,
                        arena.bytes_mut(),
                        values.unwrap_or_default(),
                    );
                )+)+
                evaluations.report(&mut $board);
                $crate::stack::report(&mut $board);
            }
            $crate::semihosting::end(well)
        }
    };
}
