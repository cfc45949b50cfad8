//! Sums over channels and groups of them, and a factor and an offset for every channel: four channels at a time.

use core::arch::asm;

use crate::isa::AFFINE_FRACTION;
use crate::requantize::{TABLE_LEN, Table};

/// Channels of a word.
pub(super) const CHANNELS: usize = 4;

/// See [`crate::isa::Isa::group_sums`], of groups of whole words. Instructions for four pixels of a word: 31.
#[inline]
pub(super) fn group_sums(map: &[i8], len: usize, sums: &mut [i32], squares: &mut [i32]) {
    let channels = sums.len().min(squares.len());
    let pixels = map.len().checked_div(channels).unwrap_or_default();
    let groups = sums.chunks_exact_mut(len.max(1)).zip(squares.chunks_exact_mut(len.max(1))).enumerate();
    for (group, (sums, squares)) in groups {
        let (mut sum, mut square) = (0, 0);
        for word in 0..len / CHANNELS {
            let from = map.as_ptr().wrapping_add(group * len + word * CHANNELS);
            // SAFETY: reads a word of so many pixels.
            unsafe { add_word(from, [pixels, channels], &mut sum, &mut square) };
        }
        sums.iter_mut().take(1).for_each(|total| *total = sum);
        squares.iter_mut().take(1).for_each(|total| *total = square);
    }
}

/// A word's sums.
macro_rules! sums {
    ($load:literal) => {
        concat!(
            $load,
            "\nsxtb16 {b}, {a}\nsxtb16 {a}, {a}, ror #8\nsmlad {square}, {b}, {b}, {square}\n",
            "smlad {square}, {a}, {a}, {square}\nsmlad {sum}, {b}, {ones}, {sum}\nsmlad {sum}, {a}, {ones}, {sum}\n"
        )
    };
}

/// Adds the four channels of so many pixels, `pixel` bytes apart.
///
/// # Safety
/// They may be read.
#[inline(always)]
unsafe fn add_word(from: *const i8, [pixels, pixel]: [usize; 2], sum: &mut i32, square: &mut i32) {
    // SAFETY: reads what the caller promises.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "b 24f",
            "22:",
            sums!("ldr {a}, [{from}]"),
            sums!("ldr {a}, [{from}, {pixel}]"),
            sums!("ldr {a}, [{from}, {pixel}, lsl #1]"),
            sums!("ldr {a}, [{from}, {three}]"),
            "add {from}, {from}, {pixel}, lsl #2",
            "24:",
            "subs {pixels}, {pixels}, #4",
            "bhs 22b",
            "adds {pixels}, {pixels}, #4",
            "beq 25f",
            "23:",
            sums!("ldr {a}, [{from}]"),
            "add {from}, {from}, {pixel}",
            "subs {pixels}, {pixels}, #1",
            "bne 23b",
            "25:",
            from = inout(reg) from => _, pixels = inout(reg) pixels => _, pixel = in(reg) pixel,
            three = in(reg) 3 * pixel, ones = in(reg) 0x1_0001, sum = inout(reg) *sum, square = inout(reg) *square,
            a = out(reg) _, b = out(reg) _,
        );
    }
}

/// See [`crate::isa::Isa::channel_sums`]. Instructions for a pixel: 15 of four channels, 6 of one of the last.
#[inline]
pub(super) fn channel_sums(map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
    let channels = sums.len().min(squares.len());
    let pixels = map.len().checked_div(channels).unwrap_or_default();
    sums.fill(0);
    squares.fill(0);
    if pixels == 0 {
        return;
    }
    let from = map.as_ptr();
    let (four_sums, last_sums) = sums.as_chunks_mut::<CHANNELS>();
    let (four_squares, last_squares) = squares.as_chunks_mut::<CHANNELS>();
    for (block, (sums, squares)) in four_sums.iter_mut().zip(four_squares).enumerate() {
        let ([mut a, mut b, mut c, mut d], [mut a2, mut b2, mut c2, mut d2]) = (*sums, *squares);
        // SAFETY: reads four channels of so many pixels.
        unsafe {
            asm!(
                ".arch armv7e-m",
                "22:",
                "ldrsb {q}, [{from}]",
                "add {a}, {a}, {q}",
                "mla {a2}, {q}, {q}, {a2}",
                "ldrsb {q}, [{from}, #1]",
                "add {b}, {b}, {q}",
                "mla {b2}, {q}, {q}, {b2}",
                "ldrsb {q}, [{from}, #2]",
                "add {c}, {c}, {q}",
                "mla {c2}, {q}, {q}, {c2}",
                "ldrsb {q}, [{from}, #3]",
                "add {d}, {d}, {q}",
                "mla {d2}, {q}, {q}, {d2}",
                "add {from}, {from}, {pixel}",
                "subs {pixels}, {pixels}, #1",
                "bne 22b",
                from = inout(reg) from.wrapping_add(block * CHANNELS) => _, pixels = inout(reg) pixels => _,
                pixel = in(reg) channels, a = inout(reg) a, b = inout(reg) b, c = inout(reg) c, d = inout(reg) d,
                a2 = inout(reg) a2, b2 = inout(reg) b2, c2 = inout(reg) c2, d2 = inout(reg) d2, q = out(reg) _,
            );
        }
        (*sums, *squares) = ([a, b, c, d], [a2, b2, c2, d2]);
    }
    let first = channels - channels % CHANNELS;
    for (channel, (sum, square)) in (first..).zip(last_sums.iter_mut().zip(last_squares)) {
        // SAFETY: reads one channel of so many pixels.
        unsafe {
            asm!(
                ".arch armv7e-m",
                "22:",
                "ldrsb {q}, [{from}]",
                "add {from}, {from}, {pixel}",
                "add {sum}, {sum}, {q}",
                "mla {square}, {q}, {q}, {square}",
                "subs {pixels}, {pixels}, #1",
                "bne 22b",
                from = inout(reg) from.wrapping_add(channel) => _, pixels = inout(reg) pixels => _,
                pixel = in(reg) channels, sum = inout(reg) *sum, square = inout(reg) *square, q = out(reg) _,
            );
        }
    }
}

