
// Activations and errors in storage, after the parameters of the network: ROWS vec4s of each.

fn activation_4(at: u32) -> vec4<f32> {
    return parameters[network + ACTIVATIONS_AT + at];
}

fn set_activation_4(at: u32, values: vec4<f32>) {
    parameters[network + ACTIVATIONS_AT + at] = values;
}

fn error_4(at: u32) -> vec4<f32> {
    return parameters[network + ACTIVATIONS_AT + ROWS + at];
}

fn set_error_4(at: u32, values: vec4<f32>) {
    parameters[network + ACTIVATIONS_AT + ROWS + at] = values;
}

fn barrier() {
    storageBarrier();
    workgroupBarrier();
}
