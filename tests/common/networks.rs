//! One list of networks, with the rows that each is made of, the mini-batch and the examples it learns from.

use gpu_backprop::backprop::{self, Desired, Examples, Matrices};
use gpu_backprop::data::{Dataset, Inputs, Targets};
use gpu_backprop::kernel::MiniBatch;
use gpu_backprop::kernels::{decayed, state_of};
use gpu_backprop::network::activation::{self, Activation, LINEAR, SIGMOID};
use gpu_backprop::network::cost::{self, Cost, QUADRATIC};
use gpu_backprop::network::learning::LearningRule;
use gpu_backprop::network::optimizer::{self, Optimizer, SGD, Settings};
use gpu_backprop::network::{EPSILON, Initialization, Parameters, Topology};
use gpu_backprop::plan::executor::{Executor, PlanId};
use gpu_backprop::plan::{Element, Matrix, Plan, Recorder};
use gpu_backprop::training::{Hyperparameters, StepNumber};

use crate::closeness::sum_tolerance;
use crate::numbers::{random, random_below};

/// The inputs of examples: all different from 0, or nine in ten of them 0.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    Bytes,
    SparseBytes,
    Floats,
    SparseFloats,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Floats, Kind::SparseFloats, Kind::Bytes, Kind::SparseBytes];

    pub fn is_bytes(self) -> bool {
        matches!(self, Kind::Bytes | Kind::SparseBytes)
    }

    pub fn is_sparse(self) -> bool {
        matches!(self, Kind::SparseBytes | Kind::SparseFloats)
    }

    /// `len` inputs: floats of the order of 1, or bytes.
    pub fn inputs(self, len: usize) -> Inputs {
        let kept = random_below(7, len, 10);
        let keep = |i: usize| !self.is_sparse() || kept[i] == 0;
        if self.is_bytes() {
            let bytes = random_below(8, len, 255).into_iter().enumerate();
            let values = bytes.map(|(i, byte)| if keep(i) { byte as u8 + 1 } else { 0 }).collect();
            Inputs::Bytes { values, scale: SCALE }
        } else {
            let floats = random(9, len).into_iter().enumerate();
            Inputs::Floats(floats.map(|(i, value)| if keep(i) { value } else { 0.0 }).collect())
        }
    }
}

const SCALE: f32 = 1.0 / 255.0;

/// The targets of examples.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Learned {
    Classes,
    WeightedClasses,
    Numbers,
}

impl Learned {
    pub const ALL: [Learned; 3] = [Learned::Numbers, Learned::WeightedClasses, Learned::Classes];
}

/// A network, the size of its mini-batches, and what it learns.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    pub widths: &'static [usize],
    pub m: usize,
    pub kind: Kind,
    pub learned: Learned,
    pub hidden: &'static Activation,
    pub output: &'static Activation,
    pub cost: &'static Cost,
    pub optimizer: &'static Optimizer,
    pub decays: bool,
    pub dropout: f32,
}

impl Network {
    /// The network that is usual for what it learns.
    pub const fn new(widths: &'static [usize], m: usize, kind: Kind, learned: Learned) -> Self {
        let output = if matches!(learned, Learned::Numbers) { &LINEAR } else { &SIGMOID };
        let (hidden, cost, optimizer) = (&SIGMOID, &QUADRATIC, &SGD);
        Network { widths, m, kind, learned, hidden, output, cost, optimizer, decays: false, dropout: 0.0 }
    }

    pub fn of_kind(self, kind: Kind) -> Self {
        Network { kind, ..self }
    }

