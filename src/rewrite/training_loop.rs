//! Training plans as a loop inside one work group, for
//! networks of the book's size, whose cost is that of dispatches and barriers, not of arithmetic.

use std::fmt::{self, Write};

use crate::kernel::{Element, Grid, Matrix, Snippets};
use crate::kernels::{TRAIN_IN_WORKGROUP, state_of};
use crate::network::learning::{Dropout, LearningRule};
use crate::plan::examples::Desired;
use crate::plan::{Origin, Plan};

/// A training plan as the loop sees it.
#[derive(Clone, Debug)]
pub struct TrainingLoop {
    /// The training plan that it replaces.
    pub origin: Origin,
    /// Invocations in the work group.
    pub lanes: usize,
}

impl fmt::Display for TrainingLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { topology, examples, m, rule } = &self.origin;
        let inputs = if examples.inputs.element == Element::Byte { "bytes" } else { "floats" };
        let desired = match &examples.desired {
            Desired::Classes(_) => "",
            Desired::Numbers(_) => ", numbers",
        };
        let weights = if examples.weights.is_some() { ", weighted" } else { "" };
        write!(f, "training {topology} ({}, {rule}) on {inputs}{desired}{weights}, m = {m}", topology.rows())
    }
}

/// The most blocks of four examples that share what an invocation reads of the first weights: each
/// takes 16 sums.
const MOST_BLOCKS_AT_ONCE: usize = 4;

/// A way to read the inputs of an example.
struct InputReader {
    /// The WGSL text.
    shader: &'static str,
    /// Loop iterations to read four of them.
    iterations: usize,
}

impl InputReader {
    const BYTES_16: Self =
        InputReader { shader: include_str!("../../shaders/loop/input_16_bytes.wgsl"), iterations: 0 };
    const BYTES_4: Self = InputReader { shader: include_str!("../../shaders/loop/input_4_bytes.wgsl"), iterations: 0 };
    const BYTES: Self = InputReader { shader: include_str!("../../shaders/loop/input_bytes.wgsl"), iterations: 4 + 1 };
    const FLOATS_4: Self =
        InputReader { shader: include_str!("../../shaders/loop/input_4_floats.wgsl"), iterations: 0 };
    const FLOATS: Self =
        InputReader { shader: include_str!("../../shaders/loop/input_floats.wgsl"), iterations: 4 + 1 };
}

/// A row of numbers in the packed parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackedRow {
    /// `w[l]` or `b[l]`, or state beside it.
    pub matrix: Matrix,
    /// The first of its entries in the matrix.
    pub from: usize,
    /// Number of entries.
    pub len: usize,
    /// The first of its entries in the packed parameters, counted in floats.
    pub to: usize,
}

impl TrainingLoop {
    /// The loop of a plan that [`training_plan`](crate::backprop::training_plan) has written; it replaces no other.
    pub fn of(plan: &Plan) -> Option<Self> {
        let origin = plan.origin.clone()?;
        Some(TrainingLoop { origin, lanes: TRAIN_IN_WORKGROUP.grid.invocations() as usize })
    }

    /// The same by another number of invocations.
    pub fn with_lanes(self, lanes: usize) -> Self {
        TrainingLoop { lanes, ..self }
    }

    /// Dispatch of the loop.
    pub fn grid(&self) -> Grid {
        Grid::OneWorkGroup { size: self.lanes as u32 }
    }

    fn widths(&self) -> &[usize] {
        self.origin.topology.widths()
    }

