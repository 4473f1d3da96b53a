
// The linear neuron: its activation is its weighted input.
fn activation_linear(z: f32) -> f32 {
    return z;
}

fn activation_linear_prime(a: f32) -> f32 {
    return 1.0;
}
