//! Plans on a device: pipelines, bind groups and dispatches, made once and sent again and again.

use anyhow::{Context, Result};

use super::submission::SubmissionLength;
use super::workgroup_loop::WorkgroupLoop;
use super::{Gpu, UNIFORM_GRANULE};
use crate::kernel::{MiniBatch, Realization};
use crate::plan::{Plan, Step};
use crate::rewrite::training_loop::TrainingLoop;

/// A plan that is ready to run.
#[derive(Debug)]
pub struct LoadedPlan {
    /// The plan as it runs, fused or not.
    pub plan: Plan,
    /// One for each step.
    pub dispatches: Vec<Dispatch>,
    /// What can run the plan in the place of the dispatches, where mini-batches follow one another.
    pub looping: Option<TrainingLoop>,
    /// The same on the device, once it is chosen.
    pub in_workgroup: Option<WorkgroupLoop>,
    /// How many mini-batches go to the device at once.
    pub length: SubmissionLength,
}

/// A kernel with its matrices.
#[derive(Debug)]
pub struct Dispatch {
    pub pipeline: wgpu::ComputePipeline,
    pub bind_group: wgpu::BindGroup,
    pub reads_mini_batch: bool,
    pub work_groups: [u32; 3],
}

impl Gpu {
    /// Prepares the dispatches of a plan. Errors of the device go to the error scope of the caller.
    pub(super) fn load_plan(&mut self, plan: Plan, looping: Option<TrainingLoop>) -> Result<LoadedPlan> {
        let realizations: Vec<_> = plan.steps.iter().map(|step| self.realize(step)).collect();
        let dispatches = self.dispatches(&plan.steps, &realizations)?;
        Ok(LoadedPlan { plan, dispatches, looping, in_workgroup: None, length: SubmissionLength::default() })
    }

    /// Binds steps to their matrices. Errors of the device go to the error scope of the caller.
    pub(super) fn dispatches(&mut self, steps: &[Step], realizations: &[Option<Realization>]) -> Result<Vec<Dispatch>> {
        let limits = self.device.limits();
        let stride = (limits.min_uniform_buffer_offset_alignment as usize).max(UNIFORM_GRANULE);
        let size_of_params = |step: &Step| step.params.len().next_multiple_of(UNIFORM_GRANULE);
        let mut params = Vec::new();
        let mut offsets = Vec::with_capacity(steps.len());
        for step in steps {
            offsets.push(params.len() as u64);
            params.extend_from_slice(&step.params);
            params.resize(params.len().next_multiple_of(stride), 0);
        }
        let params_buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("params"),
            size: params.len() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.queue.write_buffer(&params_buffer, 0, &params);
        self.pipelines.prepare(&self.faults, steps, realizations)?;
        let mut dispatches = Vec::with_capacity(steps.len());
        for ((step, &realization), offset) in steps.iter().zip(realizations).zip(offsets) {
            let pipeline = self.pipelines.get(step, realization).context("the pipeline was just made")?;
            let mut entries = vec![wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &params_buffer,
                    offset,
                    size: wgpu::BufferSize::new(size_of_params(step) as u64),
                }),
            }];
            for (binding, matrix) in (1..).zip(&step.operands) {
                entries.push(wgpu::BindGroupEntry { binding, resource: self.buffer(matrix)?.as_entire_binding() });
            }
            let bind_group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(step.kernel.name),
                layout: &pipeline.operands_layout,
                entries: &entries,
            });
            dispatches.push(Dispatch {
                pipeline: pipeline.compute.clone(),
                bind_group,
                reads_mini_batch: step.kernel.reads_mini_batch,
                work_groups: step.work_groups(realization),
            });
        }
        Ok(dispatches)
    }

    /// Writes the mini-batches of the next submission to where dispatches find them.
    pub(super) fn schedule(&self, mini_batches: &[MiniBatch]) {
        let mut schedule = vec![0; mini_batches.len() * self.stride];
        for (slot, mini_batch) in schedule.chunks_exact_mut(self.stride).zip(mini_batches) {
            slot[..size_of::<MiniBatch>()].copy_from_slice(bytemuck::bytes_of(mini_batch));
        }
        self.queue.write_buffer(&self.schedule, 0, &schedule);
    }

    /// Encodes a dispatch for the mini-batch at a place of the schedule.
    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass<'_>, dispatch: &Dispatch, scheduled: usize) {
        pass.set_pipeline(&dispatch.pipeline);
        pass.set_bind_group(0, &dispatch.bind_group, &[]);
        if dispatch.reads_mini_batch {
            pass.set_bind_group(1, &self.schedule_bind_group, &[(scheduled * self.stride) as u32]);
        }
        let [x, y, z] = dispatch.work_groups;
        pass.dispatch_workgroups(x, y, z);
    }

    /// Sends `mini_batches` of a plan to the device as one submission.
    pub(super) fn submit(&self, plan: &LoadedPlan, mini_batches: &[MiniBatch]) -> wgpu::SubmissionIndex {
        match &plan.in_workgroup {
            Some(looped) => self.submit_loop(looped, &looped.runs(mini_batches)),
            None => self.submit_dispatches(&plan.dispatches, mini_batches),
        }
    }

    /// Sends dispatches, all of them for each mini-batch.
    pub(super) fn submit_dispatches(
        &self,
        dispatches: &[Dispatch],
        mini_batches: &[MiniBatch],
    ) -> wgpu::SubmissionIndex {
        self.schedule(mini_batches);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for i in 0..mini_batches.len() {
                for dispatch in dispatches {
                    self.encode(&mut pass, dispatch, i);
                }
            }
        }
        self.queue.submit([encoder.finish()])
    }

    /// Sends runs of mini-batches, a dispatch for each.
    pub(super) fn submit_loop(&self, looped: &WorkgroupLoop, runs: &[MiniBatch]) -> wgpu::SubmissionIndex {
        self.schedule(runs);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        looped.pack(&mut encoder);
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for i in 0..runs.len() {
                self.encode(&mut pass, &looped.dispatch, i);
            }
        }
        looped.unpack(&mut encoder);
        self.queue.submit([encoder.finish()])
    }

    /// Runs a plan once with nothing at stake, because some drivers compile a kernel when it is first
    /// dispatched.
    pub(super) fn warm_up(&self, plan: usize) -> Result<()> {
        let loaded = &self.plans[plan];
        let nothing = MiniBatch { count: 1, ..MiniBatch::default() };
        let scope = self.faults.scope(&self.device);
        let submission = self.submit(loaded, &[nothing]);
        scope.end().with_context(|| format!("{} cannot run the plan \"{}\"", self.description, loaded.plan.name))?;
        self.wait(Some(submission))
    }
}
