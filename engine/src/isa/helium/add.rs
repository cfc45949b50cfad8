//! The sum of two maps, sixteen elements at a time.

use core::arch::asm;

use crate::epilogue::AddInt8;
use crate::isa::portable;
use crate::residual::Residual;

/// Elements of a block.
const BLOCK: usize = 16;

/// Where a block's elements lie, in the order in which four vectors of sums are narrowed.
static OFFSETS: [u8; BLOCK] = [0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15];

/// What the loop over blocks reads.
#[repr(C)]
struct Factors {
    a: [i32; 4],
    requantize: [i32; 4],
    b: i32,
    bias: i32,
    zero_point: i32,
}

/// [`AddInt8`] on whole blocks, the rest in plain Rust.
#[inline]
pub(super) fn add(add: &AddInt8, a: &[i8], b: Residual<'_, i8>, output: &mut [i8]) {
    let len = match b {
        Residual::None => 0,
        Residual::InOutput => a.len().min(output.len()),
        Residual::From(b) => a.len().min(output.len()).min(b.len()),
    };
    let blocks = len / BLOCK;
    let (Some((first_a, rest_a)), Some((first, rest))) =
        (a.split_at_checked(blocks * BLOCK), output.split_at_mut_checked(blocks * BLOCK))
    else {
        return;
    };
    let (first_b, rest_b) = match b {
        Residual::From(b) => (b.as_ptr(), Residual::From(b.get(blocks * BLOCK..).unwrap_or_default())),
        Residual::None | Residual::InOutput => (first.as_ptr(), b),
    };
    if blocks > 0 {
        // The shift commutes with sums and products of 32 bits, whatever is lost on the left.
        let shifted = |factor: i32| factor.wrapping_shl(add.shift);
        let factors = Factors {
            a: [shifted(add.multipliers[0]); 4],
            requantize: [add.multiplier; 4],
            b: shifted(add.multipliers[1]),
            bias: shifted(add.bias),
            zero_point: add.zero_point,
        };
        // SAFETY: so many blocks lie in all three maps; b's may be the output's.
        unsafe { add_blocks(&factors, first_a.as_ptr(), first_b, first.as_mut_ptr(), blocks) };
    }
    portable::add(add, rest_a, rest_b, rest);
}

/// Four elements' requantised sums.
macro_rules! four {
    ($sum:literal) => {
        concat!(
            "vldrb.s32 ",
            $sum,
            ", [r0], #4\nvldrb.s32 q4, [r1], #4\n",
            "vmlas.i32 ",
            $sum,
            ", q5, {bias}\nvmla.i32 ",
            $sum,
            ", q4, {factor}\n",
            "vrmulh.s32 ",
            $sum,
            ", ",
            $sum,
            ", q6\n",
        )
    };
}

/// `blocks` blocks. Instructions: 31 for sixteen elements.
///
/// # Safety
/// All three lead to so many blocks, at least one; each block of `b` and `a` is read before it is written.
// Only compiled where it is used: other chips lack the registers that it names.
#[inline]
unsafe fn add_blocks(factors: &Factors, a: *const i8, b: *const i8, output: *mut i8, blocks: usize) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "vldrb.u8 q7, [{offsets}]",
            "vldrw.u32 q5, [{factors}]",
            "vldrw.u32 q6, [{factors}, #16]",
            "ldrd {factor}, {bias}, [{factors}, #32]",
            "ldr {zero_point}, [{factors}, #40]",
            "dls lr, {blocks}",
            "2:",
            four!("q0"),
            four!("q1"),
            four!("q2"),
            four!("q3"),
            "vqmovnb.s32 q0, q0",
            "vqmovnt.s32 q0, q1",
            "vqmovnb.s32 q2, q2",
            "vqmovnt.s32 q2, q3",
            "vqadd.s16 q0, q0, {zero_point}",
            "vqadd.s16 q2, q2, {zero_point}",
            "vqmovnb.s16 q0, q0",
            "vqmovnt.s16 q0, q2",
            "vstrb.8 q0, [{output}, q7]",
            "add {output}, {output}, #16",
            "le lr, 2b",
            offsets = in(reg) &OFFSETS, factors = in(reg) factors, inout("r0") a => _, inout("r1") b => _,
            output = inout(reg) output => _, blocks = inout(reg) blocks => _,
            factor = out(reg) _, bias = out(reg) _, zero_point = out(reg) _,
            out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _, out("d12") _, out("d13") _, out("d14") _,
            out("d15") _,
        );
    }
}
