
// A work group of 8 x 8 invocations computes a tile of 64 x 64 entries, each invocation 8 x 8 of
// them in registers. 16 terms of the sums at a time are loaded into shared memory, where each value
// serves eight invocations; factors are stored term by term, so that neighbours are read together.
override WORKGROUP_ROWS: u32; // 8
override WORKGROUP_COLS: u32; // 8

var<workgroup> xs: array<array<vec4<Factor>, 16>, 16>; // xs[k][r]: rows 4r to 4r + 3 of x at term k
var<workgroup> ys: array<array<vec4<Factor>, 16>, 16>; // ys[k][c]: columns 4c to 4c + 3 of y at term k

@compute @workgroup_size(WORKGROUP_COLS, WORKGROUP_ROWS)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile_row = 64u * (params.first_group + group.y + group.z * groups.y);
    let tile_col = 64u * group.x;
    // The block of x and the block of y that this invocation loads: block, and four terms.
    let block = lane % 16u;
    let term = 4u * (lane / 16u);
    var sum00 = mat4x4<f32>();
    var sum01 = mat4x4<f32>();
    var sum10 = mat4x4<f32>();
    var sum11 = mat4x4<f32>();
    for (var i = 0u; i < params.inner; i += 16u) {
        var x = mat4x4<f32>();
        var y = mat4x4<f32>();
        if i + term < params.inner {
            x = transpose(x_block(tile_row + 4u * block, i + term));
            y = y_block(i + term, tile_col + 4u * block);
        }
        xs[term][block] = vec4<Factor>(x[0]);
        xs[term + 1u][block] = vec4<Factor>(x[1]);
        xs[term + 2u][block] = vec4<Factor>(x[2]);
        xs[term + 3u][block] = vec4<Factor>(x[3]);
        ys[term][block] = vec4<Factor>(y[0]);
        ys[term + 1u][block] = vec4<Factor>(y[1]);
        ys[term + 2u][block] = vec4<Factor>(y[2]);
        ys[term + 3u][block] = vec4<Factor>(y[3]);
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            let x0 = vec4<f32>(xs[k][2u * local.y]);
            let x1 = vec4<f32>(xs[k][2u * local.y + 1u]);
            let y0 = vec4<f32>(ys[k][2u * local.x]);
            let y1 = vec4<f32>(ys[k][2u * local.x + 1u]);
            sum00 += mat4x4(y0 * x0.x, y0 * x0.y, y0 * x0.z, y0 * x0.w);
            sum01 += mat4x4(y1 * x0.x, y1 * x0.y, y1 * x0.z, y1 * x0.w);
            sum10 += mat4x4(y0 * x1.x, y0 * x1.y, y0 * x1.z, y0 * x1.w);
            sum11 += mat4x4(y1 * x1.x, y1 * x1.y, y1 * x1.z, y1 * x1.w);
        }
        workgroupBarrier();
    }
    let row = tile_row + 8u * local.y;
    let col = tile_col + 8u * local.x;
    store(row, col, sum00);
    store(row, col + 4u, sum01);
    store(row + 4u, col, sum10);
    store(row + 4u, col + 4u, sum11);
}
