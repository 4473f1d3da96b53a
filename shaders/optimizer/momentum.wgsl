
// Momentum (equations 107 and 108 of the book): v ← µ v − (η/m) ∇, w ← w + v
fn optimizer_momentum(entry: vec4<f32>, gradient: f32, rates: vec2<f32>, coefficients: vec4<f32>) -> vec4<f32> {
    let velocity = coefficients.x * entry.y - rates.x * gradient;
    return vec4(entry.x + velocity, velocity, 0.0, 0.0);
}
