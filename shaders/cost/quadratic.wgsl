
// The quadratic cost of one output of one example (equation 6 of the book): C_x = ½ Σ (y − a)²
fn cost(a: f32, y: f32) -> f32 {
    return 0.5 * (y - a) * (y - a);
}

// ∂C_x/∂a
fn cost_derivative(a: f32, y: f32) -> f32 {
    return a - y;
}
