
// The sigmoid (equation 3 of the book). exp of a negative number only: it never overflows, and for
// large |z| σ is exactly 0 or 1.
fn activation_sigmoid(z: f32) -> f32 {
    let e = exp(-abs(z));
    return select(e, 1.0, z >= 0.0) / (1.0 + e);
}

fn activation_sigmoid_prime(a: f32) -> f32 {
    return a * (1.0 - a);
}
