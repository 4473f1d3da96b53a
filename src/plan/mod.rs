//! A plan: backpropagation as data.
//!
//! A [`Plan`] is a list of [`Step`]s, each step one [`Kernel`] applied to named matrices. It is
//! written once, by [`backprop`](crate::backprop), with a [`Recorder`]; it holds no numbers, so it
//! can be printed, replayed on any [`Executor`](executor::Executor), or rewritten.

pub mod examples;
pub mod executor;
pub mod profile;
mod recorder;

use std::fmt;

pub use recorder::{Details, Recorder};

pub use crate::kernel::{Element, Matrix};

use crate::kernel::product::{Extents, Form, Realization};
use crate::kernel::{Access, Binding, Invocation, Kernel, MiniBatch, Params, Snippets};
use crate::network::Topology;
use crate::network::learning::LearningRule;
use examples::Examples;

/// The part of chapter 2 that a step belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Equation {
    /// Picking the examples of a mini-batch.
    Examples,
    /// zˡ = wˡ aˡ⁻¹ + bˡ and aˡ = σ(zˡ), equation (25).
    Feedforward,
    /// δᴸ = ∇ₐC ⊙ σ′(zᴸ).
    Bp1,
    /// δˡ = ((wˡ⁺¹)ᵀ δˡ⁺¹) ⊙ σ′(zˡ).
    Bp2,
    /// ∂C/∂bˡ = δˡ.
    Bp3,
    /// ∂C/∂wˡ = δˡ (aˡ⁻¹)ᵀ.
    Bp4,
    /// The step of the optimizer: w ← w − (η/m) Σ ∂C/∂w, b ← b − (η/m) Σ ∂C/∂b.
    Descent,
    /// Measuring the network: total cost, number of correct outputs.
    Evaluation,
}

impl fmt::Display for Equation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Equation::Examples => "examples",
            Equation::Feedforward => "feedforward",
            Equation::Bp1 => "BP1",
            Equation::Bp2 => "BP2",
            Equation::Bp3 => "BP3",
            Equation::Bp4 => "BP4",
            Equation::Descent => "descent",
            Equation::Evaluation => "evaluation",
        })
    }
}

/// One kernel applied to named matrices.
#[derive(Clone, Debug)]
pub struct Step {
    /// The part of chapter 2 this step belongs to.
    pub equation: Equation,
    /// The kernel.
    pub kernel: &'static Kernel,
    /// The computation in the notation of the book, such as `z2 = a1 w2ᵀ`.
    pub formula: String,
    /// The matrices, in the order of the kernel's bindings, then the state of the optimizer.
    pub operands: Vec<Matrix>,
    /// The kernel's parameters, as the bytes of its params struct.
    pub params: Vec<u8>,
    /// The functions of the network that the kernel applies.
    pub snippets: Snippets,
    /// Form and extents of the matrix product that the step is or contains.
    pub multiplies: Option<(Form, Extents)>,
    /// The largest number of loop iterations of one shader invocation (some drivers end long loops silently).
    pub iterations: usize,
    /// The primitive steps that a fused step replaces; empty for a primitive one.
    pub replaces: Vec<Step>,
}

impl Step {
    /// The matrix this step writes; the last of them, state left out, if it writes several.
    ///
    /// # Panics
    /// A step without operands; recorded ones have them.
    pub fn output(&self) -> &Matrix {
        &self.operands[self.kernel.bindings.len() - 1]
    }

    /// Each matrix with its binding.
    pub fn bound(&self) -> impl Iterator<Item = (&Matrix, Binding)> {
        self.operands.iter().zip(self.kernel.all_bindings(self.snippets))
    }

    /// Every matrix this step writes.
    pub fn outputs(&self) -> impl Iterator<Item = &Matrix> {
        self.bound().filter(|(_, binding)| binding.access.writes()).map(|(matrix, _)| matrix)
    }

    /// The parameters as the kernel's struct.
    pub fn params<P: Params>(&self) -> P {
        debug_assert_eq!(self.kernel.params, P::FIELDS, "{}: params of another kernel", self.kernel.name);
        bytemuck::pod_read_unaligned(&self.params)
    }

    /// The arguments of the step's twin for a mini-batch, without the matrices.
    pub fn invocation(&self, mini_batch: MiniBatch) -> Invocation<'_> {
        Invocation { params: &self.params, mini_batch, snippets: self.snippets }
    }

    /// Form and extents of a product that needs a [`Realization`]; `None` for other steps.
    pub fn product(&self) -> Option<(Form, Extents)> {
        self.multiplies.filter(|_| self.kernel.product.is_some())
    }

    /// Number of work groups in each dimension.
    pub fn work_groups(&self, realization: Option<Realization>) -> [u32; 3] {
        let shape = self.product().map_or(self.output().shape(), |(_, extents)| (extents.rows, extents.cols));
        self.kernel.grid(realization).work_groups(shape)
    }

    /// Floating-point operations of this step.
    pub fn operations(&self) -> f64 {
        let entries = self.output().len() as f64;
        match (self.multiplies, self.kernel.operations) {
            (Some((_, extents)), _) => 2.0 * extents.rows as f64 * extents.cols as f64 * extents.inner as f64,
            (None, Some(of_term)) => of_term * entries * self.iterations as f64,
            (None, None) => entries,
        }
    }

    /// The primitive steps that make up this one: itself, unless it is fused.
    pub fn primitives(&self) -> &[Step] {
        if self.replaces.is_empty() { std::slice::from_ref(self) } else { &self.replaces }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<11}  {:<14}  {:<36}  ", self.equation, self.kernel.name, self.formula)?;
        let list = |f: &mut fmt::Formatter<'_>, written: bool| {
            let listed = self.bound().filter(|(_, binding)| (binding.access != Access::Read) == written);
            listed.enumerate().try_for_each(|(i, (matrix, _))| write!(f, "{}{matrix}", if i == 0 { "" } else { ", " }))
        };
        list(f, false)?;
        f.write_str(" -> ")?;
        list(f, true)
    }
}

/// A list of steps whose shapes are checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The purpose of the plan, for people.
    pub name: String,
    /// The steps, in the order in which they run.
    pub steps: Vec<Step>,
    /// The inputs of [`training_plan`](crate::backprop::training_plan); `None` for other plans.
    pub origin: Option<Origin>,
}

/// Everything that a training plan was written from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The network.
    pub topology: Topology,
    /// The examples.
    pub examples: Examples,
    /// m.
    pub m: usize,
    /// The learning rule.
    pub rule: LearningRule,
}

impl Plan {
    /// A plan of these steps, without an origin.
    pub fn of(name: impl Into<String>, steps: Vec<Step>) -> Self {
        Plan { name: name.into(), steps, origin: None }
    }

    /// The operands of every step: each matrix as often as it is used.
    pub fn operands(&self) -> impl Iterator<Item = &Matrix> {
        self.steps.iter().flat_map(|step| &step.operands)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        for (i, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:>4}  {step}", i + 1)?;
            for replaced in &step.replaces {
                writeln!(f, "      = {replaced}")?;
            }
        }
        Ok(())
    }
}
