//! The CPU executor: runs a plan on the host.
//!
//! Plans are fused as for a GPU. Each fused step is one matrix product with an epilogue: the rest
//! of its equation, applied to each block of sums while it is still in the L1 cache. Weights of the
//! first layer, and those of layers with many neurons, are stored in panels, the layout that
//! products read. Where most inputs are 0, as in images of handwritten digits, zeros are skipped.

mod biases;
mod dense;
mod descent;
mod entries;
mod epilogue;
mod examples;
mod gradient;
mod inputs;
mod kept;
mod left;
mod listed;
mod loader;
mod loading;
mod narrow;
mod nonzeros;
mod optimizer_step;
mod outputs;
mod panels;
mod product;
mod products;
mod run;
mod second;
mod sparse;
mod sparse_update;
pub mod steps;
mod store;
mod tasks;
mod thread_choice;
mod thread_pool;
mod threads;
mod tile;
mod times;
mod twin;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use pulp::Arch;

use self::loader::Loader;
use self::panels::Width;
use self::run::{Run, Workspace};
use self::store::Store;
use self::thread_choice::ThreadChoice;
use self::times::Times;
use crate::kernel::{Matrix, MiniBatch};
use crate::plan::Plan;
use crate::plan::executor::{DeviceDescription, Executor, Lent, Memory, PROGRESS_INTERVAL, PlanId, Progress, sizes};
use crate::plan::profile::Profile;
use crate::rewrite::fuse::fuse;
use crate::system::host_memory;

/// Size in bytes of a chunk of streamed examples: small enough to be still in a cache when it is
/// used.
const CHUNK: u64 = 4 << 20;

/// Runs plans on the host.
#[derive(Debug)]
pub struct Cpu {
    device: DeviceDescription,
    /// The SIMD instruction set of this machine.
    arch: Arch,
    threads: usize,
    only_twins: bool,
    store: Store,
    plans: Vec<Vec<Box<dyn Run>>>,
    /// One for each plan.
    plan_names: Vec<String>,
    /// One for each plan.
    thread_choices: Vec<ThreadChoice>,
    workspace: Option<Workspace>,
    times: Option<Times>,
    most_memory: Option<u64>,
    /// False if it lists examples anew in each step.
    caches_lists: bool,
    /// A token that second executors share: more than one owner means that one exists.
    seconds: Arc<()>,
    /// The number of threads to use while a second executor exists.
    beside_second: usize,
}

impl Cpu {
    /// An executor on at most `threads` threads, or on fewer where it measures that fewer are
    /// faster. The number of threads changes no bit of a result.
    pub fn new(threads: usize) -> Self {
        let device = DeviceDescription {
            kind: "cpu",
            name: format!("{threads} thread{}", if threads == 1 { "" } else { "s" }),
            backend: None,
            driver: None,
            software: false,
        };
        Cpu {
            device,
            arch: Arch::new(),
            threads,
            only_twins: false,
            store: Store::default(),
            plans: Vec::new(),
            plan_names: Vec::new(),
            thread_choices: Vec::new(),
            workspace: None,
            times: None,
            most_memory: None,
            caches_lists: true,
            seconds: Arc::default(),
            beside_second: 1,
        }
    }

    /// This executor, timing each step.
    pub fn with_profile(self) -> Self {
        Cpu { times: Some(Times::default()), ..self }
    }

    /// An executor that computes every kernel by its twin: slow, but the reference for the tests.
    pub fn of_twins() -> Self {
        Cpu { only_twins: true, ..Cpu::new(1) }
    }

    /// Writes out a matrix of which only the list of nonzero entries exists. Returns its index in
    /// the store.
    fn write_listed(&mut self, matrix: &Matrix) -> Result<usize> {
        let place = self.store.find(matrix)?;
        for nonzeros in self.workspace.iter_mut().flat_map(|workspace| &mut workspace.nonzeros) {
            if nonzeros.matrix() == place {
                nonzeros.write(self.store.numbers[place].all_f32s());
            }
        }
        Ok(place)
    }
}

/// Cost of adding a number that is in memory, in multiplications.
const PER_ADDED: usize = 8;

impl Executor for Cpu {
    fn device(&self) -> &DeviceDescription {
        &self.device
    }

    fn load(&mut self, plans: &[Plan]) -> Result<()> {
        self.store.clear();
        self.plans.clear();
        self.workspace = None;
        if let Some(times) = &mut self.times {
            times.clear();
        }
        self.load_more(plans)
    }

