
// 0 for a dropped neuron, 1/(1 − p) for a kept one; `neuron` is its index in a[layer] (m, n).
// Random numbers depend on neuron, layer, step and seed alone (pcg4d of Jarzynski and Olano, 2020).
fn dropout_factor(neuron: u32, layer: u32, step: u32, seed: u32, threshold: u32, factor: f32) -> f32 {
    var v = vec4(neuron, layer, step, seed) * 1664525u + 1013904223u;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    v = v ^ (v >> vec4(16u));
    v.x += v.y * v.w;
    return select(factor, 0.0, v.x < threshold);
}
