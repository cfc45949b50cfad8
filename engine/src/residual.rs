//! Where the second summand of a layer comes from.

use crate::maps::Code;

/// A map of the output's shape that is added to the output before the activation.
#[derive(Clone, Copy, Debug)]
pub enum Residual<'a, T> {
    /// There is none.
    None,
    /// It lies in the output's buffer, and is overwritten element by element.
    InOutput,
    /// It has its own buffer.
    From(&'a [T]),
}

impl<T: Copy + Default> Residual<'_, T> {
    /// Element `index`, where the output holds `here`; 0 where there is none.
    #[inline]
    pub(crate) fn at(&self, index: usize, here: T) -> T {
        match self {
            Self::None => T::default(),
            Self::InOutput => here,
            Self::From(map) => map.get(index).copied().unwrap_or_default(),
        }
    }

    /// Copies a map of its own into the output, where it is then as well.
    #[inline]
    pub(crate) fn place(&self, output: &mut [T]) {
        if let Self::From(map) = self {
            output.iter_mut().zip(*map).for_each(|(out, value)| *out = *value);
        }
    }
}

impl<T: Code> Residual<'_, T> {
    /// Element `index`, where the output, of whatever type, holds `here`; 0 where there is none.
    #[inline(always)]
    pub(crate) fn code(&self, index: usize, here: i16) -> i16 {
        match self {
            Self::None => 0,
            Self::InOutput => here,
            Self::From(map) => map.get(index).map_or(0, |code| (*code).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_right_place() {
        assert_eq!(Residual::None.at(0, 5), 0);
        assert_eq!(Residual::InOutput.at(0, 5), 5);
        assert_eq!(Residual::From(&[1, 2]).at(1, 5), 2);
        assert_eq!(Residual::From(&[1, 2]).at(2, 5), 0);
        assert_eq!([Residual::None::<i8>.code(0, 500), Residual::InOutput::<i16>.code(0, 500)], [0, 500]);
        assert_eq!([Residual::From(&[1, -2i8]).code(1, 5), Residual::From(&[1, -300i16]).code(1, 5)], [-2, -300]);
        assert_eq!(Residual::From(&[1i8]).code(1, 5), 0);
        let mut output = [7; 3];
        Residual::InOutput.place(&mut output);
        assert_eq!(output, [7; 3]);
        Residual::From(&[1, 2]).place(&mut output);
        assert_eq!(output, [1, 2, 7]);
    }
}
