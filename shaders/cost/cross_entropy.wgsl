
// The cross-entropy of one sigmoid output of one example (equation 63 of the book), from its
// weighted input: where a rounds to 1, ln(1 − a) would be infinite.
fn cost_cross_entropy(z: f32, y: f32) -> f32 {
    return max(z, 0.0) - z * y + log(1.0 + exp(-abs(z)));
}

// BP1: σ′ of the sigmoid cancels
fn cost_cross_entropy_output_error(a: f32, y: f32, prime: f32) -> f32 {
    return a - y;
}