    /// The same network with the `i`th combination of rows that suits what it learns: each row has its turn, and so have
    /// weight decay and dropout.
    fn with_rows_by_turns(self, i: usize) -> Self {
        let turn = |rows: usize| (i + i / rows) % rows;
        let suits = |cost: &&'static Cost| !(cost.needs_classes && self.learned == Learned::Numbers);
        let costs: Vec<_> = cost::ALL.into_iter().filter(suits).collect();
        let cost = costs[turn(costs.len())];
        Network {
            hidden: activation::OF_NEURONS[turn(activation::OF_NEURONS.len())],
            output: cost.suits[turn(cost.suits.len())],
            cost,
            optimizer: optimizer::ALL[turn(optimizer::ALL.len())],
            decays: turn(2) == 1,
            dropout: if turn(3) == 1 { 0.4 } else { 0.0 },
            ..self
        }
    }

    pub fn rule(&self) -> LearningRule {
        LearningRule { optimizer: self.optimizer, decays: self.decays, dropout: self.dropout }
    }

    /// Rounding of a gradient changes no training much where no function of the network has a kink.
    pub fn is_smooth(&self) -> bool {
        // Softmax has one where only rounding leads.
        self.hidden.kinks.is_empty() && (self.output.normalizes || self.output.kinks.is_empty())
    }

    /// A training of `examples` examples by its rule, in which a gradient that is off by a rounding changes a step as it would
    /// change one of sgd with this η: the steps of optimizers that divide by the size of gradients are at most as steep as
    /// η/ε, and with the usual ε as good as the sign of a gradient, even of one that is nothing but rounding.
    pub fn hyperparameters(&self, eta: f32, examples: usize, seed: u64) -> Hyperparameters {
        let optimizer = self.optimizer;
        let settings = Settings { epsilon: 0.1, ..optimizer.settings };
        let eta = if optimizer.flags.contains(&"epsilon") {
            eta * settings.epsilon
        } else {
            (optimizer.eta)(f64::from(eta), &settings) as f32
        };
        // A weight loses 2% of itself in a step, and 0.001 where so few cross 0 that none does so by rounding alone.
        let parameters: usize = self.widths.windows(2).map(|pair| pair[1] * (1 + pair[0])).sum();
        let lambda = |part: f32| if self.decays { part * examples as f32 / eta } else { 0.0 };
        let l1 = lambda(if parameters < 1000 { 0.001 } else { 0.0 });
        let plain = Hyperparameters::sgd(self.m, eta, seed);
        Hyperparameters { optimizer, settings, lambda: lambda(0.02), l1, dropout: self.dropout, ..plain }
    }

    pub fn topology(&self) -> Topology {
        Topology::new(self.widths, self.hidden, self.cost).expect("a network").with_output(self.output)
    }

    pub fn features(&self) -> usize {
        self.widths[0]
    }

    pub fn outputs(&self) -> usize {
        self.widths[self.widths.len() - 1]
    }

    /// The matrices that hold `examples` examples, and the `picked` numbers of those to look at.
    pub fn examples(&self, picked: usize, examples: usize) -> Examples {
        let element = if self.kind.is_bytes() { Element::Byte } else { Element::F32 };
        let weights = || Matrix::new("example_weights", examples, 1);
        Examples {
            order: Matrix::of(Element::U32, "order", picked, 1),
            inputs: Matrix::of(element, "inputs", examples, self.features()),
            scale: if self.kind.is_bytes() { SCALE } else { 1.0 },
            desired: match self.learned {
                Learned::Classes | Learned::WeightedClasses => {
                    Desired::Classes(Matrix::of(Element::U32, "labels", examples, 1))
                }
                Learned::Numbers => Desired::Numbers(Matrix::new("targets", examples, self.outputs())),
            },
            weights: (self.learned == Learned::WeightedClasses).then(weights),
        }
    }

