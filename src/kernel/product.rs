//! Matrix products: their forms and extents, and one table of variants behind every fused kernel.
//!
//! A fused kernel's own shader is the epilogue of each sum (`finish`); the form of the
//! product reads blocks of 4 x 4 from the factors (`x_block`, `y_block`); a variant
//! lays out the work. The three texts are joined.

use std::fmt;

use super::grid::Grid;

/// The transposition of the factors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// z = x y, for BP2: x (rows, inner), y (inner, cols).
    Nn,
    /// z = x yᵀ, for feedforward: x (rows, inner), y (cols, inner).
    Nt,
    /// z = xᵀ y, for BP4: x (inner, rows), y (inner, cols).
    Tn,
}

impl Form {
    /// All three.
    pub const ALL: [Form; 3] = [Form::Nn, Form::Nt, Form::Tn];
}

/// Realization of a product: a strategy and its parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Realization {
    /// The strategy.
    pub variant: &'static Variant,
    /// Reads four entries of a factor at a time, which the extents must allow.
    pub vec4: bool,
    /// The precision of the factors.
    pub precision: Precision,
}

impl fmt::Display for Realization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mixed = if self.precision == Precision::Mixed { " f16" } else { "" };
        write!(f, "{}{}{mixed}", self.variant.name, if self.vec4 { " vec4" } else { "" })
    }
}

/// Precision of the factors of products; accumulation is always in 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Precision {
    /// All 32 bits.
    #[default]
    Full,
    /// Rounded to 16 bits. Parameters, activations and errors themselves keep 32.
    Mixed,
}

impl Precision {
    /// `full` or `mixed`, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Full => "full",
            Precision::Mixed => "mixed",
        }
    }

    /// The largest relative error of rounding a factor. WGSL leaves open which of
    /// the two neighbours a number is rounded to.
    pub fn factor_roundoff(self) -> f64 {
        match self {
            Precision::Full => 0.0,
            Precision::Mixed => 1.0 / 1024.0,
        }
    }
}

/// Loss scale for f16: errors are multiplied by it before rounding. Those down to 2⁻²² are normal
/// numbers in f16; those beyond 2⁸ overflow.
pub const ERROR_SCALE: f32 = 256.0;

/// A strategy for matrix products.
#[derive(Debug)]
pub struct Variant {
    /// The name of the strategy and of its shader.
    pub name: &'static str,
    /// The WGSL text of the entry point.
    pub shader: &'static str,
    /// Work group size, and the tile of the output that a work group computes.
    pub grid: Grid,
    /// Bytes of shared memory in a work group.
    pub shared_memory: u32,
    /// True if it needs subgroup operations.
    pub subgroups: bool,
    /// Size of the square cooperative matrices that it needs; `None`: it needs none.
    pub cooperative: Option<u32>,
    /// Terms of a sum in one iteration of the longest loop.
    pub terms_per_iteration: usize,
}

impl Variant {
    /// Upper bound on the loop iterations of an invocation for sums of `inner` terms: some drivers
    /// end long loops.
    pub fn iterations(&self, inner: usize) -> usize {
        // The loops of `finish` are bounded by the entries of a tile.
        2 * inner.div_ceil(self.terms_per_iteration) + 256
    }
}

