//! Means and covariances of features, and the Fréchet distance between the Gaussians that have them (Heusel et al. 2017),
//!
//! ```text
//! FD = |μ − μ_r|² + Tr(Σ + Σ_r − 2·(Σ·Σ_r)^½)
//! ```
//!
//! in f64. The square root's trace is that of (Σ_r^½·Σ·Σ_r^½)^½, which is symmetric.

use tch::{Kind, Tensor};

/// What a set's features have in the mean, all f64.
pub struct Moments {
    /// `[d]`.
    pub mean: Tensor,
    /// `[d, d]`.
    pub covariance: Tensor,
}

impl Moments {
    /// Of features `[n, d]` of any number type, n ≥ 2; the covariance's divisor is n − 1.
    pub fn of(features: &Tensor) -> Self {
        let features = features.to_kind(Kind::Double);
        let mean = features.mean_dim(&[0i64][..], false, Kind::Double);
        let centred = &features - &mean;
        let covariance = centred.tr().matmul(&centred) / (features.size()[0] - 1) as f64;
        Self { mean, covariance }
    }
}

/// The real pictures' side of the distance.
pub struct Real {
    moments: Moments,
    /// Σ_r^½; what rounding took below 0 counts as 0.
    root: Tensor,
    /// Eigenvalues of Σ_r^½·Σ·Σ_r^½ count as no smaller than this where they are divided by.
    smallest: f64,
}

/// … times the square of Σ_r's largest: where neither set varies there is none of the distance.
const SMALLEST: f64 = 1e-13;

impl Real {
    /// Of what the real pictures have.
    pub fn new(moments: Moments) -> Self {
        let (values, vectors) = moments.covariance.linalg_eigh("L");
        let root = (&vectors * values.clamp_min(0.0).sqrt()).matmul(&vectors.tr());
        let smallest = SMALLEST * values.max().double_value(&[]).powi(2);
        Self { moments, root, smallest }
    }

    /// The distance of other pictures.
    pub fn distance(&self, drawn: &Moments) -> f64 {
        let (values, _) = self.spectrum(drawn);
        self.distance_by(drawn, &values)
    }

    /// The distance, and n times its gradient with respect to features f64 `[n, d]`, of which `drawn` are the moments
    /// (divisor n); like `features`,
    ///
    /// ```text
    /// 2·(μ − μ_r) + 2·(f − μ)·(1 − Σ_r^½·(Σ_r^½·Σ·Σ_r^½)^−½·Σ_r^½)
    /// ```
    ///
    /// whose last bracket is 1 less the map that carries Σ to Σ_r at least cost (Mathiasen & Hvilshøj 2020 get the same by
    /// automatic differentiation).
    pub fn gradient(&self, drawn: &Moments, features: &Tensor) -> (f64, Tensor) {
        let (values, vectors) = self.spectrum(drawn);
        let divisors = values.clamp_min(self.smallest).sqrt();
        let inverse = (&vectors / divisors).matmul(&vectors.tr());
        let carried = self.root.matmul(&inverse).matmul(&self.root);
        let centred = features - &drawn.mean;
        let gradient = (&centred - centred.matmul(&carried) + &drawn.mean - &self.moments.mean) * 2.0;
        (self.distance_by(drawn, &values), gradient)
    }

    /// Eigenvalues, ascending, and eigenvectors of Σ_r^½·Σ·Σ_r^½.
    fn spectrum(&self, drawn: &Moments) -> (Tensor, Tensor) {
        let product = self.root.matmul(&drawn.covariance).matmul(&self.root);
        ((&product + product.tr()) * 0.5).linalg_eigh("L")
    }

    fn distance_by(&self, drawn: &Moments, spectrum: &Tensor) -> f64 {
        let root = spectrum.clamp_min(0.0).sqrt().sum(Kind::Double);
        let traces = self.moments.covariance.trace() + drawn.covariance.trace() - root * 2.0;
        ((&self.moments.mean - &drawn.mean).square().sum(Kind::Double) + traces).double_value(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use tch::Device;

    /// `[2d, d]` with mean `mean` and covariance diag(variance): ± one axis at a time.
    fn crosses(mean: &[f64], variance: &[f64]) -> Tensor {
        let d = mean.len();
        let points = (0..2 * d).flat_map(|i| {
            let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
            // Of the 2d points two have a coordinate: its variance is 2·r²/(2d − 1).
            let radius = (variance[i / 2] * (2 * d - 1) as f64 / 2.0).sqrt();
            (0..d).map(move |axis| if axis == i / 2 { sign * radius } else { 0.0 })
        });
        let points: Vec<f64> = points.collect();
        Tensor::from_slice(&points).reshape([2 * d as i64, d as i64]) + Tensor::from_slice(mean)
    }

    /// For diagonal covariances FD = Σ (m₁ − m₂)² + (s₁ − s₂)².
    #[test]
    fn diagonal_gaussians_have_a_closed_form() {
        let (m1, v1) = ([0.0, 1.0, -2.0, 0.5], [1.0f64, 4.0, 0.25, 0.0]);
        let (m2, v2) = ([1.0f64, 1.0, 1.5, 0.0], [2.0f64, 1.0, 0.5, 3.0]);
        let expected: f64 = (0..4).map(|i| (m1[i] - m2[i]).powi(2) + (v1[i].sqrt() - v2[i].sqrt()).powi(2)).sum();
        let (first, second) = (crosses(&m1, &v1), crosses(&m2, &v2));
        let real = Real::new(Moments::of(&first));
        assert!((real.distance(&Moments::of(&second)) - expected).abs() < 1e-7);
        // Turning both sets changes nothing.
        let _alone = testing::seed(0);
        let (turn, _) = Tensor::linalg_qr(&Tensor::randn([4, 4], (Kind::Double, Device::Cpu)), "reduced");
        let turned = Real::new(Moments::of(&first.matmul(&turn)));
        assert!((turned.distance(&Moments::of(&second.matmul(&turn))) - expected).abs() < 1e-7);
        assert!(real.distance(&Moments::of(&first)).abs() < 1e-7, "a set is at 0 from itself");
    }

    #[test]
    fn the_gradient_is_that_of_differences() {
        let _alone = testing::seed(0);
        let normal = |shape: [i64; 2]| Tensor::randn(shape, (Kind::Double, Device::Cpu));
        let real = Real::new(Moments::of(&normal([500, 5]).matmul(&normal([5, 5]))));
        let (features, towards) = (normal([40, 5]) * 0.7 + 0.3, normal([40, 5]));
        // With divisor n.
        let moments = |features: &Tensor| {
            let Moments { mean, covariance } = Moments::of(features);
            Moments { mean, covariance: covariance * (39.0 / 40.0) }
        };
        let (distance, gradient) = real.gradient(&moments(&features), &features);
        assert!((distance - real.distance(&moments(&features))).abs() < 1e-9);
        let slope = (gradient * &towards).sum(Kind::Double).double_value(&[]) / 40.0;
        let [above, below] = [1e-5, -1e-5].map(|step| real.distance(&moments(&(&features + &towards * step))));
        let expected = (above - below) / 2e-5;
        assert!((slope - expected).abs() < 1e-5 * expected.abs() && expected.abs() > 0.1, "{slope}, not {expected}");
    }
}
