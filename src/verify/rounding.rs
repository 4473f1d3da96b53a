//! How far rounding may take what a step computes: a running error analysis.
//!
//! Each primitive kernel is computed once more in 64 bits, and with every entry goes a bound of how
//! far a device that computes in 32 bits may be from it: what its inputs are off by, carried through
//! the kernel, and what the kernel itself rounds. A fused step is analysed as the primitives it
//! replaces.
//!
//! A sum of `inner` terms rounds `inner` times, by at most u = ε/2 of a partial sum each, in an order
//! that is the device's own. The roundings are independent, so they add up like a random walk: four
//! standard deviations are 4 u √inner Σ|xᵢ yᵢ|, which for sums of up to 16 terms is the worst case too.
//! In mixed precision, products read factors that are off by a rounding to 16 bits besides.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytemuck::Pod;
use rayon::prelude::*;

use crate::kernel::MiniBatch;
use crate::kernel::product::{ERROR_SCALE, Precision};
use crate::kernels::{MatmulParams, OuterProductParams};
use crate::plan::{Element, Equation, Matrix, Step};

/// ε, twice the most that one operation of 32 bits rounds by, relative to its result.
const EPSILON: f64 = f32::EPSILON as f64;

/// Standard deviations of a random walk that a sum may be off by.
const DEVIATIONS: f64 = 4.0;

/// Devices may take numbers smaller than this for 0.
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

/// The same of 16 bits.
const SMALLEST_OF_16_BITS: f64 = 1.0 / 16_384.0;

/// WGSL allows exp(-|z|) to be off by 3 + 2|z| units in the last place, and a division by 2.5.
/// (3 + 2|z|) e⁻ᶻ is at most 3, so σ and σ′ (at most 1 and 1/4) are off by less than 8 units of 1.
const SIGMOID_UNITS: f64 = 8.0;

/// The entries of a matrix in 64 bits, and how far 32 bits may be off.
#[derive(Clone, Default, Debug)]
pub struct Numbers {
    /// Row by row.
    pub values: Vec<f64>,
    /// A bound for each value.
    pub errors: Vec<f64>,
}

impl Numbers {
    fn exact(values: Vec<f64>) -> Self {
        Numbers { errors: vec![0.0; values.len()], values }
    }

    /// Entry by entry, from a value and an error of its own.
    fn from_entries(entries: impl Iterator<Item = (f64, f64)>) -> Self {
        let (values, errors) = entries.unzip();
        Numbers { values, errors }
    }

    fn iter(&self) -> impl Iterator<Item = (f64, f64)> {
        self.values.iter().copied().zip(self.errors.iter().copied())
    }
}

#[derive(Clone, Debug)]
enum Held {
    /// What every device is given, byte by byte.
    Given(Arc<[u8]>),
    Computed(Arc<Numbers>),
}

/// What is known of every matrix of a plan; a copy is cheap.
#[derive(Clone, Default, Debug)]
pub struct Analysis {
    held: HashMap<Arc<str>, Held>,
    precision: Precision,
}

impl Analysis {
    /// Nothing known yet, of devices whose products read factors of this precision, or a better one.
    pub fn of(precision: Precision) -> Self {
        Analysis { held: HashMap::new(), precision }
    }

