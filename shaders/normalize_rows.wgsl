// z[x, j] −= ln Σ_k exp(z[x, k]): weighted inputs whose exponentials sum to 1, a row per invocation

override WORKGROUP_SIZE: u32;

struct Params {
    rows: u32,
    cols: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> z: array<f32>;        // (rows, cols)

@compute @workgroup_size(WORKGROUP_SIZE)
fn normalize_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = id.x + id.y * groups.x * WORKGROUP_SIZE;
    if row < params.rows {
        let first = row * params.cols;
        let shift = log_sum_exp(first, params.cols);
        for (var j = 0u; j < params.cols; j++) {
            z[first + j] -= shift;
        }
    }
}
