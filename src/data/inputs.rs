//! The inputs of all examples, in memory or in files that are mapped into it.

use anyhow::{Result, bail};

use super::mapped::Mapped;
use super::picked::{Picked, scaled};

/// Entries that are looked at together where all of them are gone through.
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
    /// Floats, as they are.
    Floats(Vec<f32>),
    /// Bytes or floats that stay in their files and are decoded when they are picked.
    Mapped(Mapped),
}

/// Inputs of each example, all inputs, and the number of examples.
pub type Images = (usize, Inputs, usize);

impl Inputs {
    /// Number of inputs of all examples together.
    pub(crate) fn len(&self) -> usize {
        match self {
            Inputs::Bytes { values, .. } => values.len(),
            Inputs::Floats(values) => values.len(),
            Inputs::Mapped(mapped) => mapped.len(),
        }
    }

    /// Bytes that the inputs take in files that are mapped; `None` where all are in memory.
    pub(crate) fn mapped_size(&self) -> Option<u64> {
        match self {
            Inputs::Bytes { .. } | Inputs::Floats(_) => None,
            Inputs::Mapped(mapped) => Some(mapped.size()),
        }
    }

    /// Activation of a byte of 1; `None` where inputs are floats.
    pub fn byte_scale(&self) -> Option<f32> {
        match self {
            Inputs::Bytes { scale, .. } => Some(*scale),
            Inputs::Floats(_) => None,
            Inputs::Mapped(mapped) => mapped.byte_scale(),
        }
    }

    /// Picks the inputs of `examples`, of `features` inputs each, in this order.
    ///
    /// # Errors
    /// A file that is no longer what it was.
    pub fn pick(&self, examples: &[u32], features: usize, picked: &mut Picked) -> Result<()> {
        fn extend<T: Copy>(to: &mut Vec<T>, values: &[T], examples: &[u32], features: usize) {
            to.reserve(examples.len() * features);
            for &example in examples {
                to.extend_from_slice(&values[example as usize * features..][..features]);
            }
        }
        match self {
            Inputs::Bytes { values, .. } => extend(picked.cleared_bytes(), values, examples, features),
            Inputs::Floats(values) => extend(picked.cleared_floats(), values, examples, features),
            Inputs::Mapped(mapped) => mapped.pick(examples, picked)?,
        }
        Ok(())
    }

    /// Inputs in memory, of what was picked from these.
    pub(crate) fn of_picked(&self, picked: Picked) -> Inputs {
        match picked {
            Picked::Bytes(values) => Inputs::Bytes { values, scale: self.byte_scale().unwrap_or(1.0) },
            Picked::Floats(values) => Inputs::Floats(values),
        }
    }

    /// Calls `each` with the inputs of examples in order, some at a time, and the number of the first.
    ///
    /// # Errors
    /// As [`Inputs::pick`], and errors of `each`.
    pub fn each_block(
        &self,
        examples: impl IntoIterator<Item = u32>,
        features: usize,
        mut each: impl FnMut(usize, &Picked) -> Result<()>,
    ) -> Result<()> {
        let most = (BLOCK / features.max(1)).max(1).next_multiple_of(4);
        let (mut examples, mut numbers, mut picked) = (examples.into_iter(), Vec::new(), Picked::default());
        let mut first = 0;
        loop {
            numbers.clear();
            numbers.extend(examples.by_ref().take(most));
            if numbers.is_empty() {
                return Ok(());
            }
            self.pick(&numbers, features, &mut picked)?;
            each(first, &picked)?;
            first += numbers.len();
        }
    }

    /// # Errors
    /// An input that is NaN or infinite; of `features` inputs for each example.
    pub(super) fn check_finite(&self, features: usize) -> Result<()> {
        let check = |first: usize, values: &[f32]| match values.iter().position(|value| !value.is_finite()) {
            Some(at) => bail!("input {} of example {} is {}", at % features + 1, first + at / features + 1, values[at]),
            None => Ok(()),
        };
        match self {
            Inputs::Floats(values) => check(0, values),
            Inputs::Mapped(mapped) if mapped.byte_scale().is_none() => {
                self.each_block(0..(self.len() / features) as u32, features, |first, picked| match picked {
                    Picked::Bytes(_) => Ok(()),
                    Picked::Floats(values) => check(first, values),
                })
            }
            Inputs::Bytes { .. } | Inputs::Mapped(_) => Ok(()),
        }
    }

    /// Keeps `examples`, ascending, of `features` inputs each.
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
            Inputs::Mapped(mapped) => mapped.keep(examples),
        }
    }

    /// The same bytes with another scale; floats as they are.
    pub(super) fn with_byte_scale(mut self, new: f32) -> Self {
        match &mut self {
            Inputs::Bytes { scale, .. } => *scale = new,
            Inputs::Floats(_) => {}
            Inputs::Mapped(mapped) => mapped.set_byte_scale(new),
        }
        self
    }

    /// Activations (x − offset) · scale, of an offset and a scale for each input of an example.
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
            Inputs::Mapped(mapped) => Inputs::Mapped(mapped.scaled(numbers)),
        }
    }

    /// The same inputs as parts, to which others can be added that are in files.
    fn into_mapped(self, features: usize) -> Mapped {
        match self {
            Inputs::Bytes { values, scale } => Mapped::of_bytes(values, scale, features),
            Inputs::Floats(values) => Mapped::of_floats(values, features),
            Inputs::Mapped(mapped) => mapped,
        }
    }

    /// Appends the inputs of other examples, of `features` inputs each, too.
    ///
    /// # Errors
    /// Bytes with another scale or floats where `self` has bytes.
    pub(super) fn append(&mut self, other: Inputs, features: usize) -> Result<()> {
        // Bytes are scaled and floats are not: the two would not mean the same.
        if self.byte_scale() != other.byte_scale() {
            bail!("its inputs are of another type than those of the training data");
        }
        match (&mut *self, other) {
            (Inputs::Bytes { values, .. }, Inputs::Bytes { values: more, .. }) => values.extend(more),
            (Inputs::Floats(values), Inputs::Floats(more)) => values.extend(more),
            (_, other) => {
                let mut mapped = std::mem::replace(self, Inputs::Floats(Vec::new())).into_mapped(features);
                mapped.append(other.into_mapped(features));
                *self = Inputs::Mapped(mapped);
            }
        }
        Ok(())
    }
}
