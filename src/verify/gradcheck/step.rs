//! One step on a device: its gradients and the updated weights, with bounds of their rounding
//! errors.

use anyhow::{Context, Result};

use super::mistakes::Mistake;
use crate::backprop::{Matrices, training_plan};
use crate::data::Data;
use crate::kernel::MiniBatch;
use crate::kernel::product::Precision;
use crate::kernel::rounding::Numbers;
use crate::network::learning::LearningRule;
use crate::network::{Parameters, Topology};
use crate::plan::executor::{Executor, PlanId};
use crate::plan::{Element, Matrix};
use crate::training::{examples_of, states, write_examples, write_parameters};
use crate::verify::rounding::Knowledge;

/// The gradients of a mini-batch on a device, with bounds of their rounding errors.
pub struct Gradients {
    /// `δ[l]`, from layer 2.
    pub delta: Vec<Found>,
    /// ∂C/∂w, averaged over the mini-batch.
    pub nabla_w: Vec<Found>,
    /// ∂C/∂b, averaged over the mini-batch.
    pub nabla_b: Vec<Found>,
}

/// A matrix computed on a device.
pub struct Found {
    /// Its name and shape.
    pub matrix: Matrix,
    /// Its entries, row by row.
    pub values: Vec<f64>,
    /// An upper bound of the rounding error of each entry.
    pub errors: Vec<f64>,
}

impl Found {
    /// This matrix divided by m.
    fn averaged(self, m: usize) -> Self {
        let part = |values: Vec<f64>| values.into_iter().map(|value| value / m as f64).collect();
        // In 64 bits, so that only the device's own rounding is in the entry shown.
        Found { values: part(self.values), errors: part(self.errors), ..self }
    }
}

/// One step on a device.
pub struct Step<'a> {
    /// The examples of the mini-batch.
    pub few: &'a Data,
    /// The network.
    pub topology: &'a Topology,
    /// Its weights and biases.
    pub initial: &'a Parameters,
    /// The precision of products.
    pub precision: Precision,
    /// The mistake to plant in the plan, if any.
    pub mistake: Option<Mistake>,
}

impl Step<'_> {
    /// Runs a step on a device. Returns the right values of its matrices, with error bounds.
    fn run(
        &self,
        executor: &mut dyn Executor,
        rule: LearningRule,
        mini_batch: MiniBatch,
    ) -> Result<(Knowledge, Matrices)> {
        let (dataset, topology) = (&self.few.dataset, self.topology);
        let m = dataset.len();
        let order = Matrix::of(Element::U32, "training_order", m, 1);
        let examples = examples_of(dataset, &order);
        let net = Matrices::new(topology, m);
        let right = training_plan(topology, &examples, m, rule)?;
        let (plan, given) = match self.mistake {
            Some(mistake) => mistake.plan(topology, &examples, m, rule)?,
            None => (right.clone(), Vec::new()),
        };
        executor.load(std::slice::from_ref(&plan))?;
        executor.prepare(PlanId(0), 1)?;
        write_examples(executor, &examples, dataset)?;
        write_parameters(executor, &net, self.initial)?;
        executor.write(&order, &(0..m as u32).collect::<Vec<_>>())?;
        for (matrix, values) in &given {
            executor.write(matrix, values)?;
        }
        let states = states(&net, rule.optimizer);
        for state in &states {
            executor.write(state, &vec![0f32; state.len()])?;
        }
        let mut knowledge = Knowledge::of(self.precision);
        let parameters = (2..=topology.last()).flat_map(|l| [&net.w[l], &net.b[l]]);
        for matrix in examples.of_examples().chain([&order]).chain(parameters).chain(&states) {
            knowledge.give(matrix, executor.read_bytes(matrix)?);
        }
        for step in &right.steps {
            knowledge.apply(step, mini_batch)?;
        }
        executor.run(PlanId(0), &[mini_batch], &mut |_| ())?;
        Ok((knowledge, net))
    }

    fn found(executor: &mut dyn Executor, knowledge: &Knowledge, matrix: &Matrix) -> Result<Found> {
        let values = executor.read::<f32>(matrix)?.into_iter().map(f64::from).collect();
        let Numbers { errors, .. } = knowledge.computed(matrix).context("a matrix of the step")?;
        Ok(Found { matrix: matrix.clone(), values, errors: errors.clone() })
    }

    /// The gradients of a step, computed with an optimizer that only stores them.
    pub fn gradients(
        &self,
        executor: &mut dyn Executor,
        rule: LearningRule,
        mini_batch: MiniBatch,
    ) -> Result<Gradients> {
        let (knowledge, net) = self.run(executor, rule, mini_batch)?;
        let m = net.m;
        let mut gradients = Gradients { delta: Vec::new(), nabla_w: Vec::new(), nabla_b: Vec::new() };
        let states = states(&net, rule.optimizer);
        for ((l, delta), of_layer) in net.delta.iter().zip(states.chunks_exact(2)) {
            gradients.delta.push(Self::found(executor, &knowledge, delta)?);
            let named = |found: Found, name: &str| Found {
                matrix: Matrix::new(format!("{name}{l}"), found.matrix.rows, found.matrix.cols),
                ..found.averaged(m)
            };
            gradients.nabla_w.push(named(Self::found(executor, &knowledge, &of_layer[0])?, "nabla_w"));
            gradients.nabla_b.push(named(Self::found(executor, &knowledge, &of_layer[1])?, "nabla_b"));
        }
        Ok(gradients)
    }

    /// The weights and biases after a step, layer by layer.
    pub fn after(
        &self,
        executor: &mut dyn Executor,
        rule: LearningRule,
        mini_batch: MiniBatch,
    ) -> Result<Vec<[Found; 2]>> {
        let (knowledge, net) = self.run(executor, rule, mini_batch)?;
        let mut all = Vec::new();
        for l in 2..=self.topology.last() {
            all.push([Self::found(executor, &knowledge, &net.w[l])?, Self::found(executor, &knowledge, &net.b[l])?]);
        }
        Ok(all)
    }
}
