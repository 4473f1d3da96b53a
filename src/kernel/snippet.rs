//! Snippets: WGSL functions that depend on the network (σ, cost, optimizer), joined to a kernel.
//!
//! A snippet defines functions under its own name. Kernels call them by role, such as `sigma`,
//! through one-line aliases that are generated. No text is ever replaced.

use std::fmt::Write;

use super::binding::Binding;
use crate::network::activation::Activation;
use crate::network::cost::Cost;
use crate::network::optimizer::Optimizer;

/// The role of a snippet in a kernel, with the functions that the kernel calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// `sigma(z)` and `sigma_prime(a)`, of [`Snippets::activation`].
    Activation,
    /// `output_sigma(z)` and `output_sigma_prime(a)`, of [`Snippets::output`].
    Output,
    /// `cost(output, y)` and `error_of_output(a, y, prime)`, of [`Snippets::cost`].
    Cost,
    /// `step_entry(entry, gradient, rates, coefficients)`, of [`Snippets::optimizer`].
    Optimizer,
}

/// The activation, cost and optimizer of a step.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Snippets {
    /// σ and σ′ of the layer.
    pub activation: Option<&'static Activation>,
    /// σ and σ′ of the output layer, for a kernel that applies both.
    pub output: Option<&'static Activation>,
    /// The cost.
    pub cost: Option<&'static Cost>,
    /// The optimizer.
    pub optimizer: Option<&'static Optimizer>,
}

/// Converts a single row to the snippets of a step that uses no other.
macro_rules! snippets_of_one {
    ($($field:ident: $row:ty),*) => {
        $(impl From<&'static $row> for Snippets {
            fn from($field: &'static $row) -> Self {
                Snippets { $field: Some($field), ..Snippets::default() }
            }
        })*
    };
}

snippets_of_one!(activation: Activation, cost: Cost, optimizer: Optimizer);

/// A snippet chosen for a slot: its text, and the prefix of its function names.
struct Chosen {
    identifier: String,
    shader: &'static str,
    /// Aliases: name, parameters, and suffix of the function that they call.
    aliases: &'static [(&'static str, &'static [&'static str], &'static str)],
}

const SIGMA: &[(&str, &[&str], &str)] = &[("sigma", &["z"], ""), ("sigma_prime", &["a"], "_prime")];
const OUTPUT: &[(&str, &[&str], &str)] = &[("output_sigma", &["z"], ""), ("output_sigma_prime", &["a"], "_prime")];
const COST: &[(&str, &[&str], &str)] =
    &[("cost", &["output", "y"], ""), ("error_of_output", &["a", "y", "prime"], "_output_error")];

