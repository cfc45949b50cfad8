//! Group normalisation on integers: the input's scale and zero point cancel, the output's go into gain and bias.

use crate::error::{Error, Result};
use crate::fold::{GroupNorm, Layer};
use crate::kernel::{Affine, Kernel, Table};

/// The kernel from `input` to `target`, which may be the code of a table's index.
///
/// # Errors
/// Names the layer whose groups are so large that the sum of their squares leaves int32.
pub(super) fn kernel(
    layer: &Layer,
    norm: &GroupNorm,
    input: Affine,
    target: Affine,
    table: Option<Table>,
) -> Result<Kernel> {
    let GroupNorm { groups, eps, weight, bias, .. } = norm;
    let count = layer.shape.iter().product::<usize>() / groups;
    if count >= 1 << 17 {
        return Err(Error::node(&norm.node, format!("groups of {count} values; an int8 network sums up to 131071")));
    }
    let units = |v: f32, offset: i32| (f64::from(v) / target.scale + f64::from(offset)) as f32;
    Ok(Kernel::GroupNormInt8 {
        groups: *groups,
        eps: (eps / (input.scale * input.scale)) as f32,
        gains: weight.iter().map(|&v| units(v, 0)).collect(),
        offsets: bias.iter().map(|&v| units(v, target.zero_point)).collect(),
        table,
    })
}
