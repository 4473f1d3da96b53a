//! A training plan as one kernel: a dispatch of one work group trains on many mini-batches.

use anyhow::Result;

use super::context::{GpuContext, UNIFORM_ALIGNMENT};
use super::memory::DeviceMemory;
use super::pipeline::{Dispatch, DispatchPart, Pipelines};
use super::probe;
use crate::kernel::{Kernel, MiniBatch};
use crate::kernels::{TRAIN_IN_WORKGROUP, TrainInWorkgroupParams};
use crate::rewrite::training_loop::strategy::{ALL_IN_STORAGE, IN_REGISTERS, IN_STORAGE, IN_WORKGROUP, LoopStrategy};
use crate::rewrite::training_loop::{PackedRow, TrainingLoop};

/// Multiplications of a training step up to which one work group is expected to be faster than dispatches
/// to the whole device.
const MOST_MULTIPLICATIONS: usize = 4_000_000;

/// Smallest number of mini-batches for which compiling a loop pays.
pub const WORTH_A_LOOP: usize = 4;

/// True where a loop in one work group is expected to be faster than dispatches.
pub fn expected_to_be_faster(training: &TrainingLoop) -> bool {
    training.multiplications() <= MOST_MULTIPLICATIONS
}

/// True where a loop can be faster at all: one work group uses a small part of any device.
pub fn worth_measuring(training: &TrainingLoop) -> bool {
    training.multiplications() <= 8 * MOST_MULTIPLICATIONS
}

/// A strategy of a loop with a number of invocations.
pub type LoopCandidate = (&'static LoopStrategy, usize);

/// Candidates for loops on software adapters, the choice by rule first. Barriers there cost time
/// for each invocation. Activations in storage are left out: compiling takes seconds, and
/// dispatches are faster.
const WAYS_ON_SOFTWARE: [LoopCandidate; 4] =
    [(&IN_STORAGE, 64), (&IN_STORAGE, 128), (&IN_WORKGROUP, 64), (&IN_REGISTERS, 256)];

/// Candidates for loops on GPUs, the choice by rule first, then the most promising: enough
/// invocations to fill the compute unit of a work group.
const WAYS_ON_GPUS: [LoopCandidate; 12] = [
    (&IN_STORAGE, 256),
    (&IN_REGISTERS, 512),
    (&IN_REGISTERS, 256),
    (&IN_STORAGE, 512),
    (&IN_WORKGROUP, 256),
    (&IN_WORKGROUP, 512),
    (&ALL_IN_STORAGE, 512),
    (&IN_REGISTERS, 128),
    (&IN_STORAGE, 1024),
    (&IN_STORAGE, 128),
    (&IN_REGISTERS, 64),
    (&IN_STORAGE, 64),
];

/// Returns the candidates for loops on a kind of device, the choice by rule first.
pub fn ways(software: bool) -> &'static [LoopCandidate] {
    if software { &WAYS_ON_SOFTWARE } else { &WAYS_ON_GPUS }
}

/// Returns the usual work group sizes of loops.
pub fn lanes(software: bool) -> [usize; 2] {
    if software { [64, 128] } else { [256, 512] }
}

/// A training plan that runs as a loop.
#[derive(Debug)]
pub struct WorkgroupLoop {
    /// Trains on `count` mini-batches from `first` on in the list, as its [`MiniBatch`] says.
    pub dispatch: Dispatch,
    /// Multiplications of one mini-batch.
    pub multiplications: usize,
    /// Largest number of mini-batches in one dispatch.
    pub longest: usize,
    packed: wgpu::Buffer,
    /// `vec4`s in the packed parameters of a network.
    packed_len: usize,
    params: wgpu::Buffer,
    layout: wgpu::BindGroupLayout,
    /// The inputs, the desired outputs and the weights of the examples.
    examples: [wgpu::Buffer; 3],
    /// Rows of the packed parameters, each with the buffer it comes from.
    rows: Vec<(wgpu::Buffer, PackedRow)>,
}

