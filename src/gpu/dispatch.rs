//! A dispatch: one kernel bound to its matrices.

use super::schedule::Schedule;
use crate::kernel::Realization;

/// A kernel bound to its matrices.
#[derive(Debug)]
pub struct Dispatch {
    pub pipeline: wgpu::ComputePipeline,
    pub bind_group: wgpu::BindGroup,
    pub reads_mini_batch: bool,
    pub work_groups: [u32; 3],
    /// The strategy, where the kernel is a matrix product.
    pub realization: Option<Realization>,
}

impl Dispatch {
    /// Encodes the dispatch for the mini-batch at a place of the schedule.
    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>, schedule: &Schedule, place: usize) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        if self.reads_mini_batch {
            schedule.bind(pass, place);
        }
        let [x, y, z] = self.work_groups;
        pass.dispatch_workgroups(x, y, z);
    }
}
