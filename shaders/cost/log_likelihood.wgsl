
// The log-likelihood cost of softmax outputs (equation 80 of the book): −Σ y ln a, and ln a is the normalized weighted
// input.
fn cost_log_likelihood(z: f32, y: f32) -> f32 {
    return -y * z;
}

// BP1 (equation 82)
fn cost_log_likelihood_output_error(a: f32, y: f32, prime: f32) -> f32 {
    return a - y;
}
