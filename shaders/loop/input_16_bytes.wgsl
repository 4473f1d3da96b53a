
// Bytes, a multiple of 16 per example: 16 are read at once.
@group(0) @binding(2) var<storage, read> inputs: array<vec4<u32>>;

alias Inputs = vec4<u32>;

fn inputs_16(example: u32, k: u32) -> Inputs {
    return inputs[example * INPUTS_16 + k];
}

fn inputs_4(x: Inputs, k: u32, c: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xU8(x[c]));
}
