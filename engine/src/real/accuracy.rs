//! For tests: errors over every f32 of a range, and the polynomials with the least error.

use core::ops::RangeInclusive;
use std::{eprintln, vec::Vec};

/// Every how many-th f32 is tried; 1, every one, with `GRANO_EVERY_F32` in the environment: minutes.
fn stride() -> usize {
    if std::env::var_os("GRANO_EVERY_F32").is_some() { 1 } else { 499 }
}

/// The distance between the f32 neighbours of a value of this size; that of subnormal numbers below 2⁻¹²⁶.
pub fn unit(value: f64) -> f64 {
    let size = value.abs().max(f32::MIN_POSITIVE.into());
    f64::from_bits(size.to_bits() & 0x7ff0_0000_0000_0000) * f64::from(f32::EPSILON)
}

/// The largest value of a function of f32 in a range, and where it is.
pub fn worst_of(range: RangeInclusive<f32>, error: impl Fn(f32) -> f64 + Sync) -> (f64, f32) {
    let halves = [0, 1 << 31].map(|sign| {
        let (error, range) = (&error, &range);
        move || {
            let values = (0..=f32::MAX.to_bits()).step_by(stride()).map(|bits| f32::from_bits(bits | sign));
            let ends = [*range.start(), *range.end()];
            let errors = values.chain(ends).filter(|x| range.contains(x)).map(|x| (error(x), x));
            errors.fold((0.0, 0.0), |a, b| if b.0 > a.0 || b.0.is_nan() { b } else { a })
        }
    });
    let [a, b] = std::thread::scope(|scope| halves.map(|half| scope.spawn(half)).map(|half| half.join().unwrap()));
    let worst = if b.0 > a.0 || b.0.is_nan() { b } else { a };
    eprintln!("{range:?}: {} at {}", worst.0, worst.1);
    worst
}

/// The largest error of a function in units in the last place of the exact result, and where it is.
pub fn worst(
    range: RangeInclusive<f32>,
    ours: impl Fn(f32) -> f32 + Sync,
    exact: impl Fn(f64) -> f64 + Sync,
) -> (f64, f32) {
    worst_of(range, |x| {
        let exact = exact(x.into());
        (f64::from(ours(x)) - exact).abs() / unit(exact)
    })
}

/// Fails unless the coefficients are those of the minimax polynomial, rounded, and its error is below `error`.
pub fn assert_coefficients<const N: usize>(
    ours: &[impl Into<f64> + Copy; N],
    f: impl Fn(f64) -> f64,
    weight: impl Fn(f64) -> f64,
    range: [f64; 2],
    error: f64,
) {
    let (exact, least) = minimax::<N>(f, weight, range);
    // Where the weight is small, the last bits of a coefficient depend on how the computer rounds.
    for (ours, exact) in ours.iter().zip(exact) {
        let ours = (*ours).into();
        assert!((ours - exact).abs() < 2e-6 * exact.abs(), "{ours} {exact}");
    }
    assert!(least < error, "{least}");
}

/// The polynomial Σ cᵢ xⁱ whose largest error |w(x) · (Σ cᵢ xⁱ − f(x))| in a range is the least, and that error, by
/// Remez's exchange (1934): errors of alternating sign and equal size at N + 1 points, which then move to where the
/// errors are the largest.
fn minimax<const N: usize>(f: impl Fn(f64) -> f64, w: impl Fn(f64) -> f64, [low, high]: [f64; 2]) -> ([f64; N], f64) {
    const GRID: usize = 20_000;
    let node = |part: f64| (low + high) / 2.0 - (high - low) / 2.0 * libm::cos(core::f64::consts::PI * part);
    let mut points: Vec<f64> = (0..=N).map(|i| node((i as f64 + 0.5) / (N + 1) as f64)).collect();
    let (mut c, mut worst) = ([0.0; N], 0.0);
    for _ in 0..40 {
        // Σ cᵢ xⁱ ± e / w(x) = f(x): the unknowns are c and e.
        let row = |(i, &x): (usize, &f64)| {
            let sign = if i.is_multiple_of(2) { 1.0 } else { -1.0 };
            (0..N).map(|k| libm::pow(x, k as f64)).chain([sign / w(x), f(x)]).collect()
        };
        let solution = solve(points.iter().enumerate().map(row).collect());
        c.copy_from_slice(&solution[..N]);
        let error = |x: f64| w(x) * (c.iter().rev().fold(0.0, |sum, c| sum * x + c) - f(x));
        // Of each run of errors of one sign the largest.
        let mut peaks = Vec::<(f64, f64)>::new();
        for x in (0..=GRID).map(|i| node(i as f64 / GRID as f64)) {
            let e = error(x);
            match peaks.last_mut() {
                Some(peak) if (peak.1 < 0.0) == (e < 0.0) => {
                    *peak = if e.abs() > peak.1.abs() { (x, e) } else { *peak }
                }
                _ => peaks.push((x, e)),
            }
        }
        worst = peaks.iter().map(|peak| peak.1.abs()).fold(0.0, f64::max);
        while peaks.len() > N + 1 {
            let at_start = peaks[0].1.abs() < peaks[peaks.len() - 1].1.abs();
            peaks.remove(if at_start { 0 } else { peaks.len() - 1 });
        }
        assert_eq!(peaks.len(), N + 1, "errors alternate");
        points = peaks.into_iter().map(|peak| peak.0).collect();
    }
    (c, worst)
}

/// Gauss–Jordan with pivots; a row is the coefficients and the right side.
fn solve(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let n = rows.len();
    for i in 0..n {
        let pivot = (i..n).max_by(|&a, &b| rows[a][i].abs().total_cmp(&rows[b][i].abs())).unwrap();
        rows.swap(i, pivot);
        let pivot = rows[i].clone();
        for row in rows.iter_mut().enumerate().filter(|(r, _)| *r != i).map(|(_, row)| row) {
            let factor = row[i] / pivot[i];
            row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
        }
    }
    rows.iter().enumerate().map(|(i, row)| row[n] / row[i]).collect()
}
