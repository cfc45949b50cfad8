//! The inner loop of int8 convolutions: one patch against four output channels at a time.

/// Output channels that share each load of the patch.
pub(crate) const LANES: usize = 4;

/// `[Σ_k patch[k] · weights[lane][k]; LANES]`, `weights` being up to [`LANES`] rows of the patch's length; lanes
/// without a row give 0.
///
/// Patch elements are int8 or int16, weights int8. The code generator bounds every sum below 2³¹.
#[inline(never)]
pub(crate) fn dot(patch: &[i16], weights: &[i8]) -> [i32; LANES] {
    let row = |lane: usize| weights.get(lane * patch.len()..(lane + 1) * patch.len());
    let mut sums = [0; LANES];
    if let [Some(a), Some(b), Some(c), Some(d)] = [row(0), row(1), row(2), row(3)] {
        for ((((p, a), b), c), d) in patch.iter().zip(a).zip(b).zip(c).zip(d) {
            let p = i32::from(*p);
            sums[0] += p * i32::from(*a);
            sums[1] += p * i32::from(*b);
            sums[2] += p * i32::from(*c);
            sums[3] += p * i32::from(*d);
        }
    } else {
        for (lane, sum) in sums.iter_mut().enumerate() {
            let row = row(lane).unwrap_or_default();
            *sum = patch.iter().zip(row).map(|(p, w)| i32::from(*p) * i32::from(*w)).sum();
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_sum(
            patch in prop::collection::vec(-1000i16..=1000, 1..70),
            rows in 0..=LANES,
            weights in prop::collection::vec(any::<i8>(), LANES * 70),
        ) {
            let sums = dot(&patch, &weights[..rows * patch.len()]);
            for (lane, sum) in sums.into_iter().enumerate() {
                let row = &weights[lane * patch.len()..];
                let expected: i32 = patch.iter().zip(row).map(|(p, w)| i32::from(*p) * i32::from(*w)).sum();
                prop_assert_eq!(sum, if lane < rows { expected } else { 0 });
            }
        }
    }

    #[test]
    fn extremes() {
        assert_eq!(dot(&[i16::MIN; 500], &[-128; 2000]), [32768 * 128 * 500; LANES]);
        assert_eq!(dot(&[-128; 9], &[127; 36]), [-128 * 127 * 9; LANES]);
        assert_eq!(dot(&[], &[1; 4]), [0; LANES]);
    }
}
