
// Softmax (equation 78 of the book), of weighted inputs that are normalized: z − ln Σ exp(z) is at most 0, but for
// rounding. NaN stays NaN.
fn activation_softmax(z: f32) -> f32 {
    return exp(select(z, 0.0, z > 0.0));
}

// ∂a_j/∂z_j; the log-likelihood needs none of it.
fn activation_softmax_prime(a: f32) -> f32 {
    return a * (1.0 - a);
}
