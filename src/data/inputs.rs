//! The inputs of all examples, in memory or in memory-mapped files.

use anyhow::{Context, Result, bail};

use super::mapped::Mapped;
use super::picked::{Picked, scaled};
use crate::system::host_memory::reserve;

/// Entries that are processed at a time where all of them are visited.
const BLOCK: usize = 1 << 20;

/// The inputs of all examples, row by row.
#[derive(Clone, PartialEq, Debug)]
pub enum Inputs {
    /// Bytes, such as pixels: a quarter of the memory. An activation is `scale` times a byte.
    Bytes {
        /// One byte per feature.
        values: Vec<u8>,
        /// Activation of a byte of 1.
        scale: f32,
    },
    /// Floats, unscaled.
    Floats(Vec<f32>),
    /// Raw numbers that are not exact in 32 bits, until they are scaled.
    Doubles(Vec<f64>),
    /// Bytes or floats that stay in their files and are decoded when they are gathered.
    Mapped(Mapped),
}

/// (inputs per example, all inputs, number of examples).
pub type Images = (usize, Inputs, usize);

/// Appends the inputs of `examples`, of `features` inputs each, converted to another type.
///
/// # Errors
/// An index that is not one of an example.
fn extend<T: Copy, U>(
    to: &mut Vec<U>,
    values: &[T],
    examples: &[u32],
    features: usize,
    convert: impl Fn(T) -> U,
) -> Result<()> {
    reserve(to, examples.len() * features)?;
    for &example in examples {
        let row = values.get(example as usize * features..).and_then(|rest| rest.get(..features));
        let row = row.with_context(|| format!("there is no example {example}"))?;
        to.extend(row.iter().map(|&value| convert(value)));
    }
    Ok(())
}

/// Calls `each` with the indices of examples, a block at a time, and the number of examples before
/// the block.
fn in_blocks(
    examples: impl IntoIterator<Item = u32>,
    features: usize,
    mut each: impl FnMut(usize, &[u32]) -> Result<()>,
) -> Result<()> {
    let most = (BLOCK / features.max(1)).max(1).next_multiple_of(4);
    let (mut examples, mut block, mut first) = (examples.into_iter(), Vec::new(), 0);
    loop {
        block.clear();
        block.extend(examples.by_ref().take(most));
        if block.is_empty() {
            return Ok(());
        }
        each(first, &block)?;
        first += block.len();
    }
}

impl Inputs {
    /// Number of inputs of all examples together.
    pub(crate) fn len(&self) -> usize {
        match self {
            Inputs::Bytes { values, .. } => values.len(),
            Inputs::Floats(values) => values.len(),
            Inputs::Doubles(values) => values.len(),
            Inputs::Mapped(mapped) => mapped.len(),
        }
    }

    /// Bytes that the inputs take in mapped files; `None` if all are in memory.
    pub(crate) fn mapped_size(&self) -> Option<u64> {
        match self {
            Inputs::Bytes { .. } | Inputs::Floats(_) | Inputs::Doubles(_) => None,
            Inputs::Mapped(mapped) => Some(mapped.size()),
        }
    }

    /// Factor from bytes to activations; `None` if inputs are not bytes.
    pub fn byte_scale(&self) -> Option<f32> {
        match self {
            Inputs::Bytes { scale, .. } => Some(*scale),
            Inputs::Floats(_) | Inputs::Doubles(_) => None,
            Inputs::Mapped(mapped) => mapped.byte_scale(),
        }
    }

    /// Gathers the inputs of `examples`, of `features` inputs each, in this order.
    ///
    /// # Errors
    /// An index that is not one of an example, or a mapped file that has been truncated.
    #[doc(hidden)]
    pub fn pick(&self, examples: &[u32], features: usize, picked: &mut Picked) -> Result<()> {
        match self {
            Inputs::Bytes { values, .. } => extend(picked.cleared_bytes(), values, examples, features, |x| x)?,
            Inputs::Floats(values) => extend(picked.cleared_floats(), values, examples, features, |x| x)?,
            Inputs::Doubles(values) => extend(picked.cleared_floats(), values, examples, features, |x| x as f32)?,
            Inputs::Mapped(mapped) => mapped.pick(examples, picked)?,
        }
        Ok(())
    }

    /// Gathers the inputs of `examples`, of `features` inputs each, as 64-bit numbers; bytes are
    /// not scaled.
    fn numbers(&self, examples: &[u32], features: usize, to: &mut Vec<f64>) -> Result<()> {
        to.clear();
        match self {
            Inputs::Bytes { values, .. } => extend(to, values, examples, features, f64::from)?,
            Inputs::Floats(values) => extend(to, values, examples, features, f64::from)?,
            Inputs::Doubles(values) => extend(to, values, examples, features, |x| x)?,
            Inputs::Mapped(mapped) => mapped.numbers(examples, to)?,
        }
        Ok(())
    }

