// y = x ⊙ mask / (1 − p), entry by entry: dropout of activations forward, of errors backward

override WORKGROUP_SIZE: u32;

struct Params {
    len: u32,
    layer: u32,
    threshold: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn dropout(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * WORKGROUP_SIZE;
    if i < params.len {
        y[i] = x[i] * dropout_factor(i, params.layer, mini_batch.step, mini_batch.seed, params.threshold, params.factor);
    }
}
