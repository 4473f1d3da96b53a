//! One step of an optimizer.

use anyhow::Result;

use crate::kernel::rounding::{Analysis, Numbers, change};
use crate::kernel::{Binding, Call, Kernel, Matrix, Params, Slot, Specification};
use crate::network::optimizer::{Exact, MAX_STATES, Optimizer};
use crate::plan::Recorder;

crate::shared_struct! {
    /// The parameters of [`UPDATE`].
    pub struct UpdateParams {
        /// Entries of w.
        len: u32,
        /// m
        examples: u32,
    }
}

/// w and its state, updated by one step of the optimizer.
pub static UPDATE: Kernel = Kernel {
    name: "update",
    formula: "w follows (1/m) nabla_w",
    shader: include_str!("../../shaders/update.wgsl"),
    bindings: &[Binding::read("nabla_w"), Binding::update("w")],
    stateful: &["w"],
    params: UpdateParams::FIELDS,
    reads_mini_batch: true,
    snippets: &[Slot::Optimizer],
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

/// The state that an optimizer keeps beside a parameter: matrices of its shape, such as `w2.velocity`.
pub fn state_of(optimizer: &Optimizer, parameter: &Matrix) -> Vec<Matrix> {
    let beside = |state: &&str| Matrix::new(format!("{}.{state}", parameter.name), parameter.rows, parameter.cols);
    optimizer.states.iter().map(beside).collect()
}

impl Recorder {
    /// The step of `optimizer` for w and nabla_w of one shape, or for biases. nabla_w is summed
    /// over `examples` = m; η and coefficients are those of the
    /// [`MiniBatch`](crate::kernel::MiniBatch).
    pub fn update(&mut self, optimizer: &'static Optimizer, examples: usize, nabla_w: &Matrix, w: &Matrix) {
        self.expect_shape(&UPDATE, nabla_w, w.shape());
        let params = UpdateParams { len: w.len() as u32, examples: examples as u32 };
        let state = state_of(optimizer, w);
        let operands: Vec<&Matrix> = [nabla_w, w].into_iter().chain(&state).collect();
        let formula = (optimizer.formula)(&w.name, &nabla_w.name, &examples.to_string());
        self.step(&UPDATE, formula, &operands, params, optimizer.into());
    }
}

fn compute(call: &mut Call<'_>) {
    let optimizer = call.optimizer();
    let rates = call.mini_batch.rates(call.params::<UpdateParams>().examples as usize);
    let [nabla_w, w, state @ ..] = &mut call.operands[..] else { panic!("update has two operands") };
    for (i, (w, &gradient)) in w.f32_mut().iter_mut().zip(nabla_w.f32()).enumerate() {
        let mut entry = [0.0; MAX_STATES + 1];
        entry[0] = *w;
        for (old, state) in entry[1..].iter_mut().zip(&*state) {
            *old = state.f32()[i];
        }
        let entry = (optimizer.update)(entry, gradient, &rates);
        *w = entry[0];
        for (new, state) in entry[1..].iter().zip(state.iter_mut()) {
            state.f32_mut()[i] = *new;
        }
    }
}

/// Errors of the gradient and of each old entry, propagated to each new entry, add up.
fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let optimizer = analysis.invocation.optimizer();
    let rates = analysis.invocation.mini_batch.rates(analysis.invocation.params::<UpdateParams>().examples as usize);
    let states = optimizer.states.len();
    // The gradient, the parameter and its states.
    let old: Vec<_> = (0..states + 2).map(|operand| analysis.numbers(operand)).collect::<Result<_>>()?;
    let mut new = vec![Numbers::default(); states + 1];
    for i in 0..old[0].values.len() {
        let exact: Vec<f64> = old.iter().map(|numbers| numbers.values[i]).collect();
        let update = |numbers: &[f64]| -> Exact {
            let mut entry = [0.0; MAX_STATES + 1];
            entry.iter_mut().zip(&numbers[1..]).for_each(|(entry, &number)| *entry = number as f32);
            (optimizer.update)(entry, numbers[0] as f32, &rates).map(f64::from)
        };
        let entry = update(&exact);
        let mut before = Exact::default();
        before.iter_mut().zip(&exact[1..]).for_each(|(before, &exact)| *before = exact);
        let errors = (optimizer.error)(&before, exact[0], &rates, &entry);
        for (s, new) in new.iter_mut().enumerate() {
            let with = |operand: usize, value: f64| {
                let mut numbers = exact.clone();
                numbers[operand] = value;
                update(&numbers)[s]
            };
            // A gradient that is only rounding error may change the sign of an update: sample the
            // update over the gradient's error interval, because the slope at one point does not
            // bound it.
            let off = old[0].errors[i];
            let nearby = [-off, -off / 2.0, off / 2.0, off].map(|off| (with(0, exact[0] + off) - entry[s]).abs());
            let of_gradient = if off.is_finite() { nearby.into_iter().fold(0.0, f64::max) } else { f64::INFINITY };
            let carried =
                |operand: usize| change(|value| with(operand, value), exact[operand], old[operand].errors[i], &[]);
            new.values.push(entry[s]);
            new.errors.push(of_gradient + (1..states + 2).map(carried).sum::<f64>() + errors[s]);
        }
    }
    Ok(new.into_iter().map(Some).collect())
}
