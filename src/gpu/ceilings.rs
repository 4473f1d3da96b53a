//! Ceilings of a device: the rate at which it copies memory, and what a dispatch, a submission and a barrier cost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::context::GpuContext;
use super::workgroup_loop;
use crate::plan::executor::Ceiling;

/// Size of each of the two copied buffers in bytes: far more than the caches of a GPU hold.
const COPIED: u64 = 256 << 20;
/// The same on software adapters, whose caches are those of the CPU.
const COPIED_BY_SOFTWARE: u64 = 64 << 20;
/// Dispatches in a submission, and submissions in a row.
const DISPATCHES: u32 = 256;
const SUBMISSIONS: u32 = 32;
/// Barriers in a dispatch: fewer than the iterations after which some drivers end a loop.
const BARRIERS: u32 = 20_000;
/// Minimum number of repetitions of a measurement.
const TURNS: usize = 5;

/// Measures the ceilings of a device, each for about `budget`.
///
/// # Errors
/// A failing device.
pub fn measure(context: &GpuContext, budget: Duration) -> Result<Vec<Ceiling>> {
    let scope = context.scope();
    let mut found = vec![copy(context, budget)?];
    let software = context.description.software;
    let most = context.device.limits().max_compute_invocations_per_workgroup;
    let one = Kernel::new(context, 1, 0);
    found.extend([
        one.timed("dispatch", DISPATCHES, budget, |count| context.wait(Some(one.submit(count))))?,
        one.timed("submission", SUBMISSIONS, budget, |count| {
            let submissions: Vec<_> = (0..count).map(|_| one.submit(1)).collect();
            context.wait(submissions.into_iter().next_back())
        })?,
        one.timed("submission and wait", 1, budget, |_| context.wait(Some(one.submit(1))))?,
    ]);
    for lanes in workgroup_loop::lanes(software).into_iter().filter(|&lanes| lanes <= most as usize) {
        let loops = Kernel::new(context, lanes as u32, BARRIERS);
        let name = format!("barrier of {lanes} invocations");
        found.push(loops.timed(&name, BARRIERS, budget, |_| context.wait(Some(loops.submit(1))))?);
    }
    scope.end().context("cannot measure the ceilings of the device")?;
    Ok(found)
}

/// Copies one buffer to another, within the device.
fn copy(context: &GpuContext, budget: Duration) -> Result<Ceiling> {
    let wanted = if context.description.software { COPIED_BY_SOFTWARE } else { COPIED };
    let size = wanted.min(context.largest_buffer()) & !3;
    let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let [from, to] = ["copied", "copy"].map(|label| context.buffer(label, size, usage));
    let seconds = repeat(budget, || {
        let mut encoder = context.encoder();
        encoder.copy_buffer_to_buffer(&from, 0, &to, 0, size);
        context.wait(Some(context.submit([encoder])))
    })?;
    // Read once and written once.
    Ok(Ceiling { name: "copy".into(), seconds, bytes: Some(2 * size) })
}

/// A kernel of one work group that does nothing but wait at barriers.
struct Kernel<'a> {
    context: &'a GpuContext,
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
}

impl<'a> Kernel<'a> {
    fn new(context: &'a GpuContext, lanes: u32, barriers: u32) -> Self {
        let device = &context.device;
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("barrier"),
            source: wgpu::ShaderSource::Wgsl(include_str!("../../shaders/probe/barrier.wgsl").into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("barrier"),
            layout: None,
            module: &module,
            entry_point: Some("barrier"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[("LANES", f64::from(lanes))],
                ..wgpu::PipelineCompilationOptions::default()
            },
            cache: None,
        });
        let state = context.buffer("barrier", 8, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST);
        context.write(&state, 0, bytemuck::cast_slice(&[barriers, 0]));
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("barrier"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: state.as_entire_binding() }],
        });
        Kernel { context, pipeline, bind_group }
    }

    /// Submits dispatches that each wait for the one before, as the steps of a plan do.
    fn submit(&self, dispatches: u32) -> wgpu::SubmissionIndex {
        let mut encoder = self.context.encoder();
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&self.pipeline);
            for _ in 0..dispatches {
                pass.set_bind_group(0, &self.bind_group, &[]);
                pass.dispatch_workgroups(1, 1, 1);
            }
        }
        self.context.submit([encoder])
    }

    /// Times `run(count)` and divides by `count`.
    fn timed(&self, name: &str, count: u32, budget: Duration, run: impl Fn(u32) -> Result<()>) -> Result<Ceiling> {
        let seconds = repeat(budget, || run(count))?.map(|seconds| seconds / f64::from(count));
        Ok(Ceiling { name: name.into(), seconds, bytes: None })
    }
}

/// Repeats `run` for about `budget` after a warm-up: shortest, median and longest time in seconds.
fn repeat(budget: Duration, run: impl Fn() -> Result<()>) -> Result<[f64; 3]> {
    run()?;
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < TURNS || begin.elapsed() < budget {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok([times[0], times[times.len() / 2], times[times.len() - 1]])
}
