
// Softmax (equation 78 of the book) of normalized weighted inputs: z − ln Σ exp(z), which only
// rounding can make positive. NaN stays NaN.
fn activation_softmax(z: f32) -> f32 {
    return exp(select(z, 0.0, z > 0.0));
}

// ∂a_j/∂z_j, which the log-likelihood cost does not use.
fn activation_softmax_prime(a: f32) -> f32 {
    return a * (1.0 - a);
}
