//! Generates the networks and shows the linker the board's memory.

use grano_firmware_build::{Precision, Target, benchmarks, fashion, link, trio};

fn main() {
    let fashion = fashion(Target::CortexM4);
    // The rest of 320 KiB of flash and 48 KiB of RAM is for code and stack.
    let budgeted = fashion.clone().flash_budget(232 << 10).ram_budget(45_800);
    budgeted.emit("fashion");
    // Its kernels, of codes of two types, take more code and less stack.
    budgeted.precision(Precision::Mixed).flash_budget(221 << 10).ram_budget(46_500).emit("fashion_mixed");
    // Much flash and little RAM: blocks at 14×14 run in strips.
    fashion.clone().ram_budget(20_600).emit("fashion_strips");
    fashion.precision(Precision::F16).emit("fashion_f16");
    benchmarks(Target::CortexM4);
    trio(Target::CortexM4, Precision::Int8, "trio");
    trio(Target::CortexM4, Precision::F32, "trio_f32");
    link();
}
