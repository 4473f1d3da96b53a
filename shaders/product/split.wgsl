
// A work group computes one block of 4 x 4: its invocations split the sums, and their partial sums
// are added pairwise. For products with few entries and long sums.
override WORKGROUP_ROWS: u32; // 1
override WORKGROUP_COLS: u32; // a power of two

var<workgroup> parts: array<mat4x4<f32>, WORKGROUP_COLS>;

@compute @workgroup_size(WORKGROUP_COLS, WORKGROUP_ROWS)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let row = 4u * (params.first_group + group.y + group.z * groups.y);
    let col = 4u * group.x;
    let lane = local.x;
    var sum = mat4x4<f32>();
    for (var i = 4u * lane; i < params.inner; i += 4u * WORKGROUP_COLS) {
        sum += y_block(i, col) * x_block(row, i);
    }
    parts[lane] = sum;
    workgroupBarrier();
    for (var stride = WORKGROUP_COLS / 2u; stride > 0u; stride /= 2u) {
        if lane < stride {
            parts[lane] += parts[lane + stride];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        store(row, col, parts[0]);
    }
}
