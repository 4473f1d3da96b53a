
// NEAR vec4s of parameters, from NEAR_FROM on, in work group memory during a dispatch.

var<workgroup> near: array<vec4<f32>, NEAR>;

fn home() -> u32 {
    return 0u;
}

fn in_storage(at: u32) -> u32 {
    return network + at;
}

fn parameter_4(at: u32) -> vec4<f32> {
    return near[at - NEAR_FROM];
}

fn set_parameter_4(at: u32, values: vec4<f32>) {
    near[at - NEAR_FROM] = values;
}

fn fetch_parameters(lane: u32) {
    for (var i = lane; i < NEAR; i += WORKGROUP_SIZE) {
        near[i] = parameters[network + NEAR_FROM + i];
    }
    workgroupBarrier();
}

fn return_parameters(lane: u32) {
    for (var i = lane; i < NEAR; i += WORKGROUP_SIZE) {
        parameters[network + NEAR_FROM + i] = near[i];
    }
}
