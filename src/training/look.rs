//! A look into a network: what one forward and one backward pass over some examples leave in it.

use anyhow::Result;

use super::upload::{examples_of, write_examples, write_parameters};
use super::watch::{LayerReport, mean_norm, saturation};
use crate::backprop::{Matrices, gradients_plan};
use crate::cpu::Cpu;
use crate::data::Dataset;
use crate::kernel::MiniBatch;
use crate::network::cost::MeasuredFrom;
use crate::network::{Layers, Parameters, Topology};
use crate::plan::executor::{Executor, PlanId};
use crate::plan::{Element, Matrix};

/// All matrices of a network for some examples, m of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Look {
    /// m.
    pub examples: usize,
    /// `a[l]`, `(m, n[l])`, from layer 1.
    pub a: Layers<Vec<f32>>,
    /// `z[l]`, `(m, n[l])`, from layer 2.
    pub z: Layers<Vec<f32>>,
    /// y, `(m, n[L])`.
    pub y: Vec<f32>,
    /// C, averaged over the examples, which all count alike.
    pub cost: f64,
    /// The figures of each layer, without a step.
    pub layers: Vec<LayerReport>,
}

/// Multiplications of a look: a second or so.
const WORK: usize = 500_000_000;

/// The most examples of a look.
const EXAMPLES: usize = 1000;

/// The most examples that a look should have at a network.
pub fn most_examples(topology: &Topology) -> usize {
    (WORK / topology.parameters().max(1)).clamp(100, EXAMPLES)
}

impl Look {
    /// A look at a network with all examples of a data set, on the host, kernel by kernel.
    ///
    /// # Errors
    /// Data that does not fit the network, or no memory.
    pub fn new(dataset: &Dataset, topology: &Topology, parameters: &Parameters) -> Result<Self> {
        let m = dataset.len();
        let order = Matrix::of(Element::U32, "look_order", m, 1);
        let (examples, net) = (examples_of(dataset, &order), Matrices::new(topology, m));
        let plan = gradients_plan(topology, &examples, m)?;
        // Fused kernels forget z.
        let mut twins = Cpu::of_twins();
        let executor: &mut dyn Executor = &mut twins;
        executor.load(&[plan])?;
        write_examples(executor, &examples, dataset)?;
        write_parameters(executor, &net, parameters)?;
        executor.write(&order, &(0..m as u32).collect::<Vec<_>>())?;
        executor.run(PlanId(0), &[MiniBatch::evaluating(0, 0)], &mut |_| ())?;
        let a: Layers<Vec<f32>> = net.a.try_map(|matrix| executor.read(matrix))?;
        let z: Layers<Vec<f32>> = net.z.try_map(|matrix| executor.read(matrix))?;
        let y: Vec<f32> = executor.read(&net.y)?;
        let last = topology.last();
        let outputs = match topology.cost.measured {
            MeasuredFrom::Activation => &a[last],
            MeasuredFrom::WeightedInput => &z[last],
        };
        let total: f64 = outputs.iter().zip(&y).map(|(&output, &y)| f64::from((topology.cost.cost)(output, y))).sum();
        let layer = |l: usize| {
            let (nabla_b, nabla_w): (Vec<f32>, Vec<f32>) =
                (executor.read(&net.nabla_b[l])?, executor.read(&net.nabla_w[l])?);
            let saturation = saturation(topology.sigma(l), &a[l], topology.n[l]);
            Ok(LayerReport {
                layer: l,
                delta: mean_norm(&nabla_b, m),
                nabla_w: mean_norm(&nabla_w, m),
                update_ratio: 0.0,
                saturated: saturation.map(|(share, _)| share),
                dead: saturation.map(|(_, dead)| dead),
            })
        };
        let layers = (2..=last).map(layer).collect::<Result<_>>()?;
        Ok(Look { examples: m, a, z, y, cost: total / m as f64, layers })
    }

    /// The class that the network gives to each example.
    pub fn predicted(&self, outputs: usize) -> Vec<usize> {
        let last = self.a.iter().last().map(|(_, a)| a.as_slice()).unwrap_or_default();
        last.chunks_exact(outputs).map(crate::kernels::first_largest).collect()
    }

    /// The part of the wrong outputs, off by more than half, that are saturated, and the part of all outputs that are wrong; `None`
    /// where σ of the outputs is never flat.
    pub fn wrong_and_saturated(&self, topology: &Topology) -> Option<(f64, f64)> {
        let last = topology.last();
        let flat = topology.sigma(last).flat?;
        let wrong = self.a[last].iter().zip(&self.y).filter(|(a, y)| (**a - **y).abs() > 0.5);
        let (wrong, saturated) = wrong.fold((0_u32, 0_u32), |(wrong, saturated), (a, _)| {
            (wrong + 1, saturated + u32::from((topology.sigma(last).prime)(*a) <= flat))
        });
        Some((f64::from(saturated) / f64::from(wrong.max(1)), f64::from(wrong) / self.y.len().max(1) as f64))
    }
}

/// Examples of a class, and how many of them have a nearest neighbour of the same class, by the squared distance of inputs.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Neighbours {
    /// Its examples.
    pub examples: usize,
    /// Those whose neighbour agrees.
    pub agree: usize,
}

/// The neighbours of each class, among the first examples of a look.
pub fn neighbours(look: &Look, features: usize, labels: &[u32], classes: usize) -> Vec<Neighbours> {
    let rows: Vec<&[f32]> = look.a[1].chunks_exact(features.max(1)).take(MOST_NEIGHBOURS).collect();
    let distance = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    let mut found = vec![Neighbours::default(); classes];
    for (i, row) in rows.iter().enumerate() {
        let others = rows.iter().enumerate().filter(|(j, _)| *j != i);
        let nearest = others.map(|(j, other)| (distance(row, other), j)).min_by(|one, other| one.0.total_cmp(&other.0));
        let of_class = &mut found[labels[i] as usize];
        of_class.examples += 1;
        of_class.agree += usize::from(nearest.is_some_and(|(_, j)| labels[i] == labels[j]));
    }
    found
}

/// The most examples whose neighbours are looked for.
const MOST_NEIGHBOURS: usize = 600;
