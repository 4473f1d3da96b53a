//! Kernels: one shader, one row, one twin, one name.
//!
//! A [`Kernel`] row has everything both executors need: the WGSL text and its bindings, the struct
//! of its parameters, its work group sizes, and its CPU twin (the same computation in plain Rust,
//! the reference of the GPU tests). A test checks each row against its shader.

pub mod binding;
pub mod call;
pub mod grid;
pub mod matrix;
pub mod params;
pub mod product;
pub mod rounding;
pub mod snippet;

pub use binding::{Access, Binding};
pub use call::{Call, Invocation, Operand};
pub use grid::{Grid, MAX_WORK_GROUPS};
pub use matrix::{Element, Matrix};
pub use params::{Field, MiniBatch, Params};
pub use snippet::{Slot, Snippets};

pub use product::Realization;

use product::Form;
use rounding::Rounding;

/// One row of the table of kernels.
#[derive(Debug)]
#[non_exhaustive]
pub struct Kernel {
    /// The name of the shader file, its entry point, the row, the bench and the profiler label.
    pub name: &'static str,
    /// The computation as a formula.
    pub formula: &'static str,
    /// The WGSL text, without snippets.
    pub shader: &'static str,
    /// The storage buffers: `@group(0)`, `@binding(1)` and up. The last one is the output.
    pub bindings: &'static [Binding],
    /// Names of the bindings that have optimizer state, which is bound after all other bindings.
    pub stateful: &'static [&'static str],
    /// The members of the uniform `params` at `@group(0) @binding(0)`.
    pub params: &'static [Field],
    /// True if it reads [`MiniBatch`], the uniform at `@group(1) @binding(0)`.
    pub reads_mini_batch: bool,
    /// The snippets joined to the shader.
    pub snippets: &'static [Slot],
    /// The work of an invocation or a work group, and the size of the group. A product with a
    /// [`Variant`](product::Variant) uses the grid of the variant instead.
    pub grid: Grid,
    /// Form of the product whose epilogue this shader is; the text of a variant is joined to it.
    /// `None` for a kernel with an entry point of its own.
    pub product: Option<Form>,
    /// Floating-point operations per term of the sum in an entry; `None`: one per entry.
    pub operations: Option<f64>,
    /// True if its loops run over the examples: a smaller mini-batch makes them shorter.
    pub sums_examples: bool,
    /// The specification of the results.
    pub specification: Specification,
}

/// The specification of a kernel's results.
#[derive(Clone, Copy, Debug)]
pub enum Specification {
    /// The same computation on the host, with bounds of its rounding.
    Twin {
        /// The computation.
        compute: fn(&mut Call<'_>),
        /// The bounds.
        rounding: Rounding,
    },
    /// The primitive steps that a fused kernel replaces, in order.
    Pattern(&'static [Part]),
    /// A whole training plan, many mini-batches at a time.
    TrainingPlan,
}

/// A primitive step of a fused kernel's pattern.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// The form of a matrix product; `None` for any.
    pub form: Option<Form>,
    /// Its operands by name, without state: a binding of the fused kernel, or an intermediate
    /// matrix, which the fused kernel does not store.
    pub operands: &'static [&'static str],
}

impl Kernel {
    /// The name of the shader's entry point.
    pub fn entry_point(&self) -> &'static str {
        if self.product.is_some() { "product" } else { self.name }
    }

    /// The storage buffers with those of the optimizer's state.
    pub fn all_bindings(&self, snippets: Snippets) -> Vec<Binding> {
        let state = snippets.optimizer.map(|optimizer| snippet::state_bindings(optimizer, self.stateful));
        self.bindings.iter().copied().chain(state.into_iter().flatten()).collect()
    }

    /// The complete WGSL text: the kernel's own first, so that error line numbers stay true.
    ///
    /// # Panics
    /// If `snippets` lacks one that the kernel uses, or a product has no `realization`; steps
    /// recorded and realized by this crate always have them.
    pub fn source(&self, snippets: Snippets, realization: Option<Realization>) -> String {
        let mut text = String::new();
        match self.product {
            None => text += self.shader,
            Some(form) => {
                let realization = realization.expect("a product is realized by a variant");
                text += product::directives(realization);
                text += self.shader;
                text += &product::source(form, realization);
            }
        }
        if self.reads_mini_batch {
            text += include_str!("../../shaders/shared/mini_batch.wgsl");
        }
        if let Some(optimizer) = snippets.optimizer.filter(|_| !self.stateful.is_empty()) {
            text += &snippet::states(optimizer, self.stateful, 1 + self.bindings.len());
        }
        text + &snippets.source(self.snippets)
    }

    /// The layout of its dispatches.
    pub fn grid(&self, realization: Option<Realization>) -> Grid {
        realization.map_or(self.grid, |realization| realization.variant.grid)
    }

    /// True if both rows are the same kernel.
    pub fn is(&self, other: &Kernel) -> bool {
        self.name == other.name
    }
}
