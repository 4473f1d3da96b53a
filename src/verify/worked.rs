//! Examples worked in 64 bits on the host: the forward pass, backpropagation, and the cost after a
//! change of weighted inputs. Written from chapter 2, independently of the plan that devices run.

use crate::network::cost::MeasuredFrom;
use crate::network::{Layers, Parameters, Topology};

/// A network in 64 bits.
#[derive(Clone, Debug)]
pub struct Network {
    /// The layers with their activations and cost.
    pub topology: Topology,
    /// `w[l]`, shape `(n[l], n[l-1])`.
    pub w: Layers<Vec<f64>>,
    /// `b[l]`, shape `(n[l])`.
    pub b: Layers<Vec<f64>>,
}

/// Dropout factors: `kept(l, k)` for neuron k of hidden layer l, counted from 0; 1 without dropout.
pub type Kept<'a> = &'a dyn Fn(usize, usize) -> f64;

/// Every neuron is kept.
pub fn all_kept(_: usize, _: usize) -> f64 {
    1.0
}

/// The forward pass of one example.
#[derive(Clone, Debug)]
pub struct Forward {
    /// `z[l]`, from layer 2.
    pub z: Layers<Vec<f64>>,
    /// `a[l]`, from layer 1.
    pub a: Layers<Vec<f64>>,
    /// `a[l]` as the next layer reads it: multiplied by the dropout factors.
    pub a_after_dropout: Layers<Vec<f64>>,
    /// Cₓ.
    pub cost: f64,
}

/// Backpropagation of one example.
#[derive(Clone, Debug)]
pub struct Backward {
    /// σ′(`z[l]`), from layer 2.
    pub sigma_prime: Layers<Vec<f64>>,
    /// `δ[l]`, from layer 2.
    pub delta: Layers<Vec<f64>>,
}

impl Network {
    /// A network with these weights and biases.
    pub fn new(topology: &Topology, parameters: &Parameters) -> Self {
        let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
        let last = topology.last();
        Network {
            topology: topology.clone(),
            w: Layers::new(2, last, |l| wide(&parameters.w[l])),
            b: Layers::new(2, last, |l| wide(&parameters.b[l])),
        }
    }

    fn weighted_input(&self, l: usize, a: &[f64]) -> Vec<f64> {
        let rows = self.w[l].chunks_exact(a.len());
        rows.zip(&self.b[l]).map(|(row, b)| row.iter().zip(a).map(|(w, a)| w * a).sum::<f64>() + b).collect()
    }

    /// The outputs of the last layer, and Cₓ.
    fn outputs(&self, z: &[f64], y: &[f64]) -> (Vec<f64>, f64) {
        let Topology { output, cost, .. } = self.topology;
        let normalized;
        let z = if output.normalizes {
            let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let shift = largest + z.iter().map(|z| (z - largest).exp()).sum::<f64>().ln();
            normalized = z.iter().map(|z| z - shift).collect::<Vec<_>>();
            &normalized
        } else {
            z
        };
        let a = z.iter().map(|&z| (output.exact)(z)).collect::<Vec<_>>();
        let from = match cost.measured {
            MeasuredFrom::Activation => &a[..],
            MeasuredFrom::WeightedInput => z,
        };
        let total = from.iter().zip(y).map(|(&output, &y)| (cost.exact)(output, y)).sum();
        (a, total)
    }

    /// The forward pass of an example of inputs `x` and desired outputs `y`.
    pub fn feedforward(&self, x: &[f64], y: &[f64], kept: Kept<'_>) -> Forward {
        let last = self.topology.last();
        let mut a_after_dropout = Layers::new(1, last, |_| Vec::new());
        let (mut a, mut z) = (a_after_dropout.clone(), Layers::new(2, last, |_| Vec::new()));
        (a[1], a_after_dropout[1]) = (x.to_vec(), x.to_vec());
        for l in 2..last {
            z[l] = self.weighted_input(l, &a_after_dropout[l - 1]);
            a[l] = z[l].iter().map(|&z| (self.topology.activation.exact)(z)).collect();
            a_after_dropout[l] = a[l].iter().enumerate().map(|(k, a)| a * kept(l, k)).collect();
        }
        z[last] = self.weighted_input(last, &a_after_dropout[last - 1]);
        let (outputs, cost) = self.outputs(&z[last], y);
        (a[last], a_after_dropout[last]) = (outputs.clone(), outputs);
        Forward { z, a, a_after_dropout, cost }
    }

    /// BP1 and BP2 for an example.
    pub fn backpropagate(&self, forward: &Forward, y: &[f64], kept: Kept<'_>) -> Backward {
        let last = self.topology.last();
        let prime = |l: usize| {
            let row = self.topology.sigma(l);
            forward.a[l].iter().map(|&a| (row.exact_prime)(a)).collect::<Vec<_>>()
        };
        let sigma_prime = Layers::new(2, last, prime);
        let mut delta = Layers::new(2, last, |_| Vec::new());
        let outputs = forward.a[last].iter().zip(y).zip(&sigma_prime[last]);
        delta[last] = outputs.map(|((&a, &y), &prime)| (self.topology.cost.exact_output_error)(a, y, prime)).collect();
        for l in (2..last).rev() {
            let back = self.carried_back(l, &delta[l + 1]);
            let entries = back.iter().zip(&sigma_prime[l]).enumerate();
            delta[l] = entries.map(|(k, (back, prime))| back * prime * kept(l, k)).collect();
        }
        Backward { sigma_prime, delta }
    }

