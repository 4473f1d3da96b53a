//! What a kernel is: one shader, one row, one twin, one name.
//!
//! A [`Kernel`] row says everything both executors need: the WGSL text and how it is bound, the
//! struct of its parameters, its work group sizes, and its CPU twin (the same computation as plain
//! Rust, the reference of the GPU tests). `tests/ladder/contract.rs` holds each row against its shader.

pub mod product;

use std::fmt;

use bytemuck::{Pod, Zeroable};

use crate::kernels::Form;
use crate::network::activation::Activation;
use crate::network::cost::Cost;
use crate::plan::{Element, Snippets};
use product::{Precision, Variant};

/// The most work groups one dispatch may have in one dimension (the default limit of WebGPU).
pub const MAX_WORK_GROUPS: u32 = 65_535;

/// One row of the table of kernels.
#[derive(Debug)]
pub struct Kernel {
    /// The one name: of the shader file, its entry point, the row, the bench and the profiler label.
    pub name: &'static str,
    /// What it computes, as a formula.
    pub formula: &'static str,
    /// The WGSL text, without snippets.
    pub shader: &'static str,
    /// The storage buffers: `@group(0)`, `@binding(1)` and up. The last one is the output.
    pub bindings: &'static [Binding],
    /// The members of the uniform `params` at `@group(0) @binding(0)`.
    pub params: &'static [Field],
    /// Whether the kernel reads [`MiniBatch`], the uniform at `@group(1) @binding(0)`.
    pub reads_mini_batch: bool,
    /// Whether [`Snippets::activation`] is joined to the shader.
    pub uses_activation: bool,
    /// Whether [`Snippets::cost`] is joined to the shader.
    pub uses_cost: bool,
    /// What one invocation or one work group stands for, with the work group's size. A product
    /// is dispatched by the grid of its [`Variant`] instead.
    pub grid: Grid,
    /// For a matrix product with something done to each entry: its form, which the shader leaves
    /// to be joined, with a strategy.
    pub product: Option<Form>,
    /// What the kernel must compute.
    pub specification: Specification,
}

/// What says what a kernel must compute.
#[derive(Clone, Copy, Debug)]
pub enum Specification {
    /// The same computation on the host.
    Twin(fn(&mut Call<'_>)),
    /// The primitive kernels that a fused kernel replaces, by name and in order.
    Primitives(&'static [&'static str]),
}

/// How a product is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Realization {
    /// The strategy.
    pub variant: &'static Variant,
    /// Whether the factors are read four entries at a time, which their extents must allow.
    pub vec4: bool,
    /// What is read of the factors.
    pub precision: Precision,
}

impl fmt::Display for Realization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mixed = if self.precision == Precision::Mixed { " f16" } else { "" };
        write!(f, "{}{}{mixed}", self.variant.name, if self.vec4 { " vec4" } else { "" })
    }
}

impl Kernel {
    /// The name of the shader's entry point.
    pub fn entry_point(&self) -> &'static str {
        if self.product.is_some() { "product" } else { self.name }
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
        if self.uses_activation {
            text += snippets.activation.expect("a step of this kernel has an activation").shader;
        }
        if self.uses_cost {
            text += snippets.cost.expect("a step of this kernel has a cost").shader;
        }
        text
    }

    /// How the kernel is dispatched.
    pub fn grid(&self, realization: Option<Realization>) -> Grid {
        realization.map_or(self.grid, |realization| realization.variant.grid)
    }
}

/// One storage buffer of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    /// The name of the variable in the shader.
    pub name: &'static str,
    /// What it holds.
    pub element: Element,
    /// How the shader uses it.
    pub access: Access,
}

impl Binding {
    /// A buffer that is only read.
    pub const fn read(name: &'static str, element: Element) -> Self {
        Binding { name, element, access: Access::Read }
    }

    /// A buffer that is written, or read and written.
    pub const fn write(name: &'static str, element: Element) -> Self {
        Binding { name, element, access: Access::ReadWrite }
    }
}

/// How a shader uses a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    ReadWrite,
}

/// One member of a struct shared with a shader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name, the same on both sides.
    pub name: &'static str,
    /// Its WGSL type: `u32` or `f32`.
    pub wgsl: &'static str,
    /// Its offset, in bytes.
    pub offset: usize,
}

/// A struct that a shader reads as a uniform; made by [`shared_struct!`](crate::shared_struct).
pub trait Params: Pod {
    /// Its members, for the contract with the shader.
    const FIELDS: &'static [Field];
}

/// Declares a struct of `u32` and `f32` members shared with a shader, and its table of members.
#[macro_export]
macro_rules! shared_struct {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$doc:meta])* $field:ident: $type:ident,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        $vis struct $name { $($(#[$doc])* pub $field: $type,)* }

        impl $crate::kernel::Params for $name {
            const FIELDS: &'static [$crate::kernel::Field] = &[$($crate::kernel::Field {
                name: stringify!($field),
                wgsl: stringify!($type),
                offset: std::mem::offset_of!($name, $field),
            },)*];
        }
    };
}

