//! Sums of neighbouring channels of one pixel to int8, four at a time.

use core::arch::asm;

use crate::epilogue::Epilogue;
use crate::requantize::TABLE_LEN;
use crate::residual::Residual;

/// See [`crate::isa::Isa::requantize`]; none where a parameter is too short.
#[inline]
pub(super) fn requantize(
    epilogue: &Epilogue<'_>,
    sums: &[i32],
    channel: usize,
    index: usize,
    residual: Residual<'_, i8>,
    output: &mut [i8],
) -> Option<()> {
    let len = sums.len().min(output.len());
    let multipliers = epilogue.requantize.multipliers.get(channel..channel + len)?;
    let residual = match residual {
        _ if epilogue.residual_multipliers.is_empty() => None,
        Residual::None => None,
        Residual::InOutput => Some(output.as_ptr()),
        Residual::From(map) => Some(map.get(index..index + len)?.as_ptr()),
    };
    let addends = match residual {
        None => [core::ptr::null(); 2],
        Some(residual) => [residual, epilogue.residual_multipliers.get(channel..channel + len)?.as_ptr().cast()],
    };
    let pointers = (sums.as_ptr(), multipliers.as_ptr(), addends, output.as_mut_ptr());
    match (residual.is_some(), epilogue.table.is_some()) {
        // SAFETY: all slices, those that the flags name included, have `len` elements.
        (false, false) => unsafe { run::<false, false>(epilogue, pointers, len) },
        // SAFETY: see above.
        (false, true) => unsafe { run::<false, true>(epilogue, pointers, len) },
        // SAFETY: see above.
        (true, false) => unsafe { run::<true, false>(epilogue, pointers, len) },
        // SAFETY: see above.
        (true, true) => unsafe { run::<true, true>(epilogue, pointers, len) },
    }
    Some(())
}

/// Sums, multipliers, the residual and its multipliers, output.
type Pointers = (*const i32, *const i32, [*const i8; 2], *mut i8);

/// As [`super::finish`], in the channels' order. Instructions for four elements: 9, a table 1 more, a residual 5 more.
///
/// # Safety
/// All pointers, the residual's with `RESIDUAL` only, lead to `len` elements.
#[inline(always)]
unsafe fn run<const RESIDUAL: bool, const TABLE: bool>(epilogue: &Epilogue<'_>, pointers: Pointers, len: usize) {
    let (sums, multipliers, [residual, residual_multipliers], output) = pointers;
    let (table, zero) = match epilogue.table {
        Some(table) => (table.as_ptr(), TABLE_LEN as i32 / 2),
        None => (core::ptr::null(), 0),
    };
    // SAFETY: reads and writes what the caller promises: lanes from `len` on are switched off. The table has entries
    // for all indices of ten bits.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "wlstp.32 lr, {len}, 3f",
            "2:",
            "vldrw.u32 q0, [{sums}], #16",
            ".if {RESIDUAL}",
            "vldrb.s32 q2, [r1], #4",
            "vldrw.u32 q3, [{residual_multipliers}], #16",
            "vmul.i32 q2, q2, q3",
            "vadd.i32 q0, q0, q2",
            ".endif",
            "vldrw.u32 q1, [{multipliers}], #16",
            "vshl.s32 q0, {shift}",
            "vrmulh.s32 q0, q0, q1",
            "vadd.i32 q0, q0, {zero_point}",
            ".if {TABLE}",
            "vqshlu.s32 q1, q0, #22",
            "vshr.u32 q1, q1, #22",
            "vldrb.u32 q0, [{table}, q1]",
            ".else",
            "vqmovnb.s32 q0, q0",
            "vqmovnb.s16 q0, q0",
            ".endif",
            "vstrb.32 q0, [r0], #4",
            "letp lr, 2b",
            "3:",
            RESIDUAL = const RESIDUAL as u8, TABLE = const TABLE as u8,
            len = in(reg) len, sums = inout(reg) sums => _, multipliers = inout(reg) multipliers => _,
            inout("r1") residual => _, residual_multipliers = inout(reg) residual_multipliers => _,
            inout("r0") output => _, shift = in(reg) epilogue.requantize.shift,
            zero_point = in(reg) epilogue.requantize.zero_point + zero, table = in(reg) table,
            out("lr") _, out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _,
            out("d7") _,
        );
    }
}
