// sums[slot, j] = Σ_x (y[x, j] - a[x, j])²: the squared errors of each output

override WORKGROUP_SIZE: u32;

struct Params {
    rows: u32,
    cols: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;              // (rows, cols)
@group(0) @binding(2) var<storage, read> y: array<f32>;              // (rows, cols)
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;     // (slots, cols)

@compute @workgroup_size(WORKGROUP_SIZE)
fn squared_errors(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    // Invocations cover every slot; only the first `cols` of them have work.
    let j = id.x + id.y * groups.x * WORKGROUP_SIZE;
    if j < params.cols {
        var sum = 0.0;
        for (var x = 0u; x < params.rows; x++) {
            let error = y[x * params.cols + j] - a[x * params.cols + j];
            sum += error * error;
        }
        sums[mini_batch.slot * params.cols + j] = sum;
    }
}