    fn choices(&self) -> Vec<String> {
        let words = |(name, choice): (&String, &ThreadChoice)| Some(format!("{name}: {}", choice.in_words()?));
        self.plan_names.iter().zip(&self.thread_choices).filter_map(words).collect()
    }

    fn profile(&self) -> Option<Profile> {
        Some(self.times.as_ref()?.profile())
    }

    fn memory(&self) -> Memory {
        // Half of the free memory, since the data set is in host memory as well.
        let of_all = self.most_memory.unwrap_or_else(|| host_memory::free().map_or(u64::MAX, |free| free / 2));
        Memory { of_matrix: u64::MAX, of_all, is_limit: self.most_memory.is_some(), is_of_host: true, chunk: CHUNK }
    }

    fn limit_memory(&mut self, bytes: u64) {
        self.most_memory = Some(bytes);
    }

    fn size_of(&self, plans: &[Plan]) -> u64 {
        if self.only_twins {
            return sizes(plans).values().sum();
        }
        let known = |plan: &Plan| Plan::of(plan.name.clone(), steps::known(&fuse(plan)).cloned().collect());
        let plans: Vec<Plan> = plans.iter().map(known).collect();
        let loader = Loader::new(&plans, Width::of(self.arch));
        sizes(&plans).values().sum::<u64>() + loader.size_of_workspace()
    }

    fn write_bytes_at(&mut self, matrix: &Matrix, offset: usize, bytes: &[u8]) -> Result<()> {
        let place = self.write_listed(matrix)?;
        self.store.write(matrix, offset, bytes)?;
        for nonzeros in self.workspace.iter_mut().flat_map(|workspace| &mut workspace.nonzeros) {
            nonzeros.forget(place, matrix.element.size(), &(offset..offset + bytes.len()));
            if nonzeros.matrix() == place {
                nonzeros.set_overwritten();
            }
        }
        Ok(())
    }

    fn read_bytes(&mut self, matrix: &Matrix) -> Result<Vec<u8>> {
        self.write_listed(matrix)?;
        self.store.read(matrix)
    }

    fn lend(&mut self, matrix: &Matrix, spare: Option<Lent>) -> Result<Lent> {
        let place = self.write_listed(matrix)?;
        self.store.lend_out(place, spare)
    }

    fn take_back(&mut self, matrix: &Matrix, lent: Lent) -> Result<Lent> {
        let place = self.store.find(matrix)?;
        self.store.lend_out(place, Some(lent))
    }

    fn add(&mut self, sums: &mut [f32], others: &[f32]) {
        let Workspace { team, .. } = self.workspace.as_mut().expect("plans are loaded with a workspace");
        team.choose(team.threads());
        team.by_rows(sums.len(), team.worth_without_packing(PER_ADDED * sums.len()), [sums], |range, [sums]| {
            sums.iter_mut().zip(&others[range]).for_each(|(sum, other)| *sum += other);
        });
    }

    fn second(&mut self, plans: &[Plan], busy: PlanId) -> Option<Box<dyn Executor>> {
        Some(Box::new(self.beside(plans, busy)?))
    }

    fn run(&mut self, plan: PlanId, mini_batches: &[MiniBatch], progress: &mut Progress<'_>) -> Result<()> {
        let mut reported = Instant::now();
        let (mut finished, mut began) = (0, reported);
        let workspace = self.workspace.as_mut().expect("plans are loaded with a workspace");
        let choice = &mut self.thread_choices[plan.0];
        for &mini_batch in mini_batches {
            // Times measured while a second executor takes a core would mislead.
            let tries = Arc::strong_count(&self.seconds) == 1;
            workspace.team.choose(if tries { choice.threads() } else { self.beside_second });
            for (number, step) in self.plans[plan.0].iter().enumerate() {
                let mut run = || step.run(&mut self.store, workspace, mini_batch);
                match &mut self.times {
                    Some(times) => times.time(plan.0, number, run),
                    None => run(),
                }
            }
            finished += 1;
            let now = Instant::now();
            if tries {
                choice.ran(now - began);
            }
            began = now;
            if now - reported >= PROGRESS_INTERVAL {
                progress(finished);
                began = Instant::now();
                (finished, reported) = (0, began);
            }
        }
        progress(finished);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