impl WorkgroupLoop {
    /// Compiles a loop over matrices that are in memory; `schedule` is the list of its
    /// mini-batches. Errors of the device go to the error scope of the caller.
    ///
    /// # Errors
    /// A matrix that no loaded plan names.
    pub fn new(
        context: &GpuContext,
        pipelines: &Pipelines,
        memory: &DeviceMemory,
        schedule: &wgpu::Buffer,
        training: &TrainingLoop,
    ) -> Result<Self> {
        let kernel: &Kernel = &TRAIN_IN_WORKGROUP;
        let pipeline = pipelines.make_from(kernel, training.grid(), training.source());
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let packed = context.buffer("packed parameters", 16 * training.packed_len() as u64, usage);
        let values = TrainInWorkgroupParams { parameters: training.packed_len() as u32 };
        let mut params = bytemuck::bytes_of(&values).to_vec();
        params.resize(params.len().next_multiple_of(UNIFORM_ALIGNMENT), 0);
        let params = context.uniforms("params", &params);
        let examples = &training.origin.examples;
        let desired = examples.desired.matrix();
        // Something must be bound, even if it is not read.
        let weights = examples.weights.as_ref().unwrap_or(desired);
        let examples = [&examples.inputs, desired, weights].map(|matrix| memory.buffer(matrix).cloned());
        let [inputs, desired, weights] = examples;
        let examples = [inputs?, desired?, weights?];
        let layout = pipeline.operands_layout;
        let order = memory.buffer(&training.origin.examples.order)?;
        let bind_group = bound(context, &layout, &params, &examples, [order, schedule, &packed]);
        let rows = training.packed_rows().into_iter().map(|row| Ok((memory.buffer(&row.matrix)?.clone(), row)));
        Ok(WorkgroupLoop {
            rows: rows.collect::<Result<_>>()?,
            dispatch: Dispatch {
                pipeline: pipeline.compute,
                parts: vec![DispatchPart { bind_group, work_groups: [1, 1, 1] }],
                reads_mini_batch: kernel.reads_mini_batch,
                realization: None,
            },
            multiplications: training.multiplications(),
            longest: longest(training).max(1),
            packed,
            packed_len: training.packed_len(),
            params,
            layout,
            examples,
        })
    }

    /// The dispatch that trains several networks, a work group each. The buffers hold permutations,
    /// mini-batches and packed parameters, one network after the other.
    pub fn beside(&self, context: &GpuContext, buffers: [&wgpu::Buffer; 3], networks: usize) -> Dispatch {
        let bind_group = bound(context, &self.layout, &self.params, &self.examples, buffers);
        let Dispatch { pipeline, reads_mini_batch, realization, .. } = &self.dispatch;
        Dispatch {
            pipeline: pipeline.clone(),
            parts: vec![DispatchPart { bind_group, work_groups: [networks as u32, 1, 1] }],
            reads_mini_batch: *reads_mini_batch,
            realization: *realization,
        }
    }

    /// Floats in the packed parameters of a network.
    pub fn packed_floats(&self) -> usize {
        4 * self.packed_len
    }

    /// The rows of the packed parameters.
    pub fn rows(&self) -> impl Iterator<Item = &PackedRow> {
        self.rows.iter().map(|(_, row)| row)
    }

    /// Splits mini-batches into runs, a dispatch for each: first mini-batch and count.
    pub fn runs(&self, mini_batches: usize) -> Vec<MiniBatch> {
        let run = |first: usize| {
            let count = self.longest.min(mini_batches - first);
            MiniBatch { first: first as u32, count: count as u32, ..MiniBatch::default() }
        };
        (0..mini_batches).step_by(self.longest).map(run).collect()
    }

    /// Copies the parameters into the packed buffer. Its padding becomes 0: NaN from a training that diverged would
    /// stay there, and spread from there through the next one.
    pub fn pack(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.clear_buffer(&self.packed, 0, None);
        for (buffer, PackedRow { from, len, to, .. }) in &self.rows {
            encoder.copy_buffer_to_buffer(buffer, 4 * *from as u64, &self.packed, 4 * *to as u64, 4 * *len as u64);
        }
    }

    /// Copies the parameters back from the packed buffer.
    pub fn unpack(&self, encoder: &mut wgpu::CommandEncoder) {
        for (buffer, PackedRow { from, len, to, .. }) in &self.rows {
            encoder.copy_buffer_to_buffer(&self.packed, 4 * *to as u64, buffer, 4 * *from as u64, 4 * *len as u64);
        }
    }
}

/// Returns the largest number of mini-batches per dispatch. Some drivers end long loops silently:
/// half of that length is a safe margin.
pub fn longest(training: &TrainingLoop) -> usize {
    let left = (probe::LOOP_ITERATIONS_ALWAYS_RIGHT / 2).saturating_sub(training.iterations_of_a_dispatch());
    left / training.iterations()
}

/// The bind group of a loop: examples, permutation, mini-batches and packed parameters.
fn bound(
    context: &GpuContext,
    layout: &wgpu::BindGroupLayout,
    params: &wgpu::Buffer,
    [inputs, desired, weights]: &[wgpu::Buffer; 3],
    [order, schedule, packed]: [&wgpu::Buffer; 3],
) -> wgpu::BindGroup {
    let buffers = [params, order, inputs, desired, weights, schedule, packed];
    let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..)
        .zip(buffers)
        .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
        .collect();
    context.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(TRAIN_IN_WORKGROUP.name),
        layout,
        entries: &entries,
    })
}
