//! A step that runs its kernel's twin.

use super::run::{Run, Workspace};
use super::store::{Numbers, Store};
use crate::kernel::{Access, Call, Invocation, MiniBatch, Snippets};
use crate::plan::Step;

/// A twin and its arguments.
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
    /// A twin of a step; `at` are the indices of its operands in the store.
    pub fn new(compute: fn(&mut Call<'_>), step: &Step, at: &[usize]) -> Self {
        let operand = |((matrix, binding), &at): ((&crate::kernel::Matrix, crate::kernel::Binding), &usize)| Operand {
            matrix: at,
            len: matrix.len(),
            access: binding.access,
        };
        let operands = step.bound().zip(at).map(operand).collect();
        Twin { compute, params: step.params.clone(), snippets: step.snippets, operands }
    }
}

impl Run for Twin {
    fn run(&self, store: &mut Store, _: &mut Workspace, mini_batch: MiniBatch) {
        let numbers = &mut store.numbers;
        // Written matrices leave the store during the call, so that the others can be borrowed.
        let mut written: Vec<Numbers> = Vec::with_capacity(1);
        for operand in self.operands.iter().filter(|operand| operand.access.writes()) {
            written.push(std::mem::replace(&mut numbers[operand.matrix], Numbers::Bytes(Vec::new())));
        }
        let mut outputs = written.iter_mut();
        let operands = self.operands.iter().map(|operand| match operand.access {
            Access::Read => numbers[operand.matrix].read(operand.len),
            Access::Write | Access::Update => outputs.next().expect("one for each written operand").write(operand.len),
        });
        let operands = operands.collect();
        let invocation = Invocation { params: &self.params, mini_batch, snippets: self.snippets };
        (self.compute)(&mut Call { invocation, operands });
        for operand in self.operands.iter().filter(|operand| operand.access.writes()).rev() {
            numbers[operand.matrix] = written.pop().expect("one for each written operand");
        }
    }
}
