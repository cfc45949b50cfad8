//! Sums over the pixels of a map, plain and weighted, and a factor and an offset for every channel: four channels at a time.
//!
//! Where pixels are whole words, a vector is the same word of four pixels; else four channels of one.

use core::arch::asm;

use crate::isa::AFFINE_FRACTION;
use crate::requantize::{TABLE_LEN, Table};

/// Channels of a block: the lanes of a vector of words.
const LANES: usize = 4;

/// Whether every pixel of a map of so many channels starts a word.
#[inline]
fn is_of_words(map: &[i8], channels: usize) -> bool {
    channels.is_multiple_of(LANES) && map.as_ptr().addr().is_multiple_of(LANES)
}

/// See [`crate::isa::Isa::group_sums`]; none where groups or pixels are no whole words. Instructions for four pixels of a
/// word: 5.
#[inline]
pub(super) fn group_sums(map: &[i8], len: usize, sums: &mut [i32], squares: &mut [i32]) -> Option<()> {
    let channels = sums.len().min(squares.len());
    let pixels = map.len().checked_div(channels)?;
    if !is_of_words(map, channels) || !len.is_multiple_of(LANES) || pixels == 0 {
        return None;
    }
    let groups = sums.chunks_exact_mut(len.max(1)).zip(squares.chunks_exact_mut(len.max(1))).enumerate();
    for (group, (sums, squares)) in groups {
        let (mut sum, mut square) = (0i32, 0i32);
        for word in 0..len / LANES {
            let from = map.as_ptr().wrapping_add(group * len + word * LANES);
            // SAFETY: reads a word of so many pixels; others are switched off.
            unsafe {
                asm!(
                    ".cpu cortex-m55",
                    "vidup.u32 q1, r4, #1",
                    "vmul.i32 q1, q1, {pixel}",
                    "lsl {pixel}, {pixel}, #2",
                    "dlstp.32 lr, {pixels}",
                    "2:",
                    "vldrw.u32 q0, [{from}, q1]",
                    "vaddva.s8 r0, q0",
                    "vmladava.s8 r2, q0, q0",
                    "add {from}, {from}, {pixel}",
                    "letp lr, 2b",
                    from = inout(reg) from => _, pixels = in(reg) pixels, pixel = inout(reg) channels => _,
                    inout("r0") sum, inout("r2") square, inout("r4") 0 => _,
                    out("lr") _, out("d0") _, out("d1") _, out("d2") _, out("d3") _,
                );
            }
        }
        sums.iter_mut().take(1).for_each(|total| *total = sum);
        squares.iter_mut().take(1).for_each(|total| *total = square);
    }
    Some(())
}

/// See [`crate::isa::Isa::channel_sums`].
#[inline]
pub(super) fn channel_sums(map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
    let channels = sums.len().min(squares.len());
    let pixels = map.len().checked_div(sums.len()).unwrap_or_default();
    for (block, (sums, squares)) in sums.chunks_mut(LANES).zip(squares.chunks_mut(LANES)).enumerate() {
        let lanes = (channels - block * LANES).min(LANES);
        let (mut total, mut square) = ([0i32; LANES], [0i32; LANES]);
        if pixels > 0 {
            let from = map.as_ptr().wrapping_add(block * LANES);
            // SAFETY: reads so many lanes of so many pixels of the map; others are switched off. Both arrays are whole.
            unsafe {
                asm!(
                    ".cpu cortex-m55",
                    "vmrs {vpr}, p0",
                    "vctp.32 {lanes}",
                    "vmov.i32 q1, #0",
                    "vmov.i32 q2, #0",
                    "dls lr, {pixels}",
                    "2:",
                    "vpst",
                    "vldrbt.s32 q0, [r0]",
                    "vadd.i32 q1, q1, q0",
                    "vmul.i32 q0, q0, q0",
                    "vadd.i32 q2, q2, q0",
                    "add r0, r0, {pixel}",
                    "le lr, 2b",
                    "vmsr p0, {vpr}",
                    "vstrw.32 q1, [{total}]",
                    "vstrw.32 q2, [{square}]",
                    inout("r0") from => _, lanes = in(reg) lanes, pixels = in(reg) pixels,
                    pixel = in(reg) channels, total = in(reg) &mut total, square = in(reg) &mut square, vpr = out(reg) _,
                    out("lr") _, out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
                );
            }
        }
        sums.iter_mut().zip(total).for_each(|(sum, total)| *sum = total);
        squares.iter_mut().zip(square).for_each(|(sum, total)| *sum = total);
    }
}

