
// RMSprop: s is the running mean of g², g = ∇/m; w − η g / (√s + ε). Coefficients: β₂, ε, η
fn optimizer_rmsprop(entry: vec4<f32>, gradient: f32, rates: vec2<f32>, coefficients: vec4<f32>) -> vec4<f32> {
    let g = rates.y * gradient;
    let s = coefficients.x * entry.y + (1.0 - coefficients.x) * g * g;
    return vec4(entry.x - coefficients.z * g / (sqrt(s) + coefficients.y), s, 0.0, 0.0);
}
