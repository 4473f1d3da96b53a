//! The CPU executor: runs a plan on the host.
//!
//! Each step is the twin of its kernel, except the matrix products, which go through a tuned
//! GEMM with threads.

mod product;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bytemuck::Pod;

use crate::executor::{DeviceDescription, Executor, PROGRESS_INTERVAL, Progress, check_size};
use crate::kernel::{Access, Call, Kernel, MiniBatch, Operand, Specification};
use crate::network::reserve;
use crate::plan::{Element, Matrix, Plan, Snippets, Step};

/// Runs plans on the host.
#[derive(Debug)]
pub struct Cpu {
    device: DeviceDescription,
    threads: usize,
    only_twins: bool,
    store: Vec<Numbers>,
    index: HashMap<Arc<str>, usize>,
    plans: Vec<Vec<LoadedStep>>,
}

/// The numbers of one matrix.
#[derive(Debug)]
enum Numbers {
    F32(Vec<f32>),
    U32(Vec<u32>),
    Bytes(Vec<u8>),
}

#[derive(Debug)]
struct LoadedStep {
    compute: fn(&mut Call<'_>),
    params: Vec<u8>,
    snippets: Snippets,
    operands: Vec<LoadedOperand>,
}

#[derive(Debug)]
struct LoadedOperand {
    /// Index into the store.
    matrix: usize,
    len: usize,
    access: Access,
}

impl Cpu {
    /// An executor that uses at most `threads` threads.
    pub fn new(threads: usize) -> Self {
        let device = DeviceDescription {
            kind: "cpu",
            name: format!("{threads} thread{}", if threads == 1 { "" } else { "s" }),
            backend: None,
            driver: None,
            software: false,
        };
        Cpu { device, threads, only_twins: false, store: Vec::new(), index: HashMap::new(), plans: Vec::new() }
    }

    /// An executor that computes every kernel by its twin: slow, and the reference of the tests.
    pub fn of_twins() -> Self {
        Cpu { only_twins: true, ..Cpu::new(1) }
    }

    /// How this executor computes a primitive kernel: its twin, unless something faster is known.
    ///
    /// # Errors
    /// A fused kernel, which has no twin.
    fn implementation(&self, kernel: &Kernel) -> Result<fn(&mut Call<'_>)> {
        match (kernel.name, kernel.specification) {
            ("matmul", _) if !self.only_twins => Ok(product::matmul),
            ("outer_product", _) if !self.only_twins => Ok(product::outer_product),
            (_, Specification::Twin(twin)) => Ok(twin),
            (name, Specification::Primitives(_)) => bail!("{name} is fused, but does not say what it replaces"),
        }
    }

    fn find(&self, matrix: &Matrix) -> Result<usize> {
        self.index.get(&matrix.name).copied().with_context(|| format!("no loaded plan names {matrix}"))
    }

    /// The index of a matrix in the store, which grows where it is too small.
    fn make_room(&mut self, matrix: &Matrix) -> Result<usize> {
        let index = *self.index.entry(Arc::clone(&matrix.name)).or_insert_with(|| {
            self.store.push(match matrix.element {
                Element::F32 => Numbers::F32(Vec::new()),
                Element::U32 => Numbers::U32(Vec::new()),
                Element::Byte => Numbers::Bytes(Vec::new()),
            });
            self.store.len() - 1
        });
        fn grow<T: Pod>(values: &mut Vec<T>, len: usize) -> Result<()> {
            reserve(values, len.saturating_sub(values.len()))?;
            values.resize(len.max(values.len()), T::zeroed());
            Ok(())
        }
        match &mut self.store[index] {
            Numbers::F32(values) => grow(values, matrix.len()),
            Numbers::U32(values) => grow(values, matrix.len()),
            Numbers::Bytes(values) => grow(values, matrix.len()),
        }?;
        Ok(index)
    }

