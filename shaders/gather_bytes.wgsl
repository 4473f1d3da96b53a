// a[x, k] = scale * inputs[order[first + x], k]: as gather, from bytes packed four to a word

override WORKGROUP_SIZE: u32;

struct Params {
    rows: u32,
    cols: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> inputs: array<u32>;         // (all examples, cols) bytes
@group(0) @binding(3) var<storage, read_write> a: array<f32>;        // (rows, cols)

@compute @workgroup_size(WORKGROUP_SIZE)
fn gather_bytes(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * WORKGROUP_SIZE;
    if i < params.rows * params.cols {
        let example = order[mini_batch.first + i / params.cols];
        let at = example * params.cols + i % params.cols;
        let byte = (inputs[at / 4u] >> (8u * (at % 4u))) & 0xffu;
        a[i] = params.scale * f32(byte);
    }
}
