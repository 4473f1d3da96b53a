
// The quadratic cost of one output of one example (equation 6 of the book): C_x = ½ Σ (y − a)²
fn cost_quadratic(a: f32, y: f32) -> f32 {
    return 0.5 * (y - a) * (y - a);
}

// BP1: ∂C_x/∂a σ′
fn cost_quadratic_output_error(a: f32, y: f32, prime: f32) -> f32 {
    return (a - y) * prime;
}
