
// The desired outputs of each example, one number per output.
@group(0) @binding(3) var<storage, read> desired: array<u32>; // the bits of floats

fn desired_4(example: u32, j: u32) -> vec4<f32> {
    let outputs = N[LAYERS - 1u];
    let last = example * outputs + outputs - 1u;
    let at = min(vec4(example * outputs + 4u * j) + vec4(0u, 1u, 2u, 3u), vec4(last));
    return bitcast<vec4<f32>>(vec4(desired[at.x], desired[at.y], desired[at.z], desired[at.w]));
}
