// A kernel that takes long, to test timeouts: work group n computes values[n]

@group(0) @binding(0) var<storage, read_write> values: array<u32>;

@compute @workgroup_size(1)
fn hang(@builtin(workgroup_id) group: vec3<u32>) {
    var value = group.x;
    // No more iterations: llvmpipe ends longer loops.
    for (var i = 0u; i < 65000u; i++) {
        value = (value ^ i) * 1664525u + 1013904223u;
    }
    values[group.x] = value;
}