    /// Inputs in memory, from what was gathered from these.
    pub(crate) fn of_picked(&self, picked: Picked) -> Inputs {
        match picked {
            Picked::Bytes(values) => Inputs::Bytes { values, scale: self.byte_scale().unwrap_or(1.0) },
            Picked::Floats(values) => Inputs::Floats(values),
        }
    }

    /// Calls `each` with the inputs of examples in order, a block at a time, and the index of the
    /// first.
    ///
    /// # Errors
    /// As [`Inputs::pick`], and errors of `each`.
    #[doc(hidden)]
    pub fn each_block(
        &self,
        examples: impl IntoIterator<Item = u32>,
        features: usize,
        mut each: impl FnMut(usize, &Picked) -> Result<()>,
    ) -> Result<()> {
        let mut picked = Picked::default();
        in_blocks(examples, features, |first, block| {
            self.pick(block, features, &mut picked)?;
            each(first, &picked)
        })
    }

    /// As [`Inputs::each_block`], with 64-bit numbers; raw numbers are as in the file.
    ///
    /// # Errors
    /// As [`Inputs::each_block`].
    pub(super) fn each_block_of_numbers(
        &self,
        examples: impl IntoIterator<Item = u32>,
        features: usize,
        mut each: impl FnMut(usize, &[f64]) -> Result<()>,
    ) -> Result<()> {
        let mut numbers = Vec::new();
        in_blocks(examples, features, |first, block| {
            self.numbers(block, features, &mut numbers)?;
            each(first, &numbers)
        })
    }

    /// The largest byte of `examples`, or the first one found above `enough`; 0 if inputs are not
    /// bytes.
    ///
    /// # Errors
    /// As [`Inputs::pick`].
    pub(super) fn largest_byte(&self, examples: &[u32], features: usize, enough: u8) -> Result<u8> {
        let (mut largest, mut picked) = (0, Picked::default());
        for block in examples.chunks((BLOCK / features.max(1)).max(1)) {
            self.pick(block, features, &mut picked)?;
            if let Picked::Bytes(values) = &picked {
                largest = values.iter().fold(largest, |largest, &byte| largest.max(byte));
            }
            if largest > enough {
                break;
            }
        }
        Ok(largest)
    }

    /// # Errors
    /// An input that is NaN or infinite; of `features` inputs for each example.
    pub(crate) fn check_finite(&self, features: usize) -> Result<()> {
        self.check(features, |x| x.is_finite(), "")
    }

    /// Checks every input that is not a byte; `what` follows a wrong number in the message.
    fn check(&self, features: usize, is_right: impl Fn(f64) -> bool, what: &str) -> Result<()> {
        let wrong = |first: usize, at: usize, value: f64| {
            // Large numbers in scientific notation.
            let value = if value.abs() < 1e16 { value.to_string() } else { format!("{value:e}") };
            bail!("input {} of example {} is {value}{what}", at % features + 1, first + at / features + 1)
        };
        match self {
            Inputs::Floats(values) => match values.iter().position(|&x| !is_right(x.into())) {
                Some(at) => wrong(0, at, values[at].into()),
                None => Ok(()),
            },
            Inputs::Mapped(mapped) if mapped.byte_scale().is_some() => Ok(()),
            Inputs::Doubles(_) | Inputs::Mapped(_) => {
                let examples = 0..(self.len() / features) as u32;
                self.each_block_of_numbers(examples, features, |first, values| {
                    match values.iter().position(|&x| !is_right(x)) {
                        Some(at) => wrong(first, at, values[at]),
                        None => Ok(()),
                    }
                })
            }
            Inputs::Bytes { .. } => Ok(()),
        }
    }

    /// # Errors
    /// A number outside the range of 32-bit floats; of `features` inputs for each example.
    pub(crate) fn check_fits_floats(&self, features: usize) -> Result<()> {
        let is_wide = match self {
            Inputs::Doubles(_) => true,
            Inputs::Mapped(mapped) => mapped.is_wide(),
            Inputs::Bytes { .. } | Inputs::Floats(_) => false,
        };
        let fits = |x: f64| !x.is_finite() || (x as f32).is_finite();
        if is_wide {
            self.check(features, fits, ", more than 32-bit floats can hold: scale inputs (--scale)")?;
        }
        Ok(())
    }

