// counts[slot] = the number of examples whose largest output has the index of the largest desired
// output (the first of equal ones), counted by one work group

override WORKGROUP_SIZE: u32; // a power of two

struct Params {
    rows: u32,
    cols: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;              // (rows, cols)
@group(0) @binding(2) var<storage, read> y: array<f32>;              // (rows, cols)
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;

var<workgroup> partial: array<u32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn number_correct(@builtin(local_invocation_index) lane: u32) {
    var count = 0u;
    for (var row = lane; row < params.rows; row += WORKGROUP_SIZE) {
        let start = row * params.cols;
        var output = 0u;
        var desired = 0u;
        for (var j = 1u; j < params.cols; j++) {
            if a[start + j] > a[start + output] {
                output = j;
            }
            if y[start + j] > y[start + desired] {
                desired = j;
            }
        }
        count += select(0u, 1u, output == desired);
    }
    partial[lane] = count;
    workgroupBarrier();
    for (var stride = WORKGROUP_SIZE / 2u; stride > 0u; stride /= 2u) {
        if lane < stride {
            partial[lane] += partial[lane + stride];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        counts[mini_batch.slot] = partial[0];
    }
}
