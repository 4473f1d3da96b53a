
// Bytes, of any number an example.
fn input_4(example: u32, k: u32) -> vec4<f32> {
    var values = vec4<f32>();
    for (var c = 0u; c < min(4u, N[0] - 4u * k); c++) {
        let at = example * N[0] + 4u * k + c;
        values[c] = INPUT_SCALE * f32((inputs[at / 4u] >> (8u * (at % 4u))) & 0xffu);
    }
    return values;
}
