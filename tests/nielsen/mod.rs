//! The oracle: a plain f64 port of the book's `network.py` and `network2.py`, one example at a time.
//!
//! It shares nothing with the program: no plan, no kernel, no matrix type. Layers are numbered as
//! the book's code does it, from 0 for the first weights. Activations, costs and optimizers are found by their names.

pub type Vector = Vec<f64>;
/// Rows of a matrix.
pub type Rows = Vec<Vector>;

/// An activation function: its name, σ(z) and σ′(z).
pub type Sigma = (&'static str, fn(f64) -> f64, fn(f64) -> f64);

pub const SIGMAS: [Sigma; 6] = [
    ("sigmoid", sigmoid, |z| sigmoid(z) * (1.0 - sigmoid(z))),
    ("tanh", f64::tanh, |z| 1.0 - z.tanh().powi(2)),
    ("relu", |z| z.max(0.0), |z| if z > 0.0 { 1.0 } else { 0.0 }),
    ("leaky-relu", |z| z.max(0.01 * z), |z| if z > 0.0 { 1.0 } else { 0.01 }),
    ("linear", |z| z, |_| 1.0),
    // Of weighted inputs less ln Σ exp of all of them.
    ("softmax", f64::exp, |z| z.exp() * (1.0 - z.exp())),
];

/// A cost: its name, C of one output, and δ from a, y and σ′(z), as in `network2.py`: ∂C/∂a times σ′ is 0/0 for
/// the cross-entropy of a saturated neuron.
pub type Cost = (&'static str, fn(f64, f64) -> f64, fn(f64, f64, f64) -> f64);

pub const COSTS: [Cost; 3] = [
    ("quadratic", |a, y| (y - a) * (y - a) / 2.0, |a, y, prime| (a - y) * prime),
    ("cross-entropy", |a, y| -(y * a.ln() + (1.0 - y) * (1.0 - a).ln()), |a, y, _| a - y),
    // For desired outputs that sum to 1, as those of classes do.
    ("log-likelihood", |a, y| -y * a.ln(), |a, y, _| a - y),
];

/// The hyperparameters of a step, and its number, counted from 1.
#[derive(Clone, Copy)]
pub struct Step {
    pub eta: f64,
    pub momentum: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub number: i32,
}

/// An optimizer: its name, and its step for a parameter and its state, from the mean gradient.
pub type Optimizer = (&'static str, fn(&mut f64, &mut [f64; 2], f64, &Step));

pub const OPTIMIZERS: [Optimizer; 6] = [
    ("sgd", |w, _, nabla, step| *w -= step.eta * nabla),
    ("momentum", |w, [velocity, _], nabla, step| {
        *velocity = step.momentum * *velocity - step.eta * nabla;
        *w += *velocity;
    }),
    // As in PyTorch, with the other sign and η inside the velocity.
    ("nesterov", |w, [velocity, _], nabla, step| {
        *velocity = step.momentum * *velocity - step.eta * nabla;
        *w += step.momentum * *velocity - step.eta * nabla;
    }),
    ("rmsprop", |w, [squares, _], nabla, step| {
        *squares = step.beta2 * *squares + (1.0 - step.beta2) * nabla * nabla;
        *w -= step.eta * nabla / (squares.sqrt() + step.epsilon);
    }),
    // Algorithm 1 of the paper.
    ("adam", |w, [mean, squares], nabla, step| {
        *mean = step.beta1 * *mean + (1.0 - step.beta1) * nabla;
        *squares = step.beta2 * *squares + (1.0 - step.beta2) * nabla * nabla;
        let mean = *mean / (1.0 - step.beta1.powi(step.number));
        let squares = *squares / (1.0 - step.beta2.powi(step.number));
        *w -= step.eta * mean / (squares.sqrt() + step.epsilon);
    }),
    ("gradient", |_, [gradient, _], nabla, _| *gradient = nabla),
];

/// The row of a name.
pub fn sigma(name: &str) -> Option<Sigma> {
    SIGMAS.into_iter().find(|row| row.0 == name)
}

/// The row of a name.
pub fn cost(name: &str) -> Option<Cost> {
    COSTS.into_iter().find(|row| row.0 == name)
}

/// The row of a name.
pub fn optimizer(name: &str) -> Option<Optimizer> {
    OPTIMIZERS.into_iter().find(|row| row.0 == name)
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

#[derive(Clone)]
pub struct Network {
    /// `weights[l][j][k]`, from neuron k to neuron j.
    pub weights: Vec<Rows>,
    pub biases: Vec<Vector>,
    pub hidden: Sigma,
    pub output: Sigma,
    pub cost: Cost,
    /// The state of the optimizer beside each parameter.
    pub weights_state: Vec<Vec<Vec<[f64; 2]>>>,
    pub biases_state: Vec<Vec<[f64; 2]>>,
}

/// What `backprop` finds for one example.
pub struct Gradient {
    /// ∂C/∂z of each layer after the input.
    pub delta: Vec<Vector>,
    pub nabla_w: Vec<Rows>,
    pub nabla_b: Vec<Vector>,
}

impl Network {
    /// A network whose rows have these names.
    pub fn new(weights: Vec<Rows>, biases: Vec<Vector>, hidden: &str, output: &str, cost: &str) -> Self {
        let (hidden, output) = (sigma(hidden).expect("an oracle"), sigma(output).expect("an oracle"));
        let zeros = |rows: &Rows| rows.iter().map(|row| vec![[0.0; 2]; row.len()]).collect();
        let weights_state = weights.iter().map(zeros).collect();
        let biases_state = zeros(&biases);
        let cost = self::cost(cost).expect("an oracle");
        Network { weights, biases, hidden, output, cost, weights_state, biases_state }
    }

    /// σ of layer `l` of the weights.
    fn sigma(&self, l: usize) -> Sigma {
        if l + 1 == self.weights.len() { self.output } else { self.hidden }
    }

    /// The weighted inputs of layer `l` of the weights: of softmax outputs, less ln Σ exp of all of them.
    fn weighted_input(&self, l: usize, a: &[f64]) -> Vector {
        let z: Vector = (self.weights[l].iter().zip(&self.biases[l]))
            .map(|(row, b)| row.iter().zip(a).map(|(w, a)| w * a).sum::<f64>() + b)
            .collect();
        if self.sigma(l).0 != "softmax" {
            return z;
        }
        let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shift = largest + z.iter().map(|z| (z - largest).exp()).sum::<f64>().ln();
        z.into_iter().map(|z| z - shift).collect()
    }

    pub fn feedforward(&self, x: &[f64]) -> Vector {
        (0..self.weights.len())
            .fold(x.to_vec(), |a, l| self.weighted_input(l, &a).into_iter().map(self.sigma(l).1).collect())
    }

    /// C_x for a single example.
    pub fn cost(&self, x: &[f64], y: &[f64]) -> f64 {
        self.feedforward(x).iter().zip(y).map(|(&a, &y)| (self.cost.1)(a, y)).sum()
    }

    /// The gradient of C_x.
    pub fn backprop(&self, x: &[f64], y: &[f64]) -> Gradient {
        self.backprop_without(x, y, &|_, _| 1.0)
    }

    /// The gradient of C_x, where activation k of layer `l` of the weights is multiplied by `factor(l, k)`: dropout.
    pub fn backprop_without(&self, x: &[f64], y: &[f64], factor: &dyn Fn(usize, usize) -> f64) -> Gradient {
        let layers = self.weights.len();
        let kept = |l: usize, k: usize| if l + 1 < layers { factor(l, k) } else { 1.0 };
        let mut activations = vec![x.to_vec()];
        let mut zs = Vec::new();
        for l in 0..layers {
            let z = self.weighted_input(l, activations.last().unwrap());
            activations.push(z.iter().enumerate().map(|(k, &z)| kept(l, k) * (self.sigma(l).1)(z)).collect());
            zs.push(z);
        }
        let mut delta = vec![Vec::new(); layers];
        delta[layers - 1] = (activations[layers].iter().zip(y).zip(&zs[layers - 1]))
            .map(|((&a, &y), &z)| (self.cost.2)(a, y, (self.output.2)(z)))
            .collect();
        for l in (0..layers - 1).rev() {
            delta[l] = (0..zs[l].len())
                .map(|k| {
                    let back: f64 = (0..delta[l + 1].len()).map(|j| self.weights[l + 1][j][k] * delta[l + 1][j]).sum();
                    back * kept(l, k) * (self.sigma(l).2)(zs[l][k])
                })
                .collect();
        }
        let nabla_w = (0..layers)
            .map(|l| delta[l].iter().map(|d| activations[l].iter().map(|a| a * d).collect()).collect())
            .collect();
        Gradient { nabla_b: delta.clone(), nabla_w, delta }
    }

    /// The smallest distance from 0 of a weighted input of functions with one of these names, as of those whose σ′ jumps.
    pub fn smallest_weighted_input(&self, x: &[f64], names: &[&str]) -> f64 {
        let (mut a, mut smallest) = (x.to_vec(), f64::INFINITY);
        for l in 0..self.weights.len() {
            let z = self.weighted_input(l, &a);
            if names.contains(&self.sigma(l).0) {
                smallest = z.iter().fold(smallest, |smallest, z| smallest.min(z.abs()));
            }
            a = z.into_iter().map(self.sigma(l).1).collect();
        }
        smallest
    }

    /// One step of an optimizer, where C_x of each example counts as often as its weight says. First weights decay, by
    /// [ηλ/n, ηλ₁/n]; `factor(x, l, k)` is that of dropout for example x of the mini-batch.
    pub fn update_mini_batch(
        &mut self,
        mini_batch: &[(Vector, Vector)],
        weights: &[f64],
        (_, update): Optimizer,
        step: &Step,
        [l2, l1]: [f64; 2],
        factor: &dyn Fn(usize, usize, usize) -> f64,
    ) {
        let gradient = |(i, (x, y)): (usize, &(Vector, Vector))| self.backprop_without(x, y, &|l, k| factor(i, l, k));
        let gradients: Vec<Gradient> = mini_batch.iter().enumerate().map(gradient).collect();
        let mean = |of: &dyn Fn(&Gradient) -> f64| {
            let weighted = gradients.iter().zip(weights).map(|(gradient, weight)| weight * of(gradient));
            weighted.sum::<f64>() / mini_batch.len() as f64
        };
        for l in 0..self.weights.len() {
            for j in 0..self.biases[l].len() {
                let nabla = mean(&|gradient| gradient.nabla_b[l][j]);
                update(&mut self.biases[l][j], &mut self.biases_state[l][j], nabla, step);
                for k in 0..self.weights[l][j].len() {
                    let nabla = mean(&|gradient| gradient.nabla_w[l][j][k]);
                    let w = &mut self.weights[l][j][k];
                    *w = (1.0 - l2) * *w - l1 * if *w == 0.0 { 0.0 } else { w.signum() };
                    update(w, &mut self.weights_state[l][j][k], nabla, step);
                }
            }
        }
    }
}
