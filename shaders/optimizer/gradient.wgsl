
// No update: the gradient itself, as state
fn optimizer_gradient(entry: vec4<f32>, gradient: f32, rates: vec2<f32>, coefficients: vec4<f32>) -> vec4<f32> {
    return vec4(entry.x, gradient, 0.0, 0.0);
}
