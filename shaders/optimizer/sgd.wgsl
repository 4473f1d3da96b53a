
// Stochastic gradient descent (equations 20 and 21 of the book): w − (η/m) ∇
fn optimizer_sgd(entry: vec4<f32>, gradient: f32, rates: vec2<f32>, coefficients: vec4<f32>) -> vec4<f32> {
    return vec4(entry.x - rates.x * gradient, 0.0, 0.0, 0.0);
}
