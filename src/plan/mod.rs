//! A plan: backpropagation as data.
//!
//! A [`Plan`] is a list of [`Step`]s, each step one [`Kernel`] applied to named matrices. It is
//! written once, by [`backprop`](crate::backprop), with a [`Recorder`]; it holds no numbers, so it
//! can be printed, replayed on any [`Executor`](crate::plan::executor::Executor), or rewritten.

pub mod executor;
pub mod profile;

use std::fmt;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};

use crate::kernel::product::Extents;
use crate::kernel::{Access, Kernel, Params, Realization};
use crate::kernels::{Form, ProductParams};
use crate::network::activation::Activation;
use crate::network::cost::Cost;

/// What one entry of a [`Matrix`] is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Element {
    /// A 32-bit float.
    F32,
    /// A 32-bit unsigned integer: an example number, a class label, a count.
    U32,
    /// One byte, such as a pixel. Shaders see four of them packed in a `u32`, the first lowest.
    Byte,
}

impl Element {
    /// Size of one entry, in bytes.
    pub fn size(self) -> usize {
        match self {
            Element::F32 | Element::U32 => 4,
            Element::Byte => 1,
        }
    }
}

/// A handle to a matrix: its name and its shape, row-major, without its numbers.
///
/// Two handles with the same name are the same storage; the numbers live in an executor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Matrix {
    /// The name in the notation of the book, such as `w2` or `delta3`.
    pub name: Arc<str>,
    /// Number of rows: examples for everything that has one entry per example.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// What an entry is.
    pub element: Element,
}

impl Matrix {
    /// A matrix of 32-bit floats.
    pub fn new(name: impl Into<Arc<str>>, rows: usize, cols: usize) -> Self {
        Self::of(Element::F32, name, rows, cols)
    }

    /// A matrix of `element`s.
    pub fn of(element: Element, name: impl Into<Arc<str>>, rows: usize, cols: usize) -> Self {
        Matrix { name: name.into(), rows, cols, element }
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether the matrix has no entries; no step accepts such a matrix.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of all entries, in bytes.
    pub fn size(&self) -> usize {
        self.len() * self.element.size()
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.rows, self.cols)
    }
}

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
    /// w ← w − (η/m) Σ ∂C/∂w, b ← b − (η/m) Σ ∂C/∂b.
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

/// The WGSL snippets joined to the text of a kernel that asks for them: the functions of the
/// network that are a choice.
#[derive(Clone, Copy, Default, Debug)]
pub struct Snippets {
    /// σ and σ′, for kernels that apply them.
    pub activation: Option<&'static Activation>,
    /// The cost and its derivative, for kernels that apply them.
    pub cost: Option<&'static Cost>,
}

impl From<&'static Activation> for Snippets {
    fn from(activation: &'static Activation) -> Self {
        Snippets { activation: Some(activation), cost: None }
    }
}

impl From<&'static Cost> for Snippets {
    fn from(cost: &'static Cost) -> Self {
        Snippets { activation: None, cost: Some(cost) }
    }
}

/// One kernel applied to named matrices.
#[derive(Clone, Debug)]
pub struct Step {
    /// The part of chapter 2 this step belongs to.
    pub equation: Equation,
    /// What is computed.
    pub kernel: &'static Kernel,
    /// The same in the notation of the book, such as `z2 = a1 w2ᵀ`.
    pub formula: String,
    /// The matrices, in the order of the kernel's bindings; the last one is the output.
    pub operands: Vec<Matrix>,
    /// The kernel's parameters, as the bytes of its params struct.
    pub params: Vec<u8>,
    /// The functions of the network that the kernel applies.
    pub snippets: Snippets,
    /// The most loop iterations one shader invocation makes (some drivers end long loops silently).
    pub iterations: usize,
    /// The primitive steps that a fused step replaces; empty for a primitive one.
    pub replaces: Vec<Step>,
}

impl Step {
    /// The matrix this step writes; the last of them, if it writes several.
    pub fn output(&self) -> &Matrix {
        self.operands.last().expect("a recorded step has operands")
    }

    /// Every matrix this step writes.
    pub fn outputs(&self) -> impl Iterator<Item = &Matrix> {
        let written = self.operands.iter().zip(self.kernel.bindings);
        written.filter(|(_, binding)| binding.access == Access::ReadWrite).map(|(matrix, _)| matrix)
    }

    /// The form and the extents of the product, if this step is one.
    pub fn product(&self) -> Option<(Form, Extents)> {
        let form = self.kernel.product?;
        let p: ProductParams = bytemuck::pod_read_unaligned(&self.params);
        Some((form, Extents { rows: p.rows as usize, cols: p.cols as usize, inner: p.inner as usize }))
    }

    /// Number of work groups in each dimension.
    pub fn work_groups(&self, realization: Option<Realization>) -> [u32; 3] {
        let shape = self.product().map_or(self.output().shape(), |(_, extents)| (extents.rows, extents.cols));
        self.kernel.grid(realization).work_groups(shape)
    }