    /// Random examples.
    pub fn dataset(&self, examples: usize) -> Dataset {
        let (features, outputs) = (self.features(), self.outputs());
        let inputs = self.kind.inputs(examples * features);
        let labels = [vec![outputs as u32 - 1], random_below(2, examples - 1, outputs as u32)].concat();
        match self.learned {
            Learned::Classes => Dataset::new(inputs, features, labels),
            Learned::WeightedClasses => {
                let weights = random(3, outputs).into_iter().map(f32::abs).collect();
                Dataset::new(inputs, features, labels).and_then(|dataset| dataset.weighted(weights))
            }
            Learned::Numbers => {
                let values = random(4, examples * outputs).into_iter().map(f64::from).collect();
                Dataset::with_targets(inputs, features, Targets::Numbers { values, width: outputs })
            }
        }
        .expect("a data set")
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Network { m, kind, learned, .. } = self;
        let (topology, rule) = (self.topology(), self.rule());
        write!(formatter, "{learned:?} of {kind:?} by {topology} ({}, {rule}), m = {m}", topology.rows())
    }
}

/// The highest rung of the ladder that a network climbs: each network costs a GPU in software seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rung {
    Cpu,
    Fused,
    Loop,
}

/// Extents around every tile, vector, panel and group of invocations: multiples of 4 and 16 with their neighbours, 1 and
/// primes, no two neighbours alike, with and without hidden layers; more neurons than invocations; mini-batches
/// with every remainder of a tile, more examples than a mask has bits and than a panel has rows.
const SHAPES: [(&[usize], usize, Kind, Rung); 47] = [
    (&[1, 1], 1, Kind::Bytes, Rung::Loop),
    (&[4, 3], 2, Kind::SparseFloats, Rung::Cpu),
    (&[3, 2], 4, Kind::Floats, Rung::Loop),
    (&[1, 4, 1], 3, Kind::SparseBytes, Rung::Cpu),
    (&[1, 3, 1, 2], 5, Kind::Floats, Rung::Fused),
    (&[2, 1, 3], 2, Kind::SparseFloats, Rung::Cpu),
    (&[3, 5], 2, Kind::Floats, Rung::Fused),
    (&[3, 5], 3, Kind::SparseBytes, Rung::Cpu),
    (&[3, 5, 2], 1, Kind::SparseFloats, Rung::Cpu),
    (&[5, 4, 3], 3, Kind::Bytes, Rung::Loop),
    (&[5, 4, 3], 3, Kind::Floats, Rung::Loop),
    (&[6, 1, 5, 2], 5, Kind::Bytes, Rung::Loop),
    (&[5, 7, 3, 2], 4, Kind::SparseBytes, Rung::Cpu),
    (&[6, 2, 5, 3, 4], 3, Kind::SparseFloats, Rung::Cpu),
    (&[7, 5, 3], 10, Kind::Floats, Rung::Fused),
    (&[7, 8, 9], 4, Kind::SparseFloats, Rung::Cpu),
    (&[8, 12, 4], 8, Kind::Floats, Rung::Loop),
    (&[7, 9, 6, 5, 3], 7, Kind::Floats, Rung::Loop),
    (&[4, 20, 16, 8], 9, Kind::Floats, Rung::Fused),
    (&[20, 6, 3], 17, Kind::Bytes, Rung::Loop),
    (&[15, 16, 17], 5, Kind::SparseBytes, Rung::Cpu),
    (&[17, 15, 16, 2], 6, Kind::SparseFloats, Rung::Cpu),
    (&[15, 17, 33], 31, Kind::Floats, Rung::Fused),
    (&[31, 33, 32], 7, Kind::SparseBytes, Rung::Cpu),
    (&[32, 270, 3], 2, Kind::Bytes, Rung::Loop),
    (&[64, 30, 10], 10, Kind::Floats, Rung::Loop),
    (&[64, 63, 65], 11, Kind::SparseFloats, Rung::Cpu),
    (&[65, 31, 63], 33, Kind::Floats, Rung::Fused),
    (&[130, 17, 33], 9, Kind::Bytes, Rung::Loop),
    (&[301, 9, 10], 10, Kind::Floats, Rung::Fused),
    (&[784, 30, 10], 10, Kind::Bytes, Rung::Loop),
    (&[65, 64, 63, 10], 24, Kind::SparseBytes, Rung::Cpu),
    (&[61, 127, 10], 25, Kind::SparseFloats, Rung::Cpu),
    (&[100, 49, 10], 65, Kind::SparseBytes, Rung::Cpu),
    (&[700, 20, 515, 10], 13, Kind::SparseFloats, Rung::Cpu),
    (&[16, 128, 36], 64, Kind::Floats, Rung::Fused),
    (&[64, 68, 60, 4], 65, Kind::Floats, Rung::Fused),
    (&[23, 19, 7], 1031, Kind::SparseBytes, Rung::Cpu),
    (&[129, 128, 130, 3], 63, Kind::SparseFloats, Rung::Cpu),
    (&[513, 70, 5], 130, Kind::SparseBytes, Rung::Cpu),
    (&[130, 127, 129], 131, Kind::Floats, Rung::Fused),
    (&[132, 260, 124], 128, Kind::Floats, Rung::Fused),
    (&[20, 9, 2], 17, Kind::SparseBytes, Rung::Cpu),
    (&[4, 7, 6, 2], 9, Kind::SparseFloats, Rung::Cpu),
    (&[3, 8, 9], 4, Kind::SparseFloats, Rung::Cpu),
    (&[5, 3], 1, Kind::SparseBytes, Rung::Cpu),
    (&[3, 1], 4, Kind::SparseFloats, Rung::Cpu),
];

