//! Matrix product, in the three forms of transposition that training needs.

use anyhow::{Context, Result};

use crate::kernel::product::{Extents, Form};
use crate::kernel::rounding::{Analysis, Numbers};
use crate::kernel::{Binding, Call, Kernel, Matrix, Params, Specification};
use crate::plan::{Details, Recorder};

crate::shared_struct! {
    /// The extents of the product and the strides of the factors.
    pub struct MatmulParams {
        /// Rows of z.
        rows: u32,
        /// Columns of z.
        cols: u32,
        /// Terms in each sum.
        inner: u32,
        /// From a row of op(x) to the next.
        x_row_stride: u32,
        /// From a column of op(x) to the next.
        x_inner_stride: u32,
        /// From a row of op(y) to the next.
        y_inner_stride: u32,
        /// From a column of op(y) to the next.
        y_col_stride: u32,
    }
}

/// z = op(x) op(y).
pub static MATMUL: Kernel = Kernel {
    name: "matmul",
    formula: "z = op(x) op(y)",
    shader: include_str!("../../shaders/matmul.wgsl"),
    bindings: &[Binding::read("x"), Binding::read("y"), Binding::write("z")],
    params: MatmulParams::FIELDS,
    specification: Specification::Twin { compute, rounding },
    ..super::PRODUCT
};

impl Recorder {
    /// z = x y, x yᵀ or xᵀ y, as `form` says; shapes as in [`Form`], z (rows, cols).
    pub fn matmul(&mut self, form: Form, x: &Matrix, y: &Matrix, z: &Matrix) {
        let (rows, cols) = z.shape();
        let inner = if form == Form::Tn { x.rows } else { x.cols };
        self.expect_shape(&MATMUL, x, if form == Form::Tn { (inner, rows) } else { (rows, inner) });
        self.expect_shape(&MATMUL, y, if form == Form::Nt { (cols, inner) } else { (inner, cols) });
        let (x_row_stride, x_inner_stride) = if form == Form::Tn { (1, rows) } else { (inner, 1) };
        let (y_inner_stride, y_col_stride) = if form == Form::Nt { (1, inner) } else { (cols, 1) };
        let params = MatmulParams {
            rows: rows as u32,
            cols: cols as u32,
            inner: inner as u32,
            x_row_stride: x_row_stride as u32,
            x_inner_stride: x_inner_stride as u32,
            y_inner_stride: y_inner_stride as u32,
            y_col_stride: y_col_stride as u32,
        };
        let formula = match form {
            Form::Nn => format!("{} = {} {}", z.name, x.name, y.name),
            Form::Nt => format!("{} = {} {}ᵀ", z.name, x.name, y.name),
            Form::Tn => format!("{} = {}ᵀ {}", z.name, x.name, y.name),
        };
        let multiplies = Some((form, Extents { rows, cols, inner }));
        let details = Details { multiplies, iterations: inner, ..Details::default() };
        self.step(&MATMUL, formula, &[x, y, z], params, details);
    }
}

fn compute(call: &mut Call<'_>) {
    let p: MatmulParams = call.params();
    let [x, y, z] = call.operands();
    let (x, y, z) = (x.f32(), y.f32(), z.f32_mut());
    for row in 0..p.rows {
        for col in 0..p.cols {
            let mut sum = 0.0;
            for i in 0..p.inner {
                sum += x[(row * p.x_row_stride + i * p.x_inner_stride) as usize]
                    * y[(i * p.y_inner_stride + col * p.y_col_stride) as usize];
            }
            z[(row * p.cols + col) as usize] = sum;
        }
    }
}

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let p: MatmulParams = analysis.invocation.params();
    let strides = [p.x_row_stride, p.x_inner_stride, p.y_inner_stride, p.y_col_stride].map(|stride| stride as usize);
    let (form, extents) = analysis.multiplies.context("a product without its form")?;
    let (x, y) = (analysis.numbers(0)?, analysis.numbers(1)?);
    Ok(vec![Some(analysis.product(form, extents, strides, &x, &y))])
}
