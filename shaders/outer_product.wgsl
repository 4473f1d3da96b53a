// BP4, summed over the mini-batch: nabla_w[j, k] = Σ_x delta[x, j] a[x, k]

override WORKGROUP_ROWS: u32;
override WORKGROUP_COLS: u32;

struct Params {
    examples: u32,
    delta_cols: u32,
    a_cols: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> delta: array<f32>;          // (examples, delta_cols)
@group(0) @binding(2) var<storage, read> a: array<f32>;              // (examples, a_cols)
@group(0) @binding(3) var<storage, read_write> nabla_w: array<f32>;  // (delta_cols, a_cols)

@compute @workgroup_size(WORKGROUP_COLS, WORKGROUP_ROWS)
fn outer_product(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let j = id.y + id.z * groups.y * WORKGROUP_ROWS;
    let k = id.x;
    if j >= params.delta_cols || k >= params.a_cols {
        return;
    }
    var sum = 0.0;
    for (var x = 0u; x < params.examples; x++) {
        sum += delta[x * params.delta_cols + j] * a[x * params.a_cols + k];
    }
    nabla_w[j * params.a_cols + k] = sum;
}
