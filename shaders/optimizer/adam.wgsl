
// Adam: s is the mean of g, r that of g², and w − η s / (√r + ε), where g = ∇/m; coefficients: β₁, β₂, and η and ε with
// their corrections for the first steps
fn optimizer_adam(entry: vec4<f32>, gradient: f32, rates: vec2<f32>, coefficients: vec4<f32>) -> vec4<f32> {
    let g = rates.y * gradient;
    let s = coefficients.x * entry.y + (1.0 - coefficients.x) * g;
    let r = coefficients.y * entry.z + (1.0 - coefficients.y) * g * g;
    return vec4(entry.x - coefficients.z * s / (sqrt(r) + coefficients.w), s, r, 0.0);
}