/// Every network that climbs to a rung, each with one of the targets.
pub fn networks(rung: Rung) -> impl Iterator<Item = Network> + Clone {
    let shapes = SHAPES.into_iter().zip(Learned::ALL.into_iter().cycle());
    let climbing = shapes.filter(move |((.., highest), _)| *highest >= rung);
    climbing.map(|((widths, m, kind, _), learned)| Network::new(widths, m, kind, learned))
}

/// Networks that climb to a rung with other rows, which have their turns; half of those that a GPU computes in every way.
pub fn with_rows(rung: Rung) -> impl Iterator<Item = Network> + Clone {
    let each = if rung == Rung::Fused { 2 } else { 1 };
    networks(rung).step_by(each).enumerate().map(|(i, network)| network.with_rows_by_turns(i))
}

/// The equations of a step without the picking of its examples: feedforward, BP1 to BP4 and descent, or only feedforward
/// and BP1.
pub fn equations(topology: &Topology, rule: LearningRule, net: &Matrices, descend: bool) -> Plan {
    let mut plan = Recorder::new("a step");
    backprop::feedforward(&mut plan, topology, rule.dropout, net);
    backprop::bp1_output_error(&mut plan, topology, net);
    if descend {
        backprop::bp2_backpropagate(&mut plan, topology, rule.dropout, net);
        backprop::bp3_nabla_b(&mut plan, topology, net);
        backprop::bp4_nabla_w(&mut plan, topology, rule.dropout, net);
        backprop::descend(&mut plan, topology, rule, net);
    }
    plan.finish().expect("the shapes fit")
}

/// The mini-batch of step number `step`, counted from 1, in which everything shows: weights decay by both norms.
pub fn mini_batch(optimizer: &Optimizer, step: u64) -> MiniBatch {
    // Where steps have a size of their own, the first is of up to 10 η, and values must stay of the order of 1.
    let eta = if optimizer.flags.contains(&"epsilon") { 0.05 } else { 0.7 };
    let coefficients = (optimizer.coefficients)(&optimizer.settings, eta, step);
    MiniBatch { eta, coefficients, keep: 0.9, l1: 0.03, step: step as u32, seed: 77, ..MiniBatch::evaluating(0, 0) }
}

/// Weights or biases with the states of the optimizer beside them, before a step.
pub struct Entries {
    /// The parameter, and each state.
    pub matrices: Vec<Matrix>,
    /// The numbers of each.
    pub before: Vec<Vec<f32>>,
    /// The gradient, summed over the mini-batch.
    pub nabla: Matrix,
    /// The rule of the step; biases do not decay.
    rule: LearningRule,
}

