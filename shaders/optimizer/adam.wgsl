
// Adam: s is the running mean of g = ∇/m, r that of g²; w − η s / (√r + ε). Coefficients: β₁, β₂,
// and η and ε with bias correction
fn optimizer_adam(entry: vec4<f32>, gradient: f32, rates: vec2<f32>, coefficients: vec4<f32>) -> vec4<f32> {
    let g = rates.y * gradient;
    let s = coefficients.x * entry.y + (1.0 - coefficients.x) * g;
    let r = coefficients.y * entry.z + (1.0 - coefficients.y) * g * g;
    return vec4(entry.x - coefficients.z * s / (sqrt(r) + coefficients.w), s, r, 0.0);
}
