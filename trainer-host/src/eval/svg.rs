//! Small pictures for the report: curves, histograms and bars, as SVG without fonts or scripts.

use std::cmp::Ordering;

use maud::{Markup, html};

/// Size of a plot in user units, without its labels.
const SIZE: [f64; 2] = [460.0, 200.0];
/// Room for the axes' labels: left, below.
const MARGIN: [f64; 2] = [64.0, 40.0];
/// In turn.
const COLOURS: [&str; 6] = ["#2563a8", "#c2571a", "#3d8b40", "#8a4fa3", "#7a6a2f", "#555f69"];

/// A curve.
pub struct Curve {
    /// For the legend.
    pub name: String,
    /// x and y, x rising or falling.
    pub points: Vec<[f64; 2]>,
}

/// How y is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By its logarithm; what is not above 0 is left out.
    Logarithmic,
}

/// Curves with their legend, on axes that hold all of them.
pub fn curves(x_name: &str, y_name: &str, scale: Scale, curves: &[Curve]) -> Markup {
    let seen = |[x, y]: &[f64; 2]| x.is_finite() && y.is_finite() && (scale == Scale::Linear || *y > 0.0);
    let height = |y: f64| if scale == Scale::Linear { y } else { y.log10() };
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied().filter(seen));
    let x = Axis::of(points().map(|[x, _]| x));
    let y = Axis::of(points().map(|[_, y]| height(y)));
    let place = |[px, py]: [f64; 2]| format!("{:.1},{:.1}", at_x(x.part(px)), at_y(y.part(height(py))));
    let path = |curve: &Curve| curve.points.iter().copied().filter(seen).map(place).collect::<Vec<_>>().join(" ");
    let tick = |value: f64| if scale == Scale::Linear { value } else { 10f64.powf(value) };
    frame(
        x_name,
        y_name,
        &html! {
            (x_ticks(x))
            @for value in y.ticks() { (y_tick(y.part(value), &short(tick(value)))) }
            @for (i, curve) in curves.iter().enumerate() {
                @let colour = COLOURS[i % COLOURS.len()];
                polyline points=(path(curve)) fill="none" stroke=(colour) stroke-width="1.6" {}
                (legend(i, &curve.name, colour))
            }
        },
    )
}

/// Parts of each set of values in `bins` equal bins over the range of all.
pub fn histograms(x_name: &str, bins: usize, sets: &[(String, &[f64])]) -> Markup {
    let x = Axis::of(sets.iter().flat_map(|(_, values)| values.iter().copied()));
    let curve = |(name, values): &(String, &[f64])| {
        let mut parts = vec![0.0; bins];
        for value in *values {
            parts[((x.part(*value) * bins as f64) as usize).min(bins - 1)] += 1.0 / values.len() as f64;
        }
        let middle = |bin: usize| x.low + (bin as f64 + 0.5) / bins as f64 * (x.high - x.low);
        Curve { name: name.clone(), points: parts.iter().enumerate().map(|(bin, part)| [middle(bin), *part]).collect() }
    };
    curves(x_name, "part of the pictures", Scale::Linear, &sets.iter().map(curve).collect::<Vec<_>>())
}

/// A bar of a part of the widest.
pub fn bar(part: f64) -> Markup {
    html! { i.bar style=(format!("width: {:.1}rem", 7.0 * part.clamp(0.0, 1.0))) {} }
}

/// A number with about three digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.1e}"),
        size => format!("{value:.*}", (2.0 - size.log10().floor()).clamp(0.0, 5.0) as usize),
    }
}

#[derive(Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        match low.partial_cmp(&high) {
            Some(Ordering::Less) => Self { low, high },
            Some(Ordering::Equal) => Self { low: low - 0.5, high: high + 0.5 },
            _ => Self { low: 0.0, high: 1.0 },
        }
    }

    fn part(self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    fn ticks(self) -> [f64; 5] {
        [0.0, 0.25, 0.5, 0.75, 1.0].map(|part| self.low + part * (self.high - self.low))
    }
}

fn at_x(part: f64) -> f64 {
    MARGIN[0] + part * SIZE[0]
}

fn at_y(part: f64) -> f64 {
    (1.0 - part) * SIZE[1]
}

fn frame(x_name: &str, y_name: &str, inside: &Markup) -> Markup {
    let view = format!("0 -22 {} {}", MARGIN[0] + SIZE[0] + 12.0, SIZE[1] + MARGIN[1] + 22.0);
    html! {
        svg viewBox=(view) role="img" aria-label=(format!("{y_name} over {x_name}")) {
            text x="0" y="-10" { (y_name) }
            text.middle x=(at_x(0.5)) y=(SIZE[1] + 34.0) { (x_name) }
            (inside)
        }
    }
}

fn x_ticks(axis: Axis) -> Markup {
    html! {
        @for value in axis.ticks() {
            text.middle x=(at_x(axis.part(value))) y=(SIZE[1] + 16.0) { (short(value)) }
        }
    }
}

fn y_tick(part: f64, text: &str) -> Markup {
    html! {
        line.grid x1=(at_x(0.0)) x2=(at_x(1.0)) y1=(at_y(part)) y2=(at_y(part)) {}
        text.left x=(MARGIN[0] - 6.0) y=(at_y(part) + 4.0) { (text) }
    }
}

fn legend(i: usize, name: &str, colour: &str) -> Markup {
    let y = 12.0 + 14.0 * i as f64;
    html! { text.left x=(at_x(1.0) - 4.0) y=(y) style=(format!("fill: {colour}")) { (name) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_hold_their_points_and_survive_odd_ones() {
        let curve = |points| [Curve { name: "a<b".into(), points }];
        let plot =
            curves("t", "y", Scale::Linear, &curve(vec![[0.0, 1.0], [10.0, 3.0], [5.0, f64::NAN]])).into_string();
        assert!(plot.contains("points=\"64.0,200.0 524.0,0.0\"") && plot.contains("a&lt;b"), "{plot}");
        for points in [vec![], vec![[1.0, 1.0]], vec![[f64::INFINITY, 0.0]]] {
            for scale in [Scale::Linear, Scale::Logarithmic] {
                let plot = curves("t", "y", scale, &curve(points.clone())).into_string();
                assert!(!plot.contains("NaN") && !plot.contains("inf"), "{plot}");
            }
        }
        let plot = histograms("dB", 2, &[("a".into(), &[1.0, 1.0, 1.0, 3.0])]).into_string();
        assert!(plot.contains("points=\"64.0,0.0 524.0,200.0\""), "{plot}");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, 1234.5, 12.34, 0.1234, 1e-5, 2e7].map(short),
            ["0", "1234", "12.3", "0.123", "1.0e-5", "2.0e7"]
        );
    }
}