/// See [`crate::isa::Isa::weighted_sums`]. Instructions for four sums: 6 a weight.
#[inline]
pub(super) fn weighted_sums(weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
    for (block, sums) in sums.chunks_mut(LANES).enumerate() {
        let values = values.get(block * LANES..).unwrap_or_default();
        let pixels = values.len().saturating_sub(sums.len()).checked_div(stride).unwrap_or_default() + 1;
        let count = if values.len() < sums.len() { 0 } else { weights.len().min(pixels) };
        let mut total = [0i32; LANES];
        if count > 0 {
            // SAFETY: reads `count` weights and so many lanes of as many pixels; others are switched off.
            unsafe {
                asm!(
                    ".cpu cortex-m55",
                    "vmrs {vpr}, p0",
                    "vctp.32 {lanes}",
                    "vmov.i32 q1, #0",
                    "dls lr, {count}",
                    "2:",
                    "vpst",
                    "vldrbt.s32 q0, [r0]",
                    "ldr {weight}, [{weights}], #4",
                    "vmla.i32 q1, q0, {weight}",
                    "add r0, r0, {stride}",
                    "le lr, 2b",
                    "vmsr p0, {vpr}",
                    "vstrw.32 q1, [{total}]",
                    inout("r0") values.as_ptr() => _, lanes = in(reg) sums.len(), count = in(reg) count,
                    weights = inout(reg) weights.as_ptr() => _, weight = out(reg) _, stride = in(reg) stride,
                    total = in(reg) &mut total, vpr = out(reg) _,
                    out("lr") _, out("d0") _, out("d1") _, out("d2") _, out("d3") _,
                );
            }
        }
        sums.iter_mut().zip(total).for_each(|(sum, total)| *sum = total);
    }
}

/// See [`crate::isa::Isa::affine`].
#[inline]
pub(super) fn affine(factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
    let pixels = map.len().checked_div(factors.len()).unwrap_or_default();
    let channels = factors.len();
    if is_of_words(map, channels) && pixels > 0 {
        for (block, (factors, offsets)) in factors.as_chunks().0.iter().zip(offsets.as_chunks().0).enumerate() {
            let from = map.as_mut_ptr().wrapping_add(block * LANES);
            match table {
                // SAFETY: a word of so many pixels is there.
                None => unsafe { affine_words::<false>(factors, offsets, core::ptr::null(), from, [pixels, channels]) },
                // SAFETY: see above.
                Some(table) => unsafe {
                    affine_words::<true>(factors, offsets, table.as_ptr(), from, [pixels, channels])
                },
            }
        }
        return;
    }
    for (block, (some, offsets)) in factors.chunks(LANES).zip(offsets.chunks(LANES)).enumerate() {
        let lanes = some.len().min(offsets.len());
        let from = map.as_mut_ptr().wrapping_add(block * LANES);
        let pointers = (some.as_ptr(), offsets.as_ptr(), from);
        match table {
            _ if pixels == 0 => {}
            // SAFETY: so many lanes are there of factors, offsets and every pixel.
            None => unsafe { affine_lanes::<false>(pointers, core::ptr::null(), lanes, [pixels, factors.len()]) },
            // SAFETY: see above.
            Some(table) => unsafe { affine_lanes::<true>(pointers, table.as_ptr(), lanes, [pixels, factors.len()]) },
        }
    }
}

