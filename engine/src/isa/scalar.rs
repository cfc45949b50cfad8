//! What chips that multiply one number at a time have in common.

use crate::maps::Code;

/// [`super::Isa::place`] for tiles of `P` pixels and four taps side by side: `[step][pixel][4]`. Values go through
/// `opaque`, which may keep the compiler from packing neighbours into words.
#[inline(always)]
pub(super) fn place<const P: usize, X: Code>(
    mut piece: &[X],
    columns: &mut [i16],
    pixel: usize,
    mut tap: usize,
    opaque: impl Fn(i16) -> i16,
) {
    let (columns, _) = columns.as_chunks_mut::<4>();
    while let Some(column) = columns.get_mut(tap / 4 * P + pixel) {
        if let (0, Some((values, rest))) = (tap % 4, piece.split_first_chunk::<4>()) {
            *column = values.map(|value| opaque(value.into()));
            (piece, tap) = (rest, tap + 4);
        } else if let [value, rest @ ..] = piece {
            column[tap % 4] = (*value).into();
            (piece, tap) = (rest, tap + 1);
        } else {
            return;
        }
    }
}
