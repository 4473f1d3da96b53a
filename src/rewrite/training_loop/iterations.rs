//! Loop iterations of the loop in one work group: some drivers end long loops silently.

use super::TrainingLoop;

/// Iterations of a loop of `trips` trips, each of which takes `inner` iterations of loops within.
fn nested(trips: usize, inner: usize) -> usize {
    trips * (1 + inner) + 1
}

impl TrainingLoop {
    /// Loop iterations of an invocation outside of the mini-batches: at both ends of a dispatch.
    pub fn iterations_of_a_dispatch(&self) -> usize {
        2 * nested(self.near().len().div_ceil(self.lanes), 0)
    }

    /// Upper bound on the loop iterations of an invocation for one mini-batch. Each loop counts one
    /// more, for the test that ends it, as some drivers do.
    pub fn iterations(&self) -> usize {
        let lanes = self.lanes;
        let (rows, examples, at_once) = (self.row_sizes(), self.example_blocks(), self.blocks_at_once());
        let shares_of = |blocks: usize, terms: usize| (lanes / blocks).clamp(1, terms);
        // A loop over the four factors of a vec4.
        let drops = if self.origin.rule.dropout > 0.0 { nested(4, 0) } else { 0 };
        let finish =
            |shares: usize| 4 / self.part_rows * nested(self.part_rows.div_ceil(shares), nested(shares, 0) + drops);
        let each_block = |inner| nested(at_once, inner);
        let block = each_block(0) + nested(4, each_block(4 * self.input().iterations));
        let (shares, across) = (self.first_shares(), self.units());
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
}
