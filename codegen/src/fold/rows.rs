//! Vectors that wait for step and class.

/// Vectors that depend on step and class as a sum: `steps[step] + classes[class]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// One row for all steps, or one a step.
    pub steps: Vec<Vec<f64>>,
    /// No rows, or one a class and one for "no class".
    pub classes: Vec<Vec<f64>>,
}

impl Rows {
    /// A constant vector.
    #[must_use]
    pub fn constant(vector: &[f32]) -> Self {
        Self { steps: vec![vector.iter().map(|&v| v.into()).collect()], classes: Vec::new() }
    }

    /// The vector at one step and class.
    #[must_use]
    pub fn at(&self, step: usize, class: usize) -> Vec<f64> {
        let mut sum = self.steps[if self.steps.len() == 1 { 0 } else { step }].clone();
        if let Some(row) = self.classes.get(class) {
            sum.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
        }
        sum
    }

    /// The element-wise sum of two sets of rows.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let add = |a: &[Vec<f64>], b: &[Vec<f64>]| -> Vec<Vec<f64>> {
            let row = |rows: &[Vec<f64>], i: usize| rows.get(if rows.len() == 1 { 0 } else { i }).cloned();
            (0..a.len().max(b.len()))
                .filter_map(|i| match (row(a, i), row(b, i)) {
                    (Some(a), Some(b)) => Some(a.iter().zip(&b).map(|(a, b)| a + b).collect()),
                    (one, other) => one.or(other),
                })
                .collect()
        };
        Self { steps: add(&self.steps, &other.steps), classes: add(&self.classes, &other.classes) }
    }

    /// Every vector times one number per element.
    #[must_use]
    pub fn times(&self, gain: &[f32]) -> Self {
        let scale = |rows: &[Vec<f64>]| -> Vec<Vec<f64>> {
            rows.iter().map(|row| row.iter().zip(gain).map(|(v, &g)| v * f64::from(g)).collect()).collect()
        };
        Self { steps: scale(&self.steps), classes: scale(&self.classes) }
    }
}
