//! A step by the twin of its kernel.

use super::store::{Numbers, Store};
use crate::kernel::{Access, Call, MiniBatch};
use crate::plan::{Snippets, Step};

/// A twin and what it is called with.
#[derive(Debug)]
pub struct Twin {
    compute: fn(&mut Call<'_>),
    params: Vec<u8>,
    snippets: Snippets,
    operands: Vec<Operand>,
}

#[derive(Debug)]
struct Operand {
    /// Index into the store.
    matrix: usize,
    len: usize,
    access: Access,
}

impl Twin {
    /// `at` are the indices of the operands in the store.
    pub fn new(compute: fn(&mut Call<'_>), step: &Step, at: &[usize]) -> Self {
        let operands = step.operands.iter().zip(step.kernel.bindings).zip(at);
        let operands =
            operands.map(|((matrix, binding), &at)| Operand { matrix: at, len: matrix.len(), access: binding.access });
        Twin { compute, params: step.params.clone(), snippets: step.snippets, operands: operands.collect() }
    }

    pub fn run(&self, store: &mut Store, mini_batch: MiniBatch) {
        let numbers = &mut store.numbers;
        // What is written leaves the store for the time of the call, so that the rest can be lent.
        let mut written: Vec<Numbers> = Vec::with_capacity(1);
        for operand in self.operands.iter().filter(|o| o.access == Access::ReadWrite) {
            written.push(std::mem::replace(&mut numbers[operand.matrix], Numbers::Bytes(Vec::new())));
        }
        let mut outputs = written.iter_mut();
        let operands = self.operands.iter().map(|operand| match operand.access {
            Access::Read => numbers[operand.matrix].lend(operand.len),
            Access::ReadWrite => outputs.next().expect("one for each written operand").lend_mut(operand.len),
        });
        (self.compute)(&mut Call {
            params: &self.params,
            mini_batch,
            snippets: self.snippets,
            threads: 1,
            operands: operands.collect(),
        });
        for operand in self.operands.iter().filter(|o| o.access == Access::ReadWrite).rev() {
            numbers[operand.matrix] = written.pop().expect("one for each written operand");
        }
    }
}
