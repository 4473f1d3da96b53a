//! Matrix products through the `gemm` crate, in place of the twins' three loops.

use gemm::{Parallelism, gemm};

use crate::kernel::Call;
use crate::kernels::{MatmulParams, OuterProductParams};

/// A factor of a product: its numbers, and how far apart neighbours stand along the rows or
/// columns of the product, and along the inner extent.
struct Factor<'a> {
    values: &'a [f32],
    outer_stride: usize,
    inner_stride: usize,
}

/// Multiplications below which a product stays on one thread: waking a second one costs about
/// as much as this many.
const WORTH_A_SECOND_THREAD: usize = 1 << 20;

/// As the twin of `matmul`.
pub fn matmul(call: &mut Call<'_>) {
    let p: MatmulParams = call.params();
    let threads = call.threads;
    let [x, y, z] = call.operands();
    product(
        (p.rows as usize, p.cols as usize, p.inner as usize),
        &Factor { values: x.f32(), outer_stride: p.x_row_stride as usize, inner_stride: p.x_inner_stride as usize },
        &Factor { values: y.f32(), outer_stride: p.y_col_stride as usize, inner_stride: p.y_inner_stride as usize },
        z.f32_mut(),
        threads,
    );
}

/// As the twin of `outer_product`.
pub fn outer_product(call: &mut Call<'_>) {
    let p: OuterProductParams = call.params();
    let (rows, cols) = (p.delta_cols as usize, p.a_cols as usize);
    let threads = call.threads;
    let [delta, a, nabla_w] = call.operands();
    product(
        (rows, cols, p.examples as usize),
        &Factor { values: delta.f32(), outer_stride: 1, inner_stride: rows },
        &Factor { values: a.f32(), outer_stride: 1, inner_stride: cols },
        nabla_w.f32_mut(),
        threads,
    );
}

/// z[r, c] = Σᵢ x[r, i] y[i, c], z row-major.
#[allow(unsafe_code, reason = "the gemm crate takes pointers; every extent is checked against its slice first")]
fn product((rows, cols, inner): (usize, usize, usize), x: &Factor<'_>, y: &Factor<'_>, z: &mut [f32], threads: usize) {
    let reach =
        |factor: &Factor<'_>, outer: usize| (outer - 1) * factor.outer_stride + (inner - 1) * factor.inner_stride + 1;
    assert!(rows > 0 && cols > 0 && inner > 0, "an empty product");
    assert!(reach(x, rows) <= x.values.len() && reach(y, cols) <= y.values.len(), "a factor is too short");
    assert!(rows * cols <= z.len(), "the product does not fit its output");
    let parallelism = match threads {
        2.. if rows * cols * inner >= WORTH_A_SECOND_THREAD => Parallelism::Rayon(threads),
        _ => Parallelism::None,
    };
    // SAFETY: the three assertions above bound every access of the product.
    unsafe {
        gemm(
            rows,
            cols,
            inner,
            z.as_mut_ptr(),
            1,
            cols as isize,
            false,
            x.values.as_ptr(),
            x.inner_stride as isize,
            x.outer_stride as isize,
            y.values.as_ptr(),
            y.outer_stride as isize,
            y.inner_stride as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
