//! Known mistakes, planted in the plan of a step to show, in a classroom, how the check finds them.

use anyhow::Result;

use crate::backprop::{
    Matrices, bp1_output_error, bp2_backpropagate, bp3_nabla_b, bp4_nabla_w, descend, feedforward, pick_examples,
    weigh_examples,
};
use crate::kernel::product::Form;
use crate::network::activation::LINEAR;
use crate::network::cost::{MeasuredFrom, QUADRATIC};
use crate::network::learning::LearningRule;
use crate::network::{Layers, Topology};
use crate::plan::examples::Examples;
use crate::plan::{Equation, Matrix, Plan, Recorder};
use crate::system::error::ensure_usage;

/// Matrices that a plan needs besides its own, and their entries.
pub type Given = Vec<(Matrix, Vec<f32>)>;

/// A mistake in one of the equations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// BP1 without σ′(zᴸ), or with it if it should cancel.
    Bp1,
    /// BP2 without σ′(zˡ).
    Bp2,
    /// BP2 with wˡ⁺¹ in the place of its transpose.
    Bp2Transposed,
    /// BP3 with the opposite sign.
    Bp3,
    /// BP4 not divided by m.
    Bp4,
}

impl Mistake {
    /// Each mistake with its name and description.
    pub const ALL: [(&'static str, &'static str, Mistake); 5] = [
        ("bp1", "BP1 without σ′(z) of the output layer, or with it if it cancels", Mistake::Bp1),
        ("bp2", "BP2 without σ′(z) of the hidden layers", Mistake::Bp2),
        (
            "bp2-transposed",
            "BP2 with w instead of its transpose; for hidden layers of equal width",
            Mistake::Bp2Transposed,
        ),
        ("bp3", "BP3 with the opposite sign", Mistake::Bp3),
        ("bp4", "BP4 not divided by the size of the mini-batch", Mistake::Bp4),
    ];

    /// The equation in which it is made.
    pub fn equation(self) -> Equation {
        match self {
            Mistake::Bp1 => Equation::Bp1,
            Mistake::Bp2 | Mistake::Bp2Transposed => Equation::Bp2,
            Mistake::Bp3 => Equation::Bp3,
            Mistake::Bp4 => Equation::Bp4,
        }
    }

    /// Checks that the mistake can be made in a network.
    ///
    /// # Errors
    /// A network without hidden layers, without two adjacent layers of one width, or a mini-batch
    /// of one example ([`WrongUsage`](crate::system::error::WrongUsage)), where the mistake needs
    /// them.
    pub fn check(self, topology: &Topology, m: usize) -> Result<()> {
        let last = topology.last();
        ensure_usage!(
            last > 2 || !matches!(self, Mistake::Bp2 | Mistake::Bp2Transposed),
            "--break {}: {topology} has no hidden layer, so BP2 is not used; use --hidden {}, say",
            if self == Mistake::Bp2 { "bp2" } else { "bp2-transposed" },
            if self == Mistake::Bp2 { "30" } else { "20,20" }
        );
        ensure_usage!(
            self != Mistake::Bp2Transposed || (2..last).any(|l| topology.n[l] == topology.n[l + 1]),
            "--break bp2-transposed: no two adjacent layers of {topology} after the first have equal width; use \
             --hidden 20,20, say"
        );
        ensure_usage!(
            self != Mistake::Bp4 || m > 1,
            "--break bp4 with --batch 1: nothing is divided; use --batch 10, say"
        );
        Ok(())
    }