impl PartialEq for Variant {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Variant {}

/// Every variant.
pub static VARIANTS: [&Variant; 9] = [
    &REGISTERS_4X4,
    &REGISTERS_8X8,
    &REGISTERS_16X8,
    &SPLIT,
    &SPLIT_SUBGROUP,
    &TILED_64X64,
    &TILED_128X128,
    &COOPERATIVE_8X8,
    &COOPERATIVE_16X16,
];

/// The variants that every adapter must be able to run: those that [`suitable`] chooses from.
pub static ALWAYS: [&Variant; 5] = [&REGISTERS_4X4, &REGISTERS_8X8, &REGISTERS_16X8, &SPLIT, &TILED_64X64];

/// 4 x 4 entries per invocation, in registers: products with few entries.
pub static REGISTERS_4X4: Variant = Variant {
    name: "registers_4x4",
    shader: include_str!("../../shaders/product/registers_4x4.wgsl"),
    grid: Grid::PerTile { rows: 4, cols: 8, tile_rows: 16, tile_cols: 32 },
    shared_memory: 0,
    subgroups: false,
    cooperative: None,
    terms_per_iteration: 4,
};

/// 8 x 8 entries per invocation, in registers. Fast where shared memory is slow.
pub static REGISTERS_8X8: Variant = Variant {
    name: "registers_8x8",
    shader: include_str!("../../shaders/product/registers_8x8.wgsl"),
    grid: Grid::PerTile { rows: 4, cols: 8, tile_rows: 32, tile_cols: 64 },
    ..REGISTERS_4X4
};

/// 16 x 8 entries per invocation, in registers (in the L1 cache on a software adapter).
pub static REGISTERS_16X8: Variant = Variant {
    name: "registers_16x8",
    shader: include_str!("../../shaders/product/registers_16x8.wgsl"),
    grid: Grid::PerTile { rows: 1, cols: 8, tile_rows: 16, tile_cols: 64 },
    ..REGISTERS_4X4
};

/// 4 x 4 entries per work group, whose invocations share each sum: few entries, long sums.
pub static SPLIT: Variant = Variant {
    name: "split",
    shader: include_str!("../../shaders/product/split.wgsl"),
    grid: Grid::PerTile { rows: 1, cols: 64, tile_rows: 4, tile_cols: 4 },
    shared_memory: 64 * 16 * 4,
    terms_per_iteration: 4 * 64,
    ..REGISTERS_4X4
};

/// As [`SPLIT`], with partial sums added by subgroup operations.
pub static SPLIT_SUBGROUP: Variant = Variant {
    name: "split_subgroup",
    shader: include_str!("../../shaders/product/split_subgroup.wgsl"),
    subgroups: true,
    ..SPLIT
};

/// Tiles of 64 x 64 through shared memory, 8 x 8 entries per invocation: large products on GPUs.
pub static TILED_64X64: Variant = Variant {
    name: "tiled_64x64",
    shader: include_str!("../../shaders/product/tiled_64x64.wgsl"),
    grid: Grid::PerTile { rows: 8, cols: 8, tile_rows: 64, tile_cols: 64 },
    shared_memory: 2 * 16 * 16 * 16,
    // An outer loop over 16 terms at a time, and an inner one over each of them.
    terms_per_iteration: 1,
    ..REGISTERS_4X4
};

/// Tiles of 128 x 128 through shared memory, 8 x 8 entries per invocation: products large enough to
/// fill a GPU with such tiles.
pub static TILED_128X128: Variant = Variant {
    name: "tiled_128x128",
    shader: include_str!("../../shaders/product/tiled_128x128.wgsl"),
    grid: Grid::PerTile { rows: 16, cols: 16, tile_rows: 128, tile_cols: 128 },
    shared_memory: 2 * 16 * 32 * 16,
    ..TILED_64X64
};

/// Tiles of 32 x 32 as cooperative matrices of 8 x 8, multiplied by the matrix units of a GPU
/// (tensor cores).
pub static COOPERATIVE_8X8: Variant = Variant {
    name: "cooperative_8x8",
    shader: include_str!("../../shaders/product/cooperative.wgsl"),
    grid: Grid::PerTile { rows: 1, cols: 128, tile_rows: 32, tile_cols: 32 },
    shared_memory: 2 * 32 * 32 * 4 + 32 * 16 * 4,
    subgroups: true,
    cooperative: Some(8),
    // An outer loop over 32 terms and an inner one over 8 at a time, in four passes if there is
    // only one subgroup.
    terms_per_iteration: 1,
};

/// Tiles of 64 x 64 as cooperative matrices of 16 x 16.
pub static COOPERATIVE_16X16: Variant = Variant {
    name: "cooperative_16x16",
    grid: Grid::PerTile { rows: 1, cols: 128, tile_rows: 64, tile_cols: 64 },
    shared_memory: 2 * 64 * 16 * 4 + 64 * 32 * 4,
    cooperative: Some(16),
    ..COOPERATIVE_8X8
};

/// WGSL that passes sums to `finish`.
const STORE: &str = include_str!("../../shaders/product/store.wgsl");

/// The WGSL text of a product, to be joined to that of its kernel.
pub fn source(form: Form, Realization { variant, vec4, precision }: Realization) -> String {
    let mut text = String::from(factors(form, vec4));
    text += match precision {
        Precision::Full => include_str!("../../shaders/product/full.wgsl"),
        Precision::Mixed => include_str!("../../shaders/product/mixed.wgsl"),
    };
    if precision == Precision::Mixed {
        // x holds errors, except in the forward pass.
        let scale = if form == Form::Nt { 1.0 } else { ERROR_SCALE };
        text += &format!("\nconst X_SCALE: f32 = {scale:?};\n");
    }
    text += STORE;
    if let Some(size) = variant.cooperative {
        text += &format!(
            "\nconst SIZE = {size}u;\n\
             alias Left = coop_mat{size}x{size}<Factor, A>;\n\
             alias Right = coop_mat{size}x{size}<Factor, B>;\n\
             alias Sum = coop_mat{size}x{size}<f32, C>;\n"
        );
    }
    text + variant.shader
}

/// The WGSL directives that a product needs, without a line break: line numbers stay true.
pub fn directives(Realization { variant, precision, .. }: Realization) -> &'static str {
    match (variant.cooperative, precision) {
        (None, Precision::Full) => "",
        (None, Precision::Mixed) => "enable f16; ",
        (Some(_), Precision::Full) => "enable wgpu_cooperative_matrix; ",
        (Some(_), Precision::Mixed) => "enable f16, wgpu_cooperative_matrix; ",
    }
}

