//! A check of product strategies that use experimental features: one whose results differ from
//! those of a plain strategy is never chosen.

use anyhow::{Result, ensure};

use super::context::GpuContext;
use super::dispatcher::Dispatcher;
use super::memory::DeviceMemory;
use crate::kernel::{MiniBatch, Realization};
use crate::plan::Step;
use crate::verify::distance::count_beyond;

/// Computes a product in two ways from the same numbers and compares the results. The contents of its
/// matrices are lost.
///
/// # Errors
/// Results that differ by more than the order of the terms explains, or a failing device.
pub fn agree(
    context: &GpuContext,
    dispatcher: &mut Dispatcher,
    memory: &DeviceMemory,
    step: &Step,
    way: Realization,
    plain: Realization,
) -> Result<()> {
    let mut results = |way| results(context, dispatcher, memory, step, way);
    let (found, expected) = (results(way)?, results(plain)?);
    let terms = step.product().map_or(1, |(_, extents)| extents.inner) as f64;
    // Magnitudes of the terms of a sum add up to √inner at most; results are of the order of 1.
    let tolerance = 8.0 * f64::from(f32::EPSILON) / 2.0 * (terms + 8.0);
    let wrong = count_beyond(&found, &expected, tolerance);
    ensure!(wrong == 0, "{wrong} of {} results differ from those of {plain}", expected.len());
    Ok(())
}

/// Returns the results of one run of a product on pseudo-random inputs.
fn results(
    context: &GpuContext,
    dispatcher: &mut Dispatcher,
    memory: &DeviceMemory,
    step: &Step,
    realization: Realization,
) -> Result<Vec<f32>> {
    let inner = step.product().map_or(1, |(_, extents)| extents.inner);
    // A power of two: the numbers are exact in 16 bits, or nearly, and sums are of the order of 1.
    let scales = [1.0, (-(inner as f32).log2() / 2.0).round().exp2()];
    for (operand, matrix) in step.operands.iter().enumerate() {
        let scale = scales.get(operand).copied().unwrap_or(1.0);
        let values: Vec<f32> = (0..matrix.len()).map(|entry| scale * made_up(entry, operand)).collect();
        memory.write(matrix, 0, bytemuck::cast_slice(&values))?;
        context.bound_staged()?;
    }
    let dispatches =
        dispatcher.bind(memory, std::slice::from_ref(step), &[Some(realization)], context.most_multiplications)?;
    // A learning rate at which an update is the whole sum.
    let mini_batch = MiniBatch { eta: inner as f32, count: 1, ..MiniBatch::default() };
    let scope = context.scope();
    let submission = dispatcher.submit(&dispatches, &[mini_batch]);
    scope.end()?;
    context.wait(Some(submission))?;
    let mut results = Vec::new();
    for matrix in step.outputs() {
        results.extend(bytemuck::pod_collect_to_vec::<u8, f32>(&memory.read(matrix)?));
    }
    Ok(results)
}

/// A multiple of 1/64 between -1 and 1 that looks random: exact in 16 bits.
fn made_up(entry: usize, operand: usize) -> f32 {
    let bits = (entry as u32 ^ (operand as u32) << 28).wrapping_mul(2_654_435_761);
    ((bits ^ bits >> 15).wrapping_mul(2_246_822_519) >> 25) as f32 / 64.0 - 1.0
}