impl Entries {
    /// Every parameter of a network, which leads to weighted inputs of the order of 1, where σ′ matters.
    pub fn of_network(topology: &Topology, rule: LearningRule, net: &Matrices) -> Vec<Entries> {
        let of_layer = |l: usize| {
            let biases = LearningRule { decays: false, ..rule };
            [(&net.w[l], &net.nabla_w[l], rule), (&net.b[l], &net.nabla_b[l], biases)]
        };
        let numbered = (3..).step_by(10).zip((2..=topology.last()).flat_map(of_layer));
        let entries = numbered.map(|(seed, (parameter, nabla, rule))| {
            let scale = (parameter.cols as f32).sqrt().recip();
            let numbers = |(i, name): (u64, &str)| -> Vec<f32> {
                let numbers = random(seed + i, parameter.len()).into_iter();
                // What is a mean of squares is not negative.
                numbers.map(|x| scale * if name == "squares" { x * x } else { x }).collect()
            };
            let names = std::iter::once("").chain(rule.optimizer.states.iter().copied());
            let before = (0..).zip(names).map(numbers).collect();
            let matrices = [vec![parameter.clone()], state_of(rule.optimizer, parameter)].concat();
            Entries { matrices, before, nabla: nabla.clone(), rule }
        });
        entries.collect()
    }

    /// How far each number may be apart after a step of two devices whose gradients, of m examples, may be off by `off`: as
    /// far as the row of the optimizer itself takes it from a gradient that is off, and its rounding on both devices.
    pub fn tolerances(&self, gradient: &[f32], off: f64, m: usize, mini_batch: &MiniBatch) -> Vec<Vec<f64>> {
        /// Places between the gradients that are off.
        const PLACES: i32 = 16;
        let (optimizer, rates) = (self.rule.optimizer, mini_batch.rates(m));
        let mut tolerances = vec![Vec::with_capacity(gradient.len()); self.before.len()];
        for (i, &gradient) in gradient.iter().enumerate() {
            let mut old = optimizer::Entry::default();
            old.iter_mut().zip(&self.before).for_each(|(old, before)| *old = before[i]);
            let mut of_decay = 0.0;
            if self.rule.decays {
                let w = decayed(old[0], mini_batch);
                of_decay = 2.0 * EPSILON * f64::from(old[0].abs() + w.abs());
                old[0] = w;
            }
            let update = |gradient: f64| (optimizer.update)(old, gradient as f32, &rates).map(f64::from);
            let new = update(gradient.into());
            for (s, tolerances) in tolerances.iter_mut().enumerate() {
                let from = |place: i32| {
                    let gradient = f64::from(gradient) + off * f64::from(place) / f64::from(PLACES);
                    let there = update(gradient);
                    (there[s] - new[s]).abs()
                        + 2.0 * (optimizer.error)(&old.map(f64::from), gradient, &rates, &there)[s]
                };
                let largest = (-PLACES..=PLACES).map(from).fold(0.0, f64::max);
                tolerances.push(largest + if s == 0 { of_decay } else { 0.0 });
            }
        }
        tolerances
    }
}

/// How far a gradient summed over m examples may be off, where the mean of those may be off by so much of values of the
/// order of 1.
pub fn off(gradient: &[f32], m: usize, tolerance: f64) -> f64 {
    let largest = gradient.iter().fold(0f64, |largest, value| largest.max(f64::from(value.abs())));
    tolerance * largest.max(m as f64)
}

/// An epoch of examples with a weight each, with a plan of its own: data sets have weights of classes alone.
pub struct WeightedEpoch {
    network: Network,
    pub hyperparameters: Hyperparameters,
    pub initial: Parameters,
    pub order: Vec<u32>,
    pub labels: Vec<u32>,
    pub numbers: Vec<f32>,
    pub weights: Vec<f32>,
}

