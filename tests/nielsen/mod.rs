//! The oracle: a plain f64 port of the book's `network.py` and `network2.py`, one example at a time.
//!
//! It shares nothing with the program: no plan, no kernel, no matrix type. Layers are numbered as
//! the book's code does it, from 0 for the first weights. Activations, costs and optimizers are found by their names.

pub type Vector = Vec<f64>;
/// Rows of a matrix.
pub type Rows = Vec<Vector>;

/// An activation function: its name, σ(z) and σ′(z).
pub type Sigma = (&'static str, fn(f64) -> f64, fn(f64) -> f64);

pub const SIGMAS: [Sigma; 4] = [
    ("sigmoid", sigmoid, |z| sigmoid(z) * (1.0 - sigmoid(z))),
    ("tanh", f64::tanh, |z| 1.0 - z.tanh().powi(2)),
    ("relu", |z| z.max(0.0), |z| if z > 0.0 { 1.0 } else { 0.0 }),
    ("linear", |z| z, |_| 1.0),
];

/// A cost: its name, C of one output, and δ from a, y and σ′(z), as in `network2.py`: ∂C/∂a times σ′ is 0/0 for
/// the cross-entropy of a saturated neuron.
pub type Cost = (&'static str, fn(f64, f64) -> f64, fn(f64, f64, f64) -> f64);

pub const COSTS: [Cost; 2] = [
    ("quadratic", |a, y| (y - a) * (y - a) / 2.0, |a, y, prime| (a - y) * prime),
    ("cross-entropy", |a, y| -(y * a.ln() + (1.0 - y) * (1.0 - a).ln()), |a, y, _| a - y),
];

/// An optimizer: its name, and its step for a parameter and its state, from the mean gradient, η and µ.
pub type Optimizer = (&'static str, fn(&mut f64, &mut f64, f64, f64, f64));

pub const OPTIMIZERS: [Optimizer; 3] = [
    ("sgd", |w, _, nabla, eta, _| *w -= eta * nabla),
    ("momentum", |w, velocity, nabla, eta, mu| {
        *velocity = mu * *velocity - eta * nabla;
        *w += *velocity;
    }),
    ("gradient", |_, gradient, nabla, _, _| *gradient = nabla),
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
    pub weights_state: Vec<Rows>,
    pub biases_state: Vec<Vector>,
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
        let zeros = |rows: &Rows| rows.iter().map(|row| vec![0.0; row.len()]).collect();
        let weights_state = weights.iter().map(zeros).collect();
        let biases_state = zeros(&biases);
        let cost = self::cost(cost).expect("an oracle");
        Network { weights, biases, hidden, output, cost, weights_state, biases_state }
    }

    /// σ of layer `l` of the weights.
    fn sigma(&self, l: usize) -> Sigma {
        if l + 1 == self.weights.len() { self.output } else { self.hidden }
    }

    pub fn feedforward(&self, x: &[f64]) -> Vector {
        let mut a = x.to_vec();
        for (l, (w, b)) in self.weights.iter().zip(&self.biases).enumerate() {
            a = weighted_input(w, b, &a).into_iter().map(self.sigma(l).1).collect();
        }
        a
    }

    /// C_x for a single example.
    pub fn cost(&self, x: &[f64], y: &[f64]) -> f64 {
        self.feedforward(x).iter().zip(y).map(|(&a, &y)| (self.cost.1)(a, y)).sum()
    }

    /// The gradient of C_x.
    pub fn backprop(&self, x: &[f64], y: &[f64]) -> Gradient {
        let mut activations = vec![x.to_vec()];
        let mut zs = Vec::new();
        for (l, (w, b)) in self.weights.iter().zip(&self.biases).enumerate() {
            let z = weighted_input(w, b, activations.last().unwrap());
            activations.push(z.iter().copied().map(self.sigma(l).1).collect());
            zs.push(z);
        }
        let layers = self.weights.len();
        let mut delta = vec![Vec::new(); layers];
        delta[layers - 1] = (activations[layers].iter().zip(y).zip(&zs[layers - 1]))
            .map(|((&a, &y), &z)| (self.cost.2)(a, y, (self.output.2)(z)))
            .collect();
        for l in (0..layers - 1).rev() {
            delta[l] = (0..zs[l].len())
                .map(|k| {
                    let back: f64 = (0..delta[l + 1].len()).map(|j| self.weights[l + 1][j][k] * delta[l + 1][j]).sum();
                    back * (self.sigma(l).2)(zs[l][k])
                })
                .collect();
        }
        let nabla_w = (0..layers)
            .map(|l| delta[l].iter().map(|d| activations[l].iter().map(|a| a * d).collect()).collect())
            .collect();
        Gradient { nabla_b: delta.clone(), nabla_w, delta }
    }

    /// The smallest distance of a weighted input from 0, where σ′ of some functions jumps.
    pub fn smallest_weighted_input(&self, x: &[f64]) -> f64 {
        let (mut a, mut smallest) = (x.to_vec(), f64::INFINITY);
        for (l, (w, b)) in self.weights.iter().zip(&self.biases).enumerate() {
            let z = weighted_input(w, b, &a);
            smallest = z.iter().fold(smallest, |smallest, z| smallest.min(z.abs()));
            a = z.into_iter().map(self.sigma(l).1).collect();
        }
        smallest
    }

    /// One step of an optimizer, where C_x of each example counts as often as its weight says.
    pub fn update_mini_batch(
        &mut self,
        mini_batch: &[(Vector, Vector)],
        weights: &[f64],
        (_, step): Optimizer,
        eta: f64,
        mu: f64,
    ) {
        let gradients: Vec<Gradient> = mini_batch.iter().map(|(x, y)| self.backprop(x, y)).collect();
        let mean = |of: &dyn Fn(&Gradient) -> f64| {
            let weighted = gradients.iter().zip(weights).map(|(gradient, weight)| weight * of(gradient));
            weighted.sum::<f64>() / mini_batch.len() as f64
        };
        for l in 0..self.weights.len() {
            for j in 0..self.biases[l].len() {
                let nabla = mean(&|gradient| gradient.nabla_b[l][j]);
                step(&mut self.biases[l][j], &mut self.biases_state[l][j], nabla, eta, mu);
                for k in 0..self.weights[l][j].len() {
                    let nabla = mean(&|gradient| gradient.nabla_w[l][j][k]);
                    step(&mut self.weights[l][j][k], &mut self.weights_state[l][j][k], nabla, eta, mu);
                }
            }
        }
    }
}

fn weighted_input(w: &Rows, b: &[f64], a: &[f64]) -> Vector {
    w.iter().zip(b).map(|(row, b)| row.iter().zip(a).map(|(w, a)| w * a).sum::<f64>() + b).collect()
}
