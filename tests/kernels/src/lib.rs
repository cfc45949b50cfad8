//! Holds an instruction set's kernels to the portable definition, bit by bit, on random shapes and values.
//!
//! No std, heap or panics: the same checks run in `cargo test` for the machine at hand and in firmware.
//!
//! - [`random`]: numbers, and arrays of ordinary and of extreme values;
//! - [`shapes`]: geometries of every kind;
//! - [`room`]: the buffers;
//! - [`conv2d`], [`winograd`], [`add`], [`depthwise`], [`attention`], [`lanes`]: a check each.

#![no_std]

pub mod add;
pub mod attention;
pub mod conv2d;
pub mod depthwise;
pub mod lanes;
pub mod random;
pub mod room;
pub mod shapes;
pub mod winograd;

use core::fmt::{self, Display, Formatter};

use grano::isa::Isa;
use random::Random;
pub use room::Room;

/// How often each check is made.
pub const CASES: usize = 150;

/// The first element that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The check.
    pub check: &'static str,
    /// Its number, from 0.
    pub case: usize,
    /// The element's place in the output.
    pub index: usize,
    /// What the definition gives; the bits of floats.
    pub expected: i32,
    /// What the instruction set gives.
    pub found: i32,
}

impl Display for Mismatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { check, case, index, expected, found } = self;
        write!(f, "{check}, case {case}, element {index}: {found} in place of {expected}")
    }
}

/// The place of the element that differs, what it should be and what it is.
pub type Difference = (usize, i32, i32);

/// Stands for a case whose parameters are no kernel's.
pub(crate) const UNPROVED: Difference = (usize::MAX, 0, 0);

/// One check of one case.
pub type Check = fn(&mut Random, &mut Room) -> Result<(), Difference>;