    /// (wˡ⁺¹)ᵀ δˡ⁺¹, the error propagated back without σ′.
    pub fn carried_back(&self, l: usize, delta: &[f64]) -> Vec<f64> {
        let mut back = vec![0.0; self.topology.n[l]];
        for (row, delta) in self.w[l + 1].chunks_exact(back.len()).zip(delta) {
            back.iter_mut().zip(row).for_each(|(back, w)| *back += w * delta);
        }
        back
    }

    /// Cₓ of an example after changes of `z[l]`, each of a neuron (from 0) by an amount. `None` if
    /// a weighted input crosses a kink of σ: the cost has no derivative there.
    pub fn cost_moved(
        &self,
        forward: &Forward,
        y: &[f64],
        kept: Kept<'_>,
        l: usize,
        moves: &[(usize, f64)],
    ) -> Option<f64> {
        let last = self.topology.last();
        let row = self.topology.activation;
        let crosses = |from: f64, to: f64| row.kinks.iter().any(|kink| (from > *kink) != (to > *kink));
        // Neurons of a layer whose z changes: their number, z before and after. In layer l few of many may change.
        let mut moved: Vec<(usize, f64, f64)> =
            moves.iter().map(|&(j, by)| (j, forward.z[l][j], forward.z[l][j] + by)).collect();
        for at in l..last {
            if moved.iter().any(|&(_, from, to)| crosses(from, to)) {
                return None;
            }
            let moved_at = moved.iter().filter(|(_, from, to)| to != from);
            let change = |&(k, from, to): &(usize, f64, f64)| (k, ((row.exact)(to) - (row.exact)(from)) * kept(at, k));
            let changes = moved_at.map(change).collect::<Vec<_>>();
            let rows = self.w[at + 1].chunks_exact(self.topology.n[at]).zip(&forward.z[at + 1]).enumerate();
            let next = rows.map(|(j, (weights, &from))| {
                (j, from, from + changes.iter().map(|&(k, change)| weights[k] * change).sum::<f64>())
            });
            moved = next.collect();
        }
        let mut z = forward.z[last].clone();
        moved.iter().for_each(|&(j, _, to)| z[j] = to);
        Some(self.outputs(&z, y).1)
    }
}

/// A derivative by central differences, and a bound of its error.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Difference {
    /// The derivative.
    pub value: f64,
    /// A bound of its error, by truncation and by rounding.
    pub error: f64,
}

/// The derivative of `cost` at 0, by central differences with `step`, half and a quarter of it
/// (Richardson extrapolation). `None` if `cost` has no value.
pub fn central_difference(step: f64, cost: impl Fn(f64) -> Option<f64>) -> Option<Difference> {
    let mut largest = 0f64;
    let mut slopes = [0.0; 3];
    for (slope, h) in slopes.iter_mut().zip([step, step / 2.0, step / 4.0]) {
        let (after, before) = (cost(h)?, cost(-h)?);
        *slope = (after - before) / (2.0 * h);
        largest = largest.max(after.abs()).max(before.abs());
    }
    // Extrapolation cancels the error terms with the square of the step, then those with its fourth
    // power.
    let [wide, narrow] = [0, 1].map(|i| (4.0 * slopes[i + 1] - slopes[i]) / 3.0);
    let value = (16.0 * narrow - wide) / 15.0;
    let of_rounding = 16.0 * f64::EPSILON * largest / step;
    Some(Difference { value, error: (narrow - wide).abs() + of_rounding })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Initialization;
    use crate::network::activation::{OF_NEURONS, RELU, SOFTMAX};
    use crate::network::cost::{CROSS_ENTROPY, LOG_LIKELIHOOD, QUADRATIC};

    #[test]
    fn backpropagation_is_the_slope_of_the_cost() {
        let rows = OF_NEURONS.map(|row| (row, row, &QUADRATIC));
        let classes = [(&RELU, &SOFTMAX, &LOG_LIKELIHOOD), (OF_NEURONS[1], OF_NEURONS[0], &CROSS_ENTROPY)];
        for (hidden, output, cost) in rows.into_iter().chain(classes) {
            let topology = Topology::new(&[3, 5, 4, 2], hidden, cost).expect("layers").with_output(output);
            let parameters = Parameters::random(&topology, Initialization::Large, 4).expect("memory");
            let network = Network::new(&topology, &parameters);
            let (x, y) = ([0.3, -0.8, 0.5], [1.0, 0.0]);
            let kept = |l: usize, k: usize| if (l + k).is_multiple_of(3) { 0.0 } else { 1.5 };
            let forward = network.feedforward(&x, &y, &kept);
            let backward = network.backpropagate(&forward, &y, &kept);
            let mut compared = 0;
            for (l, delta) in backward.delta.iter() {
                for (j, &delta) in delta.iter().enumerate() {
                    let slope = central_difference(1e-3, |by| network.cost_moved(&forward, &y, &kept, l, &[(j, by)]));
                    let Some(slope) = slope else { continue };
                    let off = (slope.value - delta).abs();
                    assert!(off <= slope.error + 1e-12, "{topology}: layer {l}, neuron {j}: {slope:?}, {delta}");
                    assert!(slope.error < 1e-8, "{slope:?}");
                    compared += 1;
                }
            }
            assert!(compared >= 9, "{compared} of 11");
        }
    }
}
