
// A work group computes one block of 4 x 4, as in split: partial sums are added within each
// subgroup without shared memory, then across subgroups through it.
override WORKGROUP_ROWS: u32; // 1
override WORKGROUP_COLS: u32;

var<workgroup> parts: array<mat4x4<f32>, WORKGROUP_COLS>; // one for each subgroup

@compute @workgroup_size(WORKGROUP_COLS, WORKGROUP_ROWS)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let row = 4u * (params.first_group + group.y + group.z * groups.y);
    let col = 4u * group.x;
    var sum = mat4x4<f32>();
    for (var i = 4u * local.x; i < params.inner; i += 4u * WORKGROUP_COLS) {
        sum += y_block(i, col) * x_block(row, i);
    }
    let part = mat4x4(subgroupAdd(sum[0]), subgroupAdd(sum[1]), subgroupAdd(sum[2]), subgroupAdd(sum[3]));
    if lane == 0u {
        parts[subgroup] = part;
    }
    workgroupBarrier();
    if local.x == 0u {
        sum = parts[0];
        for (var other = 1u; other < subgroups; other++) {
            sum += parts[other];
        }
        store(row, col, sum);
    }
}
