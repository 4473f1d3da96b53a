
// The log-likelihood cost −Σ y ln a of softmax outputs (equation 80 of the book); the normalized
// weighted input is ln a.
fn cost_log_likelihood(z: f32, y: f32) -> f32 {
    return -y * z;
}

// BP1 (equation 82)
fn cost_log_likelihood_output_error(a: f32, y: f32, prime: f32) -> f32 {
    return a - y;
}
