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

use self::panels::Width;
use self::run::{Run, Workspace};
use self::steps::Loader;
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
    thread_choices: Vec<ThreadChoice>,
    workspace: Option<Workspace>,
    times: Option<Times>,
    most_memory: Option<u64>,
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
            thread_choices: Vec::new(),
            workspace: None,
            times: None,
            most_memory: None,
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

    fn second(&mut self, plans: &[Plan], busy: PlanId) -> Option<Box<dyn Executor + Send>> {
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
mod tests {
    use super::*;
    use crate::backprop::{Desired, Examples, Matrices, training_plan};
    use crate::network::Topology;
    use crate::network::activation::SIGMOID;
    use crate::network::cost::QUADRATIC;
    use crate::network::optimizer::{MOMENTUM, Optimizer, SGD, Settings};
    use crate::plan::Element;

    /// All activations, errors, weights and biases after two steps, and two more on other inputs.
    fn trained(mut cpu: Cpu, widths: &[usize], m: usize, sparse: bool, optimizer: &'static Optimizer) -> Vec<f32> {
        let topology = Topology::new(widths, &SIGMOID, &QUADRATIC).expect("a network");
        let labels = Matrix::of(Element::U32, "labels", 2 * m, 1);
        let examples = Examples {
            order: Matrix::of(Element::U32, "order", 2 * m, 1),
            inputs: Matrix::of(Element::Byte, "inputs", 2 * m, widths[0]),
            scale: 1.0 / 255.0,
            desired: Desired::Classes(labels.clone()),
            weights: None,
        };
        let mixed = |i: usize| (i as u32 + 1).wrapping_mul(2_654_435_761) >> 8;
        let net = Matrices::new(&topology, m);
        cpu.load(&[training_plan(&topology, &examples, m, optimizer).expect("the shapes fit")]).expect("load");
        cpu.thread_choices[0] = ThreadChoice::always_all(cpu.threads);
        let executor: &mut dyn Executor = &mut cpu;
        let inputs = |salt: usize| {
            let mixed = (0..examples.inputs.len()).map(|i| mixed(i ^ salt));
            mixed.map(|i| if sparse && i % 8 > 0 { 0 } else { (i >> 8) as u8 }).collect::<Vec<u8>>()
        };
        executor.write(&examples.inputs, &inputs(0)).expect("write");
        executor.write(&examples.order, &(0..2 * m as u32).rev().collect::<Vec<_>>()).expect("write");
        let classes = *widths.last().expect("a network has layers") as u32;
        executor.write(&labels, &(0..2 * m).map(|i| mixed(i) % classes).collect::<Vec<_>>()).expect("write");
        for l in 2..=topology.last() {
            for matrix in [&net.w[l], &net.b[l]] {
                let values = (0..matrix.len()).map(|i| (mixed(i * l) % 2048) as f32 / 2048.0 - 0.4);
                executor.write(matrix, &values.collect::<Vec<f32>>()).expect("write");
            }
        }
        let coefficients = (optimizer.coefficients)(&Settings::default(), 0.5, 1);
        let steps = [0, m as u32].map(|first| MiniBatch { first, eta: 0.5, coefficients, ..MiniBatch::default() });
        executor.run(PlanId(0), &steps, &mut |_| ()).expect("run");
        executor.write(&examples.inputs, &inputs(5)).expect("write");
        executor.run(PlanId(0), &steps, &mut |_| ()).expect("run");
        let layers = 2..=topology.last();
        let results = layers.flat_map(|l| [&net.a[l], &net.delta[l], &net.w[l], &net.b[l]]);
        let results = std::iter::once(&net.a[1]).chain(results);
        results.flat_map(|matrix| executor.read::<f32>(matrix).expect("read")).collect()
    }

    /// Includes the narrower vectors of older machines, and scalar code.
    #[test]
    fn every_kind_of_vector_agrees_with_the_twins() {
        let mut kinds = vec![Arch::new(), Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        kinds.extend(pulp::x86::V3::try_new().map(Arch::V3));
        for (widths, m) in [
            (&[30, 17, 9][..], 10),
            (&[70, 33, 65, 10], 31),
            (&[19, 3, 2], 600),
            (&[600, 20, 3], 7),
            // Several panels at once, packed rows, and weights of a middle layer in panels.
            (&[300, 150, 4], 70),
            (&[20, 256, 140, 5], 13),
            // More examples than a block of terms, in several panels.
            (&[40, 70, 3], 1100),
            // As many panels as are read together, even with the widest vectors; few examples and
            // many.
            (&[150, 260, 4], 20),
            (&[150, 260, 4], 70),
            // Columns of the inputs that would evict each other from the cache are packed.
            (&[256, 520, 4], 9),
        ] {
            for (sparse, optimizer) in [(false, &SGD), (true, &SGD), (false, &MOMENTUM), (true, &MOMENTUM)] {
                let expected = trained(Cpu::of_twins(), widths, m, sparse, optimizer);
                for (&arch, threads) in kinds.iter().zip([1, 3, 2]) {
                    let found = trained(Cpu { arch, ..Cpu::new(threads) }, widths, m, sparse, optimizer);
                    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        // Sums of 600 terms of order 1, a few such sums in succession.
                        let tolerance = 32.0 * f32::EPSILON * 600f32.sqrt();
                        let off = (found - expected).abs();
                        assert!(
                            off <= tolerance,
                            "{arch:?}, {widths:?}, m = {m}, {}, entry {i}: {found} where {expected} is right",
                            optimizer.name
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        for (widths, m) in [
            (&[300, 150, 4][..], 70),
            (&[600, 20, 3], 7),
            (&[20, 256, 140, 5], 17),
            // Narrow gradients, split among threads by examples and by rows.
            (&[9, 40, 3], 3000),
            (&[15, 100, 40, 3], 300),
            // Rows of inputs and errors split among threads.
            (&[7, 9, 8], 2500),
        ] {
            for (sparse, optimizer) in [(false, &SGD), (true, &SGD), (false, &MOMENTUM), (true, &MOMENTUM)] {
                let one = trained(Cpu::new(1), widths, m, sparse, optimizer);
                for threads in [2, 3, 8] {
                    let several = trained(Cpu::new(threads), widths, m, sparse, optimizer);
                    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                    assert!(bits(&one) == bits(&several), "{widths:?}, m = {m}, {threads} threads, {}", optimizer.name);
                }
            }
        }
    }
}
