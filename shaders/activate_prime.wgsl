// sigma_prime_z = σ′(z), entry by entry, from a = σ(z); sigma_prime comes from shaders/activation/

override WORKGROUP_SIZE: u32;

struct Params {
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> sigma_prime_z: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn activate_prime(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * WORKGROUP_SIZE;
    if i < params.len {
        sigma_prime_z[i] = sigma_prime(a[i]);
    }
}
