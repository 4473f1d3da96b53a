//! Recording of plans, with checks of every step.

use anyhow::{Result, anyhow, bail};

use super::{Equation, Origin, Plan, Step};
use crate::kernel::product::{Extents, Form};
use crate::kernel::{Kernel, Matrix, Params, Snippets};

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

/// Details of a step that only some kernels have.
#[derive(Clone, Copy, Default, Debug)]
pub struct Details {
    /// The functions of the network that the kernel applies.
    pub snippets: Snippets,
    /// Form and extents of a matrix product.
    pub multiplies: Option<(Form, Extents)>,
    /// The largest number of loop iterations of one shader invocation.
    pub iterations: usize,
}

impl<S: Into<Snippets>> From<S> for Details {
    fn from(snippets: S) -> Self {
        Details { snippets: snippets.into(), ..Details::default() }
    }
}

impl Recorder {
    /// An empty plan, named by its purpose.
    pub fn new(name: impl Into<String>) -> Self {
        Recorder { plan: Plan::of(name, Vec::new()), equation: Equation::Examples, mistake: None }
    }

    /// Sets the equation of the steps that follow.
    pub fn equation(&mut self, equation: Equation) {
        self.equation = equation;
    }

    /// Records what a training plan is written from.
    pub fn written_from(&mut self, origin: Origin) {
        self.plan.origin = Some(origin);
    }

    /// Appends a step; `formula` for people, `operands` in the order of the kernel's bindings.
    pub(crate) fn step<P: Params>(
        &mut self,
        kernel: &'static Kernel,
        formula: String,
        operands: &[&Matrix],
        params: P,
        details: Details,
    ) {
        debug_assert_eq!(kernel.params, P::FIELDS, "{}: params of another kernel", kernel.name);
        let Details { snippets, multiplies, iterations } = details;
        let step = Step {
            equation: self.equation,
            kernel,
            formula,
            operands: operands.iter().map(|&m| m.clone()).collect(),
            params: bytemuck::bytes_of(&params).to_vec(),
            snippets,
            multiplies,
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
    /// element, an empty matrix, or a step that writes a matrix and binds it a second time.
    pub fn finish(self) -> Result<Plan> {
        match self.mistake {
            Some(mistake) => Err(mistake.context(format!("the plan \"{}\" is wrong", self.plan.name))),
            None => Ok(self.plan),
        }
    }
}

fn check_step(step: &Step) -> Result<()> {
    let Step { kernel, operands, .. } = step;
    let bindings = kernel.all_bindings(step.snippets);
    if operands.len() != bindings.len() {
        bail!("{}: {} matrices where {} are needed", kernel.name, operands.len(), bindings.len());
    }
    for (i, (matrix, binding)) in operands.iter().zip(bindings).enumerate() {
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
        if repeated && binding.access.writes() {
            bail!("{}: {matrix} is both written and bound a second time", kernel.name);
        }
    }
    Ok(())
}
