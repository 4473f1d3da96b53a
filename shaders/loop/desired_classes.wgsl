
// The class of each example.
@group(0) @binding(3) var<storage, read> desired: array<u32>;

fn desired_4(example: u32, j: u32) -> vec4<f32> {
    return select(vec4(0.0), vec4(1.0), vec4(desired[example]) == vec4(4u * j) + vec4(0u, 1u, 2u, 3u));
}
