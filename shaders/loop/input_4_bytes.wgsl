
// Bytes, a multiple of 4 per example: a word is four inputs.
@group(0) @binding(2) var<storage, read> inputs: array<u32>;

alias Inputs = u32; // the number of the example

fn inputs_16(example: u32, k: u32) -> Inputs {
    return example;
}

fn inputs_4(example: Inputs, k: u32, c: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xU8(inputs[example * N_4[0] + 4u * k + c]));
}
