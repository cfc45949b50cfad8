//! Copies of bytes: the instructions. Those that narrow reach memory through r0 to r7 only.

use core::arch::asm;

/// Copies `count` pieces of `len` ≤ 16 bytes, `from_stride` and `to_stride` bytes apart. Instructions: 6 a piece.
///
/// # Safety
/// All pieces lie in what `from` may read and `to` may write.
#[inline(always)]
pub(super) unsafe fn copy_pieces(
    (from, from_stride): (*const i8, usize),
    (to, to_stride): (*mut i8, usize),
    count: usize,
    len: usize,
) {
    if count == 0 {
        return;
    }
    // SAFETY: reads and writes what the caller promises: lanes from `len` on are switched off.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "vmrs {vpr}, p0",
            "vctp.8 {len}",
            "dls lr, {count}",
            "2:",
            "vpstt",
            "vldrbt.u8 q0, [{from}]",
            "vstrbt.8 q0, [{to}]",
            "add {from}, {from}, {from_stride}",
            "add {to}, {to}, {to_stride}",
            "le lr, 2b",
            "vmsr p0, {vpr}",
            len = in(reg) len, count = in(reg) count,
            from = inout(reg) from => _, to = inout(reg) to => _,
            from_stride = in(reg) from_stride, to_stride = in(reg) to_stride, vpr = out(reg) _,
            out("lr") _, out("d0") _, out("d1") _,
        );
    }
}

/// As [`copy_pieces`] with whole pieces, each written to `ROWS · EVERY · 16` bytes behind the one before. Instructions:
/// 4 a piece.
///
/// # Safety
/// As [`copy_pieces`]; `to` lies on a word.
#[inline(always)]
pub(super) unsafe fn copy_columns<const ROWS: usize, const EVERY: usize>(
    (from, from_stride): (*const i8, usize),
    to: *mut i8,
    count: usize,
) {
    if count == 0 {
        return;
    }
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "dls lr, {count}",
            "2:",
            "vldrb.u8 q0, [{from}]",
            "add {from}, {from}, {from_stride}",
            "vstrw.32 q0, [{to}], #{ROWS} * {EVERY} * 16",
            "le lr, 2b",
            ROWS = const ROWS, EVERY = const EVERY, count = in(reg) count,
            from = inout(reg) from => _, to = inout(reg) to => _, from_stride = in(reg) from_stride,
            out("lr") _, out("d0") _, out("d1") _,
        );
    }
}

/// Copies `len` bytes. Instructions: 3 for sixteen.
///
/// # Safety
/// `from` may be read and `to` written so far, and they do not overlap.
#[inline(always)]
pub(super) unsafe fn copy(from: *const i8, to: *mut i8, len: usize) {
    // SAFETY: reads and writes what the caller promises: lanes from `len` on are switched off.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "wlstp.8 lr, {len}, 3f",
            "2:",
            "vldrb.u8 q0, [{from}], #16",
            "vstrb.8 q0, [{to}], #16",
            "letp lr, 2b",
            "3:",
            len = in(reg) len, from = inout(reg) from => _, to = inout(reg) to => _,
            out("lr") _, out("d0") _, out("d1") _,
        );
    }
}

/// Writes `len` bytes of the same value. Instructions: 2 for sixteen.
///
/// # Safety
/// So much may be written.
#[inline(always)]
pub(super) unsafe fn fill(to: *mut i8, len: usize, value: i8) {
    // SAFETY: writes what the caller promises: lanes from `len` on are switched off.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "vdup.8 q0, {value}",
            "wlstp.8 lr, {len}, 3f",
            "2:",
            "vstrb.8 q0, [{to}], #16",
            "letp lr, 2b",
            "3:",
            len = in(reg) len, to = inout(reg) to => _, value = in(reg) i32::from(value),
            out("lr") _, out("d0") _, out("d1") _,
        );
    }
}

/// Copies `count` pixels of `len` bytes, which follow each other, into columns: a pixel in pieces of sixteen bytes, 64
/// bytes apart; the next one 16 bytes behind it. Instructions: 3 a piece and 5 a pixel.
///
/// # Safety
/// `from` may be read so far and `to` written there; neither `count` nor `len` is 0.
#[inline(always)]
pub(super) unsafe fn spread(from: *const i8, to: *mut i8, len: usize, count: usize) {
    let whole = len.next_multiple_of(16);
    // SAFETY: reads and writes what the caller promises: lanes from `len` on are switched off.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "2:",
            "dlstp.8 lr, {len}",
            "3:",
            "vldrb.u8 q0, [{from}], #16",
            "vstrb.8 q0, [{to}], #64",
            "letp lr, 3b",
            "add {from}, {from}, {from_back}",
            "add {to}, {to}, {to_back}",
            "subs {count}, {count}, #1",
            "bne 2b",
            len = in(reg) len, from = inout(reg) from => _, to = inout(reg) to => _, count = inout(reg) count => _,
            from_back = in(reg) len.wrapping_sub(whole), to_back = in(reg) 16usize.wrapping_sub(whole * 4),
            out("lr") _, out("d0") _, out("d1") _,
        );
    }
}

/// Gathers `steps` · 16 elements `from[offsets[i]]`, bytes or half-words, into every fourth sixteen bytes of `to`.
/// Instructions: 7 a step.
///
/// # Safety
/// `offsets` holds that many, on a half-word, `from` what they point at, `to` four times as many elements but for the
/// last 48 bytes; `steps` is at least 1. Half-words are aligned.
#[inline(always)]
pub(super) unsafe fn gather<X>(from: *const X, offsets: *const u16, to: *mut X, steps: usize) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "dls lr, {steps}",
            "2:",
            "vldrh.u16 q0, [{offsets}], #16",
            "vldrh.u16 q1, [{offsets}], #16",
            ".if {SIZE} == 1",
            "vldrb.u16 q2, [{from}, q0]",
            "vldrb.u16 q3, [{from}, q1]",
            "vstrb.16 q2, [r0], #8",
            "vstrb.16 q3, [r0], #56",
            ".else",
            "vldrh.u16 q2, [{from}, q0, uxtw #1]",
            "vldrh.u16 q3, [{from}, q1, uxtw #1]",
            "vstrh.16 q2, [r0], #64",
            "vstrh.16 q3, [r0], #64",
            ".endif",
            "le lr, 2b",
            SIZE = const size_of::<X>(),
            from = in(reg) from, offsets = inout(reg) offsets => _, inout("r0") to => _, steps = in(reg) steps,
            out("lr") _, out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _,
            out("d7") _,
        );
    }
}
