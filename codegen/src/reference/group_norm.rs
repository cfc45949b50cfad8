//! Group normalisation, naively.

/// (x − μ) / √(σ² + eps) · weight + bias per run of channels, `x` `[channels, height, width]`.
#[must_use]
pub fn group_norm(x: &[f32], groups: usize, eps: f64, weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let channels = weight.len();
    let area = x.len() / channels;
    let mut output = Vec::with_capacity(x.len());
    for (group, values) in x.chunks_exact(x.len() / groups).enumerate() {
        let count = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let variance = values.iter().map(|&v| (f64::from(v) - mean) * (f64::from(v) - mean)).sum::<f64>() / count;
        let reciprocal = 1.0 / libm::sqrt(variance + eps);
        for (plane, values) in values.chunks_exact(area).enumerate() {
            let channel = group * (channels / groups) + plane;
            let (weight, bias) = (f64::from(weight[channel]), f64::from(bias[channel]));
            output.extend(values.iter().map(|&v| ((f64::from(v) - mean) * reciprocal * weight + bias) as f32));
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_by_hand() {
        // Mean 2, variance 1; and a constant group.
        let x = [1.0, 3.0, 1.0, 3.0, 5.0, 5.0, 5.0, 5.0];
        let out = group_norm(&x, 2, 1e-12, &[2.0, 1.0, 1.0, 9.0], &[0.5, 0.0, 0.25, -1.0]);
        let expected = [-1.5, 2.5, -1.0, 1.0, 0.25, 0.25, -1.0, -1.0];
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{out:?}");
    }
}
