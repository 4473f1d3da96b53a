
// Nesterov's momentum: v ← µ v − (η/m) ∇, w ← w + µ v − (η/m) ∇
fn optimizer_nesterov(entry: vec4<f32>, gradient: f32, rates: vec2<f32>, coefficients: vec4<f32>) -> vec4<f32> {
    let change = rates.x * gradient;
    let velocity = coefficients.x * entry.y - change;
    return vec4(entry.x + (coefficients.x * velocity - change), velocity, 0.0, 0.0);
}
