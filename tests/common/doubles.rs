//! Test doubles.

use std::collections::HashMap;

use anyhow::{Result, anyhow};
use gpu_backprop::commands::compare::{EpochComparison, Observer, Opening};
use gpu_backprop::commands::train::{EpochReport, Keep, Monitor, Setup, Training};
use gpu_backprop::cpu::Cpu;
use gpu_backprop::kernel::MiniBatch;
use gpu_backprop::network::Initialization;
use gpu_backprop::plan::executor::{DeviceDescription, Executor, Memory, PlanId, Progress};
use gpu_backprop::plan::{Matrix, Plan, Step};
use gpu_backprop::system::error::OutOfMemory;
use gpu_backprop::training::recipe::Recipe;
use gpu_backprop::training::stopping::Patience;
use gpu_backprop::verify::lockstep::Lockstep;

/// An observer that shows nothing of a comparison.
pub struct Silent;

impl Observer for Silent {
    fn begin(&mut self, _: &Opening<'_>) -> Result<()> {
        Ok(())
    }
    fn lockstep(&mut self, _: &Lockstep) -> Result<()> {
        Ok(())
    }
    fn epoch(&mut self, _: [&EpochReport; 2], _: &EpochComparison) -> Result<()> {
        Ok(())
    }
}

/// What a training of so many epochs is done with that neither stops nor goes back.
pub fn setup(training: &Training<'_>, epochs: usize) -> Setup {
    Setup {
        recipe: Recipe::Book,
        initialization: Initialization::Scaled,
        epochs,
        patience: Patience::default(),
        keep: Keep::Last,
        refit: false,
        monitor: Monitor::All,
        hyperparameters: training.hyperparameters,
    }
}

/// What a double does as the executor within.
macro_rules! as_within {
    () => {
        fn device(&self) -> &DeviceDescription {
            self.inner.device()
        }

        fn limit_memory(&mut self, bytes: u64) {
            self.inner.limit_memory(bytes);
        }

        fn write_bytes_at(&mut self, matrix: &Matrix, offset: usize, bytes: &[u8]) -> Result<()> {
            self.inner.write_bytes_at(matrix, offset, bytes)
        }

        fn read_bytes(&mut self, matrix: &Matrix) -> Result<Vec<u8>> {
            self.inner.read_bytes(matrix)
        }
    };
}

/// A device that refuses more examples than these, and says nothing before.
pub struct Scarce {
    pub inner: Cpu,
    pub most: usize,
}

impl Executor for Scarce {
    as_within!();

    fn memory(&self) -> Memory {
        Memory { of_matrix: u64::MAX, of_all: u64::MAX, is_limit: false, is_of_host: false, chunk: 100_000 }
    }

    fn load(&mut self, plans: &[Plan]) -> Result<()> {
        let mut examples = plans.iter().flat_map(Plan::operands).filter(|matrix| &*matrix.name == "inputs");
        if examples.any(|matrix| matrix.rows > self.most) {
            return Err(anyhow!(OutOfMemory::new("no more memory")).context("cannot load"));
        }
        self.inner.load(plans)
    }

    fn run(&mut self, plan: PlanId, mini_batches: &[MiniBatch], progress: &mut Progress<'_>) -> Result<()> {
        self.inner.run(plan, mini_batches, progress)
    }
}

/// What goes wrong in a step.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    /// Every entry has the other sign.
    Sign,
    /// Row 1, column 2 and row 2, column 1 are exchanged.
    SwappedIndex,
    /// A change in place is this many times too large.
    MissingFactor(usize),
    /// The last column is not written.
    LastColumn,
    /// The output is what it was before the step.
    NotWritten,
    /// The output is that of the step before, of the same plan.
    StaleRead,
    /// One count too many.
    OffByOne,
    /// Row 1, column 0 is NaN.
    Nan,
}

/// A plan in parts, so that the fault comes between its steps.
#[derive(Clone, Debug)]
struct Wrong {
    /// What the step writes.
    matrix: Matrix,
    /// The plans of the steps before it, of itself, and of those after it.
    parts: [Option<PlanId>; 3],
}

