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
        let computed = rounding(&Analysis {
            invocation: step.invocation(mini_batch),
            matrices: &step.operands,
            multiplies: step.multiplies,
            known: self,
        })?;
        for (matrix, numbers) in step.outputs().zip(computed) {
            self.compute(matrix, numbers);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Matrix;
    use crate::kernel::product::{ERROR_SCALE, Form, Precision};
    use crate::plan::Recorder;

    /// The form of a product with square weights cannot be seen from their shape. In mixed precision errors are scaled before they
    /// are rounded to 16 bits, in BP2 as elsewhere, so that small ones do not underflow.
    #[test]
    fn the_form_of_a_product_with_square_weights_is_the_recorded_one() {
        for n in [1, 3] {
            let bound = |form| {
                let [x, y, z] = [("x", 2), ("y", n), ("z", 2)].map(|(name, rows)| Matrix::new(name, rows, n));
                let mut recorder = Recorder::new("a product".to_string());
                recorder.matmul(form, &x, &y, &z);
                let plan = recorder.finish().expect("shapes that fit");
                let mut known = Knowledge::of(Precision::Mixed);
                known.give(&x, bytemuck::cast_slice(&vec![0f32; 2 * n]).to_vec());
                known.give(&y, bytemuck::cast_slice(&vec![1f32; n * n]).to_vec());
                known.apply(&plan.steps[0], MiniBatch::default()).expect("known factors");
                known.computed(&z).expect("a product").errors[0]
            };
            // Of factors 0 and 1 only underflow of the first is left, beside the smallest numbers of 32 bits.
            let ratio = bound(Form::Nt) / bound(Form::Nn);
            assert!((ratio / f64::from(ERROR_SCALE) - 1.0).abs() < 0.01, "{n}: {ratio}");
        }
    }
}
