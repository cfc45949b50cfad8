//! Which instructions the machine has, asked once.

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// AVX2, FMA, F16C.
pub(super) const AVX2: u8 = 1;
/// AVX-512 F, BW, DQ, VL, VBMI, VNNI.
pub(super) const AVX512_VNNI: u8 = 2;
const ASKED: u8 = 4;

static FOUND: AtomicU8 = AtomicU8::new(0);

/// Whether the processor has a set of instructions and the operating system keeps its registers.
#[inline]
pub(super) fn has(set: u8) -> bool {
    let mut found = FOUND.load(Relaxed);
    if found == 0 {
        found = ask();
        FOUND.store(found, Relaxed);
    }
    found & set != 0
}

#[cold]
fn ask() -> u8 {
    // Bits of Intel's manual, volume 2A, CPUID.
    let all = |register: u32, bits: &[u32]| bits.iter().all(|bit| register >> bit & 1 == 1);
    if __cpuid(0).eax < 7 {
        return ASKED;
    }
    let (basic, extended) = (__cpuid(1), __cpuid_count(7, 0));
    let [fma, xsave, osxsave, avx, f16c] = [12, 26, 27, 28, 29];
    if !all(basic.ecx, &[fma, xsave, osxsave, avx, f16c]) {
        return ASKED;
    }
    // SAFETY: the processor has XGETBV, and the operating system lets programs use it: bits 26 and 27.
    let kept = unsafe { kept_registers() };
    let mut found = ASKED;
    let [avx2, f, dq, bw, vl] = [5, 16, 17, 30, 31];
    let [vbmi, vnni] = [1, 11];
    if kept & 0x06 == 0x06 && all(extended.ebx, &[avx2]) {
        found |= AVX2;
        if kept & 0xe0 == 0xe0 && all(extended.ebx, &[f, dq, bw, vl]) && all(extended.ecx, &[vbmi, vnni]) {
            found |= AVX512_VNNI;
        }
    }
    found
}

/// XCR0: bits 1 and 2 are AVX's registers, 5 to 7 AVX-512's.
#[target_feature(enable = "xsave")]
fn kept_registers() -> u64 {
    // SAFETY: register 0 exists wherever the instruction does.
    unsafe { _xgetbv(0) }
}