    fn run_step(&mut self, plan: usize, step: usize, mini_batch: MiniBatch) {
        let step = &self.plans[plan][step];
        // What is written leaves the store for the time of the call, so that the rest can be lent.
        let mut written: Vec<Numbers> = Vec::with_capacity(1);
        for operand in step.operands.iter().filter(|o| o.access == Access::ReadWrite) {
            written.push(std::mem::replace(&mut self.store[operand.matrix], Numbers::Bytes(Vec::new())));
        }
        let mut outputs = written.iter_mut();
        let operands = step.operands.iter().map(|operand| match operand.access {
            Access::Read => self.store[operand.matrix].lend(operand.len),
            Access::ReadWrite => outputs.next().expect("one for each written operand").lend_mut(operand.len),
        });
        (step.compute)(&mut Call {
            params: &step.params,
            mini_batch,
            snippets: step.snippets,
            threads: self.threads,
            operands: operands.collect(),
        });
        for operand in step.operands.iter().filter(|o| o.access == Access::ReadWrite).rev() {
            self.store[operand.matrix] = written.pop().expect("one for each written operand");
        }
    }
}

impl Numbers {
    fn lend(&self, len: usize) -> Operand<'_> {
        match self {
            Numbers::F32(values) => Operand::F32(&values[..len]),
            Numbers::U32(values) => Operand::U32(&values[..len]),
            Numbers::Bytes(values) => Operand::Bytes(&values[..len]),
        }
    }

    fn lend_mut(&mut self, len: usize) -> Operand<'_> {
        match self {
            Numbers::F32(values) => Operand::F32Mut(&mut values[..len]),
            Numbers::U32(values) => Operand::U32Mut(&mut values[..len]),
            // No kernel writes bytes: Operand has no such case.
            Numbers::Bytes(values) => Operand::Bytes(&values[..len]),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Numbers::F32(values) => bytemuck::cast_slice(values),
            Numbers::U32(values) => bytemuck::cast_slice(values),
            Numbers::Bytes(values) => values,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Numbers::F32(values) => bytemuck::cast_slice_mut(values),
            Numbers::U32(values) => bytemuck::cast_slice_mut(values),
            Numbers::Bytes(values) => values,
        }
    }
}

impl Executor for Cpu {
    fn device(&self) -> &DeviceDescription {
        &self.device
    }

    fn load(&mut self, plans: &[Plan]) -> Result<()> {
        self.store.clear();
        self.index.clear();
        self.plans.clear();
        for plan in plans {
            let mut steps = Vec::with_capacity(plan.steps.len());
            // Fused kernels pay on a GPU; here their primitives are as fast.
            for step in plan.steps.iter().flat_map(Step::primitives) {
                let operands = step.operands.iter().zip(step.kernel.bindings).map(|(matrix, binding)| {
                    let index = self.make_room(matrix)?;
                    Ok(LoadedOperand { matrix: index, len: matrix.len(), access: binding.access })
                });
                steps.push(LoadedStep {
                    operands: operands.collect::<Result<_>>()?,
                    compute: self.implementation(step.kernel)?,
                    params: step.params.clone(),
                    snippets: step.snippets,
                });
            }
            self.plans.push(steps);
        }
        Ok(())
    }

    fn write_bytes(&mut self, matrix: &Matrix, bytes: &[u8]) -> Result<()> {
        check_size(matrix, bytes.len())?;
        let index = self.find(matrix)?;
        self.store[index].bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read_bytes(&mut self, matrix: &Matrix) -> Result<Vec<u8>> {
        let index = self.find(matrix)?;
        Ok(self.store[index].bytes()[..matrix.size()].to_vec())
    }

    fn run(&mut self, plan: usize, mini_batches: &[MiniBatch], progress: &mut Progress<'_>) -> Result<()> {
        let mut reported = Instant::now();
        let mut finished = 0;
        for &mini_batch in mini_batches {
            for step in 0..self.plans[plan].len() {
                self.run_step(plan, step, mini_batch);
            }
            finished += 1;
            if reported.elapsed() >= PROGRESS_INTERVAL {
                progress(finished);
                (finished, reported) = (0, Instant::now());
            }
        }
        progress(finished);
        Ok(())
    }
}