    /// The factors x and y of a product as it reads them.
    fn factors<'n>(&self, step: &Step, x: &'n Numbers, y: &'n Numbers) -> [Cow<'n, Numbers>; 2] {
        let roundoff = self.precision.factor_roundoff();
        // Errors are multiplied before they are rounded, and they are x but for the way forward.
        let scale = if step.equation == Equation::Feedforward { 1.0 } else { f64::from(ERROR_SCALE) };
        let rounded = |numbers: &'n Numbers, smallest: f64| match self.precision {
            Precision::Full => Cow::Borrowed(numbers),
            Precision::Mixed => {
                let entry = |(value, off): (f64, f64)| (value, off + roundoff * (value.abs() + off) + smallest);
                Cow::Owned(Numbers::from_entries(numbers.iter().map(entry)))
            }
        };
        [rounded(x, SMALLEST_OF_16_BITS / scale), rounded(y, SMALLEST_OF_16_BITS)]
    }

    /// Notes what a matrix holds, the same on every device.
    pub fn give(&mut self, matrix: &Matrix, bytes: Vec<u8>) {
        self.held.insert(Arc::clone(&matrix.name), Held::Given(bytes.into()));
    }

    /// What a matrix holds on every device; `None` where each has computed its own.
    pub fn given(&self, matrix: &Matrix) -> Option<&[u8]> {
        match self.held.get(&matrix.name)? {
            Held::Given(bytes) => bytes.get(..matrix.size()),
            Held::Computed(_) => None,
        }
    }

    /// What a step has computed; `None` for whole numbers, which do not round.
    pub fn computed(&self, matrix: &Matrix) -> Option<&Numbers> {
        match self.held.get(&matrix.name)? {
            Held::Computed(numbers) => Some(numbers),
            Held::Given(_) => None,
        }
    }

    fn bytes(&self, matrix: &Matrix) -> Result<&[u8]> {
        self.given(matrix).with_context(|| format!("nothing is known of {matrix}"))
    }

    fn list<T: Pod>(&self, matrix: &Matrix) -> Result<Vec<T>> {
        Ok(bytemuck::pod_collect_to_vec(self.bytes(matrix)?))
    }

    fn numbers(&self, matrix: &Matrix) -> Result<Cow<'_, Numbers>> {
        if let Some(Held::Computed(numbers)) = self.held.get(&matrix.name) {
            return Ok(Cow::Borrowed(numbers));
        }
        let values: Vec<f32> = self.list(matrix)?;
        Ok(Cow::Owned(Numbers::exact(values.into_iter().map(f64::from).collect())))
    }

    /// Computes a primitive step. `from_a` where a device may have computed σ′ from a, as fused
    /// kernels do, and not from z.
    ///
    /// # Errors
    /// A matrix of which nothing is known, or a kernel without an analysis.
    pub fn apply(&mut self, step: &Step, mini_batch: MiniBatch, from_a: bool) -> Result<()> {
        let output = step.output();
        let of = |i: usize| self.numbers(&step.operands[i]);
        let computed = match step.kernel.name {
            "gather" | "gather_bytes" => self.gather(step, mini_batch)?,
            "one_hot" => self.one_hot(step, mini_batch)?,
            "matmul" => {
                let p: MatmulParams = bytemuck::pod_read_unaligned(&step.params);
                let strides = [p.x_row_stride, p.x_inner_stride, p.y_inner_stride, p.y_col_stride];
                let (x, y) = (of(0)?, of(1)?);
                let [x, y] = self.factors(step, &x, &y);
                product([p.rows, p.cols, p.inner], strides, &x, &y)
            }
            "outer_product" => {
                let p: OuterProductParams = bytemuck::pod_read_unaligned(&step.params);
                let strides = [1, p.delta_cols, p.a_cols, 1];
                let (x, y) = (of(0)?, of(1)?);
                let [x, y] = self.factors(step, &x, &y);
                product([p.delta_cols, p.a_cols, p.examples], strides, &x, &y)
            }
            "column_sum" => {
                let delta = &step.operands[0];
                let (rows, cols) = (delta.rows as u32, delta.cols as u32);
                let (x, ones) = (of(0)?, Numbers::exact(vec![1.0; delta.rows]));
                let [x, _] = self.factors(step, &x, &ones);
                product([cols, 1, rows], [1, cols, 1, 0], &x, &ones)
            }
            "add_bias" => {
                let (b, z) = (of(0)?, of(1)?);
                let biases = std::iter::repeat_with(|| b.iter()).flatten();
                Numbers::from_entries(
                    z.iter().zip(biases).map(|((z, off), (b, b_off))| (z + b, off + b_off + EPSILON * (z + b).abs())),
                )
            }
            "activate" | "activate_prime" => {
                let activation = step.snippets.activation.context("a step of this kernel has an activation")?;
                let is_prime = step.kernel.name == "activate_prime";
                let function = if is_prime { activation.sigma_prime } else { activation.sigma };
                let entry = |(z, off): (f64, f64)| {
                    let value = f64::from(function(z as f32));
                    // 1 - a of an a near 1 is as coarse as a is.
                    let coarse = is_prime && from_a && z > 0.0;
                    let relative = if coarse { f64::INFINITY } else { (SIGMOID_UNITS + 2.0 * z.abs()) * value.abs() };
                    let rounding = EPSILON * SIGMOID_UNITS.min(relative);
                    (value, change(|z| f64::from(function(z as f32)), z, off) + rounding + SMALLEST)
                };
                Numbers::from_entries(of(0)?.iter().map(entry))
            }
            "hadamard" => {
                let (x, y) = (of(0)?, of(1)?);
                Numbers::from_entries(x.iter().zip(y.iter()).map(|((x, x_off), (y, y_off))| {
                    let carried = x.abs() * y_off + y.abs() * x_off + x_off * y_off;
                    (x * y, carried + EPSILON * (x * y).abs() + SMALLEST)
                }))
            }
            "cost_gradient" => {
                let cost = step.snippets.cost.context("a step of this kernel has a cost")?;
                let (a, y) = (of(0)?, of(1)?);
                Numbers::from_entries(a.iter().zip(y.iter()).map(|((a, off), (y, _))| {
                    let derivative = |a: f64| f64::from((cost.derivative)(a as f32, y as f32));
                    let value = derivative(a);
                    (value, change(derivative, a, off) + EPSILON * (a.abs() + 4.0 * value.abs()) + SMALLEST)
                }))
            }
            "sgd" => {
                let rate = f64::from(mini_batch.eta) / f64::from(parameter::<u32>(step, "examples")?);
                let (nabla, w) = (of(0)?, of(1)?);
                Numbers::from_entries(nabla.iter().zip(w.iter()).map(|((nabla, nabla_off), (w, w_off))| {
                    let change = rate * nabla;
                    let carried = w_off + rate.abs() * nabla_off;
                    // η/m is off by 2.5 units in the last place, then a product and a difference round.
                    (w - change, carried + EPSILON * (4.0 * change.abs() + (w - change).abs()) + SMALLEST)
                }))
            }
            "weigh" => self.weigh(step, mini_batch)?,
            "total_cost" => self.total_cost(step, mini_batch)?,
            "squared_errors" => self.squared_errors(step, mini_batch)?,
            "number_correct" => {
                self.held.remove(&output.name);
                return Ok(());
            }
            other => bail!("how {other} rounds is not known: it cannot be compared step by step"),
        };
        self.held.insert(Arc::clone(&output.name), Held::Computed(Arc::new(computed)));
        Ok(())
    }

    fn weigh(&self, step: &Step, mini_batch: MiniBatch) -> Result<Numbers> {
        let (labels, weights): (Vec<u32>, Vec<f32>) = (self.list(&step.operands[1])?, self.list(&step.operands[2])?);
        let picked = self.picked(step, mini_batch)?;
        let delta = self.numbers(&step.operands[3])?;
        let cols = step.output().cols;
        Ok(Numbers::from_entries(delta.iter().enumerate().map(|(i, (delta, off))| {
            let weight = f64::from(weights[labels[picked[i / cols]] as usize]);
            (weight * delta, weight * off + EPSILON * (weight * delta).abs() + SMALLEST)
        })))
    }

    /// The numbers of the examples of a mini-batch.
    fn picked(&self, step: &Step, mini_batch: MiniBatch) -> Result<Vec<usize>> {
        let order: Vec<u32> = self.list(&step.operands[0])?;
        let picked = order.iter().skip(mini_batch.first as usize).take(step.output().rows);
        Ok(picked.map(|&example| example as usize).collect())
    }

    fn gather(&self, step: &Step, mini_batch: MiniBatch) -> Result<Numbers> {
        let inputs = &step.operands[1];
        let bytes = self.bytes(inputs)?;
        let width = inputs.cols * inputs.element.size();
        let rows = self.picked(step, mini_batch)?.into_iter().map(|example| &bytes[example * width..][..width]);
        if inputs.element == Element::Byte {
            let scale = f64::from(parameter::<f32>(step, "scale")?);
            let entry = |&byte: &u8| (scale * f64::from(byte), EPSILON * scale.abs() * f64::from(byte));
            return Ok(Numbers::from_entries(rows.flatten().map(entry)));
        }
        let floats = rows.flat_map(bytemuck::pod_collect_to_vec::<u8, f32>);
        Ok(Numbers::exact(floats.map(f64::from).collect()))
    }

    fn one_hot(&self, step: &Step, mini_batch: MiniBatch) -> Result<Numbers> {
        let labels: Vec<u32> = self.list(&step.operands[1])?;
        let classes = step.output().cols;
        let picked = self.picked(step, mini_batch)?;
        let row = |example: usize| (0..classes).map(move |class| (example, class));
        let entry = |(example, class): (usize, usize)| f64::from(u8::from(labels[example] as usize == class));
        Ok(Numbers::exact(picked.into_iter().flat_map(row).map(entry).collect()))
    }

    fn squared_errors(&self, step: &Step, mini_batch: MiniBatch) -> Result<Numbers> {
        let (a, y) = (self.numbers(&step.operands[0])?, self.numbers(&step.operands[1])?);
        let cols = step.output().cols;
        let mut sums = vec![(0.0, 0.0); cols];
        for (i, ((a, off), (y, _))) in a.iter().zip(y.iter()).enumerate() {
            let off = off + EPSILON * (a - y).abs();
            let (sum, error) = &mut sums[i % cols];
            *sum += (a - y).powi(2);
            *error += 2.0 * (a - y).abs() * off + off * off + EPSILON * (a - y).powi(2);
        }
        let rows = step.operands[0].rows;
        // Other slots keep what they hold, which is none of this step's business.
        let entry = |i: usize| match sums[i % cols] {
            (sum, error) if i / cols == mini_batch.slot as usize => (sum, error + sum_rounding(rows, sum)),
            _ => (f64::NAN, f64::INFINITY),
        };
        Ok(Numbers::from_entries((0..step.output().len()).map(entry)))
    }

    fn total_cost(&self, step: &Step, mini_batch: MiniBatch) -> Result<Numbers> {
        let cost = step.snippets.cost.context("a step of this kernel has a cost")?;
        let (a, y) = (self.numbers(&step.operands[0])?, self.numbers(&step.operands[1])?);
        let (mut total, mut error) = (0.0, 0.0);
        for ((a, off), (y, _)) in a.iter().zip(y.iter()) {
            let of = |a: f64| f64::from((cost.cost)(a as f32, y as f32));
            total += of(a);
            error += change(of, a, off) + 4.0 * EPSILON * of(a).abs();
        }
        error += sum_rounding(a.values.len(), total.abs());
        // Other slots keep what they hold, which is none of this step's business.
        let slot = |i| if i == mini_batch.slot as usize { (total, error) } else { (f64::NAN, f64::INFINITY) };
        Ok(Numbers::from_entries((0..step.output().len()).map(slot)))
    }
}

