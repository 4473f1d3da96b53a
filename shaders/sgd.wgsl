// w -= (η/m) nabla_w, entry by entry: one step of gradient descent, m examples summed in nabla_w

override WORKGROUP_SIZE: u32;

struct Params {
    len: u32,
    examples: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> nabla_w: array<f32>;
@group(0) @binding(2) var<storage, read_write> w: array<f32>;

struct MiniBatch {
    first: u32,
    slot: u32,
    eta: f32,
    count: u32,
}

@group(1) @binding(0) var<uniform> mini_batch: MiniBatch;

@compute @workgroup_size(WORKGROUP_SIZE)
fn sgd(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * WORKGROUP_SIZE;
    if i < params.len {
        w[i] -= mini_batch.eta / f32(params.examples) * nabla_w[i];
    }
}