impl Snippets {
    /// The snippets of both; `None` if they differ in a slot.
    pub fn joined(self, other: Self) -> Option<Self> {
        fn both<T: PartialEq>(one: Option<&'static T>, other: Option<&'static T>) -> Option<Option<&'static T>> {
            match (one, other) {
                (Some(one), Some(other)) => (one == other).then_some(Some(one)),
                (one, other) => Some(one.or(other)),
            }
        }
        Some(Snippets {
            activation: both(self.activation, other.activation)?,
            output: both(self.output, other.output)?,
            cost: both(self.cost, other.cost)?,
            optimizer: both(self.optimizer, other.optimizer)?,
        })
    }

    /// The snippets of some slots alone.
    pub fn only(self, slots: &[Slot]) -> Self {
        let has = |slot| slots.contains(&slot);
        Snippets {
            activation: self.activation.filter(|_| has(Slot::Activation)),
            output: self.output.filter(|_| has(Slot::Output)),
            cost: self.cost.filter(|_| has(Slot::Cost)),
            optimizer: self.optimizer.filter(|_| has(Slot::Optimizer)),
        }
    }

    /// The names of the rows, which distinguish the pipelines of a kernel.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let sigmas = self.activation.into_iter().chain(self.output).map(|row| row.name);
        sigmas.chain(self.cost.map(|row| row.name)).chain(self.optimizer.map(|row| row.name))
    }

    fn chosen(self, slot: Slot) -> Chosen {
        let missing = "a step has the snippets that its kernel uses";
        let sigma = |row: &Activation, aliases| Chosen {
            identifier: identifier("activation", row.name),
            shader: row.shader,
            aliases,
        };
        match slot {
            Slot::Activation => sigma(self.activation.expect(missing), SIGMA),
            Slot::Output => sigma(self.output.expect(missing), OUTPUT),
            Slot::Cost => {
                let row = self.cost.expect(missing);
                Chosen { identifier: identifier("cost", row.name), shader: row.shader, aliases: COST }
            }
            Slot::Optimizer => {
                let row = self.optimizer.expect(missing);
                Chosen { identifier: identifier("optimizer", row.name), shader: row.shader, aliases: &[] }
            }
        }
    }

    /// The WGSL text of the snippets of `slots`, with the aliases that a kernel calls.
    ///
    /// # Panics
    /// A slot without a row; recorded steps have them.
    pub fn source(self, slots: &[Slot]) -> String {
        let (mut text, mut joined) = (String::new(), Vec::new());
        for &slot in slots {
            let Chosen { identifier, shader, aliases } = self.chosen(slot);
            if !joined.contains(&identifier) {
                text += shader;
            }
            for (alias, parameters, ending) in aliases {
                let declared: Vec<String> = parameters.iter().map(|name| format!("{name}: f32")).collect();
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "fn {alias}({}) -> f32 {{ return {identifier}{ending}({}); }}",
                    declared.join(", "),
                    parameters.join(", ")
                );
            }
            if slot == Slot::Optimizer {
                let _ = writeln!(
                    text,
                    "fn step_entry(entry: vec4<f32>, gradient: f32, rates: vec2<f32>, coefficients: vec4<f32>) -> vec4<f32> {{ \
                     return {identifier}(entry, gradient, rates, coefficients); }}"
                );
            }
            joined.push(identifier);
        }
        text
    }
}

/// The prefix of the function names of a snippet.
fn identifier(kind: &str, name: &str) -> String {
    format!("{kind}_{}", name.replace('-', "_"))
}

/// The WGSL text that binds an optimizer's state, from binding `first` on, with its accessors:
/// `NAME_state(i)` and `set_NAME_state(i, state)` for each parameter NAME.
pub fn states(optimizer: &Optimizer, parameters: &[&'static str], first: usize) -> String {
    let mut text = String::from("\n");
    let bindings = state_bindings(optimizer, parameters);
    for (number, Binding { name, .. }) in (first..).zip(&bindings) {
        let _ = writeln!(text, "@group(0) @binding({number}) var<storage, read_write> {name}: array<f32>;");
    }
    for (place, parameter) in parameters.iter().enumerate() {
        let own: Vec<&str> =
            bindings.iter().skip(place).step_by(parameters.len()).map(|binding| binding.name).collect();
        let mut read: Vec<String> = own.iter().map(|name| format!("{name}[i]")).collect();
        read.resize(3, "0.0".to_string());
        let written: Vec<String> =
            own.iter().zip(["x", "y"]).map(|(name, c)| format!("{name}[i] = state.{c};")).collect();
        let _ = writeln!(text, "fn {parameter}_state(i: u32) -> vec3<f32> {{ return vec3({}); }}", read.join(", "));
        let _ = writeln!(text, "fn set_{parameter}_state(i: u32, state: vec3<f32>) {{ {} }}", written.join(" "));
    }
    text
}

/// The bindings of an optimizer's state: for each state value, one beside each of `parameters`.
pub fn state_bindings(optimizer: &Optimizer, parameters: &[&'static str]) -> Vec<Binding> {
    let each = (0..optimizer.states.len()).flat_map(|state| parameters.iter().map(move |parameter| (state, parameter)));
    each.map(|(state, parameter)| Binding::update(STATE_NAMES[state][usize::from(*parameter == "b")])).collect()
}

/// Names of the state in shaders, indexed by state value, then 0 for w and 1 for b.
const STATE_NAMES: [[&str; 2]; 2] = [["w_state_0", "b_state_0"], ["w_state_1", "b_state_1"]];
