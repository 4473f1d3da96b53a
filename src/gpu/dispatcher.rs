//! The dispatcher: binds kernels to their matrices, and submits them for many mini-batches at a time.

use std::sync::Arc;

use anyhow::{Context, Result};

use super::context::{GpuContext, UNIFORM_ALIGNMENT};
use super::memory::DeviceMemory;
use super::parts::Parts;
use super::pipeline::{Dispatch, DispatchPart, Pipelines};
use super::pipeline_cache::PipelineCache;
use super::schedule::Schedule;
use super::workgroup_loop::WorkgroupLoop;
use crate::kernel::{MiniBatch, Realization};
use crate::plan::Step;
use crate::rewrite::training_loop::TrainingLoop;

/// Makes dispatches and submits them.
#[derive(Debug)]
pub struct Dispatcher {
    context: Arc<GpuContext>,
    pipelines: Pipelines,
    schedule: Schedule,
}

impl Dispatcher {
    /// Makes a dispatcher without pipelines; `shader_checks` as in [`GpuOptions`](super::GpuOptions).
    pub fn new(context: Arc<GpuContext>, shader_checks: bool, cache: Option<PipelineCache>) -> Result<Self> {
        let scope = context.scope();
        let pipelines = Pipelines::new(&context.device, shader_checks, cache);
        let schedule = Schedule::new(Arc::clone(&context), pipelines.mini_batch_layout());
        scope.end().context("cannot prepare the device")?;
        Ok(Dispatcher { context, pipelines, schedule })
    }

    /// Keeps compiled pipelines for later runs.
    pub fn save_pipelines(&mut self) {
        self.pipelines.save();
    }

    /// Makes the dispatch of each step, by its realization, in parts of up to `most`
    /// multiplications.
    ///
    /// # Errors
    /// A matrix that no loaded plan names, or a dispatch that the device refuses.
    pub fn bind(
        &mut self,
        memory: &DeviceMemory,
        steps: &[Step],
        realizations: &[Option<Realization>],
        most: u64,
    ) -> Result<Vec<Dispatch>> {
        let scope = self.context.scope();
        let mut params = Vec::new();
        let mut parts = Vec::with_capacity(steps.len());
        let stride = self.context.uniform_stride(1);
        for (step, &realization) in steps.iter().zip(realizations) {
            let of_step = Parts::of(step, realization, most);
            parts.push((params.len() as u64, of_step));
            for first_group in of_step.first_groups() {
                params.extend_from_slice(&of_step.params(step, first_group));
                params.resize(params.len().next_multiple_of(stride), 0);
            }
        }
        let params = self.context.uniforms("params", &params);
        self.pipelines.prepare(&self.context, steps, realizations)?;
        let mut dispatches = Vec::with_capacity(steps.len());
        for ((step, &realization), (first, parts)) in steps.iter().zip(realizations).zip(parts) {
            let pipeline = self.pipelines.get(step, realization).context("the pipeline was just made")?;
            let size = step.params.len().next_multiple_of(UNIFORM_ALIGNMENT) as u64;
            let mut made = Vec::new();
            for (offset, work_groups) in
                (first..).step_by(size.next_multiple_of(stride as u64) as usize).zip(parts.work_groups())
            {
                let mut entries = vec![wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &params,
                        offset,
                        size: wgpu::BufferSize::new(size),
                    }),
                }];
                for (binding, matrix) in (1..).zip(&step.operands) {
                    entries
                        .push(wgpu::BindGroupEntry { binding, resource: memory.buffer(matrix)?.as_entire_binding() });
                }
                let bind_group = self.context.device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(step.kernel.name),
                    layout: &pipeline.operands_layout,
                    entries: &entries,
                });
                made.push(DispatchPart { bind_group, work_groups });
            }
            let (pipeline, reads_mini_batch) = (pipeline.compute.clone(), step.kernel.reads_mini_batch);
            dispatches.push(Dispatch { pipeline, parts: made, reads_mini_batch, realization });
        }
        scope.end()?;
        Ok(dispatches)
    }

    /// Compiles a training plan as a loop in one work group.
    ///
    /// # Errors
    /// A matrix that no loaded plan names, or a loop that the device refuses.
    pub fn make_loop(&self, memory: &DeviceMemory, training: &TrainingLoop) -> Result<WorkgroupLoop> {
        let scope = self.context.scope();
        let looped = WorkgroupLoop::new(&self.context, &self.pipelines, memory, self.schedule.list(), training)?;
        scope.end().with_context(|| format!("{} cannot loop in one work group", self.context.description))?;
        Ok(looped)
    }

    /// Writes the mini-batches of the next submission.
    pub fn schedule(&self, mini_batches: &[MiniBatch]) {
        self.schedule.write(mini_batches);
    }

    /// Writes the mini-batches of the next submission for a loop, and its runs: one per dispatch.
    pub fn schedule_runs(&self, runs: &[MiniBatch], mini_batches: &[MiniBatch]) {
        self.schedule.write_list(mini_batches);
        self.schedule(runs);
    }

    /// Encodes a dispatch for the mini-batch at a place of the schedule.
    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>, dispatch: &Dispatch, place: usize) {
        pass.set_pipeline(&dispatch.pipeline);
        if dispatch.reads_mini_batch {
            self.schedule.bind(pass, place);
        }
        for DispatchPart { bind_group, work_groups: [x, y, z] } in &dispatch.parts {
            pass.set_bind_group(0, bind_group, &[]);
            pass.dispatch_workgroups(*x, *y, *z);
        }
    }

    /// Submits dispatches, all of them for each mini-batch. Errors go to the error scope of the caller.
    pub fn submit(&self, dispatches: &[Dispatch], mini_batches: &[MiniBatch]) -> wgpu::SubmissionIndex {
        self.schedule(mini_batches);
        let mut encoder = self.context.encoder();
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for place in 0..mini_batches.len() {
                for dispatch in dispatches {
                    self.encode(&mut pass, dispatch, place);
                }
            }
        }
        self.context.submit([encoder])
    }

    /// Submits a loop over mini-batches. Errors go to the error scope of the caller.
    pub fn submit_loop(&self, looped: &WorkgroupLoop, mini_batches: &[MiniBatch]) -> wgpu::SubmissionIndex {
        let runs = looped.runs(mini_batches.len());
        self.schedule_runs(&runs, mini_batches);
        let mut encoder = self.context.encoder();
        looped.pack(&mut encoder);
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for place in 0..runs.len() {
                self.encode(&mut pass, &looped.dispatch, place);
            }
        }
        looped.unpack(&mut encoder);
        self.context.submit([encoder])
    }
}
