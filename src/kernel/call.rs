//! Calls of twins, the counterpart of dispatches on the GPU.

use super::matrix::Element;
use super::params::{MiniBatch, Params};
use super::snippet::Snippets;
use crate::network::activation::Activation;
use crate::network::cost::Cost;
use crate::network::optimizer::Optimizer;

/// The arguments of a kernel, apart from its matrices.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'a> {
    /// The bytes of the kernel's params struct.
    pub params: &'a [u8],
    /// Everything that changes from one mini-batch to the next.
    pub mini_batch: MiniBatch,
    /// The functions of the network.
    pub snippets: Snippets,
}

/// The accessors panic where a step lacks what its kernel's row names, which
/// [`Recorder`](crate::plan::Recorder) has ruled out.
impl Invocation<'_> {
    /// The kernel's parameters.
    pub fn params<P: Params>(&self) -> P {
        bytemuck::pod_read_unaligned(self.params)
    }

    /// σ and σ′.
    pub fn activation(&self) -> &'static Activation {
        self.snippets.activation.expect("a step of this kernel has an activation")
    }

    /// The cost.
    pub fn cost(&self) -> &'static Cost {
        self.snippets.cost.expect("a step of this kernel has a cost")
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &'static Optimizer {
        self.snippets.optimizer.expect("a step of this kernel has an optimizer")
    }
}

/// One call of a twin.
#[derive(Debug)]
pub struct Call<'a> {
    /// Everything but the matrices.
    pub invocation: Invocation<'a>,
    /// The matrices, in the order of the kernel's bindings, the state of the optimizer last.
    pub operands: Vec<Operand<'a>>,
}

impl<'a> std::ops::Deref for Call<'a> {
    type Target = Invocation<'a>;

    fn deref(&self) -> &Invocation<'a> {
        &self.invocation
    }
}

impl<'a> Call<'a> {
    /// The first N operands at once.
    pub fn operands<const N: usize>(&mut self) -> [&mut Operand<'a>; N] {
        let operands = self.operands.first_chunk_mut::<N>().expect("as many operands as the row has bindings");
        operands.each_mut()
    }
}

/// The entries of one operand of a twin.
#[derive(Debug)]
pub enum Operand<'a> {
    /// Floats to read.
    F32(&'a [f32]),
    /// Integers to read.
    U32(&'a [u32]),
    /// Bytes to read.
    Bytes(&'a [u8]),
    /// Floats to write.
    F32Mut(&'a mut [f32]),
    /// Integers to write.
    U32Mut(&'a mut [u32]),
}

/// The accessors panic where the element differs from the row's binding, which
/// [`Recorder`](crate::plan::Recorder) has ruled out.
impl<'a> Operand<'a> {
    /// An operand to read, from its bytes.
    pub fn read(element: Element, bytes: &'a [u8]) -> Self {
        match element {
            Element::F32 => Operand::F32(bytemuck::cast_slice(bytes)),
            Element::U32 => Operand::U32(bytemuck::cast_slice(bytes)),
            Element::Byte => Operand::Bytes(bytes),
        }
    }

    /// The entries of a float matrix.
    pub fn f32(&self) -> &[f32] {
        match self {
            Operand::F32(values) => values,
            Operand::F32Mut(values) => values,
            other => panic!("f32 expected, {other:?} bound"),
        }
    }

    /// The entries of a float matrix, to write.
    pub fn f32_mut(&mut self) -> &mut [f32] {
        match self {
            Operand::F32Mut(values) => values,
            other => panic!("writable f32 expected, {other:?} bound"),
        }
    }

    /// The entries of an integer matrix.
    pub fn u32(&self) -> &[u32] {
        match self {
            Operand::U32(values) => values,
            Operand::U32Mut(values) => values,
            other => panic!("u32 expected, {other:?} bound"),
        }
    }

    /// The entries of an integer matrix, to write.
    pub fn u32_mut(&mut self) -> &mut [u32] {
        match self {
            Operand::U32Mut(values) => values,
            other => panic!("writable u32 expected, {other:?} bound"),
        }
    }

    /// The entries of a byte matrix.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Operand::Bytes(values) => values,
            other => panic!("bytes expected, {other:?} bound"),
        }
    }
}
