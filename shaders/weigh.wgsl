// delta[x, j] *= weights[order[first + x]]: weights of examples, applied to their errors

override WORKGROUP_SIZE: u32;

struct Params {
    rows: u32,
    cols: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;        // (all examples)
@group(0) @binding(3) var<storage, read_write> delta: array<f32>;    // (rows, cols)

@compute @workgroup_size(WORKGROUP_SIZE)
fn weigh(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * WORKGROUP_SIZE;
    if i < params.rows * params.cols {
        delta[i] *= weights[order[mini_batch.first + i / params.cols]];
    }
}
