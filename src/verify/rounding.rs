//! The matrices of a plan in 64 bits, with bounds of their rounding errors, computed step by step
//! by the analysis of each kernel. A fused step is analysed as the primitives it replaces.

use anyhow::{Result, bail};

pub use crate::kernel::rounding::Knowledge;

use crate::kernel::rounding::Analysis;
use crate::kernel::{MiniBatch, Specification};
use crate::plan::Step;

impl Knowledge {
    /// Computes a primitive step.
    ///
    /// # Errors
    /// An unknown matrix, or a fused step.
    pub fn apply(&mut self, step: &Step, mini_batch: MiniBatch) -> Result<()> {
        let Specification::Twin { rounding, .. } = step.kernel.specification else {
            bail!("{} is fused: its parts are analysed", step.kernel.name)
        };
        let computed =
            rounding(&Analysis { invocation: step.invocation(mini_batch), matrices: &step.operands, known: self })?;
        for (matrix, numbers) in step.outputs().zip(computed) {
            self.compute(matrix, numbers);
        }
        Ok(())
    }
}
