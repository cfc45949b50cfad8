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

    /// The vector, where it depends on neither step nor class.
    #[must_use]
    pub fn as_constant(&self) -> Option<&[f64]> {
        match &self.steps[..] {
            [row] if self.classes.is_empty() => Some(row),
            _ => None,
        }
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
        let gain: Vec<f64> = gain.iter().map(|&g| g.into()).collect();
        self.scaled(&gain)
    }

    fn scaled(&self, gain: &[f64]) -> Self {
        let scale = |rows: &[Vec<f64>]| rows.iter().map(|row| product(row, gain)).collect();
        Self { steps: scale(&self.steps), classes: scale(&self.classes) }
    }

    /// The element-wise product of two sets of rows; none where it is no sum of a part of the step and one of the class.
    #[must_use]
    pub fn product(&self, other: &Self) -> Option<Self> {
        if let Some(gain) = other.as_constant() {
            return Some(self.scaled(gain));
        }
        if let Some(gain) = self.as_constant() {
            return Some(other.scaled(gain));
        }
        let both = [self, other];
        if both.iter().all(|rows| rows.classes.is_empty()) {
            let count = self.steps.len().max(other.steps.len());
            let steps = (0..count).map(|step| product(&self.at(step, 0), &other.at(step, 0))).collect();
            return Some(Self { steps, classes: Vec::new() });
        }
        if both.iter().any(|rows| rows.steps.len() > 1) {
            return None;
        }
        let count = self.classes.len().max(other.classes.len());
        let classes = (0..count).map(|class| product(&self.at(0, class), &other.at(0, class))).collect();
        Some(Self { steps: vec![vec![0.0; self.steps[0].len()]], classes })
    }

    /// Every element through a function: of `steps` and of `classes`.
    #[must_use]
    pub(crate) fn each(&self, steps: impl Fn(f64) -> f64, classes: impl Fn(f64) -> f64) -> Self {
        Self {
            steps: self.steps.iter().map(|row| row.iter().map(|&v| steps(v)).collect()).collect(),
            classes: self.classes.iter().map(|row| row.iter().map(|&v| classes(v)).collect()).collect(),
        }
    }

    /// Rows of a vector of these and one of the others behind it.
    #[must_use]
    pub(crate) fn beside(&self, other: &Self) -> Self {
        let lens = [self, other].map(|rows| rows.steps[0].len());
        let zeros = |rows: &Self, len: usize| match rows.classes.is_empty() {
            true => vec![vec![0.0; len]],
            false => rows.classes.clone(),
        };
        let join = |a: &[Vec<f64>], b: &[Vec<f64>]| -> Vec<Vec<f64>> {
            let row = |rows: &[Vec<f64>], i: usize| rows[if rows.len() == 1 { 0 } else { i }].clone();
            (0..a.len().max(b.len())).map(|i| [row(a, i), row(b, i)].concat()).collect()
        };
        let classes = match self.classes.is_empty() && other.classes.is_empty() {
            true => Vec::new(),
            false => join(&zeros(self, lens[0]), &zeros(other, lens[1])),
        };
        Self { steps: join(&self.steps, &other.steps), classes }
    }

    /// `[steps][elements]` and `[classes + 1][elements]`, as devices compute with them.
    #[must_use]
    pub(crate) fn flat(&self) -> [Vec<f32>; 2] {
        [&self.steps, &self.classes].map(|rows| rows.iter().flatten().map(|&v| v as f32).collect())
    }
}

fn product(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(steps: &[f64], classes: &[f64]) -> Rows {
        let column = |values: &[f64]| values.iter().map(|&v| vec![v]).collect();
        Rows { steps: column(steps), classes: column(classes) }
    }

    #[test]
    fn products_are_those_of_every_step_and_class() {
        let (constant, steps, classes) = (rows(&[3.0], &[]), rows(&[2.0, 5.0], &[]), rows(&[1.0], &[4.0, 7.0]));
        let mixed = rows(&[2.0, 5.0], &[4.0, 7.0]);
        for (a, b) in [(&constant, &mixed), (&mixed, &constant), (&steps, &steps), (&classes, &classes)] {
            let product = a.product(b).unwrap();
            for (step, class) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                assert_eq!(product.at(step, class)[0], a.at(step, class)[0] * b.at(step, class)[0]);
            }
        }
        assert!(steps.product(&classes).is_none() && mixed.product(&steps).is_none());
    }

    #[test]
    fn vectors_side_by_side_are_chosen_together() {
        let (a, b) = (rows(&[2.0, 5.0], &[]), rows(&[1.0], &[4.0, 7.0]));
        let both = a.beside(&b);
        assert_eq!(both.at(1, 1), [5.0, 8.0]);
        assert_eq!(both.at(0, 0), [2.0, 5.0]);
        assert_eq!(both.flat(), [vec![2.0, 1.0, 5.0, 1.0], vec![0.0, 4.0, 0.0, 7.0]]);
    }
}
