//! Probes for driver bugs that raise no error.

use anyhow::{Context, Result};

use super::context::GpuContext;

/// Iterations that a loop completes on every known driver. llvmpipe of Mesa 22 ends loops
/// after 65,535 iterations, counted over all loops of an invocation, without an error.
pub const LOOP_ITERATIONS_ALWAYS_RIGHT: usize = 65_535;

/// True where the device runs a loop of more iterations than that to its end.
pub fn long_loops_are_right(context: &GpuContext) -> Result<bool> {
    let iterations = 2 * LOOP_ITERATIONS_ALWAYS_RIGHT as u32;
    let device = &context.device;
    let scope = context.scope();
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("long_loop"),
        source: wgpu::ShaderSource::Wgsl(include_str!("../../shaders/probe/long_loop.wgsl").into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("long_loop"),
        layout: None,
        module: &module,
        entry_point: Some("long_loop"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let state = context.buffer("long_loop", 8, usage);
    context.write(&state, 0, bytemuck::cast_slice(&[iterations, 1]));
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("long_loop"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: state.as_entire_binding() }],
    });
    let mut encoder = context.encoder();
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
    context.submit([encoder]);
    scope.end().context("cannot probe the device for long loops")?;
    let bytes = context.read(&state, 8)?;
    let found: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
    let expected = (0..iterations).fold(1, scramble);
    Ok(found[1] == expected)
}

/// Computes one step of the shader's loop, which no compiler can replace by a closed form.
fn scramble(value: u32, i: u32) -> u32 {
    (value ^ i).wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
}
