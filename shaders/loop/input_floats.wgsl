
// Floats, any number per example.
@group(0) @binding(2) var<storage, read> inputs: array<u32>; // the bits of floats

alias Inputs = u32; // the number of the example

fn inputs_16(example: u32, k: u32) -> Inputs {
    return example;
}

fn inputs_4(example: Inputs, k: u32, c: u32) -> vec4<f32> {
    var values = vec4<f32>();
    let start = 16u * k + 4u * c;
    for (var i = 0u; i < min(4u, N[0] - start); i++) {
        values[i] = bitcast<f32>(inputs[example * N[0] + start + i]);
    }
    return values;
}
