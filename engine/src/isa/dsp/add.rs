//! The sum of two maps.

use core::arch::asm;

use crate::epilogue::AddInt8;
use crate::isa::portable;
use crate::residual::Residual;

/// Elements of a pass.
const PASS: usize = 32;

/// What [`passes`] works on.
#[repr(C)]
struct Add {
    a: *const i8,
    b: *const i8,
    output: *mut i8,
    /// Factors of `a` and `b`, times 2^(shift + 8): of a code in the high byte of a half, SMLAW makes the product.
    factors: [i32; 2],
    /// Times 2^shift.
    bias: i32,
    multiplier: i32,
    /// And 128, so that results saturate at 0 and 255.
    zero_point: i32,
    odd_bytes: u32,
    /// Of `a`.
    end: *const i8,
}

/// See [`crate::isa::Isa::add`].
#[inline(always)]
pub(super) fn run(add: &AddInt8, a: &[i8], b: Residual<'_, i8>, output: &mut [i8]) {
    let whole = output.len().min(a.len()) / PASS * PASS;
    let start = match b {
        Residual::From(b) if b.len() >= whole => b.as_ptr(),
        Residual::InOutput => output.as_ptr(),
        _ => return portable::add(add, a, b, output),
    };
    let Some(factors) = factors(add).filter(|_| whole > 0) else { return portable::add(add, a, b, output) };
    let sums = Add {
        a: a.as_ptr(),
        b: start,
        output: output.as_mut_ptr(),
        factors,
        bias: add.bias << (add.shift & 31),
        multiplier: add.multiplier,
        zero_point: add.zero_point + 128,
        odd_bytes: 0xff00_ff00,
        end: a.as_ptr().wrapping_add(whole),
    };
    // SAFETY: both maps and the output have `whole` elements, a number of whole passes that is not 0; b is read before
    // its place is written.
    unsafe { passes(&sums) };
    let rest = match b {
        Residual::From(b) => Residual::From(b.get(whole..).unwrap_or_default()),
        other => other,
    };
    portable::add(add, a.get(whole..).unwrap_or_default(), rest, output.get_mut(whole..).unwrap_or_default());
}

/// [`Add::factors`], where they and every result before it saturates have room: 32 bits and 16.
fn factors(add: &AddInt8) -> Option<[i32; 2]> {
    let [first, second] = add.multipliers.map(|factor| i64::from(factor) << add.shift);
    let bias = i64::from(add.bias) << add.shift;
    let largest = (first.abs() + second.abs()) * 128 + bias.abs();
    let fits = largest < 1 << 31 && (largest * i64::from(add.multiplier)) >> 32 < (1 << 15) - 512;
    let [first, second] = [i32::try_from(first << 8).ok()?, i32::try_from(second << 8).ok()?];
    fits.then_some([first, second])
}

/// Passes of [`PASS`] elements.
///
/// # Safety
/// The pointers lead to what they say.
#[inline(never)]
unsafe fn passes(add: &Add) {
    // Twenty-five instructions for four elements. Results are packed in halves while they saturate.
    //
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r11, lr}}",
            "ldr r9, [r0, #36]",
            "push {{r9}}",
            "ldm r0, {{r0-r8}}",
            "20:",
            ".rept 8",
            "ldr r9, [r0], #4",
            "ldr r10, [r1], #4",
            "and r11, r8, r9, lsl #8",
            "and r12, r8, r10, lsl #8",
            "and r9, r9, r8",
            "and r10, r10, r8",
            "smlawb lr, r3, r11, r5",
            "smlawt r11, r3, r11, r5",
            "smlawb lr, r4, r12, lr",
            "smlawt r11, r4, r12, r11",
            "smlawb r12, r3, r9, r5",
            "smlawt r9, r3, r9, r5",
            "smlawb r12, r4, r10, r12",
            "smlawt r9, r4, r10, r9",
            "smmlar lr, lr, r6, r7",
            "smmlar r11, r11, r6, r7",
            "smmlar r12, r12, r6, r7",
            "smmlar r9, r9, r6, r7",
            "pkhbt lr, lr, r11, lsl #16",
            "pkhbt r12, r12, r9, lsl #16",
            "usat16 lr, #8, lr",
            "usat16 r12, #8, r12",
            "orr lr, lr, r12, lsl #8",
            "eor lr, lr, #0x80808080",
            "str lr, [r2], #4",
            ".endr",
            "ldr r9, [sp]",
            "cmp r0, r9",
            "bne.w 20b",
            "add sp, sp, #4",
            "pop {{r4-r11, lr}}",
            inout("r0") add => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
        );
    }
}