/// Up to four channels. Instructions for a pixel: 10, or 13 with a table.
///
/// # Safety
/// The pointers lead to so many lanes, in the map of so many pixels, at least one, `pixel` bytes apart.
#[inline(always)]
unsafe fn affine_lanes<const TABLE: bool>(
    (factors, offsets, map): (*const i32, *const i32, *mut i8),
    table: *const i8,
    lanes: usize,
    [pixels, pixel]: [usize; 2],
) {
    // SAFETY: reads and writes what the caller promises; other lanes are switched off. The table has entries for all
    // indices of ten bits.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "vmrs {vpr}, p0",
            "vctp.32 {lanes}",
            "vpstt",
            "vldrwt.u32 q2, [{factors}]",
            "vldrwt.u32 q3, [{offsets}]",
            "dls lr, {pixels}",
            "2:",
            "vpst",
            "vldrbt.s32 q0, [r0]",
            "vmul.i32 q0, q0, q2",
            "vadd.i32 q0, q0, q3",
            "vshr.s32 q0, q0, #{FRACTION}",
            ".if {TABLE}",
            "vadd.i32 q0, q0, {half}",
            "vqshlu.s32 q1, q0, #22",
            "vshr.u32 q1, q1, #22",
            "vldrb.u32 q0, [{table}, q1]",
            ".else",
            "vqmovnb.s32 q0, q0",
            "vqmovnb.s16 q0, q0",
            ".endif",
            "vpst",
            "vstrbt.32 q0, [r0]",
            "add r0, r0, {pixel}",
            "le lr, 2b",
            "vmsr p0, {vpr}",
            TABLE = const TABLE as u8, FRACTION = const AFFINE_FRACTION,
            inout("r0") map => _, lanes = in(reg) lanes, pixels = in(reg) pixels, pixel = in(reg) pixel,
            factors = in(reg) factors, offsets = in(reg) offsets, table = in(reg) table, half = in(reg) TABLE_LEN / 2,
            vpr = out(reg) _,
            out("lr") _, out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _,
            out("d7") _,
        );
    }
}

/// Four channels of words of so many pixels. Instructions for four pixels: 21, or 28 with a table.
///
/// # Safety
/// `map` leads to as many words, at least one, `pixel` bytes apart, each on a word.
#[inline(never)]
unsafe fn affine_words<const TABLE: bool>(
    factors: &[i32; LANES],
    offsets: &[i32; LANES],
    table: *const i8,
    map: *mut i8,
    [pixels, pixel]: [usize; 2],
) {
    let [a, b, c, d] = *offsets;
    // SAFETY: reads and writes what the caller promises; other lanes are switched off. The table has entries for all
    // indices of ten bits.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "vidup.u32 q7, r0, #1",
            "vmul.i32 q7, q7, {pixel}",
            "lsl {pixel}, {pixel}, #2",
            "ldrd r0, {last}, [{factors}]",
            "vdup.32 q4, r0",
            "vdup.32 q5, {last}",
            "ldrd r0, {last}, [{factors}, #8]",
            "vdup.32 q6, r0",
            "mov r0, #{HALF}",
            "dlstp.32 lr, {pixels}",
            "2:",
            "vldrw.u32 q0, [{map}, q7]",
            // A channel's four pixels in each vector.
            "vmovlt.s8 q1, q0",
            "vmovlb.s8 q0, q0",
            "vmovlt.s16 q2, q0",
            "vmovlb.s16 q0, q0",
            "vmovlt.s16 q3, q1",
            "vmovlb.s16 q1, q1",
            "vmlas.s32 q0, q4, {a}",
            "vmlas.s32 q1, q5, {b}",
            "vmlas.s32 q2, q6, {c}",
            "vmul.i32 q3, q3, {last}",
            "vadd.i32 q3, q3, {d}",
            "vqshrnb.s32 q0, q0, #{FRACTION}",
            "vqshrnt.s32 q0, q2, #{FRACTION}",
            "vqshrnb.s32 q1, q1, #{FRACTION}",
            "vqshrnt.s32 q1, q3, #{FRACTION}",
            ".if {TABLE}",
            "vqadd.s16 q0, q0, r0",
            "vqadd.s16 q1, q1, r0",
            "vqshlu.s16 q0, q0, #6",
            "vqshlu.s16 q1, q1, #6",
            "vshr.u16 q0, q0, #6",
            "vshr.u16 q1, q1, #6",
            "vldrb.u16 q2, [{table}, q0]",
            "vldrb.u16 q3, [{table}, q1]",
            "vmovnt.i16 q2, q3",
            "vstrw.32 q2, [{map}, q7]",
            ".else",
            "vqmovnb.s16 q0, q0",
            "vqmovnt.s16 q0, q1",
            "vstrw.32 q0, [{map}, q7]",
            ".endif",
            "add {map}, {map}, {pixel}",
            "letp lr, 2b",
            TABLE = const TABLE as u8, FRACTION = const AFFINE_FRACTION, HALF = const TABLE_LEN / 2,
            inout("r0") 0 => _, last = out(reg) _, factors = in(reg) factors, pixels = in(reg) pixels,
            pixel = inout(reg) pixel => _, map = inout(reg) map => _, table = in(reg) table,
            a = in(reg) a, b = in(reg) b, c = in(reg) c, d = in(reg) d,
            out("lr") _, out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _,
            out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _, out("d12") _, out("d13") _,
            out("d14") _, out("d15") _,
        );
    }
}
