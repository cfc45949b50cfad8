//! What a network is conditioned on. Time and class reach the device as rows of biases, one a step and one a class.

/// Which rows of the bias tables hold now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The step's row.
    pub step: usize,
    /// The class's row; the one after the last class stands for no class.
    pub class: usize,
}

/// A convolution's biases: the sum of a row of `steps` and a row of `classes`, one value an output channel.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a, T> {
    /// `[n][out_c]`; where time plays no part n is 1, and the row serves every step.
    pub steps: &'a [T],
    /// `[classes + 1][out_c]`; empty where the class plays no part.
    pub classes: &'a [T],
}

impl<'a, T: Copy + Default> Bias<'a, T> {
    /// The rows of `steps` and of `classes` that hold now; empty where there is none.
    #[inline]
    pub(crate) fn rows(&self, condition: Condition, out_c: usize) -> [&'a [T]; 2] {
        let step = if self.steps.len() == out_c { 0 } else { condition.step };
        [row(self.steps, step, out_c), row(self.classes, condition.class, out_c)]
    }
}

impl<T> Bias<'_, T> {
    /// Whether both tables are whole rows, and `steps` at least one.
    pub(crate) const fn is_valid(&self, out_c: usize) -> bool {
        out_c > 0
            && !self.steps.is_empty()
            && self.steps.len().is_multiple_of(out_c)
            && self.classes.len().is_multiple_of(out_c)
    }
}

/// Row `index` of a table of rows of `len`; empty where there is none.
fn row<T>(table: &[T], index: usize, len: usize) -> &[T] {
    let start = index.saturating_mul(len);
    table.get(start..start.saturating_add(len)).unwrap_or_default()
}

/// An element, or 0 where there is none.
#[inline]
pub(crate) fn at<T: Copy + Default>(slice: &[T], index: usize) -> T {
    slice.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_step_and_class() {
        let bias = Bias { steps: &[1, 2, 3, 4], classes: &[5, 6, 7, 8] };
        assert_eq!(bias.rows(Condition { step: 1, class: 0 }, 2), [&[3, 4], &[5, 6]]);
        let timeless = Bias { steps: &[1, 2], classes: &[] };
        assert_eq!(timeless.rows(Condition { step: 9, class: 3 }, 2), [&[1, 2][..], &[]]);
        assert_eq!(bias.rows(Condition { step: 2, class: usize::MAX }, 2), [&[]; 2]);
        assert!(bias.is_valid(2) && timeless.is_valid(2) && !timeless.is_valid(3) && !timeless.is_valid(0));
        assert_eq!((at(&[7], 0), at(&[7], 1)), (7, 0));
    }
}
