
// Bytes, of which each example has a multiple of 4: a word is four inputs.
fn input_4(example: u32, k: u32) -> vec4<f32> {
    return INPUT_SCALE * vec4<f32>(unpack4xU8(inputs[example * N_4[0] + k]));
}
