// w = (1 − ηλ/n) w − (ηλ₁/n) sgn(w), entry by entry; decayed comes from shaders/shared/

override WORKGROUP_SIZE: u32;

struct Params {
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> w: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn decay(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * WORKGROUP_SIZE;
    if i < params.len {
        w[i] = decayed(w[i]);
    }
}