/// The checks of an instruction set, by name.
#[must_use]
pub const fn checks<I: Isa>() -> [(&'static str, Check); 31] {
    [
        ("conv2d", |random, room| conv2d::check::<I>(random, room, shapes::any)),
        ("conv2d of int16", |random, room| conv2d::check_wide::<I>(random, room, shapes::any)),
        ("conv2d to f32", |random, room| conv2d::check_float::<I>(random, room, shapes::any)),
        ("conv2d to fine codes", |random, room| conv2d::check_fine::<I>(random, room, shapes::any)),
        ("conv2d 3×3 to fine codes", |random, room| conv2d::check_fine::<I>(random, room, shapes::three_by_three)),
        ("conv2d 3×3", |random, room| conv2d::check::<I>(random, room, shapes::three_by_three)),
        ("conv2d 3×3, enlarged or not, of quadruples", |random, room| {
            conv2d::check::<I>(random, room, shapes::three_by_three_of_quads)
        }),
        ("conv2d 3×3, thin", |random, room| conv2d::check::<I>(random, room, shapes::three_by_three_thin)),
        ("conv2d 3×3, thin, to f32", |random, room| {
            conv2d::check_float::<I>(random, room, shapes::three_by_three_thin)
        }),
        ("conv2d 1×1", |random, room| conv2d::check::<I>(random, room, shapes::one_by_one)),
        ("conv2d, deep", |random, room| conv2d::check::<I>(random, room, shapes::deep)),
        ("conv2d, wide", |random, room| conv2d::check::<I>(random, room, shapes::wide)),
        ("conv2d of int16, wide", |random, room| conv2d::check_wide::<I>(random, room, shapes::wide)),
        ("conv2d to fine codes, wide", |random, room| conv2d::check_fine::<I>(random, room, shapes::wide)),
        ("linear", |random, room| conv2d::check::<I>(random, room, shapes::linear)),
        ("linear of int16", |random, room| conv2d::check_wide::<I>(random, room, shapes::linear)),
        ("winograd", |random, room| winograd::check::<I>(random, room, shapes::for_winograd)),
        ("winograd, wide", |random, room| winograd::check::<I>(random, room, shapes::for_winograd_wide)),
        ("winograd of fine codes", |random, room| winograd::check_of_fine::<I>(random, room, shapes::for_winograd)),
        ("winograd of fine codes, wide", |random, room| {
            winograd::check_of_fine::<I>(random, room, shapes::for_winograd_wide)
        }),
        ("winograd to fine codes", |random, room| winograd::check_to_fine::<I>(random, room, shapes::for_winograd)),
        ("winograd to fine codes, wide", |random, room| {
            winograd::check_to_fine::<I>(random, room, shapes::for_winograd_wide)
        }),
        ("winograd's weights", |random, room| winograd::check_weights::<I>(random, room, shapes::for_winograd)),
        ("winograd's weights, wide", |random, room| {
            winograd::check_weights::<I>(random, room, shapes::for_winograd_wide)
        }),
        ("add", add::check::<I>),
        ("sums and factors of channels", lanes::check::<I>),
        ("attention", attention::check::<I>),
        ("depthwise", |random, room| depthwise::check::<I>(random, room, shapes::any)),
        ("depthwise 3×3, quadruples", |random, room| {
            depthwise::check::<I>(random, room, shapes::three_by_three_quads)
        }),
        ("depthwise 3×3", |random, room| depthwise::check::<I>(random, room, shapes::three_by_three)),
        ("depthwise, any kernel", |random, room| depthwise::check::<I>(random, room, shapes::for_depthwise)),
    ]
}

/// Makes every check [`CASES`] times; `report` is told each one's name before it starts. Gives the number of cases.
///
/// # Errors
/// The first mismatch.
pub fn check_all<I: Isa>(room: &mut Room, report: impl FnMut(&str)) -> Result<usize, Mismatch> {
    make(&checks::<I>(), room, report)
}

fn make(checks: &[(&'static str, Check)], room: &mut Room, mut report: impl FnMut(&str)) -> Result<usize, Mismatch> {
    let mut cases = 0;
    for &(check, run) in checks {
        report(check);
        let mut random = Random::new(7);
        for case in 0..CASES {
            run(&mut random, room).map_err(|(index, expected, found)| Mismatch {
                check,
                case,
                index,
                expected,
                found,
            })?;
            cases += 1;
        }
    }
    Ok(cases)
}

/// Compares two outputs.
fn compare<T: Copy + PartialEq>(expected: &[T], found: &[T], bits: impl Fn(T) -> i32) -> Result<(), Difference> {
    for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
        let (expected, found) = (bits(*expected), bits(*found));
        if expected != found {
            return Err((index, expected, found));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use grano::isa::{Armv6m, Avx2, Avx512Vnni, Dsp, Helium, Neon, NeonDot, Portable, Riscv32, Simd128};

    extern crate std;

    fn passes<I: Isa>() {
        let mut room = std::boxed::Box::new(Room::new());
        match check_all::<I>(&mut room, |_| ()) {
            Ok(cases) => assert_eq!(cases, CASES * checks::<I>().len()),
            Err(mismatch) => panic!("{}: {mismatch}", I::NAME),
        }
    }

    macro_rules! instruction_sets {
        ($($test:ident: $isa:ty;)*) => {$(
            #[test]
            fn $test() {
                passes::<$isa>();
            }
        )*};
    }
    instruction_sets! {
        portable: Portable;
        armv6m: Armv6m;
        dsp: Dsp;
        helium: Helium;
        riscv32: Riscv32;
        avx2: Avx2;
        avx512_vnni: Avx512Vnni;
        neon: Neon;
        neon_dot: NeonDot;
        simd128: Simd128;
    }

    #[test]
    fn mismatches_are_found() {
        let right: Check = |_, _| compare(&[1, 2], &[1, 2], i32::from);
        let wrong: Check = |random, _| compare(&[1, 2, 3], &[1, 2, 2 + random.below(1) as i8], i32::from);
        let mut room = std::boxed::Box::new(Room::new());
        let mismatch = make(&[("right", right), ("wrong", wrong), ("never", right)], &mut room, |_| ()).unwrap_err();
        assert_eq!(mismatch, Mismatch { check: "wrong", case: 0, index: 2, expected: 3, found: 2 });
        assert_eq!(std::format!("{mismatch}"), "wrong, case 0, element 2: 2 in place of 3");
    }
}
