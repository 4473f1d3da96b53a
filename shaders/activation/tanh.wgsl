
// tanh from exp of a negative number: it never overflows. WGSL's own tanh may be off by 1e-5.
fn activation_tanh(z: f32) -> f32 {
    let e = exp(-2.0 * abs(z));
    let magnitude = (1.0 - e) / (1.0 + e);
    return select(magnitude, -magnitude, z < 0.0);
}

fn activation_tanh_prime(a: f32) -> f32 {
    return 1.0 - a * a;
}
