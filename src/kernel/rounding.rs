//! Bounds of the rounding error of a kernel's results: a running error analysis.
//!
//! Each kernel is computed a second time, in 64 bits. Every entry gets a bound on the error of a
//! device that computes in 32 bits: propagated input errors plus the kernel's rounding.
//!
//! A sum of `inner` terms rounds `inner` times, by at most u = ε/2 of a partial sum each, in an
//! order that depends on the device. Taken as independent, roundings add up like a random walk:
//! four standard deviations are 4 u √inner Σ|xᵢ yᵢ|, which for up to 16 terms also bounds the worst
//! case. Mixed precision also rounds factors to 16 bits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytemuck::Pod;
use rayon::prelude::*;

pub use crate::network::{EPSILON, SMALLEST};

use super::call::Invocation;
use super::matrix::Matrix;
use super::product::{ERROR_SCALE, Extents, Form, Precision};

/// Standard deviations of a random walk within which a sum must be.
const DEVIATIONS: f64 = 4.0;

/// The smallest normal number of 16 bits.
const SMALLEST_OF_16_BITS: f64 = 1.0 / 16_384.0;

/// The entries of a matrix in 64 bits, and their error bounds.
#[derive(Clone, Default, Debug)]
pub struct Numbers {
    /// Row by row.
    pub values: Vec<f64>,
    /// A bound for each value.
    pub errors: Vec<f64>,
}

impl Numbers {
    /// Entries without error.
    pub fn exact(values: Vec<f64>) -> Self {
        Numbers { errors: vec![0.0; values.len()], values }
    }

    /// Entries with their errors.
    pub fn from_entries(entries: impl Iterator<Item = (f64, f64)>) -> Self {
        let (values, errors) = entries.unzip();
        Numbers { values, errors }
    }

    /// Each value with its error.
    pub fn iter(&self) -> impl Iterator<Item = (f64, f64)> {
        self.values.iter().copied().zip(self.errors.iter().copied())
    }
}

/// The entries of a matrix, as far as they are known.
#[derive(Clone, Debug)]
enum Held {
    /// The bytes that every device is given.
    Given(Arc<[u8]>),
    Computed(Arc<Numbers>),
}

/// The known entries of the matrices of a plan; cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct Knowledge {
    held: HashMap<Arc<str>, Held>,
    precision: Precision,
}

impl Knowledge {
    /// Nothing known yet, for devices whose products have at least this precision.
    pub fn of(precision: Precision) -> Self {
        Knowledge { held: HashMap::new(), precision }
    }

    /// Records entries that are the same on every device.
    pub fn give(&mut self, matrix: &Matrix, bytes: Vec<u8>) {
        self.held.insert(Arc::clone(&matrix.name), Held::Given(bytes.into()));
    }

    /// Records entries that each device has computed; `None` removes them.
    pub fn compute(&mut self, matrix: &Matrix, numbers: Option<Numbers>) {
        match numbers {
            Some(numbers) => self.held.insert(Arc::clone(&matrix.name), Held::Computed(Arc::new(numbers))),
            None => self.held.remove(&matrix.name),
        };
    }

    /// The entries of a matrix on every device; `None` where each has computed its own.
    pub fn given(&self, matrix: &Matrix) -> Option<&[u8]> {
        match self.held.get(&matrix.name)? {
            Held::Given(bytes) => bytes.get(..matrix.size()),
            Held::Computed(_) => None,
        }
    }

    /// The entries that a step has computed; `None` for given matrices and computed integers.
    pub fn computed(&self, matrix: &Matrix) -> Option<&Numbers> {
        match self.held.get(&matrix.name)? {
            Held::Computed(numbers) => Some(numbers),
            Held::Given(_) => None,
        }
    }

    /// The bytes of a matrix that every device was given.
    fn bytes(&self, matrix: &Matrix) -> Result<&[u8]> {
        self.given(matrix).with_context(|| format!("nothing is known of {matrix}"))
    }
}

/// The arguments of a kernel's rounding analysis.
pub struct Analysis<'a> {
    /// Everything but the matrices.
    pub invocation: Invocation<'a>,
    /// The operands, as in the step.
    pub matrices: &'a [Matrix],
    /// The form and the extents of the product, if the step is one.
    pub multiplies: Option<(Form, Extents)>,
    /// The entries of the matrices.
    pub known: &'a Knowledge,
}

