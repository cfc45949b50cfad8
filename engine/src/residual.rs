//! Where the second summand of a layer comes from.

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

/// A [`Residual`] of either type of code, whatever the output's.
#[derive(Clone, Copy, Debug)]
pub enum Summand<'a> {
    /// There is none.
    None,
    /// It lies in the output's buffer, and is overwritten element by element.
    InOutput,
    /// It has its own buffer, of int8.
    Int8(&'a [i8]),
    /// It has its own buffer, of int16.
    Int16(&'a [i16]),
}

impl Summand<'_> {
    /// Element `index`, where the output holds `here`; 0 where there is none.
    #[inline(always)]
    pub(crate) fn at(&self, index: usize, here: i16) -> i32 {
        match self {
            Self::None => 0,
            Self::InOutput => here.into(),
            Self::Int8(map) => map.get(index).copied().unwrap_or_default().into(),
            Self::Int16(map) => map.get(index).copied().unwrap_or_default().into(),
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
        assert_eq!([Summand::None.at(0, 5), Summand::InOutput.at(0, 5)], [0, 5]);
        assert_eq!([Summand::Int8(&[1, -2]).at(1, 5), Summand::Int16(&[1, -300]).at(1, 5)], [-2, -300]);
        assert_eq!(Summand::Int8(&[1]).at(1, 5), 0);
        let mut output = [7; 3];
        Residual::InOutput.place(&mut output);
        assert_eq!(output, [7; 3]);
        Residual::From(&[1, 2]).place(&mut output);
        assert_eq!(output, [1, 2, 7]);
    }
}
