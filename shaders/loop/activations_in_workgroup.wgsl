
// Activations and errors in work group memory.

var<workgroup> activations: array<vec4<f32>, ROWS>;
var<workgroup> errors: array<vec4<f32>, ROWS>;

fn activation_4(at: u32) -> vec4<f32> {
    return activations[at];
}

fn set_activation_4(at: u32, values: vec4<f32>) {
    activations[at] = values;
}

fn error_4(at: u32) -> vec4<f32> {
    return errors[at];
}

fn set_error_4(at: u32, values: vec4<f32>) {
    errors[at] = values;
}

fn barrier() {
    workgroupBarrier();
}
