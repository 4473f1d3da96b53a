
// z, or z/100 below 0: the slope is never 0.
fn activation_leaky_relu(z: f32) -> f32 {
    return select(z, 0.01 * z, z < 0.0);
}

fn activation_leaky_relu_prime(a: f32) -> f32 {
    return select(0.01, 1.0, a > 0.0);
}
