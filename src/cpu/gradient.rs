//! The gradient of a layer, Σₓ δ aᵀ, from dense activations.

use pulp::{Arch, Simd};

use super::biases::ColumnSums;
use super::epilogue::{Epilogue, Keep};
use super::left::{left_columns, packed_columns};
use super::narrow::{Each, NarrowGradient, is_narrow, sums_len};
use super::optimizer_step::Step;
use super::panels::Line;
use super::product::{Layout, Product, Y};
use super::sparse_update::by_column_len;
use super::threads::Team;
use super::tile::TERMS_PER_BLOCK;
use crate::kernel::product::Extents;
use crate::network::optimizer::lanes::Update;

/// A gradient to be computed from δ and a.
pub struct Gradient<'a> {
    /// (examples, neurons)
    pub delta: &'a [f32],
    /// (examples, neurons before)
    pub a: &'a [f32],
    pub examples: usize,
    /// n\[l\] and n\[l-1\].
    pub layer: (usize, usize),
    /// Layout of the gradient: by rows of (neurons, neurons before), or in panels of the transpose.
    pub layout: Layout,
    /// True if sums over the examples must be accumulated in one sequence.
    pub chains: bool,
    /// Output: the gradient of the biases, Σₓ δ.
    pub nabla_b: &'a mut [f32],
    /// Scratch memory of at least [`packed_gradient`] numbers.
    pub packed: &'a mut [f32],
    pub team: &'a Team,
}

/// Scratch numbers for the gradient of a layer of (neurons, neurons before): the packed factor of
/// the product, or the sums of a narrow layer.
fn packed_gradient(examples: usize, layer @ (neurons, before): (usize, usize)) -> usize {
    let sums = if is_narrow(layer) { sums_len(examples, layer) } else { 0 };
    let packed = |rows, cols| packed_columns(rows, Extents { rows, cols, inner: examples });
    sums.max(packed(neurons, before)).max(packed(before, neurons))
}

/// Scratch numbers for the update of a layer of (neurons, neurons before): the packed factor of the
/// product, the nonzero activations sorted by column, or the sums of a narrow layer; and the
/// gradient of the biases.
pub fn packed_update(examples: usize, layer: (usize, usize)) -> usize {
    of_biases(layer) + by_column_len(examples, layer.1).max(packed_gradient(examples, layer))
}

/// Entries for the gradient of a layer's biases, padded to whole cache lines.
pub fn of_biases((neurons, _): (usize, usize)) -> usize {
    neurons.next_multiple_of(Line::LEN)
}

impl Gradient<'_> {
    /// Writes the gradient of the weights to `nabla_w`.
    pub fn keep(self, arch: Arch, nabla_w: &mut [f32]) {
        if self.is_narrow(false) {
            self.narrow(arch, false, KeepGradient(nabla_w));
        } else {
            self.product(arch, [nabla_w], Keep);
        }
    }

    /// Applies an optimizer step to weights and their state, which have the layout of the gradient.
    pub fn step<U: Update<N>, const N: usize>(self, arch: Arch, step: Step<U, N>, w: [&mut [f32]; N]) {
        if self.is_narrow(step.linear) {
            self.narrow(arch, step.linear, StepOfLayer { step, w });
        } else {
            self.product(arch, w, step);
        }
    }

    /// True if the layer is narrow and its gradient may be summed in blocks of examples.
    fn is_narrow(&self, by_block: bool) -> bool {
        is_narrow(self.layer) && (by_block || !self.chains || self.examples <= TERMS_PER_BLOCK)
    }

    fn narrow(self, arch: Arch, by_block: bool, each: impl Each) {
        let Gradient { delta, a, examples, layer, layout, nabla_b, packed, team, .. } = self;
        if by_block {
            // The biases take one step for the whole mini-batch; only the weights are updated block
            // by block.
            arch.dispatch(ColumnSums { delta, sums: &mut *nabla_b });
        }
        let nabla_b = (!by_block).then_some(nabla_b);
        arch.dispatch(NarrowGradient { delta, a, examples, layer, layout, sums: packed, nabla_b, each, team });
    }

    fn product<const N: usize>(self, arch: Arch, outputs: [&mut [f32]; N], epilogue: impl Epilogue) {
        let Gradient { delta, a, examples, layer: (neurons, before), layout, nabla_b, packed, team, .. } = self;
        arch.dispatch(ColumnSums { delta, sums: nabla_b });
        let ((left, rows), (right, cols)) = match layout {
            Layout::Rows => ((delta, neurons), (a, before)),
            Layout::Panels => ((a, before), (delta, neurons)),
        };
        let extents = Extents { rows, cols, inner: examples };
        let x = left_columns(left, rows, extents, packed, team);
        let y = Y::Rows { values: right, stride: cols };
        arch.dispatch(Product { extents, x, y, layout, outputs, epilogue, team });
    }
}

/// Stores the gradient.
struct KeepGradient<'a>(&'a mut [f32]);

impl Each for KeepGradient<'_> {
    #[inline(always)]
    fn gradient<S: Simd>(&mut self, _: S, gradient: &[f32]) {
        self.0[..gradient.len()].copy_from_slice(gradient);
    }
}

/// Applies an optimizer step to weights and their state.
struct StepOfLayer<'a, U, const N: usize> {
    step: Step<U, N>,
    w: [&'a mut [f32]; N],
}

impl<U: Update<N>, const N: usize> Each for StepOfLayer<'_, U, N> {
    #[inline(always)]
    fn gradient<S: Simd>(&mut self, simd: S, gradient: &[f32]) {
        self.step.apply(simd, gradient, self.w.each_mut().map(|w| &mut w[..gradient.len()]));
    }
}
