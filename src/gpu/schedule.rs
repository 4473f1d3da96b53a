//! The schedule: a buffer of the mini-batches of one submission, of which a dispatch reads one.

use std::sync::Arc;

use super::context::{GpuContext, UNIFORM_ALIGNMENT};
use super::submission::MAX_MINI_BATCHES;
use crate::kernel::MiniBatch;

/// A buffer of [`MiniBatch`]es, `stride` bytes apart; a dispatch picks one by a dynamic offset.
#[derive(Debug)]
pub struct Schedule {
    context: Arc<GpuContext>,
    buffer: wgpu::Buffer,
    /// The same without gaps, for a kernel that loops over them.
    list: wgpu::Buffer,
    bind_group: wgpu::BindGroup,
    stride: usize,
}

impl Schedule {
    /// Makes room for the mini-batches of a submission. Errors go to the error scope of the caller.
    pub fn new(context: Arc<GpuContext>, layout: &wgpu::BindGroupLayout) -> Self {
        let stride = context.uniform_stride(size_of::<MiniBatch>());
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let buffer = context.buffer("mini-batches of a submission", (stride * MAX_MINI_BATCHES) as u64, usage);
        let bind_group = context.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("mini-batch"),
            layout,
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &buffer,
                    offset: 0,
                    size: wgpu::BufferSize::new(size_of::<MiniBatch>().next_multiple_of(UNIFORM_ALIGNMENT) as u64),
                }),
            }],
        });
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let list = context.buffer("list of mini-batches", (size_of::<MiniBatch>() * MAX_MINI_BATCHES) as u64, usage);
        Schedule { context, buffer, list, bind_group, stride }
    }

    /// Writes the mini-batches of the next submission.
    pub fn write(&self, mini_batches: &[MiniBatch]) {
        let mut bytes = vec![0; mini_batches.len() * self.stride];
        for (slot, mini_batch) in bytes.chunks_exact_mut(self.stride).zip(mini_batches) {
            slot[..size_of::<MiniBatch>()].copy_from_slice(bytemuck::bytes_of(mini_batch));
        }
        self.context.write(&self.buffer, 0, &bytes);
    }

    /// The list of mini-batches of a submission.
    pub fn list(&self) -> &wgpu::Buffer {
        &self.list
    }

    /// Writes the list of mini-batches of the next submission.
    pub fn write_list(&self, mini_batches: &[MiniBatch]) {
        self.context.write(&self.list, 0, bytemuck::cast_slice(mini_batches));
    }

    /// Binds the mini-batch at a place of the schedule.
    pub fn bind(&self, pass: &mut wgpu::ComputePass<'_>, place: usize) {
        pass.set_bind_group(1, &self.bind_group, &[(place * self.stride) as u32]);
    }
}
