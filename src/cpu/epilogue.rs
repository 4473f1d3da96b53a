//! Epilogues: the rest of an equation, applied to the finished sums of a product while they are
//! still in the L1 cache.
//!
//! The network's activations and optimizer decide what is computed. Each epilogue is compiled for
//! every activation or optimizer; the loops that call it are compiled once.

use pulp::{Simd, WithSimd};

use super::tile::{MAX_WIDTH, panel, panel_mut};
use crate::network::activation::lanes::Vectors;
use crate::network::lanes::{load, store};

/// The position of a block of finished sums in the outputs.
#[derive(Clone, Copy)]
pub struct Place {
    /// The first row.
    pub row: usize,
    /// Number of rows.
    pub rows: usize,
    /// The first column.
    pub col: usize,
    /// Entries in a row of the outputs.
    pub cols: usize,
    /// Entries from one row of the outputs to the next.
    pub stride: usize,
    /// Entries in a row of the sums: `cols`, padded to whole vectors.
    pub width: usize,
}

/// The epilogue of a product. Each output has the shape of the product.
pub trait Epilogue: Sync {
    /// True if the first output may hold unfinished sums.
    const SUMS_IN_OUTPUT: bool = true;

    /// Cost of one entry, in multiplications.
    const PER_ENTRY: usize = 0;

    /// True if the sums of each block of the inner extent are finished on their own, as an
    /// increment to what the output holds. Otherwise sums are finished once, when complete.
    fn by_block(&self) -> bool {
        false
    }

    /// Applies the epilogue to a block of sums; `outputs` are the corresponding entries of each
    /// output.
    fn finish<S: Simd>(&self, simd: S, place: Place, sums: &[f32], outputs: &mut [&mut [f32]]);
}

/// An epilogue for one SIMD instruction set, without generic parameters. The loops of a product
/// call it for each block of sums, so they are compiled once and not for every activation and
/// optimizer.
pub trait Finisher: Sync {
    /// [`Epilogue::finish`].
    fn finish(&self, place: Place, sums: &[f32], outputs: &mut [&mut [f32]]);
}

/// An epilogue and the SIMD instruction set that it runs on.
pub struct With<'a, S, E>(pub S, pub &'a E);

impl<S: Simd, E: Epilogue> Finisher for With<'_, S, E> {
    fn finish(&self, place: Place, sums: &[f32], outputs: &mut [&mut [f32]]) {
        struct Call<'a, 'b, E>(&'a E, Place, &'a [f32], &'a mut [&'b mut [f32]]);
        impl<E: Epilogue> WithSimd for Call<'_, '_, E> {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                self.0.finish(simd, self.1, self.2, self.3);
            }
        }
        self.0.vectorize(Call(self.1, place, sums, outputs));
    }
}

/// The product itself, without an epilogue.
pub struct Keep;

impl Epilogue for Keep {
    #[inline(always)]
    fn finish<S: Simd>(&self, _: S, place: Place, sums: &[f32], outputs: &mut [&mut [f32]]) {
        copy_rows(place, sums, outputs[0]);
    }
}

/// Copies rows of sums without their padding.
#[inline(always)]
pub fn copy_rows(Place { rows, cols, width, stride, .. }: Place, sums: &[f32], values: &mut [f32]) {
    for row in 0..rows {
        values[row * stride..][..cols].copy_from_slice(&sums[row * width..][..cols]);
    }
}

/// An elementwise epilogue. A method, because a closure would not be compiled for the instruction
/// set of the function that contains it.
trait Finish {
    /// True if the other matrix has a row for each row of sums; false if it has one row for all.
    const EACH_ROW: bool;

    /// The outputs, from the sums and the entries of the other matrix at the same positions.
    fn finished<S: Simd, const K: usize>(&self, simd: S, sums: [S::f32s; K], other: [S::f32s; K]) -> [S::f32s; K];
}

