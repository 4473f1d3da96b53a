// totals[slot] = Σ_x C_x: the cost of a mini-batch, summed over examples and outputs by one work
// group, always in the same order; cost comes from shaders/cost/, and takes a or z as `outputs`

override WORKGROUP_SIZE: u32; // a power of two

struct Params {
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> outputs: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> totals: array<f32>;

var<workgroup> partial: array<f32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn total_cost(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.len; i += WORKGROUP_SIZE) {
        sum += cost(outputs[i], y[i]);
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var stride = WORKGROUP_SIZE / 2u; stride > 0u; stride /= 2u) {
        if lane < stride {
            partial[lane] += partial[lane + stride];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        totals[mini_batch.slot] = partial[0];
    }
}
