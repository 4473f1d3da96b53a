// BP3, summed over the mini-batch: nabla_b[j] = Σ_x delta[x, j]

override WORKGROUP_SIZE: u32;

struct Params {
    examples: u32,
    cols: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> delta: array<f32>;          // (examples, cols)
@group(0) @binding(2) var<storage, read_write> nabla_b: array<f32>;  // (cols)

@compute @workgroup_size(WORKGROUP_SIZE)
fn column_sum(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * WORKGROUP_SIZE;
    if i >= params.cols {
        return;
    }
    var sum = 0.0;
    for (var x = 0u; x < params.examples; x++) {
        sum += delta[x * params.cols + i];
    }
    nabla_b[i] = sum;
}