    /// Reader of the inputs of an example.
    fn input(&self) -> &'static InputReader {
        let multiple_of = |count| self.widths()[0].is_multiple_of(count);
        match self.origin.examples.inputs.element {
            Element::Byte if multiple_of(16) => &InputReader::BYTES_16,
            Element::Byte if multiple_of(4) => &InputReader::BYTES_4,
            Element::Byte => &InputReader::BYTES,
            Element::F32 | Element::U32 if multiple_of(4) => &InputReader::FLOATS_4,
            Element::F32 | Element::U32 => &InputReader::FLOATS,
        }
    }

    /// Blocks of four examples that share what an invocation reads of the first weights.
    pub fn blocks_at_once(&self) -> usize {
        let blocks = self.origin.m.div_ceil(4);
        blocks.div_ceil(blocks.div_ceil(MOST_BLOCKS_AT_ONCE))
    }

    /// Blocks of four examples in a mini-batch.
    fn example_blocks(&self) -> usize {
        self.origin.m.div_ceil(4).next_multiple_of(self.blocks_at_once())
    }

    /// Groups of blocks of examples that a mini-batch takes one after the other.
    fn groups(&self) -> usize {
        self.example_blocks() / self.blocks_at_once()
    }

    /// `vec4`s in a row of each layer.
    fn row_sizes(&self) -> Vec<usize> {
        self.widths().iter().map(|n| n.div_ceil(4)).collect()
    }

    /// `vec4`s that the activations (or the errors) of all layers but the input take.
    fn rows(&self) -> usize {
        self.row_sizes()[1..].iter().map(|row| 4 * self.example_blocks() * row).sum()
    }

    /// Bytes of work group memory.
    pub fn shared_memory(&self) -> usize {
        2 * 16 * self.rows() + 64 * self.lanes
    }

    /// Offsets of the weights and the biases of each layer in the packed parameters, and where
    /// they end, in `vec4`s.
    fn layout(&self) -> (Vec<usize>, Vec<usize>, usize) {
        let rows = self.row_sizes();
        let (mut weights, mut biases, mut end) = (vec![0], vec![0], 0);
        for layer in 1..rows.len() {
            weights.push(end);
            // Whole blocks of four rows.
            end += 4 * rows[layer] * rows[layer - 1];
            biases.push(end);
            end += rows[layer];
        }
        (weights, biases, end)
    }

    /// `vec4`s in the packed parameters, with the optimizer's state and room for sums of gradients.
    pub fn packed_len(&self) -> usize {
        let optimizer = self.origin.rule.optimizer;
        let sums = usize::from(!optimizer.linear && self.groups() > 1);
        self.layout().2 * (1 + optimizer.states.len() + sums)
    }

    /// The rows of weights, biases and their state, padded to whole `vec4`s.
    pub fn packed_rows(&self) -> Vec<PackedRow> {
        let packed = 4 * self.layout().2;
        let with_state = |row: PackedRow| {
            let states = state_of(self.origin.rule.optimizer, &row.matrix);
            let beside = (1..).zip(states).map(|(i, matrix)| PackedRow { matrix, to: row.to + i * packed, ..row });
            let beside: Vec<PackedRow> = beside.collect();
            std::iter::once(row).chain(beside)
        };
        self.packed_parameters().into_iter().flat_map(with_state).collect()
    }

    fn packed_parameters(&self) -> Vec<PackedRow> {
        let (weights, biases, _) = self.layout();
        let (n, stride) = (self.widths(), self.row_sizes());
        let mut packed = Vec::new();
        for layer in 1..n.len() {
            let w = Matrix::new(format!("w{}", layer + 1), n[layer], n[layer - 1]);
            let row = |j| PackedRow {
                matrix: w.clone(),
                from: j * n[layer - 1],
                len: n[layer - 1],
                to: 4 * (weights[layer] + j * stride[layer - 1]),
            };
            if n[layer - 1].is_multiple_of(4) {
                // Without padding the rows follow one another.
                packed.push(PackedRow { len: w.len(), ..row(0) });
            } else {
                packed.extend((0..n[layer]).map(row));
            }
            let b = Matrix::new(format!("b{}", layer + 1), 1, n[layer]);
            packed.push(PackedRow { from: 0, len: b.len(), to: 4 * biases[layer], matrix: b });
        }
        packed
    }

    /// The most loop iterations that an invocation makes for one mini-batch, counting for each loop
    /// the one that finds its end, as some drivers do.
    pub fn iterations(&self) -> usize {
        /// A loop of `trips` trips, each of which takes `inner` iterations of loops within.
        fn nested(trips: usize, inner: usize) -> usize {
            trips * (1 + inner) + 1
        }
        let lanes = self.lanes;
        let (rows, examples, at_once) = (self.row_sizes(), self.example_blocks(), self.blocks_at_once());
        let shares_of = |blocks: usize, terms: usize| (lanes / blocks).clamp(1, terms);
        // The four factors of a vec4.
        let drops = if self.origin.rule.dropout > 0.0 { nested(4, 0) } else { 0 };
        let finish = |shares: usize| nested(4usize.div_ceil(shares), nested(shares, 0) + drops);
        let each_block = |inner| nested(at_once, inner);
        let block = each_block(0) + nested(4, each_block(4 * self.input().iterations));
        let inputs = self.widths()[0].div_ceil(16);
        let shares = shares_of(rows[1], inputs);
        let across = inputs.div_ceil(shares);
        let groups = examples / at_once;
        let first_forward = nested(groups, each_block(0) + nested(across, block) + each_block(finish(shares)));
        let first_descent = nested(groups, each_block(0) + nested(across, block));
        let first = nested((rows[1] * shares).div_ceil(lanes), first_forward)
            + nested(rows[1].div_ceil(lanes / shares), first_descent);
        let per_layer = |layer: usize| {
            let blocks = examples * rows[layer];
            let shares = shares_of(blocks, rows[layer - 1]);
            let sums = nested(rows[layer - 1].div_ceil(shares), 0) + finish(shares);
            let forward = nested((blocks * shares).div_ceil(lanes), sums);
            // The errors of the layer before.
            let backward = nested((examples * rows[layer - 1]).div_ceil(lanes), nested(rows[layer], 0) + 4 * drops);
            let across = rows[layer - 1];
            let width = lanes.min(across);
            let sums = nested(across.div_ceil(width), nested(examples, 0));
            let descent = nested(rows[layer].div_ceil(lanes / width), sums);
            forward + backward + descent
        };
        let biases = |layer: usize| nested(rows[layer].div_ceil(lanes), nested(self.origin.m, 0));
        let outputs = self.widths()[rows.len() - 1];
        let last = rows[rows.len() - 1];
        let normalized = match self.origin.topology.output.normalizes {
            true => nested((4 * examples * last).div_ceil(lanes), 2 * nested(outputs, 0)),
            false => 0,
        };
        // And the trips of the loops over layers.
        first
            + normalized
            + (2..rows.len()).map(per_layer).sum::<usize>()
            + (1..rows.len()).map(biases).sum::<usize>()
            + 4 * rows.len()
    }

    /// Multiplications of one mini-batch.
    pub fn multiplications(&self) -> usize {
        3 * self.origin.m * self.widths().windows(2).map(|pair| pair[0] * pair[1]).sum::<usize>()
    }

    /// The complete WGSL text, with the constants of this network.
    pub fn source(&self) -> String {
        let Origin { topology, examples, rule, .. } = &self.origin;
        let LearningRule { optimizer, decays, dropout } = *rule;
        let snippets = Snippets {
            activation: Some(topology.activation),
            output: Some(topology.output),
            cost: Some(topology.cost),
            optimizer: Some(optimizer),
        };
        let desired = match &examples.desired {
            Desired::Classes(_) => include_str!("../../shaders/loop/desired_classes.wgsl"),
            Desired::Numbers(_) => include_str!("../../shaders/loop/desired_numbers.wgsl"),
        };
        let example_weights = match examples.weights {
            Some(_) => include_str!("../../shaders/loop/weight_of_example.wgsl"),
            None => include_str!("../../shaders/loop/weight_1.wgsl"),
        };
        let (n, row_sizes) = (self.widths(), self.row_sizes());
        let (weights, biases, packed) = self.layout();
        let mut rows_at = vec![0; n.len()];
        for layer in 2..n.len() {
            rows_at[layer] = rows_at[layer - 1] + 4 * self.example_blocks() * row_sizes[layer - 1];
        }
        let mut text = TRAIN_IN_WORKGROUP.source(snippets, None);
        text += self.input().shader;
        text += desired;
        text += example_weights;
        let mut constant = |name: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "const {name} = {value};");
        };
        let array = |values: &[usize]| {
            let values: Vec<String> = values.iter().map(|value| format!("{value}u")).collect();
            format!("array<u32, {}>({})", values.len(), values.join(", "))
        };
        constant("LAYERS", format!("{}u", n.len()));
        constant("EXAMPLES", format!("{}u", self.origin.m));
        constant("EXAMPLES_4", format!("{}u", self.example_blocks()));
        constant("BLOCKS", format!("{}u", self.blocks_at_once()));
        constant("INPUTS_16", format!("{}u", n[0].div_ceil(16)));
        constant("N", array(n));
        constant("N_4", array(&row_sizes));
        constant("ROWS_AT", array(&rows_at));
        constant("ROWS", format!("{}u", self.rows()));
        constant("PARTS", format!("{}u", self.lanes));
        constant("WEIGHTS_AT", array(&weights));
        constant("BIASES_AT", array(&biases));
        constant("PACKED", format!("{packed}u"));
        constant("STATES", format!("{}u", optimizer.states.len()));
        constant("LINEAR", optimizer.linear.to_string());
        constant("DECAYS", decays.to_string());
        constant("NORMALIZES", topology.output.normalizes.to_string());
        let of_layer = Dropout::new(0, dropout);
        constant("DROPS", (dropout > 0.0).to_string());
        constant("DROPOUT_THRESHOLD", format!("{}u", of_layer.threshold));
        constant("DROPOUT_FACTOR", format!("{:?}f", of_layer.factor));
        constant("KEPT", format!("{:?}f", 1.0 - dropout));
        constant("GROUPS", format!("{}u", self.groups()));
        constant("INPUT_SCALE", format!("{:?}f", examples.scale));
        text
    }
}