/// A device on which one step is wrong.
#[derive(Debug)]
pub struct Faulty<E> {
    inner: E,
    pub kernel: &'static str,
    pub matrix: &'static str,
    pub fault: Fault,
    /// Only where it runs together with other steps.
    pub only_together: bool,
    /// By the number of a plan, where the step is.
    wrong: HashMap<PlanId, Wrong>,
    /// What the output was after the last run.
    pub last: Option<Vec<u8>>,
}

impl<E> Faulty<E> {
    pub fn new(inner: E, kernel: &'static str, matrix: &'static str, fault: Fault) -> Self {
        Faulty { inner, kernel, matrix, fault, only_together: false, wrong: HashMap::new(), last: None }
    }
}

impl<E: Executor> Executor for Faulty<E> {
    as_within!();

    fn load(&mut self, plans: &[Plan]) -> Result<()> {
        self.wrong.clear();
        let mut all = plans.to_vec();
        for (number, plan) in plans.iter().enumerate().filter(|(_, plan)| !self.only_together || plan.steps.len() > 1) {
            let output = |step: &Step| step.outputs().find(|output| &*output.name == self.matrix).cloned();
            let Some(at) = plan.steps.iter().position(|step| step.kernel.name == self.kernel && output(step).is_some())
            else {
                continue;
            };
            let matrix = output(&plan.steps[at]).expect("it has been found");
            let parts = [&plan.steps[..at], &plan.steps[at..=at], &plan.steps[at + 1..]].map(|steps| {
                let number = (!steps.is_empty()).then_some(PlanId(all.len()));
                all.extend(number.map(|_| Plan::of(plan.name.clone(), steps.to_vec())));
                number
            });
            self.wrong.insert(PlanId(number), Wrong { matrix, parts });
        }
        self.inner.load(&all)
    }

    fn prepare(&mut self, plan: PlanId, mini_batches: usize) -> Result<()> {
        self.inner.prepare(plan, mini_batches)
    }

    fn memory(&self) -> Memory {
        self.inner.memory()
    }

    fn run(&mut self, plan: PlanId, mini_batches: &[MiniBatch], progress: &mut Progress<'_>) -> Result<()> {
        let Some(Wrong { matrix, parts: [earlier, step, later] }) = self.wrong.get(&plan).cloned() else {
            return self.inner.run(plan, mini_batches, progress);
        };
        for &mini_batch in mini_batches {
            let mut before = Vec::new();
            for part in [earlier, step].into_iter().flatten() {
                before = self.inner.read_bytes(&matrix)?;
                self.inner.run(part, &[mini_batch], &mut |_| ())?;
            }
            let after = self.inner.read_bytes(&matrix)?;
            let wrong = self.spoil(&matrix, &before, after);
            self.inner.write_bytes(&matrix, bytemuck::cast_slice(&wrong))?;
            if let Some(later) = later {
                self.inner.run(later, &[mini_batch], &mut |_| ())?;
            }
        }
        Ok(())
    }
}

impl<E: Executor> Faulty<E> {
    /// What the step should have written, made wrong.
    fn spoil(&mut self, matrix: &Matrix, before: &[u8], after: Vec<u8>) -> Vec<f32> {
        let (rows, cols) = matrix.shape();
        let old: Vec<f32> = bytemuck::pod_collect_to_vec(before);
        let mut new: Vec<f32> = bytemuck::pod_collect_to_vec(&after);
        match self.fault {
            Fault::Sign => new.iter_mut().for_each(|value| *value = -*value),
            Fault::SwappedIndex => new.swap(cols + 2, 2 * cols + 1),
            Fault::MissingFactor(factor) => {
                new.iter_mut().zip(&old).for_each(|(new, old)| *new = old + factor as f32 * (*new - old));
            }
            Fault::LastColumn => (0..rows).for_each(|row| new[(row + 1) * cols - 1] = old[(row + 1) * cols - 1]),
            Fault::NotWritten => new = old,
            Fault::StaleRead => {
                let last = self.last.replace(after.clone()).unwrap_or(after);
                new = bytemuck::pod_collect_to_vec(&last);
            }
            Fault::OffByOne => new[0] = f32::from_bits(new[0].to_bits() + 1),
            Fault::Nan => new[cols] = f32::NAN,
        }
        new
    }
}
