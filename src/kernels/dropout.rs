//! Dropout: neurons of hidden layers that are left out at random.

use anyhow::Result;

use crate::kernel::rounding::{Analysis, EPSILON, Numbers, SMALLEST};
use crate::kernel::{Binding, Call, Kernel, Matrix, Params, Specification};
use crate::network::learning::Dropout;
use crate::plan::{Details, Recorder};

crate::shared_struct! {
    /// The parameters of dropout, as in [`Dropout`].
    pub struct DropoutParams {
        /// Number of entries.
        len: u32,
        /// The layer.
        layer: u32,
        /// Entries whose random number is below this are dropped.
        threshold: u32,
        /// 1/(1 − p).
        factor: f32,
    }
}

impl DropoutParams {
    /// The same as a [`Dropout`].
    pub fn dropout(&self) -> Dropout {
        Dropout { layer: self.layer, threshold: self.threshold, factor: self.factor }
    }
}

/// y = x ⊙ mask/(1 − p).
pub static DROPOUT: Kernel = Kernel {
    name: "dropout",
    formula: "y = x ⊙ mask/(1 - p)",
    shader: concat!(include_str!("../../shaders/dropout.wgsl"), include_str!("../../shaders/shared/dropout.wgsl")),
    bindings: &[Binding::read("x"), Binding::write("y")],
    params: DropoutParams::FIELDS,
    reads_mini_batch: true,
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// y = x ⊙ mask/(1 − p) for layer `l`: x and y `(m, n[l])`. The mask is the same in both
    /// directions; seed and step are those of the [`MiniBatch`](crate::kernel::MiniBatch).
    pub fn dropout(&mut self, l: usize, p: f32, x: &Matrix, y: &Matrix) {
        self.expect_shape(&DROPOUT, y, x.shape());
        let Dropout { layer, threshold, factor } = Dropout::new(l, p);
        let params = DropoutParams { len: x.len() as u32, layer, threshold, factor };
        let formula = format!("{} = {} ⊙ mask{l}/{}", y.name, x.name, 1.0 - p);
        self.step(&DROPOUT, formula, &[x, y], params, Details::default());
    }
}

fn compute(call: &mut Call<'_>) {
    let (dropout, step, seed) = (call.params::<DropoutParams>().dropout(), call.mini_batch.step, call.mini_batch.seed);
    let [x, y] = call.operands();
    for (i, (y, x)) in (0..).zip(y.f32_mut().iter_mut().zip(x.f32())) {
        *y = x * dropout.factor(i, step, seed);
    }
}

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let dropout = analysis.invocation.params::<DropoutParams>().dropout();
    let (step, seed) = (analysis.invocation.mini_batch.step, analysis.invocation.mini_batch.seed);
    let x = analysis.numbers(0)?;
    let entries = (0..).zip(x.iter()).map(|(i, (x, off))| {
        let factor = f64::from(dropout.factor(i, step, seed));
        (factor * x, factor * off + EPSILON * (factor * x).abs() + SMALLEST)
    });
    Ok(vec![Some(Numbers::from_entries(entries))])
}
