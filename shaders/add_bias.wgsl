// z[x, j] += b[j]: the bias of each neuron, for every example

override WORKGROUP_SIZE: u32;

struct Params {
    rows: u32,
    cols: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> b: array<f32>;              // (cols)
@group(0) @binding(2) var<storage, read_write> z: array<f32>;        // (rows, cols)

@compute @workgroup_size(WORKGROUP_SIZE)
fn add_bias(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * WORKGROUP_SIZE;
    if i < params.rows * params.cols {
        z[i] += b[i % params.cols];
    }
}
