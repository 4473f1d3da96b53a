//! The time of each step, if profiling was requested.

use std::time::Instant;

use crate::plan::profile::{Clock, KernelProfile, Profile};
use crate::plan::{Plan, Step};

/// The times of all loaded steps.
#[derive(Debug, Default)]
pub struct Times {
    kernels: Vec<KernelProfile>,
    operations: Vec<f64>,
    /// Index of the first step of each plan.
    first: Vec<usize>,
}

impl Times {
    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Times::default();
    }

    /// Makes room for the steps of the next plan.
    pub fn begin<'a>(&mut self, plan: &Plan, steps: impl Iterator<Item = &'a Step>) {
        self.first.push(self.kernels.len());
        for step in steps {
            self.kernels.push(KernelProfile::new(&plan.name, step.kernel.name.to_string(), &step.formula));
            self.operations.push(step.operations());
        }
    }

    /// Times a step of a plan.
    pub fn time(&mut self, plan: usize, step: usize, run: impl FnOnce()) {
        let start = Instant::now();
        run();
        let at = self.first[plan] + step;
        self.kernels[at].add(start.elapsed().as_secs_f64(), self.operations[at]);
    }

    /// The measurements so far.
    pub fn profile(&self) -> Profile {
        Profile { clock: Clock::Wall, kernels: self.kernels.clone(), gaps_seconds: None }
    }
}
