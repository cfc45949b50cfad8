//! Buffers against the lengths that a proved kernel asks for: the one place where they are compared.

use crate::geometry::Geometry;
use crate::residual::Residual;

/// Elements of a layer's maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lens {
    /// Of one or two maps; 0 for one that there is not.
    pub inputs: [usize; 2],
    /// Of the output, and of a residual.
    pub output: usize,
}

impl Lens {
    /// Of a convolution of maps of so many channels.
    pub const fn of(geometry: &Geometry, [first, second]: [usize; 2]) -> Self {
        let pixels = geometry.input.height * geometry.input.width;
        Self { inputs: [pixels * first, pixels * second], output: geometry.output.len() }
    }

    /// Of a layer that reads so many maps of the output's length, up to two, besides a residual.
    pub const fn equal(len: usize, maps: usize) -> Self {
        let inputs = match maps {
            0 => [0, 0],
            1 => [len, 0],
            _ => [len, len],
        };
        Self { inputs, output: len }
    }
}

/// What a kernel computes with, cut to its lengths.
pub(super) struct Buffers<'a, X, R, Y> {
    pub maps: [&'a [X]; 2],
    pub residual: Residual<'a, R>,
    pub output: &'a mut [Y],
}

/// Cuts buffers to their lengths. None where one is too short, or `scratch` has fewer elements than it is said to need: the
/// kernel then computes nothing.
#[inline(always)]
pub(super) fn fit<'a, X, R, Y>(
    lens: Lens,
    [first, second]: [&'a [X]; 2],
    residual: Residual<'a, R>,
    [scratch, least]: [usize; 2],
    output: &'a mut [Y],
) -> Option<Buffers<'a, X, R, Y>> {
    let added = match residual {
        Residual::None | Residual::InOutput => lens.output,
        Residual::From(map) => map.len(),
    };
    let fits = are_whole(&lens, [first.len(), second.len(), added, output.len()]) && scratch >= least;
    debug_assert!(fits, "a buffer is too short for the layer: {lens:?}, {least} elements of scratch");
    if !fits {
        return None;
    }
    Some(Buffers {
        maps: [first.get(..lens.inputs[0])?, second.get(..lens.inputs[1])?],
        residual: match residual {
            Residual::From(map) => Residual::From(map.get(..lens.output)?),
            other => other,
        },
        output: output.get_mut(..lens.output)?,
    })
}

