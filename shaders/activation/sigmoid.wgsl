
// The sigmoid (equation 3 of the book). exp of a negative number only: it never overflows, and
// far out σ is 0 or 1 exactly.
fn sigma(z: f32) -> f32 {
    let e = exp(-abs(z));
    return select(e, 1.0, z >= 0.0) / (1.0 + e);
}

// σ′(z) = σ(z) (1 − σ(z)), written so that neither factor loses digits to cancellation.
fn sigma_prime(z: f32) -> f32 {
    let e = exp(-abs(z));
    return e / ((1.0 + e) * (1.0 + e));
}

// σ′ from a = σ(z), for kernels that no longer know z.
fn sigma_prime_from_a(a: f32) -> f32 {
    return a * (1.0 - a);
}
