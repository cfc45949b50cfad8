//! The loop over slabs: patches of any four pixels that overlap in memory, over all pairs of channels.
//!
//! A slab holds up to sixteen channels under a row of the output: column by column, each of as many pieces as the kernel has
//! rows. So a pixel's taps of these channels follow each other, and nothing is gathered.

use core::arch::asm;

use super::layout::{GROUP, PIXELS, STEP, TILE};
use super::weights;

/// Some tiles' products with a group of steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// Where each tile's pixels lie in the slab, from `base` on, in bytes.
    pub places: *const [u32; PIXELS],
    /// The group's first step of the slab.
    pub base: *const i8,
    /// At least 1.
    pub tiles: usize,
    /// `[pairs][steps][2][16]`.
    pub weights: *const i8,
    /// `[tiles][pairs][4][2]`, so far.
    pub sums: *mut i32,
    /// Pairs of channels, at least 1.
    pub pairs: usize,
}

/// Adds the products of `steps` steps of a slab.
///
/// # Safety
/// All is as long as [`Group`] says for so many steps.
#[inline(never)]
pub(super) unsafe fn slab(mut group: Group, steps: usize) {
    for first in (0..steps).step_by(GROUP) {
        let count = (steps - first).min(GROUP);
        match count {
            // SAFETY: as the caller promises.
            1 => unsafe { products::<1>(&group) },
            // SAFETY: see above.
            2 => unsafe { products::<2>(&group) },
            // SAFETY: see above.
            3 => unsafe { products::<3>(&group) },
            // SAFETY: see above.
            4 => unsafe { products::<4>(&group) },
            // SAFETY: see above.
            5 => unsafe { products::<5>(&group) },
            // SAFETY: see above.
            6 => unsafe { products::<6>(&group) },
            // SAFETY: see above.
            7 => unsafe { products::<7>(&group) },
            // SAFETY: see above.
            _ => unsafe { products::<8>(&group) },
        }
        group.base = group.base.wrapping_add(count * STEP);
        group.weights = group.weights.wrapping_add(group.pairs * count * 2 * STEP);
    }
}

/// One step, where the group has more than `$step` steps.
macro_rules! step {
    ($step:literal) => {
        concat!(
            ".if {S} > ",
            $step,
            "\nvldrb.u8 q4, [r1, #(",
            $step,
            " * 16)]\n",
            weights!("q6"),
            "vldrb.u8 q5, [r7, #(",
            $step,
            " * 16)]\nvmladava.s8 r0, q4, q6\n",
            weights!("q7"),
            "vmladava.s8 r4, q5, q6\nvmladava.s8 r2, q4, q7\nvldrb.u8 q4, [r9, #(",
            $step,
            " * 16)]\nvmladava.s8 r6, q5, q7\nvldrb.u8 q5, [r11, #(",
            $step,
            " * 16)]\nvmladava.s8 r8, q4, q6\nvmladava.s8 r10, q4, q7\n",
            "vmladava.s8 r12, q5, q6\nvmladava.s8 lr, q5, q7\n.endif\n",
        )
    };
}

/// `S` steps, the first of which stays in q0 to q3 for all channels. Instructions for a pair of channels: 14 a step and 1
/// more; 19 a tile.
///
/// # Safety
/// As [`slab`].
#[inline(always)]
unsafe fn products<const S: usize>(group: &Group) {
    // SAFETY: reads and writes what the caller promises; r6 and r7, which the compiler keeps for itself, are put back.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "push {{r0, r1, r2, r3, r4, r5, r6, r7}}",
            "2:",
            "ldr r0, [sp]",
            "ldm r0!, {{r1, r7, r9, r11}}",
            "str r0, [sp]",
            "ldr r0, [sp, #4]",
            "add r1, r1, r0",
            "add r7, r7, r0",
            "add r9, r9, r0",
            "add r11, r11, r0",
            "ldr r3, [sp, #12]",
            "ldr r0, [sp, #16]",
            "add r0, r0, r5",
            "str r0, [sp, #20]",
            "vldrb.u8 q0, [r1]",
            "vldrb.u8 q1, [r7]",
            "vldrb.u8 q2, [r9]",
            "vldrb.u8 q3, [r11]",
            "3:",
            "ldm r5, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            weights!("q6"),
            weights!("q7"),
            "vmladava.s8 r0, q0, q6",
            "vmladava.s8 r2, q0, q7",
            "vmladava.s8 r4, q1, q6",
            "vmladava.s8 r6, q1, q7",
            "vmladava.s8 r8, q2, q6",
            "vmladava.s8 r10, q2, q7",
            "vmladava.s8 r12, q3, q6",
            "vmladava.s8 lr, q3, q7",
            step!("1"), step!("2"), step!("3"), step!("4"), step!("5"), step!("6"), step!("7"),
            "stm r5!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            "ldr r0, [sp, #20]",
            "cmp r5, r0",
            "bne.w 3b",
            "ldr r0, [sp, #8]",
            "subs r0, r0, #1",
            "str r0, [sp, #8]",
            "bne.w 2b",
            "pop {{r0, r1, r2, r3, r4, r5, r6, r7}}",
            S = const S,
            inout("r0") group.places => _, inout("r1") group.base => _, inout("r2") group.tiles => _,
            inout("r3") group.weights => _, inout("r4") group.pairs * TILE * size_of::<i32>() => _,
            inout("r5") group.sums => _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _, out("d12") _, out("d13") _, out("d14") _, out("d15") _,
        );
    }
}
