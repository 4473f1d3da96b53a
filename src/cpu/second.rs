//! A second executor that runs at the same time as the first. Both read the same examples; each has
//! its own copy of all other matrices.

use std::sync::Arc;

use anyhow::Result;

use super::store::Store;
use super::{Cpu, steps};
use crate::kernel::Matrix;
use crate::kernels::{GATHER, GATHER_BYTES, ONE_HOT};
use crate::plan::executor::PlanId;
use crate::plan::{Plan, Step};

/// Makes the matrices of the examples readable by other executors.
pub fn share_examples(plans: &[Plan], store: &mut Store) -> Result<()> {
    examples(plans).into_iter().try_for_each(|matrix| store.share(matrix))
}

/// The matrices of the examples: steps only gather rows from them.
fn examples(plans: &[Plan]) -> Vec<&Matrix> {
    let steps = || plans.iter().flat_map(steps::known);
    let picked_from = |step: &'_ Step, operand: usize| {
        operand < 2 && [&GATHER, &GATHER_BYTES, &ONE_HOT].iter().any(|picks| picks.is(step.kernel))
    };
    let mut examples: Vec<&Matrix> = Vec::new();
    for step in steps() {
        for (i, matrix) in step.operands.iter().enumerate().filter(|&(i, _)| picked_from(step, i)) {
            let is_only_picked_from = |other: &Step| {
                let mut uses = other.operands.iter().enumerate().filter(|(_, other)| other.name == matrix.name);
                uses.all(|(i, _)| picked_from(other, i))
            };
            if examples.iter().all(|other| other.name != matrix.name) && steps().all(is_only_picked_from) {
                examples.push(&step.operands[i]);
            }
        }
    }
    examples
}

impl Cpu {
    /// A second executor of one thread; `None` if the plan `busy` needs all threads, or without memory.
    pub(super) fn beside(&mut self, plans: &[Plan], busy: PlanId) -> Option<Cpu> {
        // A profile covers one executor, and so does a memory limit.
        if self.only_twins || self.times.is_some() || self.most_memory.is_some() {
            return None;
        }
        let (workspace, choice) = (self.workspace.as_ref()?, self.thread_choices.get(busy.0)?);
        self.beside_second = choice.beside(self.threads)?;
        // It reads the cached lists of the first.
        let caches_lists = false;
        let (store, seconds) = (self.store.with_shared(), Arc::clone(&self.seconds));
        let mut second = Cpu { arch: self.arch, store, caches_lists, seconds, ..Cpu::new(1) };
        second.load_more(plans).ok()?;
        for (list, first) in second.workspace.iter_mut().flat_map(|own| &mut own.nonzeros).zip(&workspace.nonzeros) {
            list.share_kept(first);
        }
        Some(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backprop::{Desired, Examples, Matrices, Measures, evaluation_plan, training_plan};
    use crate::kernel::{Element, MiniBatch};
    use crate::network::Topology;
    use crate::network::activation::SIGMOID;
    use crate::network::cost::QUADRATIC;
    use crate::network::optimizer::SGD;
    use crate::plan::executor::Executor;

    const EXAMPLES: usize = 40;
    const TRAINING: PlanId = PlanId(0);
    const EVALUATION: PlanId = PlanId(1);

    /// The plans of a network with inputs of bytes or of floats, and the matrices that they name.
    fn plans(element: Element) -> (Vec<Plan>, Examples, Matrices, Measures) {
        let topology = Topology::new(&[20, 6, 3], &SIGMOID, &QUADRATIC).expect("a network");
        let examples = Examples {
            order: Matrix::of(Element::U32, "order", EXAMPLES, 1),
            inputs: Matrix::of(element, "inputs", EXAMPLES, 20),
            scale: 1.0,
            desired: Desired::Classes(Matrix::of(Element::U32, "labels", EXAMPLES, 1)),
            weights: None,
        };
        let measures = Measures::of(&examples, &topology, 1);
        let training = training_plan(&topology, &examples, 10, &SGD).expect("the shapes fit");
        let evaluation = evaluation_plan(&topology, &examples, EXAMPLES, &measures).expect("the shapes fit");
        (vec![training, evaluation], examples, Matrices::new(&topology, 10), measures)
    }

    fn total(executor: &mut dyn Executor, measures: &Measures) -> f32 {
        executor.run(EVALUATION, &[MiniBatch::evaluating(0, 0)], &mut |_| ()).expect("run");
        executor.read::<f32>(&measures.totals).expect("read")[0]
    }

    #[test]
    fn it_has_the_examples_and_its_own_parameters() {
        for element in [Element::Byte, Element::F32] {
            let (plans, examples, net, measures) = plans(element);
            let Desired::Classes(labels) = &examples.desired else { unreachable!("classes") };
            let mut first = Cpu::new(2);
            first.load(&plans).expect("load");
            let executor: &mut dyn Executor = &mut first;
            let inputs = |salt: usize| (0..examples.inputs.len()).map(move |i| (i * i + salt) % 7 / 5);
            let write = |executor: &mut dyn Executor, salt| match element {
                Element::Byte => executor.write(&examples.inputs, &inputs(salt).map(|i| i as u8).collect::<Vec<_>>()),
                _ => executor.write(&examples.inputs, &inputs(salt).map(|i| i as f32).collect::<Vec<_>>()),
            };
            write(executor, 0).expect("write");
            executor.write(&examples.order, &(0..EXAMPLES as u32).rev().collect::<Vec<_>>()).expect("write");
            executor.write(labels, &(0..EXAMPLES as u32).map(|i| i % 3).collect::<Vec<_>>()).expect("write");
            let parameters: Vec<&Matrix> = [2, 3].into_iter().flat_map(|l| [&net.w[l], &net.b[l]]).collect();
            let values = |matrix: &Matrix| (0..matrix.len()).map(|i| (i % 5) as f32 / 3.0 - 0.5).collect::<Vec<_>>();
            for matrix in &parameters {
                executor.write(matrix, &values(matrix)).expect("write");
            }
            let before = total(executor, &measures);
            let steps = [0, 10, 20, 30].map(|first| MiniBatch { first, eta: 3.0, ..MiniBatch::default() });
            executor.run(TRAINING, &steps, &mut |_| ()).expect("run");
            let mut owned = executor.second(&plans, TRAINING).expect("products so small leave a thread idle");
            let second: &mut dyn Executor = &mut *owned;
            for matrix in &parameters {
                second.write(matrix, &values(matrix)).expect("write");
            }
            assert_eq!(total(second, &measures), before);
            // Neither writes what the other reads.
            let trained = total(executor, &measures);
            assert_ne!(trained, before);
            write(executor, 3).expect("write");
            executor.write(&examples.order, &[0; EXAMPLES]).expect("write");
            assert_eq!(total(second, &measures), before);
            drop(owned);
            write(executor, 0).expect("write");
            executor.write(&examples.order, &(0..EXAMPLES as u32).rev().collect::<Vec<_>>()).expect("write");
            assert_eq!(total(executor, &measures), trained);
        }
    }

    #[test]
    fn there_is_none_without_an_idle_thread() {
        let (plans, ..) = plans(Element::Byte);
        let mut limited = Cpu::new(2);
        limited.limit_memory(1 << 20);
        for mut cpu in [Cpu::new(1), Cpu::of_twins(), Cpu::new(2).with_profile(), limited] {
            cpu.load(&plans).expect("load");
            assert!(cpu.second(&plans, TRAINING).is_none(), "{cpu:?}");
        }
    }
}
