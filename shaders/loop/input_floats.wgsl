
// Floats, of any number an example.
fn input_4(example: u32, k: u32) -> vec4<f32> {
    var values = vec4<f32>();
    for (var c = 0u; c < min(4u, N[0] - 4u * k); c++) {
        values[c] = bitcast<f32>(inputs[example * N[0] + 4u * k + c]);
    }
    return values;
}
