//! Gathering the examples of a mini-batch.

use pulp::{Simd, WithSimd};

use super::inputs::{AHEAD, Inputs, Nonzero};
use super::nonzeros::{Nonzeros, WORD};
use super::run::{Run, Workspace};
use super::store::{Numbers, Store};
use super::threads::Team;
use crate::kernel::MiniBatch;

/// Cost of gathering one entry, in multiplications.
const PER_PICKED: usize = 8;

/// `gather` and `gather_bytes`.
#[derive(Debug)]
pub struct Gather {
    pub order: usize,
    pub inputs: usize,
    pub a: usize,
    pub shape: (usize, usize),
    /// Factor from bytes to activations.
    pub scale: f32,
    pub listed: Option<Listed>,
}

/// The list of a gathered matrix's nonzero entries.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// Index of the list in the workspace.
    pub nonzeros: usize,
    /// Index of the cached lists of the inputs' examples, within the list.
    pub kept: usize,
    /// True if every reader accepts the list, or writes the matrix from it when it needs the
    /// matrix.
    pub list_alone: bool,
}

impl Run for Gather {
    fn run(&self, store: &mut Store, workspace: &mut Workspace, mini_batch: MiniBatch) {
        let (rows, cols) = self.shape;
        let [order, inputs, a] = store.get([self.order, self.inputs, self.a]);
        let inputs = match inputs.as_read() {
            Numbers::F32(values) => Inputs::Floats(values),
            Numbers::Bytes(values) => Inputs::Bytes { values, scale: self.scale },
            other => panic!("inputs expected in {other:?}"),
        };
        let (order, a) = (&order.u32s()[mini_batch.first as usize..], a.f32s(rows * cols));
        if let Some(listed) = self.listed {
            let nonzeros = &mut workspace.nonzeros[listed.nonzeros];
            let team = &workspace.team;
            workspace.arch.dispatch(Listing { order, inputs, nonzeros, kept: listed.kept, shape: self.shape, team });
            if nonzeros.is_sparse() && listed.list_alone {
                return;
            }
            nonzeros.set_written();
        }
        let Workspace { arch, team, .. } = workspace;
        team.by_rows(rows, team.worth_without_packing(PER_PICKED * a.len()), [a], |rows, [a]| {
            arch.dispatch(Picking { order: &order[rows.start..], inputs, a, cols });
        });
    }
}

/// `one_hot`.
#[derive(Debug)]
pub struct OneHot {
    pub order: usize,
    pub labels: usize,
    pub y: usize,
    pub shape: (usize, usize),
}

impl Run for OneHot {
    fn run(&self, store: &mut Store, _: &mut Workspace, mini_batch: MiniBatch) {
        let (rows, cols) = self.shape;
        let [order, labels, y] = store.get([self.order, self.labels, self.y]);
        let (order, labels, y) = (&order.u32s()[mini_batch.first as usize..], labels.u32s(), y.f32s(rows * cols));
        y.fill(0.0);
        for (row, &example) in y.chunks_exact_mut(cols).zip(order) {
            row[labels[example as usize] as usize] = 1.0;
        }
    }
}

/// The list of the nonzero inputs of the examples that `order` selects.
struct Listing<'a> {
    order: &'a [u32],
    inputs: Inputs<'a>,
    nonzeros: &'a mut Nonzeros,
    kept: usize,
    shape: (usize, usize),
    team: &'a Team,
}

impl WithSimd for Listing<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Listing { order, inputs, nonzeros, kept, shape: (rows, cols), team } = self;
        if nonzeros.list_kept(simd, (kept, inputs), order, rows, team) {
            return;
        }
        match inputs {
            Inputs::Floats(values) => nonzeros.list((kept, inputs), order, rows, |example, entries| {
                let values = &values[example * cols..][..cols];
                note(entries, |first| nonzero_floats(&values[first..]), |column| values[column])
            }),
            Inputs::Bytes { values, scale } => nonzeros.list((kept, inputs), order, rows, |example, entries| {
                let bytes = &values[example * cols..][..cols];
                note(entries, |first| nonzero_bytes(&bytes[first..]), |column| scale * f32::from(bytes[column]))
            }),
        }
    }
}

/// Writes the nonzero entries of a row of `entries.len()` inputs to the front of `entries` and
/// returns their number. `mask` returns a bit for each of the `WORD` inputs from a column on.
#[inline(always)]
fn note(entries: &mut [Nonzero], mask: impl Fn(usize) -> u64, value: impl Fn(usize) -> f32) -> usize {
    let mut found = 0;
    for first in (0..entries.len()).step_by(WORD) {
        let mut mask = mask(first);
        let count = mask.count_ones() as usize;
        for entry in &mut entries[found..][..count] {
            let column = first + mask.trailing_zeros() as usize;
            *entry = Nonzero { column: column as u32, value: value(column) };
            mask &= mask - 1;
        }
        found += count;
    }
    found
}

