
// The weight of each example.
@group(0) @binding(4) var<storage, read> weights: array<f32>;

fn weight_of(example: u32) -> f32 {
    return weights[example];
}
