
// Parameters in storage.

fn parameter_4(network: u32, at: u32) -> vec4<f32> {
    return parameters[network + at];
}

fn set_parameter_4(network: u32, at: u32, values: vec4<f32>) {
    parameters[network + at] = values;
}

fn fetch_parameters(network: u32, lane: u32) {}

fn return_parameters(network: u32, lane: u32) {}
