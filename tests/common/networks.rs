//! One list of networks, with the rows that each is made of, the mini-batch and the examples it learns from.

use gpu_backprop::backprop::{self, Desired, Examples, Matrices};
use gpu_backprop::data::{Dataset, Inputs, Targets};
use gpu_backprop::network::Topology;
use gpu_backprop::network::activation::{self, Activation, LINEAR, SIGMOID};
use gpu_backprop::network::cost::{self, Cost, QUADRATIC};
use gpu_backprop::network::optimizer::{self, Optimizer, SGD};
use gpu_backprop::plan::{Element, Matrix, Plan, Recorder};

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
}

impl Network {
    /// The network that is usual for what it learns.
    pub const fn new(widths: &'static [usize], m: usize, kind: Kind, learned: Learned) -> Self {
        let output = if matches!(learned, Learned::Numbers) { &LINEAR } else { &SIGMOID };
        Network { widths, m, kind, learned, hidden: &SIGMOID, output, cost: &QUADRATIC, optimizer: &SGD }
    }

    pub fn of_kind(self, kind: Kind) -> Self {
        Network { kind, ..self }
    }

    /// The same network with the `i`th combination of rows that suits what it learns: each row has its turn.
    pub fn with_rows_by_turns(self, i: usize) -> Self {
        let turn = |rows: usize| (i + i / rows) % rows;
        let suits = |cost: &&'static Cost| !(cost.needs_classes && self.learned == Learned::Numbers);
        let costs: Vec<_> = cost::ALL.into_iter().filter(suits).collect();
        let cost = costs[turn(costs.len())];
        let suiting: Vec<_> = activation::ALL.into_iter().filter(|row| cost.suits.contains(row)).collect();
        Network {
            hidden: activation::ALL[turn(activation::ALL.len())],
            output: suiting[turn(suiting.len())],
            cost,
            optimizer: optimizer::ALL[turn(optimizer::ALL.len())],
            ..self
        }
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
        let labels = Matrix::of(Element::U32, "labels", examples, 1);
        let outputs = self.outputs();
        Examples {
            order: Matrix::of(Element::U32, "order", picked, 1),
            inputs: Matrix::of(element, "inputs", examples, self.features()),
            scale: if self.kind.is_bytes() { SCALE } else { 1.0 },
            desired: match self.learned {
                Learned::Classes => Desired::classes(labels),
                Learned::WeightedClasses => {
                    Desired::Classes { labels, weights: Some(Matrix::new("class_weights", 1, outputs)) }
                }
                Learned::Numbers => Desired::Numbers(Matrix::new("targets", examples, outputs)),
            },
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
        let Network { m, kind, learned, optimizer, .. } = self;
        let topology = self.topology();
        write!(formatter, "{learned:?} of {kind:?} by {topology} ({}, {}), m = {m}", topology.rows(), optimizer.name)
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

/// The equations of a step without the picking of its examples: feedforward, BP1 to BP4 and descent, or only feedforward
/// and BP1.
pub fn equations(topology: &Topology, optimizer: &'static Optimizer, net: &Matrices, descend: bool) -> Plan {
    let mut plan = Recorder::new("a step");
    backprop::feedforward(&mut plan, topology, net);
    backprop::bp1_output_error(&mut plan, topology, net);
    if descend {
        backprop::bp2_backpropagate(&mut plan, topology, net);
        backprop::bp3_nabla_b(&mut plan, topology, net);
        backprop::bp4_nabla_w(&mut plan, topology, net);
        backprop::descend(&mut plan, topology, optimizer, net);
    }
    plan.finish().expect("the shapes fit")
}

/// How far the results of a step may be apart, where values are of the order of 1: each layer, forward and back, adds the
/// roundings of a sum as long as the layer is wide, and an update those of a sum over the mini-batch.
pub fn tolerance(topology: &Topology, m: usize) -> f64 {
    let widest = topology.widest();
    2.0 * topology.last() as f64 * (sum_tolerance(widest, (widest as f64).sqrt()) + sum_tolerance(m, 1.0) + 1e-6)
}
