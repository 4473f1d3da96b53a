
// The linear neuron: its activation is its weighted input.
fn sigma(z: f32) -> f32 {
    return z;
}

fn sigma_prime(z: f32) -> f32 {
    return 1.0;
}

fn sigma_prime_from_a(a: f32) -> f32 {
    return 1.0;
}