/// Whether maps, residual and output have so many elements.
#[inline(never)]
pub(super) const fn are_whole(lens: &Lens, [first, second, residual, output]: [usize; 4]) -> bool {
    first >= lens.inputs[0] && second >= lens.inputs[1] && residual >= lens.output && output >= lens.output
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::tests::geometries;
    use crate::isa::{Armv6m, Avx2, Avx512Vnni, Dsp, Helium, Isa, Neon, NeonDot, Portable, Riscv32, Simd128, winograd};
    use crate::kernel::oracle::{Pairs, Plain, Quads, convolutions, leak};
    use crate::kernel::{
        ActivationFloat, ActivationInt8, AddFloat, AddInt8, AttentionFloat, AttentionInt8, Bias, Condition, Conv2dFine,
        Conv2dFloat, Conv2dInt8, Conv2dInt8Head, DepthToSpace, DepthwiseFloat, DepthwiseInt8, EXP_LEN, FineEpilogue,
        GroupNormFloat, GroupNormInt8, Sums,
    };
    use crate::real::{Activation, Real};
    use crate::shape::Shape;
    use proptest::prelude::*;
    use std::fmt::Debug;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::{vec, vec::Vec};

    const CONDITION: Condition = Condition { step: 0, class: 0 };
    /// Elements before and behind every buffer.
    const GUARD: usize = 70;

    trait Element: Copy + PartialEq + Debug + From<i8> {}
    impl<T: Copy + PartialEq + Debug + From<i8>> Element for T {}

    /// A buffer between guards. What lies outside its first `exact` elements depends on `seed`.
    struct Guarded<T> {
        all: Vec<T>,
        len: usize,
    }

    impl<T: Element> Guarded<T> {
        fn new(exact: usize, len: usize, [salt, seed]: [usize; 2]) -> Self {
            let value = |i: usize, seed: usize| T::from(((i + 1) * 37 + salt * 101 + seed * 59) as i8);
            let inside = GUARD..GUARD + exact.min(len);
            Self {
                all: (0..len + 2 * GUARD).map(|i| value(i, if inside.contains(&i) { 0 } else { seed })).collect(),
                len,
            }
        }

        fn inside(&mut self) -> &mut [T] {
            &mut self.all[GUARD..GUARD + self.len]
        }
    }

    /// The exact lengths of two maps, a residual, scratch and the output.
    type Exact = [usize; 5];
    type Run<'a, X, R, S, Y> = &'a dyn Fn([&[X]; 2], Residual<'_, R>, &mut [S], &mut [Y]);

    /// The output after a run on buffers of such lengths. Nothing outside the buffers has changed, and nothing in the output
    /// behind its exact length.
    fn outcome<X: Element, R: Element, S: Element, Y: Element>(
        exact: Exact,
        given: Exact,
        seed: usize,
        run: Run<'_, X, R, S, Y>,
    ) -> Vec<Y> {
        let [mut a, mut b]: [Guarded<X>; 2] = [0, 1].map(|i| Guarded::new(exact[i], given[i], [i, seed]));
        let mut added = Guarded::<R>::new(exact[2], given[2], [2, seed]);
        let mut scratch = Guarded::<S>::new(exact[3], given[3], [3, seed]);
        let mut output = Guarded::<Y>::new(exact[4], given[4], [4, seed]);
        let before = (scratch.all.clone(), output.all.clone());
        let residual = if exact[2] > 0 { Residual::From(&*added.inside()) } else { Residual::InOutput };
        let maps = [&*a.inside(), &*b.inside()];
        let run = AssertUnwindSafe(|| run(maps, residual, scratch.inside(), output.inside()));
        let panicked = catch_unwind(run).is_err();
        let fits = exact.iter().zip(given).all(|(exact, given)| *exact <= given);
        assert_eq!(panicked, cfg!(debug_assertions) && !fits, "a debug build says what is too short, and nothing else");
        let [made, end] = [GUARD + exact[4].min(given[4]), GUARD + given[3]];
        assert_eq!(output.all[..GUARD], before.1[..GUARD]);
        assert_eq!(output.all[made..], before.1[made..]);
        assert_eq!(scratch.all[..GUARD], before.0[..GUARD]);
        assert_eq!(scratch.all[end..], before.0[end..]);
        if !fits {
            assert_eq!(output.all, before.1, "nothing is computed");
        }
        output.all[GUARD..made].to_vec()
    }

    /// Buffers of exact lengths, much longer ones, and each one element shorter. What is outside does not matter.
    fn sweep<X: Element, R: Element, S: Element, Y: Element>(exact: Exact, run: Run<'_, X, R, S, Y>) {
        let expected = outcome(exact, exact, 0, run);
        assert_eq!(outcome(exact, exact, 1, run), expected);
        let long = exact.map(|len| if len > 0 { len + 150 } else { 0 });
        assert_eq!(outcome(exact, long, 1, run), expected);
        assert_eq!(outcome(exact, long, 2, run), expected);
        for short in (0..exact.len()).filter(|&buffer| exact[buffer] > 0) {
            let mut given = exact;
            given[short] -= 1;
            outcome(exact, given, 1, run);
        }
    }

    fn convolutions_of<I: Isa>(plain: Plain) {
        let conv = plain.pack::<I>();
        let Conv2dInt8 { sums, epilogue } = *conv.parameters();
        let ([a, b], out, words) = (conv.input_lens(), conv.output_len(), conv.scratch_len());
        sweep::<i8, i8, i32, i8>([a, b, out, words, out], &|maps, residual, scratch, output| {
            conv.run::<I, _>(CONDITION, maps, residual, scratch, output);
        });
        sweep::<i16, i8, i32, i8>([a, b, 0, words, out], &|maps, residual, scratch, output| {
            conv.run::<I, _>(CONDITION, maps, residual, scratch, output);
        });
        let head = Conv2dInt8Head { sums, scales: leak(&vec![0.5; sums.geometry.output.channels]) }.checked::<I>();
        assert_eq!((head.input_lens(), head.output_len(), head.scratch_len()), ([a, b], out, words));
        sweep::<i8, i8, i32, f32>([a, b, 0, words, out], &|maps, _, scratch, output| {
            head.run::<I, _>(CONDITION, maps, scratch, output);
        });
        let fine = FineEpilogue {
            residual_multipliers: epilogue.residual_multipliers,
            residual_zero_point: 3,
            requantize: epilogue.requantize,
            table: None,
        };
        let fine = Conv2dFine { sums, epilogue: fine }.checked::<I>();
        assert_eq!((fine.input_lens(), fine.output_len(), fine.scratch_len()), ([a, b], out, words));
        sweep::<i8, i16, i32, i16>([a, b, out, words, out], &|maps, residual, scratch, output| {
            fine.run::<I, _, _, _>(CONDITION, maps, residual, scratch, output);
        });
        if winograd::fits(&sums.geometry, 128) {
            let (in_flash, in_ram) = plain.winograd::<I>();
            assert_eq!((in_flash.input_lens(), in_ram.output_len()), ([a, b], out));
            sweep::<i8, i8, i32, i8>([a, b, out, in_flash.scratch_len(), out], &|maps, residual, scratch, output| {
                in_flash.run::<I, _>(CONDITION, maps, residual, scratch, output);
            });
            sweep::<i16, i8, i32, i8>([a, b, out, in_ram.scratch_len(), out], &|maps, residual, scratch, output| {
                in_ram.run::<I, _>(CONDITION, maps, residual, scratch, output);
            });
        }
        let channels = sums.geometry.input.channels;
        let output = Shape { channels, ..sums.geometry.output };
        let depthwise = DepthwiseInt8 {
            geometry: Geometry { output, ..sums.geometry },
            zero_point: 4,
            weights: leak(&vec![7; sums.geometry.patch_len()]),
            bias: Bias { steps: leak(&vec![9; channels]), classes: &[] },
            epilogue: crate::epilogue::Epilogue {
                residual_multipliers: leak(&vec![300; channels]),
                requantize: crate::requantize::Requantize {
                    multipliers: leak(&vec![1 << 22; channels]),
                    ..epilogue.requantize
                },
                ..epilogue
            },
        };
        let depthwise = depthwise.checked();
        let out = depthwise.output_len();
        sweep::<i8, i8, i8, i8>([depthwise.input_len(), 0, out, 0, out], &|[map, _], residual, _, output| {
            depthwise.run::<I>(CONDITION, map, residual, output);
        });
    }

    fn floats_of<I: Isa, T: Real + Element>(geometry: Geometry) {
        let (in_c, out_c) = (geometry.input.channels, geometry.output.channels);
        let values = |len: usize| leak(&vec![T::from(1); len]);
        let conv = Conv2dFloat {
            geometry,
            channels: [in_c, 0],
            weights: values(geometry.patch_len() * out_c),
            bias: Bias { steps: values(out_c), classes: &[] },
            activation: Activation::Silu,
        };
        let conv = conv.checked();
        let ([a, b], out, len) = (conv.input_lens(), conv.output_len(), conv.scratch_len::<I>());
        sweep::<T, f32, f32, f32>([a, b, out, len, out], &|maps, residual, scratch, output| {
            conv.run::<I, T, f32>(CONDITION, maps, residual, scratch, output);
        });
        let depthwise = DepthwiseFloat {
            geometry: Geometry { output: Shape { channels: in_c, ..geometry.output }, ..geometry },
            weights: values(geometry.patch_len()),
            bias: Bias { steps: values(in_c), classes: &[] },
            activation: Activation::Identity,
        };
        let depthwise = depthwise.checked();
        let out = depthwise.output_len();
        sweep::<T, T, f32, T>([depthwise.input_len(), 0, out, 0, out], &|[map, _], residual, _, output| {
            depthwise.run(CONDITION, map, residual, output);
        });
    }

    /// Layers of maps of one shape.
    fn shapes_of<I: Isa>(shape: Shape) {
        let (len, channels) = (shape.len(), shape.channels);
        let rows = Bias { steps: leak(&vec![1.0f32; 2 * channels]), classes: &[] };
        let norm = GroupNormInt8 { shape, groups: 1, eps: 0.5, rows, table: None }.checked();
        assert_eq!(norm.output_len(), len);
        for exact in [[0, 0, len, norm.scratch_len(), len], [0, 0, 0, norm.scratch_len(), len]] {
            sweep::<i8, i8, i32, i8>(exact, &|_, input, scratch, output| {
                norm.run::<I>(CONDITION, input, scratch, output);
            });
        }
        let norm = GroupNormFloat { shape, groups: 1, eps: 0.5, rows, activation: Activation::Identity }.checked();
        sweep::<f32, f32, f32, f32>([0, 0, len, norm.scratch_len(), len], &|_, input, scratch, output| {
            norm.run::<I, f32>(CONDITION, input, scratch, output);
        });
        static EXP: [i16; EXP_LEN] = [9; EXP_LEN];
        let attention = AttentionInt8 {
            shape,
            heads: 1,
            q_zero_point: 0,
            shift: 0,
            multiplier: 2,
            exp: &EXP,
            ratio: 2f32.powi(40),
            offset: 128,
        };
        let attention = attention.checked();
        sweep::<i8, i8, i32, i8>([len, len, len, attention.scratch_len::<I>(), len], &|[k, v], q, scratch, output| {
            attention.run::<I>(q, k, v, scratch, output);
        });
        let attention = AttentionFloat { shape, heads: 1, scale: 0.5 }.checked();
        sweep::<f32, f32, f32, f32>([len, len, len, attention.scratch_len(), len], &|[k, v], q, scratch, output| {
            attention.run::<I, f32>(q, k, v, scratch, output);
        });
        // The output's length is theirs, so that it cannot be longer.
        let add = AddInt8 { multipliers: [9; 2], bias: 1, shift: 1, multiplier: 1 << 30, zero_point: 2 }.checked();
        let short = catch_unwind(|| add.run::<I>(&vec![1; len - 1], Residual::InOutput, &mut vec![0; len]));
        assert_eq!(short.is_err(), cfg!(debug_assertions));
        let mut output = vec![5; len];
        let run = AssertUnwindSafe(|| add.run::<I>(&vec![1; len], Residual::From(&vec![1; len - 1]), &mut output));
        assert_eq!((catch_unwind(run).is_err(), output), (cfg!(debug_assertions), vec![5; len]));
    }

    macro_rules! each {
        ($run:ident($argument:expr): $($isa:ident)*) => {
            $($run::<$isa>($argument);)*
        };
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn convolutions_keep_to_their_buffers(plain in convolutions(geometries())) {
            each!(convolutions_of(plain): Portable Pairs Quads Armv6m Dsp Helium Riscv32 Avx2 Avx512Vnni Neon NeonDot Simd128);
        }

        #[test]
        fn winograd_keeps_to_its_buffers(plain in convolutions(geometries().prop_map(|geometry| Geometry {
            output: Shape { channels: geometry.output.channels, ..geometry.input },
            kernel: [3; 2], stride: [1; 2], padding: [1; 2], upsample: [1; 2], ..geometry
        }))) {
            each!(convolutions_of(plain): Portable Pairs Quads Armv6m Dsp Helium Riscv32 Avx2 Avx512Vnni Neon NeonDot Simd128);
        }

        #[test]
        fn floats_keep_to_their_buffers(geometry in geometries()) {
            floats_of::<Portable, f32>(geometry);
            floats_of::<Avx2, f32>(geometry);
            floats_of::<Avx512Vnni, f32>(geometry);
            floats_of::<Avx2, half::f16>(geometry);
        }

        #[test]
        fn layers_of_one_shape_keep_to_their_buffers(height in 1usize..5, width in 1usize..5, channels in 1usize..40) {
            let shape = Shape { height, width, channels };
            each!(shapes_of(shape): Portable Dsp Helium Avx2 Avx512Vnni Neon Simd128);
        }
    }

    #[test]
    fn elementwise_layers_keep_to_their_buffers() {
        let table: &'static [i8; 256] = &leak(&[[3; 256]])[0];
        let activation = ActivationInt8 { table }.checked();
        let mut output = [5; 4];
        let run = AssertUnwindSafe(|| activation.run(Residual::From(&[1; 3]), &mut output));
        assert_eq!((catch_unwind(run).is_err(), output), (cfg!(debug_assertions), [5; 4]));
        let mut output = [2.0f32; 4];
        let activation = ActivationFloat { activation: Activation::Silu }.checked();
        let run = AssertUnwindSafe(|| activation.run(Residual::From(&[1.0; 3]), &mut output));
        assert_eq!((catch_unwind(run).is_err(), output), (cfg!(debug_assertions), [2.0; 4]));
        let add = AddFloat { activation: Activation::Identity }.checked();
        let run = AssertUnwindSafe(|| add.run(&[1.0; 3], Residual::InOutput, &mut output));
        assert_eq!((catch_unwind(run).is_err(), output), (cfg!(debug_assertions), [2.0; 4]));
        let blocks = DepthToSpace { input: Shape { height: 2, width: 3, channels: 4 }, block: 2 }.checked();
        sweep::<i8, i8, i8, i8>([24, 0, 0, 0, 24], &|[map, _], _, _, output| blocks.run(map, output));
    }

    /// Every kernel with a geometry or a shape.
    #[test]
    fn zero_dimensions_are_refused() {
        let one = Shape { height: 2, width: 2, channels: 1 };
        let whole =
            Geometry { input: one, output: one, kernel: [3; 2], stride: [1; 2], padding: [1; 2], upsample: [1; 2] };
        let zeros: [fn(&mut Geometry) -> &mut usize; 12] = [
            |g| &mut g.input.height,
            |g| &mut g.input.width,
            |g| &mut g.input.channels,
            |g| &mut g.output.height,
            |g| &mut g.output.width,
            |g| &mut g.output.channels,
            |g| &mut g.kernel[0],
            |g| &mut g.kernel[1],
            |g| &mut g.stride[0],
            |g| &mut g.stride[1],
            |g| &mut g.upsample[0],
            |g| &mut g.upsample[1],
        ];
        for dimension in zeros {
            for value in [0, usize::MAX] {
                let mut geometry = whole;
                *dimension(&mut geometry) = value;
                let (channels, bias) = ([geometry.input.channels, 0], Bias { steps: &[0], classes: &[] });
                let sums = Sums { geometry, channels, zero_points: [0; 2], weights: &[], bias };
                assert!(Conv2dInt8Head { sums, scales: &[1.0] }.proved::<Portable>().is_err());
                let bias = Bias { steps: &[0.0], classes: &[] };
                let activation = Activation::Identity;
                assert!(Conv2dFloat { geometry, channels, weights: &[], bias, activation }.proved().is_err());
                assert!(DepthwiseFloat { geometry, weights: &[], bias, activation }.proved().is_err());
                let shape = geometry.input;
                if !shape.is_valid() {
                    assert!(AttentionFloat { shape, heads: 1, scale: 1.0 }.proved().is_err());
                    assert!(DepthToSpace { input: shape, block: 1 }.proved().is_err());
                    let rows = Bias { steps: &[1.0; 2][..], classes: &[] };
                    assert!(GroupNormInt8 { shape, groups: 1, eps: 1.0, rows, table: None }.proved().is_err());
                }
            }
        }
    }
}