    /// The plan of a step with the mistake, and the matrices that it needs besides, with their
    /// entries.
    ///
    /// # Errors
    /// As [`training_plan`](crate::backprop::training_plan).
    pub fn plan(self, topology: &Topology, examples: &Examples, m: usize, rule: LearningRule) -> Result<(Plan, Given)> {
        let net = Matrices::new(topology, m);
        let mut plan = Recorder::new(format!("one step of gradient descent with a mistake ({topology})"));
        pick_examples(&mut plan, examples, &net);
        feedforward(&mut plan, topology, rule.dropout, &net);
        if self == Mistake::Bp1 {
            without_prime(&mut plan, topology, &net);
        } else {
            bp1_output_error(&mut plan, topology, &net);
        }
        weigh_examples(&mut plan, topology, examples, &net);
        match self {
            Mistake::Bp2 | Mistake::Bp2Transposed => self.backpropagate(&mut plan, topology, rule.dropout, &net),
            _ => bp2_backpropagate(&mut plan, topology, rule.dropout, &net),
        }
        bp3_nabla_b(&mut plan, topology, &net);
        bp4_nabla_w(&mut plan, topology, rule.dropout, &net);
        let (net, given) = self.scaled(&mut plan, topology, net);
        descend(&mut plan, topology, rule, &net);
        Ok((plan.finish()?, given))
    }

    fn backpropagate(self, plan: &mut Recorder, topology: &Topology, dropout: f32, net: &Matrices) {
        plan.equation(Equation::Bp2);
        for l in (2..topology.last()).rev() {
            let transposed = self == Mistake::Bp2Transposed && topology.n[l] == topology.n[l + 1];
            let form = if transposed { Form::Nt } else { Form::Nn };
            plan.matmul(form, &net.delta[l + 1], &net.w[l + 1], &net.nabla_a[l]);
            let sigma = if self == Mistake::Bp2 { &LINEAR } else { topology.sigma(l) };
            plan.activate_prime(sigma, &net.a[l], &net.sigma_prime[l]);
            let all = if dropout > 0.0 { &net.all_delta[l] } else { &net.delta[l] };
            plan.hadamard(&net.nabla_a[l], &net.sigma_prime[l], all);
            if dropout > 0.0 {
                plan.dropout(l, dropout, &net.all_delta[l], &net.delta[l]);
            }
        }
    }

    /// Multiplies gradients by a wrong factor: −1, or m.
    fn scaled(self, plan: &mut Recorder, topology: &Topology, net: Matrices) -> (Matrices, Given) {
        let factor = match self {
            Mistake::Bp3 => -1.0,
            Mistake::Bp4 => net.m as f32,
            Mistake::Bp1 | Mistake::Bp2 | Mistake::Bp2Transposed => return (net, Vec::new()),
        };
        plan.equation(self.equation());
        let last = topology.last();
        let n = |l: usize| topology.n[l];
        let factors = Layers::new(2, last, |l| Matrix::new(format!("factor{l}"), n(l), n(l)));
        let wrong = Layers::new(2, last, |l| match self {
            Mistake::Bp3 => Matrix::new(format!("wrong_nabla_b{l}"), 1, n(l)),
            _ => Matrix::new(format!("wrong_nabla_w{l}"), n(l), n(l - 1)),
        });
        for (l, factor) in factors.iter() {
            match self {
                Mistake::Bp3 => plan.matmul(Form::Nn, &net.nabla_b[l], factor, &wrong[l]),
                _ => plan.matmul(Form::Nn, factor, &net.nabla_w[l], &wrong[l]),
            }
        }
        let diagonal = |matrix: &Matrix| {
            let entry = |i: usize| if i / matrix.cols == i % matrix.cols { factor } else { 0.0 };
            (matrix.clone(), (0..matrix.len()).map(entry).collect())
        };
        let given = factors.iter().map(|(_, matrix)| diagonal(matrix)).collect();
        let net =
            if self == Mistake::Bp3 { Matrices { nabla_b: wrong, ..net } } else { Matrices { nabla_w: wrong, ..net } };
        (net, given)
    }
}

/// BP1 with σ′ if it should cancel, otherwise without it.
fn without_prime(plan: &mut Recorder, topology: &Topology, net: &Matrices) {
    plan.equation(Equation::Bp1);
    let l = topology.last();
    let cancels = topology.cost.measured == MeasuredFrom::WeightedInput;
    let sigma = if cancels { topology.output } else { &LINEAR };
    plan.activate_prime(sigma, &net.a[l], &net.sigma_prime[l]);
    plan.output_error(&QUADRATIC, &net.a[l], &net.y, &net.sigma_prime[l], &net.delta[l]);
}
