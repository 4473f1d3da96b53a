// One step of the optimizer for w, entry by entry, from nabla_w summed over m examples; step_entry
// comes from shaders/optimizer/, the functions of the state beside w are generated

override WORKGROUP_SIZE: u32;

struct Params {
    len: u32,
    examples: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> nabla_w: array<f32>;
@group(0) @binding(2) var<storage, read_write> w: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn update(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * WORKGROUP_SIZE;
    if i < params.len {
        let rates = vec2(mini_batch.eta, 1.0) / f32(params.examples);
        let entry = step_entry(vec4(w[i], w_state(i)), nabla_w[i], rates, mini_batch.coefficients);
        w[i] = entry.x;
        set_w_state(i, entry.yzw);
    }
}