    /// Activations that are the numbers themselves, as 32-bit floats.
    ///
    /// # Errors
    /// A number outside the range of 32-bit floats.
    pub(super) fn unscaled(self, features: usize) -> Result<Self> {
        self.check_fits_floats(features)?;
        Ok(match self {
            Inputs::Doubles(values) => Inputs::Floats(values.into_iter().map(|x| x as f32).collect()),
            same => same,
        })
    }

    /// Keeps only `examples`, which ascend, of `features` inputs each.
    pub(super) fn keep(&mut self, examples: &[u32], features: usize) {
        fn keep<T: Copy>(values: &mut Vec<T>, examples: &[u32], features: usize) {
            for (to, &from) in examples.iter().enumerate() {
                values.copy_within(from as usize * features..(from as usize + 1) * features, to * features);
            }
            values.truncate(examples.len() * features);
            values.shrink_to_fit();
        }
        match self {
            Inputs::Bytes { values, .. } => keep(values, examples, features),
            Inputs::Floats(values) => keep(values, examples, features),
            Inputs::Doubles(values) => keep(values, examples, features),
            Inputs::Mapped(mapped) => mapped.keep(examples),
        }
    }

    /// The same bytes with another scale; floats stay as they are.
    pub(super) fn with_byte_scale(mut self, new: f32) -> Self {
        match &mut self {
            Inputs::Bytes { scale, .. } => *scale = new,
            Inputs::Floats(_) | Inputs::Doubles(_) => {}
            Inputs::Mapped(mapped) => mapped.set_byte_scale(new),
        }
        self
    }

    /// Activations (x − offset) · scale, with an offset and a scale for each input of an example.
    pub(super) fn scaled(self, numbers: &[(f64, f64)]) -> Self {
        let activation = |i: usize, x: f64| scaled(numbers[i % numbers.len()], x);
        match self {
            Inputs::Bytes { values, .. } => {
                Inputs::Floats(values.iter().enumerate().map(|(i, &byte)| activation(i, f64::from(byte))).collect())
            }
            Inputs::Floats(mut values) => {
                values.iter_mut().enumerate().for_each(|(i, x)| *x = activation(i, f64::from(*x)));
                Inputs::Floats(values)
            }
            Inputs::Doubles(values) => {
                Inputs::Floats(values.into_iter().enumerate().map(|(i, x)| activation(i, x)).collect())
            }
            Inputs::Mapped(mapped) => Inputs::Mapped(mapped.scaled(numbers)),
        }
    }

    /// These inputs as parts, to which inputs in files can be appended.
    fn into_mapped(self, features: usize) -> Mapped {
        match self {
            Inputs::Bytes { values, scale } => Mapped::of_bytes(values, scale, features),
            Inputs::Floats(values) => Mapped::of_floats(values, features),
            Inputs::Doubles(values) => Mapped::of_doubles(values, features),
            Inputs::Mapped(mapped) => mapped,
        }
    }

    /// Checks that other inputs can be appended.
    ///
    /// # Errors
    /// Bytes with another scale or floats where `self` has bytes.
    pub(super) fn check_type_of(&self, other: &Inputs) -> Result<()> {
        // Bytes are scaled and floats are not: the two would not mean the same.
        if self.byte_scale() != other.byte_scale() {
            bail!("its inputs are of a different type from those of the training data");
        }
        Ok(())
    }

    /// Appends the inputs of other examples, which have `features` inputs each as well.
    ///
    /// # Errors
    /// Bytes with another scale or floats where `self` has bytes.
    pub(super) fn append(&mut self, other: Inputs, features: usize) -> Result<()> {
        self.check_type_of(&other)?;
        match (&mut *self, other) {
            (Inputs::Bytes { values, .. }, Inputs::Bytes { values: more, .. }) => values.extend(more),
            (Inputs::Floats(values), Inputs::Floats(more)) => values.extend(more),
            (Inputs::Doubles(values), Inputs::Doubles(more)) => values.extend(more),
            (Inputs::Doubles(values), Inputs::Floats(more)) => values.extend(more.into_iter().map(f64::from)),
            (Inputs::Floats(values), Inputs::Doubles(more)) => {
                *self = Inputs::Doubles(values.iter().map(|&x| f64::from(x)).chain(more).collect());
            }
            (_, other) => {
                let mut mapped = std::mem::replace(self, Inputs::Floats(Vec::new())).into_mapped(features);
                mapped.append(other.into_mapped(features));
                *self = Inputs::Mapped(mapped);
            }
        }
        Ok(())
    }
}
