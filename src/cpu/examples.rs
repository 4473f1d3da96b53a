//! Picking the examples of a mini-batch.

use pulp::{Simd, WithSimd};

use super::nonzeros::Nonzeros;
use super::run::{Run, Workshop};
use super::store::{Numbers, Store};
use crate::kernel::MiniBatch;

/// `gather` and `gather_bytes`.
#[derive(Debug)]
pub struct Gather {
    pub order: usize,
    pub inputs: usize,
    pub a: usize,
    pub shape: (usize, usize),
    /// The activation of a byte of 1.
    pub scale: f32,
    /// The list of a's entries that are not 0.
    pub nonzeros: Option<usize>,
}

impl Run for Gather {
    fn run(&self, store: &mut Store, workshop: &mut Workshop, mini_batch: MiniBatch) {
        let (rows, cols) = self.shape;
        let [order, inputs, a] = store.get([self.order, self.inputs, self.a]);
        let inputs = match inputs {
            Numbers::F32(values) => Inputs::Floats(values),
            Numbers::Bytes(values) => Inputs::Bytes { values, scale: self.scale },
            other => panic!("inputs expected in {other:?}"),
        };
        let nonzeros = self.nonzeros.map(|at| &mut workshop.nonzeros[at]);
        let (order, a) = (&order.u32s()[mini_batch.first as usize..], a.f32s(rows * cols));
        workshop.arch.dispatch(Picking { order, inputs, a, cols, nonzeros });
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
    fn run(&self, store: &mut Store, _: &mut Workshop, mini_batch: MiniBatch) {
        let (rows, cols) = self.shape;
        let [order, labels, y] = store.get([self.order, self.labels, self.y]);
        let (order, labels, y) = (&order.u32s()[mini_batch.first as usize..], labels.u32s(), y.f32s(rows * cols));
        y.fill(0.0);
        for (row, &example) in y.chunks_exact_mut(cols).zip(order) {
            row[labels[example as usize] as usize] = 1.0;
        }
    }
}

/// The inputs of all examples.
enum Inputs<'a> {
    Floats(&'a [f32]),
    Bytes { values: &'a [u8], scale: f32 },
}

/// a = the inputs of the examples that `order` selects, and the list of those that are not 0.
struct Picking<'a> {
    order: &'a [u32],
    inputs: Inputs<'a>,
    a: &'a mut [f32],
    cols: usize,
    nonzeros: Option<&'a mut Nonzeros>,
}

impl WithSimd for Picking<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Picking { order, inputs, a, cols, mut nonzeros } = self;
        let rows = a.len() / cols;
        if let Some(nonzeros) = &mut nonzeros {
            nonzeros.begin(rows, cols);
        }
        if let (Inputs::Floats(values), None) = (&inputs, &nonzeros) {
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
                match inputs {
                    Inputs::Floats(values) => prefetch(&values[example as usize * cols..][..cols]),
                    Inputs::Bytes { values, .. } => prefetch(&values[example as usize * cols..][..cols]),
                }
            }
            let first = order[i] as usize * cols;
            match inputs {
                Inputs::Floats(values) => {
                    row.copy_from_slice(&values[first..][..cols]);
                    if let Some(nonzeros) = &mut nonzeros {
                        nonzeros.note(row, |first| nonzero_floats(&row[first..]));
                    }
                }
                Inputs::Bytes { values, scale } => {
                    let bytes = &values[first..][..cols];
                    for (a, &byte) in row.iter_mut().zip(bytes) {
                        *a = scale * f32::from(byte);
                    }
                    if let Some(nonzeros) = &mut nonzeros {
                        nonzeros.note(row, |first| nonzero_bytes(&bytes[first..]));
                    }
                }
            }
        }
    }
}

/// Picks rows that are so short that a call for each would take longer.
#[inline(always)]
fn pick_short<const COLS: usize>(order: &[u32], values: &[f32], a: &mut [f32]) {
    let (values, _) = values.as_chunks::<COLS>();
    for (row, &example) in a.as_chunks_mut::<COLS>().0.iter_mut().zip(order) {
        *row = values[example as usize];
    }
}

/// Examples are picked at random, so that the machine cannot guess which comes next: it is told
/// this many before, across the end of a mini-batch.
const AHEAD: usize = 10;

/// Asks for values to be brought near, without waiting for them.
#[inline(always)]
fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(64 / size_of::<T>()) {
        #[allow(unsafe_code, reason = "the one way to say it")]
        // SAFETY: a hint, which reads and writes nothing a program can see.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// A bit for each of the first 64 values that is not 0.
#[inline(always)]
fn nonzero_floats(values: &[f32]) -> u64 {
    values.iter().take(64).enumerate().fold(0, |mask, (i, &value)| mask | u64::from(value != 0.0) << i)
}

/// A bit for each of the first 64 bytes that is not 0.
#[inline(always)]
fn nonzero_bytes(bytes: &[u8]) -> u64 {
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let of_eight = |eight: [u8; 8]| {
        let eight = u64::from_le_bytes(eight);
        // The high bit of each byte, set where the byte is not 0; then these bits side by side.
        let nonzero = (((eight & !HIGH) + !HIGH) | eight) & HIGH;
        (nonzero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    };
    let bytes = &bytes[..bytes.len().min(64)];
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut mask = 0;
    for (i, eight) in eights.iter().enumerate() {
        mask |= of_eight(*eight) << (8 * i);
    }
    if !rest.is_empty() {
        let mut eight = [0; 8];
        eight[..rest.len()].copy_from_slice(rest);
        mask |= of_eight(eight) << (8 * eights.len());
    }
    mask
}