/// The WGSL text that declares and reads the factors of a form.
fn factors(form: Form, vec4: bool) -> &'static str {
    macro_rules! any_extents {
        ($form:literal) => {
            concat!(include_str!($form), include_str!("../../shaders/product/blocks.wgsl"))
        };
    }
    match (form, vec4) {
        (Form::Nn, false) => any_extents!("../../shaders/product/nn.wgsl"),
        (Form::Nt, false) => any_extents!("../../shaders/product/nt.wgsl"),
        (Form::Tn, false) => any_extents!("../../shaders/product/tn.wgsl"),
        (Form::Nn, true) => include_str!("../../shaders/product/nn_vec4.wgsl"),
        (Form::Nt, true) => include_str!("../../shaders/product/nt_vec4.wgsl"),
        (Form::Tn, true) => include_str!("../../shaders/product/tn_vec4.wgsl"),
    }
}

/// The extents of a product: rows and columns of the result, terms in each sum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Extents {
    /// Rows of the product.
    pub rows: usize,
    /// Columns of the product; in a fused kernel of form TN, including the column of ones.
    pub cols: usize,
    /// Terms in each sum.
    pub inner: usize,
}

impl Extents {
    /// Multiplications of the product.
    pub fn multiplications(self) -> usize {
        self.rows.saturating_mul(self.cols).saturating_mul(self.inner)
    }
}

/// True where the factors of a product can be read four entries at a time.
pub fn allows_vec4(form: Form, Extents { rows, cols, inner }: Extents) -> bool {
    let fours = |extents: [usize; 2]| extents.into_iter().all(|extent| extent > 0 && extent.is_multiple_of(4));
    match form {
        Form::Nt => fours([inner, inner]),
        Form::Nn => fours([inner, cols]),
        Form::Tn => fours([rows, cols - 1]),
    }
}

/// The variant that suits a product by its shape alone, without measuring.
///
/// On `software` adapters, invocations are SIMD lanes and shared memory gains nothing: the larger
/// the product, the more entries per invocation. On GPUs, the sum is split among invocations if the
/// product has too few entries to occupy the device; tiles go through shared memory if there are
/// enough rows and columns.
pub fn suitable(form: Form, extents: Extents, software: bool) -> Realization {
    let Extents { rows, cols, inner } = extents;
    let variant = match software {
        true if rows >= 64 && cols >= 64 => &REGISTERS_16X8,
        true if rows > 4 && rows * cols >= 512 => &REGISTERS_8X8,
        true => &REGISTERS_4X4,
        false if rows * cols <= 32 * 1024 && inner >= 256 => &SPLIT,
        false if rows >= 64 && cols >= 64 => &TILED_64X64,
        false => &REGISTERS_4X4,
    };
    Realization { variant, vec4: allows_vec4(form, extents), precision: Precision::Full }
}
