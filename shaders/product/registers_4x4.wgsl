
// Each invocation sums a block of 4 x 4 in registers; no shared memory.
// In WGSL y * x is Σ_k of columns, so a block of y times a block of x is a block of the product.
override WORKGROUP_ROWS: u32;
override WORKGROUP_COLS: u32;

@compute @workgroup_size(WORKGROUP_COLS, WORKGROUP_ROWS)
fn product(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = 4u * (id.y + (params.first_group + id.z * groups.y) * WORKGROUP_ROWS);
    let col = 4u * id.x;
    if row >= params.rows || col >= params.cols {
        return;
    }
    var sum = mat4x4<f32>();
    for (var i = 0u; i < params.inner; i += 4u) {
        sum += y_block(i, col) * x_block(row, i);
    }
    store(row, col, sum);
}
