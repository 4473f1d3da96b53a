//! Limits of a dispatch: work groups and iterations.

use anyhow::{Result, bail, ensure};

use super::capabilities::Capabilities;
use super::context::GpuContext;
use super::probe;
use crate::kernel::{MAX_WORK_GROUPS, Realization};
use crate::plan::{Plan, Step};

/// Checks that every step stays within the limit on work groups, and that no loop ends early.
///
/// # Errors
/// A plan beyond a limit, or a failing device.
pub fn check(context: &GpuContext, plan: &Plan, realizations: &[Option<Realization>]) -> Result<()> {
    let mut longest: Option<(&Step, usize)> = None;
    for (step, &realization) in plan.steps.iter().zip(realizations) {
        let groups = step.work_groups(realization);
        ensure!(
            groups.iter().all(|&n| n <= MAX_WORK_GROUPS),
            "{} ({}) needs {groups:?} work groups, more than a GPU dispatches at once: use --device cpu",
            step.kernel.name,
            step.formula
        );
        let iterations = realization.map_or(step.iterations, |found| found.variant.iterations(step.iterations));
        if longest.is_none_or(|(_, most)| iterations >= most) {
            longest = Some((step, iterations));
        }
    }
    let Some((step, iterations)) = longest else { return Ok(()) };
    if iterations > probe::LOOP_ITERATIONS_ALWAYS_RIGHT && !probe::long_loops_are_right(context)? {
        let sums_examples = step.kernel.sums_examples;
        bail!(
            "{} ends loops after {} iterations without an error, and {} ({}) needs {iterations}: \
             use {}--device cpu or a newer driver",
            context.description,
            probe::LOOP_ITERATIONS_ALWAYS_RIGHT,
            step.kernel.name,
            step.formula,
            if sums_examples { "a smaller --batch, " } else { "" }
        );
    }
    Ok(())
}

/// True if a product can be computed with this realization, whatever the driver.
pub fn can_run(capabilities: &Capabilities, step: &Step, realization: Realization) -> bool {
    let Realization { variant, precision, .. } = realization;
    capabilities.supports(variant, precision)
        && variant.iterations(step.iterations) <= probe::LOOP_ITERATIONS_ALWAYS_RIGHT
        && step.work_groups(Some(realization)).iter().all(|&groups| groups <= MAX_WORK_GROUPS)
}