/// What a sum of `inner` terms rounds by, where the magnitudes of the terms add up to `magnitude`;
/// without bound where it may not fit in 32 bits.
fn sum_rounding(inner: usize, magnitude: f64) -> f64 {
    if magnitude > f64::from(f32::MAX) {
        return f64::INFINITY;
    }
    DEVIATIONS * EPSILON / 2.0 * (inner as f64).sqrt() * magnitude + inner as f64 * SMALLEST
}

/// How much a function changes where its argument is off: by its steepest slope nearby.
fn change(function: impl Fn(f64) -> f64, at: f64, off: f64) -> f64 {
    if off == 0.0 || !off.is_finite() {
        return off;
    }
    // Not so close that the 32 bits of the function would show.
    let reach = off.max((1.0 + at.abs()) / 128.0);
    let [below, here, above] = [at - reach, at, at + reach].map(function);
    (above - here).abs().max((here - below).abs()) * off / reach
}

/// A parameter of a kernel, by its name.
fn parameter<T: Pod>(step: &Step, name: &str) -> Result<T> {
    let field = step.kernel.params.iter().find(|field| field.name == name);
    let field = field.with_context(|| format!("{} has no parameter {name}", step.kernel.name))?;
    Ok(bytemuck::pod_read_unaligned(&step.params[field.offset..][..size_of::<T>()]))
}

/// The product of x and y, whose neighbours stand the `strides` apart: from row to row of x, from
/// term to term of x and of y, from column to column of y.
fn product([rows, cols, inner]: [u32; 3], strides: [u32; 4], x: &Numbers, y: &Numbers) -> Numbers {
    let [rows, cols, inner] = [rows, cols, inner].map(|extent| extent as usize);
    let [x_row, x_inner, y_inner, y_col] = strides.map(|stride| stride as usize);
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