/// See [`crate::isa::Isa::affine`].
#[inline]
pub(super) fn affine(factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
    let channels = factors.len().min(offsets.len());
    let pixels = map.len().checked_div(channels).unwrap_or_default();
    if pixels == 0 {
        return;
    }
    let middle = table.map_or(core::ptr::null(), |table| table.as_ptr().wrapping_add(TABLE_LEN / 2));
    let (four_factors, last_factors) = factors.as_chunks::<CHANNELS>();
    let (four_offsets, last_offsets) = offsets.as_chunks::<CHANNELS>();
    let (start, shape) = (map.as_mut_ptr(), [pixels, channels]);
    for (block, parameters) in four_factors.iter().zip(four_offsets).enumerate() {
        let map = start.wrapping_add(block * CHANNELS);
        match table {
            // SAFETY: four channels of so many pixels are there.
            None => unsafe { affine_block::<false>(parameters, middle, map, shape) },
            // SAFETY: see above.
            Some(_) => unsafe { affine_block::<true>(parameters, middle, map, shape) },
        }
    }
    let first = channels - channels % CHANNELS;
    for (channel, (factor, offset)) in (first..).zip(last_factors.iter().zip(last_offsets)) {
        // SAFETY: a channel of so many pixels is there; the table has entries for all indices of ten bits.
        unsafe {
            asm!(
                ".arch armv7e-m",
                "22:",
                "ldrsb {q}, [{map}]",
                "mla {q}, {q}, {factor}, {offset}",
                "cmp {table}, #0",
                "beq 23f",
                "ssat {q}, #10, {q}, asr #{FRACTION}",
                "ldrb {q}, [{table}, {q}]",
                "b 24f",
                "23:",
                "ssat {q}, #8, {q}, asr #{FRACTION}",
                "24:",
                "strb {q}, [{map}]",
                "add {map}, {map}, {pixel}",
                "subs {pixels}, {pixels}, #1",
                "bne 22b",
                FRACTION = const AFFINE_FRACTION,
                map = inout(reg) start.wrapping_add(channel) => _, factor = in(reg) *factor, offset = in(reg) *offset,
                table = in(reg) middle, pixels = inout(reg) pixels => _, pixel = in(reg) channels, q = out(reg) _,
            );
        }
    }
}

/// One element.
macro_rules! element {
    ($place:literal, $factor:literal, $offset:literal) => {
        concat!(
            "ldrsb r12, [r1, #",
            $place,
            "]\nmla r12, r12, ",
            $factor,
            ", ",
            $offset,
            "\n.if {TABLE}\nssat r12, #10, r12, asr #{FRACTION}\nldrb r12, [r2, r12]\n",
            ".else\nssat r12, #8, r12, asr #{FRACTION}\n.endif\nstrb r12, [r1, #",
            $place,
            "]\n"
        )
    };
}

/// Four channels of a pixel.
macro_rules! pixel {
    () => {
        concat!(
            element!("0", "r4", "r8"),
            element!("1", "r5", "r9"),
            element!("2", "r6", "r10"),
            element!("3", "r7", "r11"),
            "add r1, r1, lr\n"
        )
    };
}

/// Four channels. Instructions for a pixel: 18, or 22 with a table.
///
/// # Safety
/// `map` leads to four channels of so many pixels, at least one, `pixel` bytes apart, the table to its middle.
#[inline(never)]
unsafe fn affine_block<const TABLE: bool>(
    (factors, offsets): (&[i32; CHANNELS], &[i32; CHANNELS]),
    table: *const i8,
    map: *mut i8,
    [pixels, pixel]: [usize; 2],
) {
    // SAFETY: reads and writes what the caller promises; r6 and r7, which the compiler keeps for itself, are put back.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r6, r7}}",
            "mov r12, r4",
            "mov lr, r5",
            "ldm r0, {{r4-r7}}",
            "ldm r3, {{r8-r11}}",
            "mov r0, r12",
            "lsrs r0, r0, #1",
            "bcc 23f",
            pixel!(),
            "23:",
            "beq 24f",
            "22:",
            pixel!(),
            pixel!(),
            "subs r0, r0, #1",
            "bne 22b",
            "24:",
            "pop {{r6, r7}}",
            TABLE = const TABLE as u8, FRACTION = const AFFINE_FRACTION,
            inout("r0") factors => _, inout("r1") map => _, in("r2") table, in("r3") offsets,
            inout("r4") pixels => _, inout("r5") pixel => _,
            out("r12") _, out("lr") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
}