/// The rounding analysis of a kernel: the entries of each matrix it writes, with their bounds;
/// `None` for integers, which do not round.
pub type Rounding = fn(&Analysis<'_>) -> Result<Vec<Option<Numbers>>>;

impl Analysis<'_> {
    /// The entries of an operand.
    ///
    /// # Errors
    /// A matrix of which nothing is known.
    pub fn numbers(&self, operand: usize) -> Result<Cow<'_, Numbers>> {
        let matrix = &self.matrices[operand];
        if let Some(numbers) = self.known.computed(matrix) {
            return Ok(Cow::Borrowed(numbers));
        }
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(self.known.bytes(matrix)?);
        Ok(Cow::Owned(Numbers::exact(values.into_iter().map(f64::from).collect())))
    }

    /// The exact entries of an operand that was given.
    ///
    /// # Errors
    /// An operand that was computed.
    pub fn list<T: Pod>(&self, operand: usize) -> Result<Vec<T>> {
        Ok(bytemuck::pod_collect_to_vec(self.known.bytes(&self.matrices[operand])?))
    }

    /// The indices of `rows` examples, from the permutation in operand 0.
    ///
    /// # Errors
    /// As [`Analysis::list`].
    pub fn picked(&self, rows: usize) -> Result<Vec<usize>> {
        let order: Vec<u32> = self.list(0)?;
        let picked = order.iter().skip(self.invocation.mini_batch.first as usize).take(rows);
        Ok(picked.map(|&example| example as usize).collect())
    }

    /// A factor of a product, with the error of rounding it to 16 bits in mixed precision.
    fn factor<'n>(&self, numbers: &'n Numbers, scale: f32) -> Cow<'n, Numbers> {
        let roundoff = self.known.precision.factor_roundoff();
        match self.known.precision {
            Precision::Full => Cow::Borrowed(numbers),
            Precision::Mixed => {
                let smallest = SMALLEST_OF_16_BITS / f64::from(scale);
                let entry = |(value, off): (f64, f64)| (value, off + roundoff * (value.abs() + off) + smallest);
                Cow::Owned(Numbers::from_entries(numbers.iter().map(entry)))
            }
        }
    }

    /// The product of x and y. `strides` are the distances between rows of x, terms of x, terms of
    /// y, and columns of y. `form` only selects the loss scale.
    pub fn product(&self, form: Form, extents: Extents, strides: [usize; 4], x: &Numbers, y: &Numbers) -> Numbers {
        // x holds errors, which are scaled before rounding, except in the forward pass.
        let scale = if form == Form::Nt { 1.0 } else { ERROR_SCALE };
        let (x, y) = (self.factor(x, scale), self.factor(y, 1.0));
        let Extents { rows, cols, inner } = extents;
        let [x_row, x_inner, y_inner, y_col] = strides;
        let mut z = Numbers::exact(vec![0.0; rows * cols]);
        let each_row = z.values.par_chunks_mut(cols).zip(z.errors.par_chunks_mut(cols)).enumerate();
        each_row.for_each(|(i, (values, errors))| {
            for (j, (value, error)) in values.iter_mut().zip(errors).enumerate() {
                let mut magnitude = 0.0;
                for k in 0..inner {
                    let (at_x, at_y) = (i * x_row + k * x_inner, k * y_inner + j * y_col);
                    let (x, x_off, y, y_off) = (x.values[at_x], x.errors[at_x], y.values[at_y], y.errors[at_y]);
                    *value += x * y;
                    magnitude += (x * y).abs();
                    *error += x.abs() * y_off + y.abs() * x_off + x_off * y_off;
                }
                *error += sum_rounding(inner, magnitude);
            }
        });
        z
    }

    /// The results in the slot of the mini-batch; other slots are not written and have no bound.
    pub fn in_slot(&self, len: usize, slot: &[(f64, f64)]) -> Numbers {
        let at = self.invocation.mini_batch.slot as usize;
        let entry = |i: usize| if i / slot.len() == at { slot[i % slot.len()] } else { (f64::NAN, f64::INFINITY) };
        Numbers::from_entries((0..len).map(entry))
    }
}

/// Bound on the rounding error of a sum of `inner` terms whose magnitudes add up to `magnitude`;
/// infinite if the sum may overflow 32 bits.
pub fn sum_rounding(inner: usize, magnitude: f64) -> f64 {
    if magnitude > f64::from(f32::MAX) {
        return f64::INFINITY;
    }
    DEVIATIONS * EPSILON / 2.0 * (inner as f64).sqrt() * magnitude + inner as f64 * SMALLEST
}

/// Bound on the change of a function whose argument is off by up to `off`: `off` times the steepest
/// slope nearby. "Nearby" does not reach across a kink, unless `off` does.
pub fn change(function: impl Fn(f64) -> f64, at: f64, off: f64, kinks: &[f64]) -> f64 {
    if off == 0.0 || !off.is_finite() {
        return off;
    }
    let to_kink = kinks.iter().map(|kink| (kink - at).abs()).fold(f64::INFINITY, f64::min);
    // Far enough for rounding in the 32-bit function not to distort the slope.
    let reach = off.max(((1.0 + at.abs()) / 128.0).min(to_kink));
    let [below, here, above] = [at - reach, at, at + reach].map(function);
    (above - here).abs().max((here - below).abs()) * off / reach
}
