//! Several networks in one dispatch: a work group trains each.

use anyhow::{Context, Result, ensure};

use super::context::GpuContext;
use super::dispatcher::Dispatcher;
use super::submission::SubmissionLength;
use super::workgroup_loop::WorkgroupLoop;
use crate::kernel::MiniBatch;
use crate::plan::executor::{Beside, Progress};

/// The largest number of networks in one dispatch.
const MOST: usize = 256;

/// The largest number of networks whose data fit in the buffers of a device.
pub fn most(context: &GpuContext, looped: &WorkgroupLoop, examples: usize, mini_batches: usize) -> usize {
    let of_one =
        [size_of::<u32>() * examples, size_of::<MiniBatch>() * mini_batches, size_of::<f32>() * looped.packed_floats()];
    let largest = of_one.into_iter().max().unwrap_or(1).max(1) as u64;
    // Positions in the permutations are 32-bit integers.
    let counted = u32::MAX as u64 / examples.max(1) as u64;
    (context.largest_buffer() / largest).min(counted).clamp(1, MOST as u64) as usize
}

/// Trains each network on its mini-batches.
///
/// # Errors
/// A failing device, or networks that differ in the number of their examples or mini-batches.
pub fn run(
    context: &GpuContext,
    dispatcher: &Dispatcher,
    looped: &WorkgroupLoop,
    networks: &mut [Beside],
    progress: &mut Progress<'_>,
) -> Result<()> {
    let Some(first) = networks.first() else { return Ok(()) };
    let (examples, mini_batches) = (first.order.len(), first.mini_batches.len());
    ensure!(
        networks.iter().all(|other| other.order.len() == examples && other.mini_batches.len() == mini_batches),
        "networks side by side have the same number of examples and of mini-batches"
    );
    let order: Vec<u32> = networks.iter().flat_map(|network| network.order.iter().copied()).collect();
    let mut schedule: Vec<MiniBatch> = Vec::with_capacity(networks.len() * mini_batches);
    for (number, network) in networks.iter().enumerate() {
        let from = (number * examples) as u32;
        schedule.extend(network.mini_batches.iter().map(|&of| MiniBatch { first: from + of.first, ..of }));
    }
    let packed = packed(looped, networks)?;
    let scope = context.scope();
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let filled = |label: &str, bytes: &[u8]| {
        let buffer = context.buffer(label, bytes.len() as u64, usage);
        context.write(&buffer, 0, bytes);
        buffer
    };
    let order = filled("permutations of networks", bytemuck::cast_slice(&order));
    let list = filled("mini-batches of networks", bytemuck::cast_slice(&schedule));
    let parameters = filled("parameters of networks", bytemuck::cast_slice(&packed));
    let dispatch = looped.beside(context, [&order, &list, &parameters], networks.len());
    let mut length = SubmissionLength::first(context.halvings);
    let mut at = 0;
    while at < mini_batches {
        let count = length.mini_batches().min(looped.longest).min(mini_batches - at);
        let run =
            MiniBatch { first: at as u32, count: count as u32, slot: mini_batches as u32, ..MiniBatch::default() };
        let start = std::time::Instant::now();
        context.wait(Some(dispatcher.submit(std::slice::from_ref(&dispatch), &[run])))?;
        length.learn(count, start.elapsed());
        progress(networks.len() * count);
        at += count;
    }
    scope.end().with_context(|| format!("{} cannot train networks side by side", context.description))?;
    let trained = context.read(&parameters, size_of_val(&packed[..]))?;
    unpack(looped, &bytemuck::pod_collect_to_vec(&trained), networks)
}

/// The parameters of all networks as the loop reads them.
fn packed(looped: &WorkgroupLoop, networks: &[Beside]) -> Result<Vec<f32>> {
    let mut packed = vec![0f32; networks.len() * looped.packed_floats()];
    for (network, packed) in networks.iter().zip(packed.chunks_exact_mut(looped.packed_floats())) {
        for row in looped.rows() {
            let numbers = network.parameters.iter().find(|(matrix, _)| matrix.name == row.matrix.name);
            let (_, numbers) = numbers.with_context(|| format!("a network has no {}", row.matrix))?;
            packed[row.to..][..row.len].copy_from_slice(&numbers[row.from..][..row.len]);
        }
    }
    Ok(packed)
}

fn unpack(looped: &WorkgroupLoop, packed: &[f32], networks: &mut [Beside]) -> Result<()> {
    for (network, packed) in networks.iter_mut().zip(packed.chunks_exact(looped.packed_floats())) {
        for row in looped.rows() {
            let numbers = network.parameters.iter_mut().find(|(matrix, _)| matrix.name == row.matrix.name);
            let (_, numbers) = numbers.with_context(|| format!("a network has no {}", row.matrix))?;
            numbers[row.from..][..row.len].copy_from_slice(&packed[row.to..][..row.len]);
        }
    }
    Ok(())
}
