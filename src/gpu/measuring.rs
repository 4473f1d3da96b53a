//! Measurement of alternatives within a time budget.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::context::GpuContext;
use crate::kernel::MiniBatch;
use crate::network::optimizer::Optimizer;
use crate::system::error::DeviceFailed;

/// Time for measurement on a device, not counting the compilation of the kernels that run anyway.
const BUDGET: Duration = Duration::from_millis(600);

/// Duration of a trial.
const TRIAL: Duration = Duration::from_millis(4);

/// Mini-batches in a trial at most.
pub const LONGEST_TRIAL: usize = 64;

/// Factor by which an alternative must be faster than the choice by rule, so that close calls do
/// not depend on noise.
const CLEARLY_FASTER: f64 = 1.1;

/// Time that is left for measurement.
#[derive(Debug, Default)]
pub struct Budget {
    spent: Duration,
}

impl Budget {
    /// True where time is left.
    pub fn has_time(&self) -> bool {
        self.spent < BUDGET
    }

    /// Measures alternatives by `time`, the choice by rule first, while there is time. Returns the
    /// fastest and the reason; to replace the first, it must be clearly faster.
    ///
    /// # Errors
    /// No alternative runs, or the device fails.
    pub fn fastest<T: Display>(
        &mut self,
        alternatives: Vec<T>,
        mut time: impl FnMut(&T) -> Result<f64>,
    ) -> Result<(T, String)> {
        let mut times: Vec<(T, f64)> = Vec::new();
        let mut failure = None;
        for alternative in alternatives {
            // One must be measured, whatever it costs.
            if !times.is_empty() && !self.has_time() {
                break;
            }
            let (start, first) = (Instant::now(), times.is_empty());
            match time(&alternative) {
                // If the first alone exceeds the whole budget, no other is measured.
                Ok(seconds) => {
                    times.push((alternative, seconds));
                    if first && seconds >= BUDGET.as_secs_f64() {
                        self.spent = BUDGET;
                    }
                }
                Err(error) if error.is::<DeviceFailed>() => return Err(error),
                Err(error) => failure = Some(error.context(alternative.to_string())),
            }
            if !first {
                self.spent += start.elapsed();
            }
        }
        let Some(&(_, by_rule)) = times.first() else {
            return Err(failure.unwrap_or_else(|| anyhow!("there is no way to run the plan")));
        };
        let list: Vec<String> =
            times.iter().map(|(alternative, seconds)| format!("{alternative} {:.1} µs", 1e6 * seconds)).collect();
        let mut reason = match times.len() {
            1 if !self.has_time() => "by rule: no time to measure".to_string(),
            1 => "there is no other way".to_string(),
            _ => format!("measured: {}", list.join(", ")),
        };
        if let Some(failure) = failure {
            reason += &format!("; fails: {failure:#}");
        }
        let best = (0..times.len()).min_by(|&one, &other| times[one].1.total_cmp(&times[other].1)).unwrap_or(0);
        let chosen = if times[best].1 * CLEARLY_FASTER < by_rule { best } else { 0 };
        Ok((times.swap_remove(chosen).0, reason))
    }
}

/// Returns the time of a mini-batch of `m` examples in seconds, with up to `most` of them in one
/// submission: the best of three trials, after a warm-up.
pub fn seconds_per_mini_batch(
    context: &GpuContext,
    m: usize,
    most: usize,
    optimizer: Option<&Optimizer>,
    submit: impl Fn(&[MiniBatch]) -> wgpu::SubmissionIndex,
) -> Result<f64> {
    // Consecutive mini-batches with learning rate 0.
    let mini_batches: Vec<MiniBatch> = (0..most).map(|i| MiniBatch::idle(i * m, optimizer)).collect();
    let timed = |count: usize| {
        let start = Instant::now();
        let scope = context.scope();
        let submission = submit(&mini_batches[..count]);
        scope.end()?;
        context.wait(Some(submission))?;
        anyhow::Ok(start.elapsed().as_secs_f64())
    };
    let first = timed(1)?;
    if first >= BUDGET.as_secs_f64() {
        // With or without compilation, it takes too long to be repeated.
        return Ok(first);
    }
    let once = timed(1)?;
    let count = ((TRIAL.as_secs_f64() / once.max(1e-9)) as usize).clamp(1, most);
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        best = best.min(timed(count)? / count as f64);
    }
    Ok(best)
}