/// Finishes a block of sums with another matrix. `other` begins at the entry for the first sum; its
/// rows are `other_stride` apart, which is 0 if one row serves all.
#[inline(always)]
fn finish<S: Simd, F: Finish>(
    simd: S,
    how: &F,
    place: Place,
    sums: &[f32],
    (other, other_stride): (&[f32], usize),
    outputs: &mut [f32],
) {
    let (Place { rows, cols, width, stride, .. }, lanes) = (place, S::F32_LANES);
    let mut padded = [0.0; MAX_WIDTH];
    let other = if other_stride == 0 && cols < width {
        padded[..cols].copy_from_slice(&other[..cols]);
        &padded[..width]
    } else {
        other
    };
    // Where rows are contiguous, whole vectors are written: the lanes past the end of a row lie in
    // the next row, which is written afterwards.
    let whole = if cols == width {
        rows
    } else if stride == cols {
        let of_other = if other_stride == 0 { rows } else { rows_of(other.len(), width, other_stride) };
        rows.min(rows_of(outputs.len(), width, stride)).min(of_other)
    } else {
        0
    };
    let mut done = 0;
    macro_rules! whole_rows {
        ($vectors:literal, $rows:literal) => {
            while whole - done >= $rows {
                let (mut block, mut others) =
                    ([simd.splat_f32s(0.0); { $vectors * $rows }], [simd.splat_f32s(0.0); { $vectors * $rows }]);
                for r in 0..$rows {
                    let row = done + r;
                    block[r * $vectors..][..$vectors].copy_from_slice(&panel::<S, $vectors>(&sums[row * width..])[0]);
                    others[r * $vectors..][..$vectors]
                        .copy_from_slice(&panel::<S, $vectors>(&other[row * other_stride..])[0]);
                }
                let block = how.finished(simd, block, others);
                for r in 0..$rows {
                    let outputs = panel_mut::<S, $vectors>(&mut outputs[(done + r) * stride..]);
                    outputs[0].copy_from_slice(&block[r * $vectors..][..$vectors]);
                }
                done += $rows;
            }
        };
    }
    // Several vectors at a time: four where there are 32 registers, two where there are 16.
    match (width / lanes, lanes == 8) {
        (1, false) => {
            whole_rows!(1, 4);
        }
        (1, true) => {
            whole_rows!(1, 2);
        }
        (2, false) => {
            whole_rows!(2, 2);
        }
        _ => {}
    }
    // One row at a time.
    macro_rules! apart {
        ($vectors:literal) => {
            if stride < width {
                whole_rows!($vectors, 1);
            } else if done < whole {
                // Rows that do not overlap are chunks: no bounds checks.
                let sums = &panel::<S, $vectors>(sums)[done..whole];
                let mut others = other[done * other_stride..].chunks(other_stride.max(1));
                let mut of_row =
                    if F::EACH_ROW { [simd.splat_f32s(0.0); $vectors] } else { panel::<S, $vectors>(other)[0] };
                for (sums, outputs) in sums.iter().zip(outputs[done * stride..].chunks_mut(stride)) {
                    if F::EACH_ROW {
                        of_row = panel::<S, $vectors>(others.next().unwrap_or_default())[0];
                    }
                    panel_mut::<S, $vectors>(outputs)[0] = how.finished(simd, *sums, of_row);
                }
                done = whole;
            }
        };
    }
    match width / lanes {
        1 => {
            apart!(1);
        }
        2 => {
            apart!(2);
        }
        3 => {
            apart!(3);
        }
        4 => {
            apart!(4);
        }
        _ => {}
    }
    for row in done..rows {
        let (outputs, sums) = (&mut outputs[row * stride..][..cols], &sums[row * width..][..width]);
        let parts = outputs.chunks_mut(lanes).zip(other[row * other_stride..][..cols].chunks(lanes));
        for ((output, other), &sum) in parts.zip(S::as_simd_f32s(sums).0) {
            let [finished] = how.finished(simd, [sum], [load(simd, other)]);
            store(simd, output, finished);
        }
    }
}

/// Number of rows, `stride` apart, whose `width` entries lie within `len`.
#[inline(always)]
const fn rows_of(len: usize, width: usize, stride: usize) -> usize {
    if len < width { 0 } else { (len - width) / stride + 1 }
}

/// a = σ(sum + b).
pub struct Activate<'a, A> {
    pub b: &'a [f32],
    pub activation: A,
}

/// Cost of one σ, in multiplications: it may take an exponential and a division.
pub const PER_ACTIVATION: usize = 24;

impl<A: Vectors> Epilogue for Activate<'_, A> {
    const PER_ENTRY: usize = PER_ACTIVATION;

    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, place: Place, sums: &[f32], outputs: &mut [&mut [f32]]) {
        finish(simd, self, place, sums, (&self.b[place.col..][..place.cols], 0), outputs[0]);
    }
}

impl<A: Vectors> Finish for Activate<'_, A> {
    const EACH_ROW: bool = false;

    #[inline(always)]
    fn finished<S: Simd, const K: usize>(&self, simd: S, mut z: [S::f32s; K], b: [S::f32s; K]) -> [S::f32s; K] {
        for k in 0..K {
            z[k] = simd.add_f32s(z[k], b[k]);
        }
        self.activation.sigmas(simd, z)
    }
}

/// δ = sum ⊙ σ′.
pub struct Backpropagate<'a, A> {
    /// (rows, cols)
    pub a: &'a [f32],
    pub cols: usize,
    pub activation: A,
}

impl<A: Vectors> Epilogue for Backpropagate<'_, A> {
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, place: Place, sums: &[f32], outputs: &mut [&mut [f32]]) {
        let a = &self.a[place.row * self.cols + place.col..];
        finish(simd, self, place, sums, (a, self.cols), outputs[0]);
    }
}

impl<A: Vectors> Finish for Backpropagate<'_, A> {
    const EACH_ROW: bool = true;

    #[inline(always)]
    fn finished<S: Simd, const K: usize>(&self, simd: S, mut delta: [S::f32s; K], a: [S::f32s; K]) -> [S::f32s; K] {
        for k in 0..K {
            delta[k] = simd.mul_f32s(delta[k], self.activation.prime(simd, a[k]));
        }
        delta
    }
}
