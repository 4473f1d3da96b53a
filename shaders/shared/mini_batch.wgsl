
// Everything that changes from one mini-batch to the next.
struct MiniBatch {
    first: u32,
    slot: u32,
    count: u32,
    eta: f32,
    coefficients: vec4<f32>,
    keep: f32,
    l1: f32,
    step: u32,
    seed: u32,
}

@group(1) @binding(0) var<uniform> mini_batch: MiniBatch;
