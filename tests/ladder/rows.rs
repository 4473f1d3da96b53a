//! Every row is complete: a kernel, an activation, a cost or an optimizer that lacks its oracle, a case, bounds, or a
//! place on the fast paths, without a reason, fails here.

use std::collections::BTreeSet;

use crate::cases;
use crate::networks::{Network, Rung, mini_batch, with_rows};
use crate::nielsen;
use gpu_backprop::cpu::steps::{RUN_BY_TWINS, STEPS};
use gpu_backprop::kernel::{Kernel, MiniBatch, Slot, Specification};
use gpu_backprop::kernels;
use gpu_backprop::network::{activation, cost, optimizer};

/// What the networks of a rung are made of: rows that they compute, weight decay and dropout.
fn used(rung: Rung) -> BTreeSet<&'static str> {
    let rows = |network: Network| {
        let mut used = vec![network.output.name, network.cost.name, network.optimizer.name];
        let hidden = network.widths.len() > 2;
        used.extend(hidden.then_some(network.hidden.name));
        used.extend(network.decays.then_some(DECAY));
        used.extend((hidden && network.dropout > 0.0).then_some(DROPOUT));
        used
    };
    with_rows(rung).flat_map(rows).collect()
}

const DECAY: &str = "weight decay";
const DROPOUT: &str = "dropout";

fn every_row_of_the_network_has_an_oracle_and_climbs_the_ladder() {
    let names: Vec<&str> = (activation::ALL.iter().map(|row| row.name))
        .chain(cost::ALL.iter().map(|row| row.name))
        .chain(optimizer::ALL.iter().map(|row| row.name))
        .collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "names are unique");
    for row in activation::ALL {
        assert!(nielsen::sigma(row.name).is_some(), "{} has no oracle", row.name);
        assert_eq!(activation::named(row.name).expect("known"), row);
        assert_eq!(
            activation::OF_NEURONS.contains(&row),
            !row.normalizes,
            "{} is of a neuron, or of a layer",
            row.name
        );
        // What is normalized is not positive.
        let last = if row.normalizes { -1 } else { 40 };
        for i in -40..=last {
            let z = f64::from(i) / 8.0 + 0.01;
            let (_, sigma, prime) = nielsen::sigma(row.name).expect("an oracle");
            let a = (row.sigma)(z as f32);
            let error = (row.sigma_error)(z, f64::from(a)) + 1e-7 * z.abs();
            assert!((f64::from(a) - sigma(z)).abs() <= error, "{}: σ({z}) is {a}", row.name);
            let error = (row.prime_error)(f64::from(a), f64::from((row.prime)(a))) + 1e-6;
            assert!((f64::from((row.prime)(a)) - prime(z)).abs() <= error, "{}: σ′({z})", row.name);
        }
    }
    for row in cost::ALL {
        assert!(nielsen::cost(row.name).is_some(), "{} has no oracle", row.name);
        assert!(!row.suits.is_empty(), "{} is for no output", row.name);
    }
    for row in optimizer::ALL {
        assert!(nielsen::optimizer(row.name).is_some(), "{} has no oracle", row.name);
        assert!(row.states.len() <= optimizer::MAX_STATES, "{}: too many states", row.name);
        assert!(!row.linear || row.states.is_empty(), "{}: a linear update has no state", row.name);
        for mini_batch in [mini_batch(row, 1), mini_batch(row, 1000), MiniBatch::idle(0, Some(row))] {
            let still = (row.update)(optimizer::Entry::default(), 0.0, &mini_batch.rates(3));
            assert_eq!(still, optimizer::Entry::default(), "{}: padding must stay 0", row.name);
        }
    }
    // Each is in the one list of networks, on the CPU, fused and in the loop.
    for rung in [Rung::Cpu, Rung::Fused, Rung::Loop] {
        let missing: Vec<_> =
            names.iter().chain(&[DECAY, DROPOUT]).filter(|name| !used(rung).contains(*name)).collect();
        assert!(missing.is_empty(), "{missing:?} climb no further than below {rung:?}");
    }
}

fn every_row_has_lanes_for_the_cpu_or_says_why_not() {
    /// Rows that are computed one number at a time, and why.
    const WITHOUT: [(&str, &str); 1] = [("gradient", "it is for checks, which take no time")];
    let lanes = (activation::ALL.iter().map(|row| (row.name, row.lanes.is_some())))
        .chain(cost::ALL.iter().map(|row| (row.name, row.lanes.is_some())))
        .chain(optimizer::ALL.iter().map(|row| (row.name, row.lanes.is_some())));
    for (name, has) in lanes {
        assert_eq!(has, WITHOUT.iter().all(|(without, _)| *without != name), "{name}");
    }
}

fn every_kernel_is_known_to_the_cpu_or_says_why_not() {
    let has_step = |kernel: &Kernel| STEPS.iter().any(|row| row.kernel.is(kernel));
    for kernel in kernels::PRIMITIVE.into_iter().chain(kernels::FUSED) {
        let reason = RUN_BY_TWINS.iter().find(|(without, _)| without.is(kernel));
        assert!(has_step(kernel) != reason.is_some(), "{}: a step, or a reason why it has none", kernel.name);
    }
    for kernel in kernels::FUSED {
        assert!(has_step(kernel), "{} is fused, and has no twin to run by", kernel.name);
    }
}

fn every_kernel_has_cases_with_all_of_its_rows() {
    let cases = cases::all();
    for kernel in kernels::PRIMITIVE {
        assert!(matches!(kernel.specification, Specification::Twin { .. }), "{} has no twin", kernel.name);
        let of_kernel: Vec<_> =
            cases.iter().map(|case| &case.plan.steps[0]).filter(|step| step.kernel.is(kernel)).collect();
        assert!(!of_kernel.is_empty(), "{} has no case", kernel.name);
        let names: BTreeSet<&str> = of_kernel.iter().flat_map(|step| step.snippets.names()).collect();
        for &slot in kernel.snippets {
            let rows: Vec<&str> = match slot {
                Slot::Activation | Slot::Output => activation::ALL.iter().map(|row| row.name).collect(),
                Slot::Cost => cost::ALL.iter().map(|row| row.name).collect(),
                Slot::Optimizer => optimizer::ALL.iter().map(|row| row.name).collect(),
            };
            let missing: Vec<_> = rows.into_iter().filter(|row| !names.contains(row)).collect();
            assert!(missing.is_empty(), "{}: no case of {missing:?}", kernel.name);
        }
    }
}

trials! {
    once:
        every_row_of_the_network_has_an_oracle_and_climbs_the_ladder,
        every_row_has_lanes_for_the_cpu_or_says_why_not,
        every_kernel_is_known_to_the_cpu_or_says_why_not,
        every_kernel_has_cases_with_all_of_its_rows;
}
