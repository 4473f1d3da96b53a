// y[x, j] = 1 where j is the class of example order[first + x], else 0: the desired output

override WORKGROUP_SIZE: u32;

struct Params {
    rows: u32,
    cols: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;         // (all examples)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;        // (rows, cols)

@compute @workgroup_size(WORKGROUP_SIZE)
fn one_hot(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * WORKGROUP_SIZE;
    if i < params.rows * params.cols {
        let example = order[mini_batch.first + i / params.cols];
        y[i] = select(0.0, 1.0, labels[example] == i % params.cols);
    }
}
