//! Evaluates each network of the boards once, on this machine: the report that the boards print, a table a network.
//!
//! `cargo xtask test` compares the checksums. Times are of one run, uninteresting but for their order.

use std::time::Instant;

use grano::{Network, memory::Arena};
use grano_firmware::evaluate::{Evaluations, evaluate, input_len};
use grano_firmware::{Board, BoardSampler};
use grano_tests::models::{fashion_f16, fashion_int8, fashion_mixed, layers_int8, trio_f32, trio_int8, unet_int8};

/// This machine.
struct Host(Instant);

impl Board for Host {
    const UNIT: &'static str = "nanoseconds";

    fn name(&self) -> &'static str {
        "the host"
    }

    fn print_line(&mut self, text: &str) {
        println!("{text}");
    }

    fn ticks(&self) -> u32 {
        self.0.elapsed().as_nanos() as u32
    }

    fn between(&self, start: u32, end: u32) -> u64 {
        end.wrapping_sub(start).into()
    }
}

/// `"name": network`, the names being those that `cargo xtask` makes of the boards' manifests.
macro_rules! evaluate {
    ($($name:literal: $module:ident::$network:ident;)*) => {$(
        println!("[{}]", $name);
        let mut sampler = Box::new(BoardSampler::<$module::$network>::new());
        evaluate(&mut Host(Instant::now()), &mut sampler);
    )*};
}

/// The same for each network of a model, one report.
macro_rules! evaluate_each {
    ($($name:literal: $module:ident::{$($network:ident),+};)*) => {$(
        println!("[{}]", $name);
        let (mut board, mut evaluations) = (Host(Instant::now()), Evaluations::default());
        let mut arena = Box::new(Arena::<{ $module::ARENA_BYTES }>::new());
        $(
            let mut values = vec![0.0; input_len(<$module::$network::Network as Network>::INPUTS)];
            evaluations.add::<_, $module::$network::Network>(&mut board, arena.bytes_mut(), &mut values);
        )+
        evaluations.report(&mut board);
    )*};
}

fn main() {
    evaluate_each! {
        "trio-int8": trio_int8::{denoiser, classifier, decoder};
        "trio-f32": trio_f32::{denoiser, classifier, decoder};
    }
    evaluate! {
        "fashion-int8": fashion_int8::FashionInt8;
        "fashion-mixed": fashion_mixed::FashionMixed;
        "fashion-f16": fashion_f16::FashionF16;
        "layers-int8": layers_int8::LayersInt8;
        "unet-int8": unet_int8::UnetInt8;
    }
}