impl WeightedEpoch {
    pub const EXAMPLES: usize = 20;

    /// Four whole mini-batches of a network without weights of its own.
    pub fn new(network: Network) -> Self {
        assert_eq!(Self::EXAMPLES % network.m, 0, "whole mini-batches");
        let mut order: Vec<u32> = (0..Self::EXAMPLES as u32).collect();
        order.rotate_left(7);
        order.swap(2, 9);
        WeightedEpoch {
            hyperparameters: network.hyperparameters(0.1, Self::EXAMPLES, 77),
            initial: Parameters::random(&network.topology(), Initialization::Scaled, 8).expect("memory"),
            order,
            labels: random_below(51, Self::EXAMPLES, network.outputs() as u32),
            numbers: random(52, Self::EXAMPLES * network.outputs()),
            weights: random(53, Self::EXAMPLES).into_iter().map(f32::abs).collect(),
            network,
        }
    }

    pub fn mini_batches(&self) -> Vec<MiniBatch> {
        let (m, examples) = (self.network.m, Self::EXAMPLES);
        let number = |step| StepNumber { step, per_epoch: examples / m, examples, plateau: 1.0 };
        let mini_batch = |i: usize| self.hyperparameters.mini_batch(i * m, 0, number(i as u64));
        (0..examples / m).map(mini_batch).collect()
    }

    /// The parameters after the epoch.
    pub fn run(&self, executor: &mut dyn Executor) -> Parameters {
        let (topology, m) = (self.network.topology(), self.network.m);
        let weights = Matrix::new("example_weights", Self::EXAMPLES, 1);
        let examples =
            Examples { weights: Some(weights.clone()), ..self.network.examples(self.order.len(), Self::EXAMPLES) };
        let plan = backprop::training_plan(&topology, &examples, m, self.network.rule()).expect("the shapes fit");
        executor.load(&[plan]).expect("load");
        executor.prepare(PlanId(0), self.mini_batches().len()).expect("prepare");
        executor.write(&examples.order, &self.order).expect("write");
        executor.write(&weights, &self.weights).expect("write");
        match self.network.kind.inputs(examples.inputs.len()) {
            Inputs::Bytes { values, .. } => executor.write_bytes(&examples.inputs, &values),
            Inputs::Floats(values) => executor.write(&examples.inputs, &values),
            Inputs::Doubles(_) | Inputs::Mapped(_) => unreachable!("the inputs are in memory"),
        }
        .expect("write");
        match &examples.desired {
            Desired::Classes(labels) => executor.write(labels, &self.labels),
            Desired::Numbers(numbers) => executor.write(numbers, &self.numbers),
        }
        .expect("write");
        let net = Matrices::new(&topology, m);
        for l in 2..=topology.last() {
            executor.write(&net.w[l], &self.initial.w[l]).expect("write");
            executor.write(&net.b[l], &self.initial.b[l]).expect("write");
            for state in [&net.w[l], &net.b[l]].into_iter().flat_map(|of| state_of(self.network.optimizer, of)) {
                executor.write(&state, &vec![0f32; state.len()]).expect("write");
            }
        }
        executor.run(PlanId(0), &self.mini_batches(), &mut |_| ()).expect("run");
        let mut read = |matrix: &Matrix| executor.read(matrix);
        let [w, b] = [&net.w, &net.b].map(|of| of.try_map(&mut read).expect("read"));
        Parameters { w, b }
    }
}

/// How far the results of a step may be apart, where values are of the order of 1: each layer, forward and back, adds the
/// roundings of a sum as long as the layer is wide, and an update those of a sum over the mini-batch.
pub fn tolerance(topology: &Topology, m: usize) -> f64 {
    let widest = topology.widest();
    2.0 * topology.last() as f64 * (sum_tolerance(widest, (widest as f64).sqrt()) + sum_tolerance(m, 1.0) + 1e-6)
}
