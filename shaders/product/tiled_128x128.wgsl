
// A work group of 16 x 16 invocations computes a tile of 128 x 128 entries, each invocation 8 x 8
// of them in registers. As tiled_64x64, but each value in shared memory serves sixteen invocations.
// The 8 x 8 entries are four distant blocks, so that neighbouring invocations read neighbouring
// memory.
override WORKGROUP_ROWS: u32; // 16
override WORKGROUP_COLS: u32; // 16

var<workgroup> xs: array<array<vec4<Factor>, 32>, 16>; // xs[k][r]: rows 4r to 4r + 3 of x at term k
var<workgroup> ys: array<array<vec4<Factor>, 32>, 16>; // ys[k][c]: columns 4c to 4c + 3 of y at term k

@compute @workgroup_size(WORKGROUP_COLS, WORKGROUP_ROWS)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile_row = 128u * (params.first_group + group.y + group.z * groups.y);
    let tile_col = 128u * group.x;
    // Half of the invocations load a block of x, the other half one of y: block, and four terms.
    let of_x = lane < 128u;
    let block = lane % 32u;
    let term = 4u * ((lane / 32u) % 4u);
    var sum00 = mat4x4<f32>();
    var sum01 = mat4x4<f32>();
    var sum10 = mat4x4<f32>();
    var sum11 = mat4x4<f32>();
    for (var i = 0u; i < params.inner; i += 16u) {
        var loaded = mat4x4<f32>();
        if i + term < params.inner {
            if of_x {
                loaded = transpose(x_block(tile_row + 4u * block, i + term));
            } else {
                loaded = y_block(i + term, tile_col + 4u * block);
            }
        }
        if of_x {
            xs[term][block] = vec4<Factor>(loaded[0]);
            xs[term + 1u][block] = vec4<Factor>(loaded[1]);
            xs[term + 2u][block] = vec4<Factor>(loaded[2]);
            xs[term + 3u][block] = vec4<Factor>(loaded[3]);
        } else {
            ys[term][block] = vec4<Factor>(loaded[0]);
            ys[term + 1u][block] = vec4<Factor>(loaded[1]);
            ys[term + 2u][block] = vec4<Factor>(loaded[2]);
            ys[term + 3u][block] = vec4<Factor>(loaded[3]);
        }
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            let x0 = vec4<f32>(xs[k][local.y]);
            let x1 = vec4<f32>(xs[k][local.y + 16u]);
            let y0 = vec4<f32>(ys[k][local.x]);
            let y1 = vec4<f32>(ys[k][local.x + 16u]);
            sum00 += mat4x4(y0 * x0.x, y0 * x0.y, y0 * x0.z, y0 * x0.w);
            sum01 += mat4x4(y1 * x0.x, y1 * x0.y, y1 * x0.z, y1 * x0.w);
            sum10 += mat4x4(y0 * x1.x, y0 * x1.y, y0 * x1.z, y0 * x1.w);
            sum11 += mat4x4(y1 * x1.x, y1 * x1.y, y1 * x1.z, y1 * x1.w);
        }
        workgroupBarrier();
    }
    let row = tile_row + 4u * local.y;
    let col = tile_col + 4u * local.x;
    store(row, col, sum00);
    store(row, col + 64u, sum01);
    store(row + 64u, col, sum10);
    store(row + 64u, col + 64u, sum11);
}