shared_struct! {
    /// Everything that changes from one mini-batch to the next.
    #[derive(Default)]
    pub struct MiniBatch {
        /// Where the mini-batch begins in the order of the examples.
        first: u32,
        /// Which slot its results go to, when a plan evaluates.
        slot: u32,
        /// The learning rate η.
        eta: f32,
        /// How many mini-batches, one after the other, a kernel that loops goes through.
        count: u32,
    }
}

/// What one shader invocation (or work group) stands for, and the size of a work group.
///
/// The output's shape decides the number of work groups; rows and entries that would pass
/// [`MAX_WORK_GROUPS`] in one dimension are folded into the next one, columns are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grid {
    /// One invocation per entry of the output; the work group is a line of `WORKGROUP_SIZE`.
    PerEntry {
        /// Invocations in a work group.
        size: u32,
    },
    /// One invocation per row and column of the output: `WORKGROUP_COLS` x `WORKGROUP_ROWS`.
    PerRowAndColumn {
        /// Rows of the output in a work group.
        rows: u32,
        /// Columns of the output in a work group.
        cols: u32,
    },
    /// One work group of `WORKGROUP_COLS` x `WORKGROUP_ROWS` per tile of the output.
    PerTile {
        /// Invocations in a work group, down.
        rows: u32,
        /// Invocations in a work group, across.
        cols: u32,
        /// Rows of the output that a work group computes.
        tile_rows: u32,
        /// Columns of the output that a work group computes.
        tile_cols: u32,
    },
    /// A single work group of `WORKGROUP_SIZE`, for reductions.
    OneWorkGroup {
        /// Invocations in the work group.
        size: u32,
    },
}

impl Grid {
    /// Number of work groups in x, y and z for an output of the given (rows, columns).
    pub fn work_groups(self, (rows, cols): (usize, usize)) -> [u32; 3] {
        let limit = u64::from(MAX_WORK_GROUPS);
        let groups = match self {
            Grid::PerEntry { size } => {
                let line = ((rows * cols) as u64).div_ceil(u64::from(size));
                [line.min(limit), line.div_ceil(limit), 1]
            }
            Grid::PerRowAndColumn { rows: tile_rows, cols: tile_cols } | Grid::PerTile { tile_rows, tile_cols, .. } => {
                let down = (rows as u64).div_ceil(u64::from(tile_rows));
                let across = (cols as u64).div_ceil(u64::from(tile_cols));
                [across, down.min(limit), down.div_ceil(limit)]
            }
            Grid::OneWorkGroup { .. } => [1, 1, 1],
        };
        groups.map(|n| u32::try_from(n).unwrap_or(u32::MAX))
    }

    /// The pipeline-overridable constants of the shader: the one source of its work group size.
    pub fn constants(self) -> Vec<(&'static str, u32)> {
        match self {
            Grid::PerEntry { size } | Grid::OneWorkGroup { size } => vec![("WORKGROUP_SIZE", size)],
            Grid::PerRowAndColumn { rows, cols } | Grid::PerTile { rows, cols, .. } => {
                vec![("WORKGROUP_ROWS", rows), ("WORKGROUP_COLS", cols)]
            }
        }
    }

    /// Size of a work group in x (columns) and y (rows).
    pub fn size(self) -> [u32; 2] {
        match self {
            Grid::PerEntry { size } | Grid::OneWorkGroup { size } => [size, 1],
            Grid::PerRowAndColumn { rows, cols } | Grid::PerTile { rows, cols, .. } => [cols, rows],
        }
    }

    /// Invocations in one work group.
    pub fn invocations(self) -> u32 {
        self.size().iter().product()
    }
}

/// One call of a twin: what a dispatch is on the GPU.
#[derive(Debug)]
pub struct Call<'a> {
    /// The bytes of the kernel's params struct.
    pub params: &'a [u8],
    /// What changes from one mini-batch to the next.
    pub mini_batch: MiniBatch,
    /// The functions of the network.
    pub snippets: Snippets,
    /// The most threads this call may use.
    pub threads: usize,
    /// The matrices, in the order of the kernel's bindings.
    pub operands: Vec<Operand<'a>>,
}

impl<'a> Call<'a> {
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

    /// All operands at once.
    pub fn operands<const N: usize>(&mut self) -> [&mut Operand<'a>; N] {
        let operands: &mut [Operand<'a>; N] =
            self.operands.as_mut_slice().try_into().expect("as many operands as the row has bindings");
        operands.each_mut()
    }
}

/// The numbers of one operand of a twin.
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
impl Operand<'_> {
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

impl MiniBatch {
    /// A mini-batch for plans that do not descend: it begins at `first`, its results go to `slot`.
    pub fn evaluating(first: usize, slot: usize) -> Self {
        MiniBatch { first: first as u32, slot: slot as u32, ..Self::zeroed() }
    }
}