    /// The primitive steps that make up this one: itself, unless it is fused.
    pub fn primitives(&self) -> &[Step] {
        if self.replaces.is_empty() { std::slice::from_ref(self) } else { &self.replaces }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<11}  {:<14}  {:<36}  ", self.equation, self.kernel.name, self.formula)?;
        let list = |f: &mut fmt::Formatter<'_>, access: Access| {
            let bound = self.operands.iter().zip(self.kernel.bindings);
            let listed = bound.filter(|(_, binding)| binding.access == access).map(|(matrix, _)| matrix);
            listed.enumerate().try_for_each(|(i, matrix)| write!(f, "{}{matrix}", if i == 0 { "" } else { ", " }))
        };
        list(f, Access::Read)?;
        f.write_str(" -> ")?;
        list(f, Access::ReadWrite)
    }
}

/// A list of steps, complete and checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the plan does, for people.
    pub name: String,
    /// The steps, in the order in which they run.
    pub steps: Vec<Step>,
}

impl Plan {
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

/// Records steps into a [`Plan`].
///
/// Each kernel adds its own method (`matmul`, `add_bias`, ...), which checks shapes. The first
/// mistake is kept and returned by [`finish`](Recorder::finish), so that recording reads like the
/// chapter, without a `?` on each line.
#[derive(Debug)]
pub struct Recorder {
    plan: Plan,
    equation: Equation,
    mistake: Option<anyhow::Error>,
}

impl Recorder {
    /// An empty plan. Its name says what the plan does.
    pub fn new(name: impl Into<String>) -> Self {
        Recorder { plan: Plan { name: name.into(), steps: Vec::new() }, equation: Equation::Examples, mistake: None }
    }

    /// Says which equation the steps that follow belong to.
    pub fn equation(&mut self, equation: Equation) {
        self.equation = equation;
    }

    /// Appends a step; `formula` for people, `operands` in the order of the kernel's bindings, the output last, and
    /// `iterations` the most loop iterations one shader invocation makes.
    pub(crate) fn step<P: Params>(
        &mut self,
        kernel: &'static Kernel,
        formula: String,
        operands: &[&Matrix],
        params: P,
        snippets: Snippets,
        iterations: usize,
    ) {
        debug_assert_eq!(kernel.params, P::FIELDS, "{}: params of another kernel", kernel.name);
        let step = Step {
            equation: self.equation,
            kernel,
            formula,
            operands: operands.iter().map(|&m| m.clone()).collect(),
            params: bytemuck::bytes_of(&params).to_vec(),
            snippets,
            iterations,
            replaces: Vec::new(),
        };
        match check_step(&step) {
            Ok(()) => self.plan.steps.push(step),
            Err(mistake) => self.note(mistake),
        }
    }

    /// Notes a mistake unless `matrix` has the shape that `kernel` needs.
    pub(crate) fn expect_shape(&mut self, kernel: &Kernel, matrix: &Matrix, shape: (usize, usize)) {
        if matrix.shape() != shape {
            let (rows, cols) = shape;
            self.note(anyhow!("{}: {matrix} where ({rows}, {cols}) is needed", kernel.name));
        }
    }

    fn note(&mut self, mistake: anyhow::Error) {
        self.mistake.get_or_insert(mistake);
    }

    /// The finished plan.
    ///
    /// # Errors
    /// The first mistake made while recording: a kernel given a matrix of the wrong shape or
    /// element, an empty matrix, or one matrix both read and written by a step.
    pub fn finish(self) -> Result<Plan> {
        match self.mistake {
            Some(mistake) => Err(mistake.context(format!("the plan \"{}\" is wrong", self.plan.name))),
            None => Ok(self.plan),
        }
    }
}

fn check_step(step: &Step) -> Result<()> {
    let Step { kernel, operands, .. } = step;
    if operands.len() != kernel.bindings.len() {
        bail!("{}: {} matrices where {} are needed", kernel.name, operands.len(), kernel.bindings.len());
    }
    for (i, (matrix, binding)) in operands.iter().zip(kernel.bindings).enumerate() {
        if matrix.is_empty() {
            bail!("{}: {matrix} has no entries", kernel.name);
        }
        if u32::try_from(matrix.len()).is_err() {
            bail!("{}: {matrix} has more than 2^32 - 1 entries", kernel.name);
        }
        if matrix.element != binding.element {
            bail!("{}: {matrix} holds {:?} where {:?} is needed", kernel.name, matrix.element, binding.element);
        }
        let repeated = operands.iter().enumerate().any(|(j, other)| i != j && other.name == matrix.name);
        if repeated && binding.access == Access::ReadWrite {
            bail!("{}: {matrix} is both written and bound a second time", kernel.name);
        }
    }
    Ok(())
}
