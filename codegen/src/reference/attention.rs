//! Attention, naively.

/// softmax(qᵀk / √d) · v per head, over all positions; maps are `[channels, height, width]`.
#[must_use]
pub fn attention([q, k, v]: [&[f32]; 3], channels: usize, heads: usize) -> Vec<f32> {
    let (area, width) = (q.len() / channels, channels / heads);
    let mut output = vec![0.0; v.len()];
    for head in 0..heads {
        let planes = head * width..(head + 1) * width;
        let at = |map: &[f32], plane: usize, position: usize| f64::from(map[plane * area + position]);
        for i in 0..area {
            let score = |j: usize| planes.clone().map(|plane| at(q, plane, i) * at(k, plane, j)).sum::<f64>();
            let scores: Vec<f64> = (0..area).map(|j| score(j) / libm::sqrt(width as f64)).collect();
            let largest = scores.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let weights: Vec<f64> = scores.iter().map(|score| libm::exp(score - largest)).collect();
            let total: f64 = weights.iter().sum();
            for plane in planes.clone() {
                let sum: f64 = weights.iter().enumerate().map(|(j, weight)| weight * at(v, plane, j)).sum();
                output[plane * area + i] = (sum / total) as f32;
            }
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heads_by_hand() {
        // Head 0: scores 0 and ln 3, weights ¼ and ¾ at position 0, equal ones at position 1. Head 1: all equal.
        let ln3 = 3f32.ln();
        let (q, k) = ([1.0, 0.0, 0.0, 0.0], [0.0, ln3, 7.0, 8.0]);
        let v = [4.0, 8.0, 1.0, 2.0];
        let out = attention([&q, &k, &v], 2, 2);
        let expected = [7.0, 6.0, 1.5, 1.5];
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{out:?}");
    }
}
