//! The matrices of a plan in 64 bits, with bounds of how far rounding may take them: step by step, by the
//! analysis that each kernel has of itself. A fused step is analysed as the primitives it replaces.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::kernel::product::Precision;
use crate::kernel::rounding::{Analysis, Known, Numbers};
use crate::kernel::{Matrix, MiniBatch, Specification};
use crate::plan::Step;

#[derive(Clone, Debug)]
enum Held {
    /// The bytes that every device is given.
    Given(Arc<[u8]>),
    Computed(Arc<Numbers>),
}

/// Every matrix of a plan, as far as it is known; a copy is cheap.
#[derive(Clone, Default, Debug)]
pub struct Knowledge {
    held: HashMap<Arc<str>, Held>,
    precision: Precision,
}

impl Known for Knowledge {
    fn numbers(&self, matrix: &Matrix) -> Result<Cow<'_, Numbers>> {
        if let Some(Held::Computed(numbers)) = self.held.get(&matrix.name) {
            return Ok(Cow::Borrowed(numbers));
        }
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(self.bytes(matrix)?);
        Ok(Cow::Owned(Numbers::exact(values.into_iter().map(f64::from).collect())))
    }

    fn bytes(&self, matrix: &Matrix) -> Result<&[u8]> {
        self.given(matrix).with_context(|| format!("nothing is known of {matrix}"))
    }
}

impl Knowledge {
    /// Nothing known yet, of devices whose products have this precision, or a better one.
    pub fn of(precision: Precision) -> Self {
        Knowledge { held: HashMap::new(), precision }
    }

    /// Notes the entries of a matrix, the same on every device.
    pub fn give(&mut self, matrix: &Matrix, bytes: Vec<u8>) {
        self.held.insert(Arc::clone(&matrix.name), Held::Given(bytes.into()));
    }

    /// The entries of a matrix on every device; `None` where each has computed its own.
    pub fn given(&self, matrix: &Matrix) -> Option<&[u8]> {
        match self.held.get(&matrix.name)? {
            Held::Given(bytes) => bytes.get(..matrix.size()),
            Held::Computed(_) => None,
        }
    }

    /// The entries that a step has computed; `None` for whole numbers, which do not round.
    pub fn computed(&self, matrix: &Matrix) -> Option<&Numbers> {
        match self.held.get(&matrix.name)? {
            Held::Computed(numbers) => Some(numbers),
            Held::Given(_) => None,
        }
    }

    /// Computes a primitive step.
    ///
    /// # Errors
    /// A matrix of which nothing is known, or a fused step.
    pub fn apply(&mut self, step: &Step, mini_batch: MiniBatch) -> Result<()> {
        let Specification::Twin { rounding, .. } = step.kernel.specification else {
            bail!("{} is fused: its parts are analysed", step.kernel.name)
        };
        let computed = rounding(&Analysis {
            invocation: step.invocation(mini_batch),
            matrices: &step.operands,
            precision: self.precision,
            known: self,
        })?;
        for (matrix, numbers) in step.outputs().zip(computed) {
            match numbers {
                Some(numbers) => self.held.insert(Arc::clone(&matrix.name), Held::Computed(Arc::new(numbers))),
                None => self.held.remove(&matrix.name),
            };
        }
        Ok(())
    }
}
