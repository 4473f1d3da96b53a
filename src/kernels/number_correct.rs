//! Number of examples of a mini-batch that the network classifies correctly.

use anyhow::Result;

use super::Shape;
use crate::kernel::rounding::{Analysis, Numbers};
use crate::kernel::{Binding, Call, Element, Kernel, Matrix, Params, Specification};
use crate::plan::{Details, Recorder};

/// `counts[slot]` = number of examples whose largest output is that of the desired class.
pub static NUMBER_CORRECT: Kernel = Kernel {
    name: "number_correct",
    formula: "counts[slot] = Σ_x (argmax a[x] == argmax y[x])",
    shader: include_str!("../../shaders/number_correct.wgsl"),
    bindings: &[Binding::read("a"), Binding::read("y"), Binding { element: Element::U32, ..Binding::write("counts") }],
    params: Shape::FIELDS,
    specification: Specification::Twin { compute, rounding },
    ..super::REDUCTION
};

impl Recorder {
    /// `counts[slot]` = number of rows where a and y have their largest entry (of equal ones, the
    /// first) in the same column: a and y `(m, n[L])`, counts (slots, 1); `slot` is that of the
    /// [`MiniBatch`](crate::kernel::MiniBatch).
    pub fn number_correct(&mut self, a: &Matrix, y: &Matrix, counts: &Matrix) {
        self.expect_shape(&NUMBER_CORRECT, y, a.shape());
        self.expect_shape(&NUMBER_CORRECT, counts, (counts.rows, 1));
        let params = Shape::of(a);
        let formula = format!("{} = Σₓ correct({}, {})", counts.name, a.name, y.name);
        let size = super::REDUCTION_SIZE as usize;
        let iterations = a.rows.div_ceil(size) * (a.cols + 1) + size;
        self.step(&NUMBER_CORRECT, formula, &[a, y, counts], params, Details { iterations, ..Details::default() });
    }
}

fn compute(call: &mut Call<'_>) {
    let p: Shape = call.params();
    let slot = call.mini_batch.slot as usize;
    let [a, y, counts] = call.operands();
    let rows = a.f32().chunks_exact(p.cols as usize).zip(y.f32().chunks_exact(p.cols as usize));
    counts.u32_mut()[slot] = rows.filter(|(a, y)| argmax(a) == argmax(y)).count() as u32;
}

/// The index of the largest entry, the first of equal ones: the class predicted by outputs.
pub fn argmax(row: &[f32]) -> usize {
    let (mut best, mut largest) = (0, row[0]);
    for (j, &value) in row.iter().enumerate() {
        // No branch: it would be unpredictable.
        let larger = value > largest;
        best = std::hint::select_unpredictable(larger, j, best);
        largest = std::hint::select_unpredictable(larger, value, largest);
    }
    best
}

/// Counts are integers: equal or wrong.
fn rounding(_: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    Ok(vec![None])
}
