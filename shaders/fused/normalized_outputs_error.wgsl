// z −= ln Σ exp(z), a = σ(z) and delta = ∂C/∂a σ′: softmax outputs and their error (BP1), an invocation for each example

override WORKGROUP_SIZE: u32;

struct Params {
    rows: u32,
    cols: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> desired: array<f32>;        // (rows, cols)
@group(0) @binding(2) var<storage, read_write> z: array<f32>;        // (rows, cols)
@group(0) @binding(3) var<storage, read_write> a: array<f32>;        // (rows, cols)
@group(0) @binding(4) var<storage, read_write> delta: array<f32>;    // (rows, cols)

@compute @workgroup_size(WORKGROUP_SIZE)
fn normalized_outputs_error(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = id.x + id.y * groups.x * WORKGROUP_SIZE;
    if row < params.rows {
        let first = row * params.cols;
        let shift = log_sum_exp(first, params.cols);
        for (var j = 0u; j < params.cols; j++) {
            let normalized = z[first + j] - shift;
            let output = sigma(normalized);
            z[first + j] = normalized;
            a[first + j] = output;
            delta[first + j] = error_of_output(output, desired[first + j], sigma_prime(output));
        }
    }
}
