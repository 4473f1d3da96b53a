//! Training plans as a loop inside one work group, for networks of the book's size: they spend more
//! time on dispatches and barriers than on arithmetic.

mod iterations;
mod source;
pub mod strategy;

use std::fmt;

use crate::kernel::{Element, Grid, Matrix};
use crate::kernels::{TRAIN_IN_WORKGROUP, state_of};
use crate::plan::examples::Desired;
use crate::plan::{Origin, Plan};
use strategy::{IN_STORAGE, LoopStrategy, Place};

/// A training plan in the form of a loop in one work group.
#[derive(Clone, Debug)]
pub struct TrainingLoop {
    /// The training plan that it replaces.
    pub origin: Origin,
    /// Invocations in the work group.
    pub lanes: usize,
    /// The places of parameters, activations and errors.
    pub strategy: &'static LoopStrategy,
    /// Rows of a 4 x 4 block of partial sums that invocations exchange at once, each a `vec4` of
    /// work group memory per invocation: 4, or 1 if there is no room for more.
    pub part_rows: usize,
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

/// Largest number of blocks of four examples that are computed with one read of the first weights:
/// each takes 16 sums.
const MOST_BLOCKS_AT_ONCE: usize = 4;

/// A way to read the inputs of an example.
struct InputReader {
    /// The WGSL text.
    shader: &'static str,
    /// Loop iterations to read four inputs.
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

/// A contiguous run of entries that is copied to the packed parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackedRow {
    /// `w[l]` or `b[l]`, or state beside it.
    pub matrix: Matrix,
    /// Index of its first entry in the matrix.
    pub from: usize,
    /// Number of entries.
    pub len: usize,
    /// Index of its first entry in the packed parameters, in floats.
    pub to: usize,
}

impl TrainingLoop {
    /// The loop for a [`training_plan`](crate::backprop::training_plan); `None` for other plans.
    pub fn of(plan: &Plan) -> Option<Self> {
        let origin = plan.origin.clone()?;
        let lanes = TRAIN_IN_WORKGROUP.grid.invocations() as usize;
        Some(TrainingLoop { origin, lanes, strategy: &IN_STORAGE, part_rows: 4 })
    }

    /// The same loop with another strategy and number of invocations.
    pub fn with(self, strategy: &'static LoopStrategy, lanes: usize) -> Self {
        TrainingLoop { strategy, lanes, ..self }
    }

    /// True if the strategy can run this network: private values of an invocation must fit.
    pub fn is_possible(&self) -> bool {
        let (fits, most) =
            (self.row_sizes()[1] <= self.lanes, self.strategy.first_weights.most_bytes_of_an_invocation());
        most.is_none_or(|most| fits && self.bytes_of_an_invocation() <= most)
    }

    /// The grid of the loop.
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

    /// Blocks of four examples that are computed with one read of the first weights.
    pub fn blocks_at_once(&self) -> usize {
        let blocks = self.origin.m.div_ceil(4);
        blocks.div_ceil(blocks.div_ceil(MOST_BLOCKS_AT_ONCE))
    }

    /// Blocks of four examples in a mini-batch, rounded up to whole groups.
    fn example_blocks(&self) -> usize {
        self.origin.m.div_ceil(4).next_multiple_of(self.blocks_at_once())
    }

    /// Groups of `blocks_at_once` blocks that a mini-batch takes one after the other.
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
        let activations = if self.strategy.activations == Place::WorkGroup { 2 * self.rows() } else { 0 };
        16 * (activations + self.near().len() + self.part_rows * self.lanes)
    }

    /// Range of the packed parameters that is kept in work group memory, in `vec4`s.
    fn near(&self) -> std::ops::Range<usize> {
        let (_, biases, end) = self.layout();
        match (self.strategy.parameters, self.owns_first_weights()) {
            (Place::WorkGroup, true) => biases[1]..end,
            (Place::WorkGroup, false) => 0..end,
            _ => 0..0,
        }
    }

    /// True if the first weights are in private variables of the invocations.
    fn owns_first_weights(&self) -> bool {
        self.strategy.first_weights.most_bytes_of_an_invocation().is_some()
    }

    /// True if gradients of the first weights are accumulated over several groups of examples.
    fn sums_groups(&self) -> bool {
        !self.origin.rule.optimizer.linear && self.groups() > 1
    }

    /// Number of invocations that share the inputs of four neurons of the first layer.
    fn first_shares(&self) -> usize {
        (self.lanes / self.row_sizes()[1]).clamp(1, self.input_blocks())
    }

    /// Blocks of 16 inputs.
    fn input_blocks(&self) -> usize {
        self.widths()[0].div_ceil(16)
    }

    /// Blocks of 16 inputs per invocation.
    fn units(&self) -> usize {
        self.input_blocks().div_ceil(self.first_shares())
    }

    /// `vec4`s of an invocation: first weights, and all private values (gradient sums, if any).
    fn own(&self) -> (usize, usize) {
        let own = 16 * self.units();
        (own, own * (1 + usize::from(self.sums_groups())))
    }

    /// Size of the private values of an invocation, in bytes.
    fn bytes_of_an_invocation(&self) -> usize {
        16 * self.own().1
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

    /// `vec4`s in the packed parameters, with optimizer state and room for accumulated gradients.
    fn packed_with_state(&self) -> usize {
        let optimizer = self.origin.rule.optimizer;
        let sums = usize::from(self.sums_groups() && !self.owns_first_weights());
        self.layout().2 * (1 + optimizer.states.len() + sums)
    }

    /// `vec4`s of a network in storage: packed parameters, activations and errors if kept there.
    pub fn packed_len(&self) -> usize {
        let activations = if self.strategy.activations == Place::Storage { 2 * self.rows() } else { 0 };
        self.packed_with_state() + activations
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

    /// Multiplications of one mini-batch.
    pub fn multiplications(&self) -> usize {
        3 * self.origin.m * self.widths().windows(2).map(|pair| pair[0] * pair[1]).sum::<usize>()
    }
}
