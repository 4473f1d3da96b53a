
// Parameters in storage.

fn home() -> u32 {
    return network;
}

fn in_storage(at: u32) -> u32 {
    return at;
}

fn parameter_4(at: u32) -> vec4<f32> {
    return parameters[at];
}

fn set_parameter_4(at: u32, values: vec4<f32>) {
    parameters[at] = values;
}

fn fetch_parameters(lane: u32) {}

fn return_parameters(lane: u32) {}
