//! The table of cost functions.
//!
//! The cost of a network is an average over examples, C = 1/n Σₓ Cₓ, and each Cₓ is a function of
//! the outputs and the desired outputs: the two assumptions of chapter 2.

/// A cost and its derivative, as a WGSL snippet and as their CPU twins.
#[derive(Debug)]
pub struct Cost {
    /// The name used on the command line and in model files.
    pub name: &'static str,
    /// WGSL: `fn cost(a: f32, y: f32) -> f32` and `fn cost_derivative(a: f32, y: f32) -> f32`.
    pub shader: &'static str,
    /// What one output adds to Cₓ.
    pub cost: fn(f32, f32) -> f32,
    /// ∂Cₓ/∂a of one output.
    pub derivative: fn(f32, f32) -> f32,
}

/// Every cost function.
pub static ALL: [&Cost; 1] = [&QUADRATIC];

/// Cₓ = ½ Σ (y − a)², equation (6) of the book.
pub static QUADRATIC: Cost = Cost {
    name: "quadratic",
    shader: include_str!("../../shaders/cost/quadratic.wgsl"),
    cost: |a, y| 0.5 * (y - a) * (y - a),
    derivative: |a, y| a - y,
};