/// a = the inputs of the examples that `order` selects.
struct Picking<'a> {
    order: &'a [u32],
    inputs: Inputs<'a>,
    a: &'a mut [f32],
    cols: usize,
}

impl WithSimd for Picking<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Picking { order, inputs, a, cols } = self;
        if let Inputs::Floats(values) = inputs {
            macro_rules! short_rows {
                ($($cols:literal),*) => {
                    match cols {
                        $($cols => return pick_short::<$cols>(order, values, a),)*
                        _ => {}
                    }
                };
            }
            short_rows!(1, 2, 3, 4, 5, 6, 7, 8);
        }
        for (i, row) in a.chunks_exact_mut(cols).enumerate() {
            if let Some(&example) = order.get(i + AHEAD) {
                inputs.prefetch(example as usize, cols);
            }
            let first = order[i] as usize * cols;
            match inputs {
                Inputs::Floats(values) => row.copy_from_slice(&values[first..][..cols]),
                Inputs::Bytes { values, scale } => {
                    for (a, &byte) in row.iter_mut().zip(&values[first..][..cols]) {
                        *a = scale * f32::from(byte);
                    }
                }
            }
        }
    }
}

/// Gathers rows so short that a call to `memcpy` for each would take longer.
#[inline(always)]
fn pick_short<const COLS: usize>(order: &[u32], values: &[f32], a: &mut [f32]) {
    let (values, _) = values.as_chunks::<COLS>();
    for (row, &example) in a.as_chunks_mut::<COLS>().0.iter_mut().zip(order) {
        *row = values[example as usize];
    }
}

/// A bit for each of the first 64 values, set unless the value is +0. −0 counts as nonzero: an
/// entry that is not listed is written as +0.
#[inline(always)]
fn nonzero_floats(values: &[f32]) -> u64 {
    values.iter().take(64).enumerate().fold(0, |mask, (i, &value)| mask | u64::from(value.to_bits() != 0) << i)
}

/// A bit for each of the first 64 bytes that is not 0.
#[inline(always)]
fn nonzero_bytes(bytes: &[u8]) -> u64 {
    let bytes = &bytes[..bytes.len().min(WORD)];
    let (parts, rest) = bytes.as_chunks::<16>();
    let mut mask = 0;
    for (i, part) in parts.iter().enumerate() {
        mask |= u64::from(nonzero_of_sixteen(*part)) << (16 * i);
    }
    if !rest.is_empty() {
        let mut part = [0; 16];
        part[..rest.len()].copy_from_slice(rest);
        mask |= u64::from(nonzero_of_sixteen(part)) << (16 * parts.len());
    }
    mask
}

/// A bit for each byte, set if the byte is not 0: x86-64 has an instruction for the high bits of
/// bytes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn nonzero_of_sixteen(bytes: [u8; 16]) -> u16 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_setzero_si128};
    #[allow(unsafe_code, reason = "older compilers call these unsafe; they need SSE2, which every such machine has")]
    // SAFETY: nothing but registers is touched.
    let zeros = unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(bytemuck::cast(bytes), _mm_setzero_si128())) };
    !(zeros as u16)
}

/// A bit for each byte that is not 0.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn nonzero_of_sixteen(bytes: [u8; 16]) -> u16 {
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let of_eight = |eight: [u8; 8]| {
        let eight = u64::from_le_bytes(eight);
        // The high bit of each byte, set where the byte is not 0; then these bits side by side.
        let nonzero = (((eight & !HIGH) + !HIGH) | eight) & HIGH;
        super::inputs::low_bits_of_bytes(nonzero >> 7)
    };
    let (eights, _) = bytes.as_chunks::<8>();
    (of_eight(eights[0]) | of_eight(eights[1]) << 8) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_for_each_that_is_not_zero() {
        for len in [1, 7, 16, 17, 63, 64, 70] {
            let bytes: Vec<u8> = (0..len).map(|i: usize| if i * i % 3 == 1 { 0 } else { (i * 51 + 1) as u8 }).collect();
            let floats: Vec<f32> = bytes.iter().map(|&byte| byte.into()).collect();
            let expected = (0..len.min(64)).map(|i| u64::from(bytes[i] != 0) << i).sum::<u64>();
            assert_eq!(nonzero_bytes(&bytes), expected, "{len} bytes");
            assert_eq!(nonzero_floats(&floats), expected, "{len} floats");
        }
        assert_eq!(nonzero_floats(&[-0.0, 0.0, f32::NAN]), 0b101);
    }
}
