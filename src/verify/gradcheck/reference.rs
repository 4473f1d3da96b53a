//! Reference gradients: slopes of the cost by central differences in 64 bits; the gradients of
//! chapter 2, both right and with known mistakes.

use anyhow::Result;
use rayon::prelude::*;

use super::FOLLOWS;
use super::verdict::Suspect;
use crate::data::{Dataset, Picked};
use crate::kernel::MiniBatch;
use crate::network::learning::Dropout;
use crate::network::{Layers, Parameters, Topology};
use crate::verify::worked::{Backward, Difference, Forward, Network, central_difference};

/// Step for a weighted input: its fourth power is small, and the rounding error of the cost far
/// smaller.
const STEP: f64 = 1e-3;

/// One example with its forward and backward pass.
#[derive(Debug)]
struct Example {
    y: Vec<f64>,
    weight: f64,
    forward: Forward,
    backward: Backward,
}

/// A mini-batch, computed in 64 bits.
#[derive(Debug)]
pub struct Reference {
    network: Network,
    examples: Vec<Example>,
    dropout: f32,
    mini_batch: MiniBatch,
}

impl Reference {
    /// All examples of a data set as one mini-batch.
    ///
    /// # Errors
    /// A mapped file that has been truncated.
    pub fn new(
        topology: &Topology,
        parameters: &Parameters,
        dataset: &Dataset,
        dropout: f32,
        mini_batch: MiniBatch,
    ) -> Result<Self> {
        let network = Network::new(topology, parameters);
        let all = (0..dataset.len() as u32).collect::<Vec<_>>();
        let mut picked = Picked::default();
        dataset.inputs().pick(&all, dataset.features(), &mut picked)?;
        let scale = f64::from(dataset.inputs().byte_scale().unwrap_or(1.0));
        let inputs: Vec<f64> = match &picked {
            // As on a device: a product in 32 bits.
            Picked::Bytes(values) => values.iter().map(|&byte| f64::from(f32::from(byte) * scale as f32)).collect(),
            Picked::Floats(values) => values.iter().copied().map(f64::from).collect(),
        };
        // There may be more than classes.
        let outputs = topology.n[topology.last()];
        let desired: Vec<f64> = match dataset.targets() {
            crate::data::Targets::Classes(labels) => labels
                .iter()
                .flat_map(|&label| (0..outputs as u32).map(move |j| f64::from(u8::from(j == label))))
                .collect(),
            crate::data::Targets::Numbers { .. } => dataset.desired_numbers().into_iter().map(f64::from).collect(),
        };
        let weights = dataset.weights(&all);
        let mut reference = Reference { network, examples: Vec::new(), dropout, mini_batch };
        for (x, (inputs, y)) in inputs.chunks_exact(dataset.features()).zip(desired.chunks_exact(outputs)).enumerate() {
            let kept = |l: usize, k: usize| reference.kept(x, l, k);
            let forward = reference.network.feedforward(inputs, y, &kept);
            let backward = reference.network.backpropagate(&forward, y, &kept);
            let weight = weights.as_ref().map_or(1.0, |weights| f64::from(weights[x]));
            reference.examples.push(Example { y: y.to_vec(), weight, forward, backward });
        }
        Ok(reference)
    }

