
// Each invocation sums 16 x 8 entries in registers, as eight blocks of 4 x 4; no shared memory.
// In WGSL y * x is Σ_k of columns, so a block of y times a block of x is a block of the product.
override WORKGROUP_ROWS: u32;
override WORKGROUP_COLS: u32;

@compute @workgroup_size(WORKGROUP_COLS, WORKGROUP_ROWS)
fn product(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = 16u * (id.y + (params.first_group + id.z * groups.y) * WORKGROUP_ROWS);
    let col = 8u * id.x;
    if row >= params.rows || col >= params.cols {
        return;
    }
    var sum00 = mat4x4<f32>();
    var sum01 = mat4x4<f32>();
    var sum10 = mat4x4<f32>();
    var sum11 = mat4x4<f32>();
    var sum20 = mat4x4<f32>();
    var sum21 = mat4x4<f32>();
    var sum30 = mat4x4<f32>();
    var sum31 = mat4x4<f32>();
    for (var i = 0u; i < params.inner; i += 4u) {
        let y0 = y_block(i, col);
        let y1 = y_block(i, col + 4u);
        let x0 = x_block(row, i);
        sum00 += y0 * x0;
        sum01 += y1 * x0;
        let x1 = x_block(row + 4u, i);
        sum10 += y0 * x1;
        sum11 += y1 * x1;
        let x2 = x_block(row + 8u, i);
        sum20 += y0 * x2;
        sum21 += y1 * x2;
        let x3 = x_block(row + 12u, i);
        sum30 += y0 * x3;
        sum31 += y1 * x3;
    }
    store(row, col, sum00);
    store(row, col + 4u, sum01);
    store(row + 4u, col, sum10);
    store(row + 4u, col + 4u, sum11);
    store(row + 8u, col, sum20);
    store(row + 8u, col + 4u, sum21);
    store(row + 12u, col, sum30);
    store(row + 12u, col + 4u, sum31);
}
