//! The WGSL text of a loop in one work group: shader, snippets, and constants of the network.

use std::fmt::Write;

use super::TrainingLoop;
use super::strategy::Place;
use crate::kernel::Snippets;
use crate::kernels::TRAIN_IN_WORKGROUP;
use crate::network::learning::{Dropout, LearningRule};
use crate::plan::Origin;
use crate::plan::examples::Desired;

impl TrainingLoop {
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
            Desired::Classes(_) => include_str!("../../../shaders/loop/desired_classes.wgsl"),
            Desired::Numbers(_) => include_str!("../../../shaders/loop/desired_numbers.wgsl"),
        };
        let example_weights = match examples.weights {
            Some(_) => include_str!("../../../shaders/loop/weight_of_example.wgsl"),
            None => include_str!("../../../shaders/loop/weight_1.wgsl"),
        };
        let (n, row_sizes) = (self.widths(), self.row_sizes());
        let (weights, biases, packed) = self.layout();
        let (near, (own, own_all)) = (self.near(), self.own());
        let mut rows_at = vec![0; n.len()];
        for layer in 2..n.len() {
            rows_at[layer] = rows_at[layer - 1] + 4 * self.example_blocks() * row_sizes[layer - 1];
        }
        let mut text = TRAIN_IN_WORKGROUP.source(snippets, None);
        text += self.input().shader;
        text += desired;
        text += example_weights;
        text += self.strategy.text();
        if self.owns_first_weights() {
            text += &self.unit_functions();
        }
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
        constant("PART_ROWS", format!("{}u", self.part_rows));
        constant("PARTS", format!("{}u", self.part_rows * self.lanes));
        if self.strategy.parameters == Place::WorkGroup {
            constant("NEAR_FROM", format!("{}u", near.start));
            constant("NEAR", format!("{}u", near.len()));
        }
        if self.strategy.activations == Place::Storage {
            constant("ACTIVATIONS_AT", format!("{}u", self.packed_with_state()));
        }
        if self.owns_first_weights() {
            constant("OWN_ALL", format!("{own_all}u"));
            constant("OWN_SUMS_AT", format!("{}u", own_all - own));
            constant("SUMS_GROUPS", self.sums_groups().to_string());
        }
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

    /// The functions over the units of an invocation's weights, unrolled: with constant indices,
    /// the compiler can keep the weights in registers.
    fn unit_functions(&self) -> String {
        UNIT_FUNCTIONS.iter().map(|function| function.text(self)).collect()
    }
}

/// An unrolled WGSL function over the units of an invocation's weights and the quarters of each. In
/// its statements {u}, {c} and {i} stand for the unit, the quarter and the block of examples.
struct UnitFunction {
    name: &'static str,
    params: &'static str,
    /// Statement for each block of examples of a unit.
    unit_block: &'static str,
    /// Statements before the blocks of examples of a quarter, for each of them, and after them.
    quarter: [&'static str; 3],
}

const UNIT_FUNCTIONS: [UnitFunction; 4] = [
    UnitFunction {
        name: "fetch_units",
        params: "mine: Owner",
        unit_block: "",
        quarter: ["fetch_quarter({u}, {c}, k, mine);", "", ""],
    },
    UnitFunction {
        name: "return_units",
        params: "mine: Owner",
        unit_block: "",
        quarter: ["return_quarter({u}, {c}, k, mine);", "", ""],
    },
    UnitFunction {
        name: "feedforward_units",
        params: "mine: Owner",
        unit_block: "x[{i}] = inputs_of(examples[{i}], k);",
        quarter: ["let w = transpose(own_block({u}, {c}));", "sums[{i}] += w * input_block(x[{i}], k, {c});", ""],
    },
    UnitFunction {
        name: "descend_units",
        params: "mine: Owner, step: Step, group: u32",
        unit_block: "x[{i}] = inputs_of(examples[{i}], k);",
        quarter: [
            "var gradient = mat4x4<f32>();",
            "gradient += input_block(x[{i}], k, {c}) * deltas[{i}];",
            "descend_quarter({u}, {c}, k, mine, gradient, step, group);",
        ],
    },
];

impl UnitFunction {
    fn text(&self, training: &TrainingLoop) -> String {
        let UnitFunction { name, params, unit_block, quarter: [before, block, after] } = self;
        let each_block = |text: &str| -> String {
            let blocks = if text.is_empty() { 0 } else { training.blocks_at_once() };
            (0..blocks).map(|i| text.replace("{i}", &format!("{i}u"))).collect::<Vec<_>>().join(" ")
        };
        let quarter = format!("if 4u * k + {{c}} < N_4[0] {{ {before} {} {after} }}\n", each_block(block));
        let quarters: String = (0..4).map(|c| quarter.replace("{c}", &format!("{c}u"))).collect();
        let unit = format!(
            "{{ let k = mine.share + {{u}} * mine.shares; if mine.there && k < INPUTS_16 {{ {}\n{quarters} }} }}\n",
            each_block(unit_block)
        );
        let units: String = (0..training.units()).map(|u| unit.replace("{u}", &format!("{u}u"))).collect();
        format!("\nfn {name}({params}) {{\n{units}}}\n")
    }
}
