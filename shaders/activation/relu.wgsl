
// max(0, z), written so that NaN stays NaN.
fn activation_relu(z: f32) -> f32 {
    return select(z, 0.0, z < 0.0);
}

fn activation_relu_prime(a: f32) -> f32 {
    return select(0.0, 1.0, a > 0.0);
}
