//! Time of a run, kernel by kernel.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

/// The clock of a profile.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// Timestamps that the GPU writes around each kernel.
    Gpu,
    /// The host's clock around each kernel, with the cost of starting it and of waiting for it.
    Wall,
}

/// The time of a run.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Profile {
    /// The clock.
    pub clock: Clock,
    /// Every kernel of every plan that ran, plan by plan, in the order of their steps.
    pub kernels: Vec<KernelProfile>,
    /// Time between kernels that followed one another in one submission, in seconds; `None` where
    /// the clock cannot tell.
    pub gaps_seconds: Option<f64>,
}

/// The time of one step of a plan.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct KernelProfile {
    /// Purpose of the plan.
    pub plan: String,
    /// The kernel, and for a product its strategy.
    pub kernel: String,
    /// The formula of the step.
    pub formula: String,
    /// Number of runs.
    pub calls: u64,
    /// Total time, in seconds.
    pub seconds: f64,
    /// Total floating-point operations, see [`Step::operations`](super::Step::operations).
    pub operations: f64,
}

impl KernelProfile {
    /// A kernel that has not run yet.
    pub fn new(plan: &str, kernel: String, formula: &str) -> Self {
        let (plan, formula) = (plan.to_string(), formula.to_string());
        KernelProfile { plan, kernel, formula, calls: 0, seconds: 0.0, operations: 0.0 }
    }

    /// Adds a call with its time and its floating-point operations.
    pub fn add(&mut self, seconds: f64, operations: f64) {
        self.calls += 1;
        self.seconds += seconds;
        self.operations += operations;
    }
}

impl Profile {
    /// Total time of all kernels, in seconds.
    pub fn seconds(&self) -> f64 {
        self.kernels.iter().map(|kernel| kernel.seconds).sum()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = match self.clock {
            Clock::Gpu => "by the GPU's timestamps around each kernel",
            Clock::Wall => "by the host's clock around each kernel",
        };
        let total = self.seconds().max(f64::MIN_POSITIVE);
        writeln!(f, "Time of each kernel, {clock}")?;
        let mut plan = "";
        for kernel in self.kernels.iter().filter(|kernel| kernel.calls > 0) {
            if plan != kernel.plan {
                plan = &kernel.plan;
                writeln!(f, "\n{plan}")?;
                writeln!(
                    f,
                    "{:>9}  {:>10}  {:>9}  {:>6}  {:>8}  {:<34}  formula",
                    "calls", "µs a call", "seconds", "share", "GFLOP/s", "kernel"
                )?;
            }
            let mut line = String::new();
            write!(
                line,
                "{:>9}  {:>10.2}  {:>9.3}  {:>5.1}%  {:>8.2}  {:<34}  {}",
                kernel.calls,
                1e6 * kernel.seconds / kernel.calls as f64,
                kernel.seconds,
                100.0 * kernel.seconds / total,
                kernel.operations / kernel.seconds.max(f64::MIN_POSITIVE) / 1e9,
                kernel.kernel,
                kernel.formula
            )?;
            writeln!(f, "{line}")?;
        }
        let calls: u64 = self.kernels.iter().map(|kernel| kernel.calls).sum();
        writeln!(f, "\n{total:.3} s in {calls} kernels")?;
        match self.gaps_seconds {
            Some(gaps) => writeln!(
                f,
                "{gaps:.3} s in the gaps between them, {:.1} µs each: {:.1}% of the device's time",
                1e6 * gaps / calls.max(1) as f64,
                100.0 * gaps / (gaps + total)
            ),
            None => Ok(()),
        }
    }
}
