//! The oracle: a plain f64 port of the book's `network.py`, one example at a time.
//!
//! It shares nothing with the program: no plan, no kernel, no matrix type. Layers are numbered as
//! the book's code does it, from 0 for the first weights.

pub type Vector = Vec<f64>;
/// Rows of a matrix.
pub type Rows = Vec<Vector>;

pub struct Network {
    /// `weights[l][j][k]`, from neuron k to neuron j.
    pub weights: Vec<Rows>,
    pub biases: Vec<Vector>,
    /// Whether the output layer is linear, not sigmoid.
    pub linear_outputs: bool,
}

/// What `backprop` finds for one example.
pub struct Gradient {
    /// ∂C/∂z of each layer after the input.
    pub delta: Vec<Vector>,
    pub nabla_w: Vec<Rows>,
    pub nabla_b: Vec<Vector>,
}

pub fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

pub fn sigmoid_prime(z: f64) -> f64 {
    sigmoid(z) * (1.0 - sigmoid(z))
}

impl Network {
    /// σ of layer `l` of the weights.
    fn sigma(&self, l: usize, z: f64) -> f64 {
        if self.linear_outputs && l + 1 == self.weights.len() { z } else { sigmoid(z) }
    }

    fn sigma_prime(&self, l: usize, z: f64) -> f64 {
        if self.linear_outputs && l + 1 == self.weights.len() { 1.0 } else { sigmoid_prime(z) }
    }

    pub fn feedforward(&self, x: &[f64]) -> Vector {
        let mut a = x.to_vec();
        for (l, (w, b)) in self.weights.iter().zip(&self.biases).enumerate() {
            a = weighted_input(w, b, &a).into_iter().map(|z| self.sigma(l, z)).collect();
        }
        a
    }

    /// C_x = ½ ‖y − a‖², equation (6) for a single example.
    pub fn cost(&self, x: &[f64], y: &[f64]) -> f64 {
        let a = self.feedforward(x);
        a.iter().zip(y).map(|(a, y)| (y - a) * (y - a)).sum::<f64>() / 2.0
    }

    /// The gradient of C_x.
    pub fn backprop(&self, x: &[f64], y: &[f64]) -> Gradient {
        let mut activations = vec![x.to_vec()];
        let mut zs = Vec::new();
        for (l, (w, b)) in self.weights.iter().zip(&self.biases).enumerate() {
            let z = weighted_input(w, b, activations.last().unwrap());
            activations.push(z.iter().map(|&z| self.sigma(l, z)).collect());
            zs.push(z);
        }
        let layers = self.weights.len();
        let mut delta = vec![Vec::new(); layers];
        delta[layers - 1] = (activations[layers].iter().zip(y).zip(&zs[layers - 1]))
            .map(|((a, y), &z)| (a - y) * self.sigma_prime(layers - 1, z))
            .collect();
        for l in (0..layers - 1).rev() {
            delta[l] = (0..zs[l].len())
                .map(|k| {
                    let back: f64 = (0..delta[l + 1].len()).map(|j| self.weights[l + 1][j][k] * delta[l + 1][j]).sum();
                    back * self.sigma_prime(l, zs[l][k])
                })
                .collect();
        }
        let nabla_w = (0..layers)
            .map(|l| delta[l].iter().map(|d| activations[l].iter().map(|a| a * d).collect()).collect())
            .collect();
        Gradient { nabla_b: delta.clone(), nabla_w, delta }
    }

    /// One step of gradient descent.
    pub fn update_mini_batch(&mut self, mini_batch: &[(Vector, Vector)], eta: f64) {
        self.update_weighted_mini_batch(mini_batch, &vec![1.0; mini_batch.len()], eta);
    }

    /// One step of gradient descent, where C_x of each example counts as often as its weight says.
    pub fn update_weighted_mini_batch(&mut self, mini_batch: &[(Vector, Vector)], weights: &[f64], eta: f64) {
        let rate = eta / mini_batch.len() as f64;
        let gradients: Vec<Gradient> = mini_batch.iter().map(|(x, y)| self.backprop(x, y)).collect();
        for (gradient, weight) in gradients.into_iter().zip(weights) {
            let rate = rate * weight;
            for l in 0..self.weights.len() {
                for j in 0..self.biases[l].len() {
                    self.biases[l][j] -= rate * gradient.nabla_b[l][j];
                    for k in 0..self.weights[l][j].len() {
                        self.weights[l][j][k] -= rate * gradient.nabla_w[l][j][k];
                    }
                }
            }
        }
    }
}

fn weighted_input(w: &Rows, b: &[f64], a: &[f64]) -> Vector {
    w.iter().zip(b).map(|(row, b)| row.iter().zip(a).map(|(w, a)| w * a).sum::<f64>() + b).collect()
}