    /// The dropout factor of neuron k of hidden layer l, for example x.
    fn kept(&self, x: usize, l: usize, k: usize) -> f64 {
        if self.dropout == 0.0 {
            return 1.0;
        }
        let place = (x * self.network.topology.n[l] + k) as u32;
        f64::from(Dropout::new(l, self.dropout).factor(place, self.mini_batch.step, self.mini_batch.seed))
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The network.
    pub fn topology(&self) -> &Topology {
        &self.network.topology
    }

    /// m.
    pub fn m(&self) -> usize {
        self.examples.len()
    }

    /// Multiplications for one slope of the cost of one example, by a change in layer l.
    fn work(&self, l: usize) -> usize {
        let (n, last) = (&self.network.topology.n, self.network.topology.last());
        let dense = |l: usize| if l < last { n[l] * n[l + 1] } else { n[last] };
        let moved = if l < last { n[l + 1] } else { n[last] };
        6 * (moved + (l + 1..=last).map(dense).sum::<usize>())
    }

    /// Multiplications for one entry of ∂C/∂z of layer l.
    pub fn work_of_delta(&self, l: usize) -> usize {
        self.work(l)
    }

    /// Multiplications for one entry of ∂C/∂w or ∂C/∂b of layer l.
    pub fn work_of_gradient(&self, l: usize) -> usize {
        self.m() * self.work(l)
    }

    /// ∂C/∂z of the entries `at` of layer l, as in a matrix with one row for each example. `None`
    /// if σ has a kink there.
    pub fn slopes_of_z(&self, l: usize, at: &[usize]) -> Vec<Option<Difference>> {
        let n = self.network.topology.n[l];
        at.par_iter().map(|&at| self.slope(at / n, l, &[(at % n, 1.0)], STEP)).collect()
    }

    /// ∂C/∂b of the neurons `at` of layer l, averaged over the mini-batch.
    pub fn slopes_of_b(&self, l: usize, at: &[usize]) -> Vec<Option<Difference>> {
        at.par_iter().map(|&j| self.mean(|x| self.slope(x, l, &[(j, 1.0)], STEP))).collect()
    }

    /// ∂C/∂w of the entries `at` of layer l, averaged over the mini-batch.
    pub fn slopes_of_w(&self, l: usize, at: &[usize]) -> Vec<Option<Difference>> {
        let width = self.network.topology.n[l - 1];
        let of = |&at: &usize| {
            let (j, k) = (at / width, at % width);
            self.mean(|x| self.slope(x, l, &[(j, self.examples[x].forward.a_after_dropout[l - 1][k])], STEP))
        };
        at.par_iter().map(of).collect()
    }

    /// The slope of C when all weights of layer l move in a direction.
    pub fn slope_along(&self, l: usize, direction: &[f64]) -> Option<Difference> {
        let width = self.network.topology.n[l - 1];
        let step = STEP / (width as f64).sqrt();
        self.mean(|x| {
            let a = &self.examples[x].forward.a_after_dropout[l - 1];
            let moves = direction.chunks_exact(width).enumerate();
            let moves = moves.map(|(j, row)| (j, row.iter().zip(a).map(|(d, a)| d * a).sum::<f64>()));
            self.slope(x, l, &moves.collect::<Vec<_>>(), step)
        })
    }

    /// The slope of the cost of example x when neurons of layer l move at these rates.
    fn slope(&self, x: usize, l: usize, rates: &[(usize, f64)], step: f64) -> Option<Difference> {
        let Example { y, weight, forward, .. } = &self.examples[x];
        let kept = |l: usize, k: usize| self.kept(x, l, k);
        let moved = |by: f64| {
            let moves = rates.iter().map(|&(j, rate)| (j, by * rate)).collect::<Vec<_>>();
            self.network.cost_moved(forward, y, &kept, l, &moves)
        };
        let Difference { value, error } = central_difference(step, moved)?;
        Some(Difference { value: weight * value, error: weight * error })
    }

    fn mean(&self, slope: impl Fn(usize) -> Option<Difference>) -> Option<Difference> {
        let m = self.m() as f64;
        let mut mean = Difference { value: 0.0, error: 0.0 };
        for x in 0..self.m() {
            let Difference { value, error } = slope(x)?;
            mean.value += value / m;
            mean.error += error / m;
        }
        Some(mean)
    }

    /// δ of layer l for all examples, computed by `make` from each, times the weights of the
    /// examples.
    fn deltas(&self, make: impl Fn(usize, &Example) -> Vec<f64>) -> Vec<f64> {
        let weighted = |(x, example): (usize, &Example)| {
            make(x, example).into_iter().map(|delta| example.weight * delta).collect::<Vec<_>>()
        };
        self.examples.iter().enumerate().flat_map(weighted).collect()
    }

    /// δᴸ with each known mistake in BP1.
    pub fn suspects_of_bp1(&self) -> Vec<Suspect> {
        let (last, cost) = (self.network.topology.last(), self.network.topology.cost);
        let errors = |prime: fn(f64) -> f64, error: fn(f64, f64, f64) -> f64| {
            self.deltas(|_, Example { y, forward, backward, .. }| {
                let outputs = forward.a[last].iter().zip(y).zip(&backward.sigma_prime[last]);
                outputs.map(|((&a, &y), &sigma)| error(a, y, prime(sigma))).collect()
            })
        };
        let quadratic = crate::network::cost::QUADRATIC.exact_output_error;
        let cancels = (cost.exact_output_error)(2.0, 1.0, 3.0) == (cost.exact_output_error)(2.0, 1.0, 5.0);
        if cancels {
            let why = format!("has σ′(z{last}), which cancels with the {} cost: δ = a − y", cost.name);
            return vec![Suspect::new(why, errors(|sigma| sigma, quadratic))];
        }
        vec![
            Suspect::new(format!("lacks σ′(z{last})"), errors(|_| 1.0, quadratic)),
            Suspect::new(format!("has σ′(z{last}) twice"), errors(|sigma| sigma * sigma, quadratic)),
        ]
    }

    /// δˡ with each known mistake in BP2: from the right δ of the next layer, and from `next`, the
    /// δ that the equation was actually given.
    pub fn suspects_of_bp2(&self, l: usize, next: &[f64]) -> Vec<Suspect> {
        let right = self.by_wrong_bp2(l, &self.delta(l + 1));
        let mut given = self.by_wrong_bp2(l, next);
        let (_, follows) = given.remove(0);
        let follows = Suspect::new(format!("{FOLLOWS} δ{}, which is wrong: by itself it is right", l + 1), follows);
        let right = right.into_iter().skip(1).map(|(what, values)| Suspect::new(what, values));
        let also = |(what, values)| Suspect::new(format!("{what}; and its input δ{} is wrong", l + 1), values);
        [follows].into_iter().chain(right).chain(given.into_iter().map(also)).collect()
    }

    /// δ of layer l from that of the next layer: first the right one, then with each mistake.
    fn by_wrong_bp2(&self, l: usize, next: &[f64]) -> Vec<(String, Vec<f64>)> {
        let n = &self.network.topology.n;
        // `back` times σ′ to the power of `primes`.
        let of = |back: &dyn Fn(&[f64]) -> Vec<f64>, primes: i32| {
            let mut all = Vec::new();
            for ((x, example), delta) in self.examples.iter().enumerate().zip(next.chunks_exact(n[l + 1])) {
                let entries = back(delta).into_iter().zip(&example.backward.sigma_prime[l]).enumerate();
                all.extend(entries.map(|(k, (back, prime))| back * prime.powi(primes) * self.kept(x, l, k)));
            }
            all
        };
        let carried = |delta: &[f64]| self.network.carried_back(l, delta);
        let mut all = vec![
            ("right".to_string(), of(&carried, 1)),
            (format!("lacks σ′(z{l})"), of(&carried, 0)),
            (format!("has σ′(z{l}) twice"), of(&carried, 2)),
        ];
        if n[l] == n[l + 1] {
            let not_transposed = |delta: &[f64]| {
                let rows = self.network.w[l + 1].chunks_exact(n[l]);
                rows.map(|row| row.iter().zip(delta).map(|(w, d)| w * d).sum()).collect()
            };
            all.push((format!("has w{} instead of its transpose", l + 1), of(&not_transposed, 1)));
        }
        all
    }

    /// ∂C/∂b with each known mistake in BP3, preceded by the right one for the given `delta`.
    pub fn suspects_of_bp3(&self, l: usize, delta: &[f64]) -> Vec<Suspect> {
        let n = self.network.topology.n[l];
        let mut mean = vec![0.0; n];
        for row in delta.chunks_exact(n) {
            mean.iter_mut().zip(row).for_each(|(mean, delta)| *mean += delta / self.m() as f64);
        }
        let mut suspects = vec![Suspect::new(format!("{FOLLOWS} δ{l}, which is wrong: by itself it is right"), mean)];
        suspects.extend(self.without_prime(l).map(|without| {
            let mut mean = vec![0.0; n];
            for row in without.chunks_exact(n) {
                mean.iter_mut().zip(row).for_each(|(mean, delta)| *mean += delta / self.m() as f64);
            }
            Suspect::new(format!("lacks σ′(z{l})"), mean)
        }));
        suspects
    }

    /// δ of layer l without its σ′.
    fn without_prime(&self, l: usize) -> Option<Vec<f64>> {
        let at = usize::from(l < self.network.topology.last());
        let suspects = if at == 0 { self.suspects_of_bp1() } else { self.suspects_of_bp2(l, &self.delta(l + 1)) };
        suspects.into_iter().find(|suspect| suspect.sentence.starts_with("lacks")).map(|suspect| suspect.values)
    }

    /// δ of layer l for all examples.
    pub fn delta(&self, l: usize) -> Vec<f64> {
        self.deltas(|_, example| example.backward.delta[l].clone())
    }

    /// ∂C/∂w with each known mistake in BP4, preceded by the right one for the given `delta`.
    pub fn suspects_of_bp4(&self, l: usize, delta: &[f64]) -> Vec<Suspect> {
        let (of, from) = (self.network.topology.n[l], self.network.topology.n[l - 1]);
        let product = |delta: &[f64], a: &dyn Fn(&Example) -> Vec<f64>| {
            let mut mean = vec![0.0; of * from];
            for (example, delta) in self.examples.iter().zip(delta.chunks_exact(of)) {
                let a = a(example);
                for (row, delta) in mean.chunks_exact_mut(from).zip(delta) {
                    row.iter_mut().zip(&a).for_each(|(mean, a)| *mean += a * delta / self.m() as f64);
                }
            }
            mean
        };
        let a_after_dropout = |example: &Example| example.forward.a_after_dropout[l - 1].clone();
        let right = self.delta(l);
        let mut suspects = vec![Suspect::new(
            format!("{FOLLOWS} δ{l}, which is wrong: by itself it is right"),
            product(delta, &a_after_dropout),
        )];
        if let Some(without) = self.without_prime(l) {
            suspects.push(Suspect::new(format!("lacks σ′(z{l})"), product(&without, &a_after_dropout)));
        }
        if l > 2 {
            let z = product(&right, &|example| example.forward.z[l - 1].clone());
            suspects.push(Suspect::new(format!("has z{0} instead of a{0}", l - 1), z));
        }
        if of == from {
            let gradient = product(&right, &a_after_dropout);
            let transposed = (0..of * from).map(|at| gradient[at % of * from + at / of]).collect();
            suspects.push(Suspect::new("is transposed", transposed));
        }
        suspects
    }

    /// ∂C/∂w of layer l, averaged over the mini-batch, by BP4.
    pub fn nabla_w(&self, l: usize) -> Vec<f64> {
        let delta = self.delta(l);
        self.suspects_of_bp4(l, &delta).swap_remove(0).values
    }

    /// ∂C/∂b of layer l, averaged over the mini-batch, by BP3.
    pub fn nabla_b(&self, l: usize) -> Vec<f64> {
        let delta = self.delta(l);
        self.suspects_of_bp3(l, &delta).swap_remove(0).values
    }

    /// Weights of each layer in 64 bits.
    pub fn weights(&self) -> &Layers<Vec<f64>> {
        &self.network.w
    }
}
