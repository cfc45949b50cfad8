//! What a map's values become where they are copied.
//!
//! Types and no closures: those would not be inlined into a function that has the instructions.

use core::marker::PhantomData;

use bytemuck::{Pod, Zeroable};

use super::{Products, Vector};
use crate::maps::Code;
use crate::real::Real;

/// A kind of copy.
pub(super) trait Elements {
    /// Of the map.
    type Value: Copy;
    /// Of the copy.
    type Element: Pod;

    /// One value's.
    fn element(value: Self::Value) -> Self::Element;

    /// N values'.
    #[inline(always)]
    fn group<const N: usize>(values: &[Self::Value; N]) -> [Self::Element; N] {
        let mut elements = [Self::Element::zeroed(); N];
        elements.iter_mut().zip(*values).for_each(|(element, value)| *element = Self::element(value));
        elements
    }

    /// As many as there are values, by groups, which lie apart from them: so they become vectors.
    #[inline(always)]
    fn copy(values: &[Self::Value], elements: &mut [Self::Element]) {
        let (many, values) = values.as_chunks::<64>();
        let (few, values) = values.as_chunks::<16>();
        let (many_elements, elements) = elements.as_chunks_mut::<64>();
        let (few_elements, elements) = elements.as_chunks_mut::<16>();
        for (elements, values) in many_elements.iter_mut().zip(many) {
            *elements = Self::group(values);
        }
        for (elements, values) in few_elements.iter_mut().zip(few) {
            *elements = Self::group(values);
        }
        elements.iter_mut().zip(values).for_each(|(element, value)| *element = Self::element(*value));
    }
}

/// What [`Products`] want.
pub(super) struct Taps<V, Q, X>(PhantomData<(V, Q, X)>);

impl<V: Vector, Q: Products<V>, X: Code> Elements for Taps<V, Q, X> {
    type Value = X;
    type Element = Q::Element;

    #[inline(always)]
    fn element(value: X) -> Q::Element {
        Q::element(value.into())
    }
}

/// int16.
pub(super) struct Words<X>(PhantomData<X>);

impl<X: Code> Elements for Words<X> {
    type Value = X;
    type Element = i16;

    #[inline(always)]
    fn element(value: X) -> i16 {
        value.into()
    }
}

/// f32.
pub(super) struct Reals<X>(PhantomData<X>);

impl<X: Real> Elements for Reals<X> {
    type Value = X;
    type Element = f32;

    #[inline(always)]
    fn element(value: X) -> f32 {
        value.to_f32()
    }
}
