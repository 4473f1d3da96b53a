//! A look into a network: its matrices after one forward and one backward pass over some examples.

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
    /// C, averaged over the examples without their weights.
    pub cost: f64,
    /// Statistics of each layer; there is no update, so update ratios are 0.
    pub layers: Vec<LayerReport>,
}

/// Target number of multiplications of a look: about a second.
const WORK: usize = 500_000_000;

/// The most examples of a look.
const EXAMPLES: usize = 1000;

/// The most examples for a look into a network.
pub fn most_examples(topology: &Topology) -> usize {
    (WORK / topology.parameters().max(1)).clamp(100, EXAMPLES)
}

impl Look {
    /// A look into a network with all examples of a data set, computed on the host by the kernels'
    /// twins.
    ///
    /// # Errors
    /// Data that does not fit the network, or no memory.
    pub fn new(dataset: &Dataset, topology: &Topology, parameters: &Parameters) -> Result<Self> {
        let m = dataset.len();
        let order = Matrix::of(Element::U32, "look_order", m, 1);
        let (examples, net) = (examples_of(dataset, &order), Matrices::new(topology, m));
        let plan = gradients_plan(topology, &examples, m)?;
        // Fused kernels do not store z.
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
        last.chunks_exact(outputs).map(crate::kernels::argmax).collect()
    }

    /// Two fractions: of the wrong outputs, which are off by more than 0.5, those that are
    /// saturated; and of all outputs, those that are wrong. `None` if σ of the output layer never
    /// saturates.
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
pub fn neighbours(look: &Look, labels: &[u32], classes: usize) -> Vec<Neighbours> {
    let mut found = vec![Neighbours::default(); classes];
    for (i, j) in look.nearest().into_iter().enumerate() {
        let of_class = &mut found[labels[i] as usize];
        of_class.examples += 1;
        of_class.agree += usize::from(labels[i] == labels[j]);
    }
    found
}

/// The correlation of the targets of examples with those of their nearest neighbours.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Correlation {
    /// The correlation, from -1 to 1; the largest, if there are several targets.
    pub r: f64,
    /// Its standard error if targets were random.
    pub standard_error: f64,
}

/// The correlation of targets with those of nearest neighbours, among the first examples of a look;
/// `None` if no target varies.
pub fn correlation(look: &Look) -> Option<Correlation> {
    let nearest = look.nearest();
    let m = nearest.len();
    let targets = look.y.len() / look.examples.max(1);
    let of_target = |k: usize| {
        let y: Vec<f64> = (0..m).map(|i| f64::from(look.y[i * targets + k])).collect();
        let mean = y.iter().sum::<f64>() / m as f64;
        let product = |i: usize, j: usize| (y[i] - mean) * (y[j] - mean);
        let squares: f64 = (0..m).map(|i| product(i, i)).sum();
        let products: f64 = nearest.iter().enumerate().map(|(i, &j)| product(i, j)).sum();
        (squares > 0.0).then(|| products / squares)
    };
    let r = (0..targets).filter_map(of_target).max_by(f64::total_cmp)?;
    // The product of a pair of mutual neighbours occurs in the sum twice.
    let mutual = nearest.iter().enumerate().filter(|(i, j)| nearest[**j] == *i).count();
    Some(Correlation { r, standard_error: ((m + mutual) as f64).sqrt() / m as f64 })
}

impl Look {
    /// The nearest neighbour of each of the first examples, by the squared distance of inputs.
    /// Inputs are divided by their standard deviations unless all of them are from 0 to 1. Empty if
    /// there is only one example.
    fn nearest(&self) -> Vec<usize> {
        let features = (self.a[1].len() / self.examples.max(1)).max(1);
        let rows: Vec<&[f32]> = self.a[1].chunks_exact(features).take(MOST_NEIGHBOURS).collect();
        let inputs = &self.a[1][..rows.len() * features];
        let weights: Vec<f64> = if inputs.iter().all(|a| (0.0..=1.0).contains(a)) {
            vec![1.0; features]
        } else {
            let inverse = |deviation: f64| if deviation > 0.0 { deviation.powi(-2) } else { 0.0 };
            deviations(inputs, features).into_iter().map(inverse).collect()
        };
        let distance = |one: &[f32], other: &[f32]| {
            let squares = one.iter().zip(other).map(|(a, b)| f64::from(a - b).powi(2));
            squares.zip(&weights).map(|(square, weight)| square * weight).sum::<f64>()
        };
        let nearest = |i: usize| {
            let others = (0..rows.len()).filter(|j| *j != i).map(|j| (distance(rows[i], rows[j]), j));
            others.min_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, j)| j)
        };
        (0..rows.len()).filter_map(nearest).collect()
    }
}

/// The standard deviation of each column of some rows.
pub fn deviations(rows: &[f32], cols: usize) -> Vec<f64> {
    let (m, mut sums) = (rows.len() / cols.max(1), vec![[0f64; 2]; cols]);
    for row in rows.chunks_exact(cols.max(1)) {
        for (sums, &value) in sums.iter_mut().zip(row) {
            let value = f64::from(value);
            *sums = [sums[0] + value, sums[1] + value * value];
        }
    }
    let m = m.max(1) as f64;
    sums.iter().map(|[sum, squares]| (squares / m - (sum / m).powi(2)).max(0.0).sqrt()).collect()
}

/// The most examples whose neighbours are looked for.
const MOST_NEIGHBOURS: usize = 600;
