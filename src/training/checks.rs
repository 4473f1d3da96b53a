//! Checks of a training, before anything large is allocated.

use anyhow::{Result, ensure};

use super::hyperparameters::Hyperparameters;
use super::schedule::Schedule;
use super::trainer::{Snapshot, state_names};
use crate::data::{Data, Dataset, Inputs, Task};
use crate::network::Topology;
use crate::network::cost::{self, Cost};
use crate::network::optimizer::{Optimizer, Settings};
use crate::system::error::{bail_usage, ensure_usage};
use crate::system::text::{counted, either};

/// Checks that a network can be trained on data with some hyperparameters.
///
/// # Errors
/// [`WrongUsage`](crate::system::error::WrongUsage): a mini-batch of 0 examples or larger than the training part, a learning rate
/// that is not a number, a split with an example that the data set lacks or another split has, or data that does not
/// fit the network.
pub fn check(topology: &Topology, data: &Data, hyperparameters: Hyperparameters) -> Result<()> {
    topology.check()?;
    // GPUs read the examples of a split without checks of their own.
    data.split.check(data.dataset.len())?;
    check_hyperparameters(hyperparameters, data.split.training.len())?;
    check_fit(topology, &data.dataset)?;
    if let Inputs::Doubles(_) = data.dataset.inputs() {
        data.dataset.inputs().check_fits_floats(data.dataset.features())?;
    }
    check_cost(topology, data.dataset.task())
}

fn check_hyperparameters(hyperparameters: Hyperparameters, examples: usize) -> Result<()> {
    let Hyperparameters { batch, shards, eta, settings, lambda, l1, dropout, schedule, .. } = hyperparameters;
    // First the settings that η may have been computed from.
    check_settings(&settings)?;
    ensure_usage!(batch > 0, "--batch 0: a mini-batch needs at least 1 example");
    ensure_usage!(
        batch <= examples,
        "--batch {batch} is larger than the training set of {examples} examples: use --batch {examples} or less"
    );
    ensure_usage!(
        shards.is_power_of_two() && shards <= batch,
        "--shards {shards}: the number of shards must be a power of two, and at most the {batch} examples of a mini-batch"
    );
    ensure_usage!(
        eta.is_finite() && eta >= 0.0,
        "--eta {eta}: the learning rate must be a finite number, 0 or greater"
    );
    for (flag, lambda) in [("lambda", lambda), ("l1", l1)] {
        ensure_usage!(
            lambda.is_finite() && lambda >= 0.0,
            "--{flag} {lambda}: the regularization parameter must be a finite number, 0 or greater"
        );
    }
    let decay = f64::from(eta) * f64::from(lambda) / examples as f64;
    ensure_usage!(
        decay < 1.0,
        "--lambda {lambda}: with η = {eta} and {examples} examples every step would flip the sign of all weights (1 - \
         ηλ/n is {:.3}): use less than {:.3}",
        1.0 - decay,
        examples as f64 / f64::from(eta)
    );
    ensure_usage!(
        (0.0..1.0).contains(&dropout),
        "--dropout {dropout}: the fraction of neurons that are left out must be 0 or greater, and below 1"
    );
    let Schedule { decline, factor, every, warmup, epochs } = schedule;
    ensure_usage!(
        factor > 0.0 && factor <= 1.0,
        "--schedule-factor {factor}: the factor of η must be greater than 0, and 1 or less"
    );
    ensure_usage!(every > 0, "--schedule-every 0: at least 1 epoch lies between two changes of η");
    ensure_usage!(
        warmup == 0 || warmup < epochs || epochs == 0,
        "--warmup {warmup} leaves none of the {epochs} epochs for --schedule {}: use {} or less",
        decline.name(),
        epochs.saturating_sub(1)
    );
    Ok(())
}

/// The least ε: a hundred million times the least normal number, so that bias correction keeps it normal. Some GPUs take
/// smaller numbers for 0, and 0/0 is NaN.
const LEAST_EPSILON: f32 = 1e-30;

/// Checks the hyperparameters of optimizers.
///
/// # Errors
/// [`WrongUsage`](crate::system::error::WrongUsage): a coefficient outside 0 to 1, or ε that is too small.
pub fn check_settings(settings: &Settings) -> Result<()> {
    let Settings { momentum, beta1, beta2, epsilon } = *settings;
    let coefficients = [
        ("momentum", momentum, "momentum coefficient"),
        ("beta1", beta1, "decay rate"),
        ("beta2", beta2, "decay rate"),
    ];
    for (flag, value, what) in coefficients {
        ensure_usage!((0.0..1.0).contains(&value), "--{flag} {value}: the {what} must be 0 or greater, and below 1");
    }
    ensure_usage!(
        epsilon.is_finite() && epsilon >= LEAST_EPSILON,
        "--epsilon {epsilon:e}: the number must be finite, and at least {LEAST_EPSILON:e}"
    );
    Ok(())
}

/// Checks that a snapshot is one of a network and its optimizer.
///
/// # Errors
/// Parameters of other shapes, or states that are neither missing altogether nor those of the optimizer.
pub(crate) fn check_snapshot(snapshot: &Snapshot, topology: &Topology, optimizer: &Optimizer) -> Result<()> {
    snapshot.parameters.check(topology)?;
    if snapshot.states.is_empty() {
        return Ok(());
    }
    let names = state_names(&snapshot.parameters, optimizer);
    let sizes = snapshot.parameters.iter().flat_map(|(_, values)| optimizer.states.iter().map(move |_| values.len()));
    ensure!(
        snapshot.states.len() == names.len(),
        "the snapshot has {} states, but {} keeps {} for the network {topology}",
        snapshot.states.len(),
        optimizer.name,
        names.len()
    );
    for ((state, name), size) in snapshot.states.iter().zip(names).zip(sizes) {
        ensure!(
            state.len() == size,
            "the state {name} of the snapshot has {} numbers, but the network {topology} needs {size}",
            state.len()
        );
    }
    Ok(())
}

fn check_fit(topology: &Topology, dataset: &Dataset) -> Result<()> {
    let (inputs, outputs) = (topology.n[1], topology.n[topology.last()]);
    ensure_usage!(
        inputs == dataset.features(),
        "the network {topology} has {inputs} inputs, but the examples have {}",
        dataset.features()
    );
    let needed = dataset.output_width();
    match dataset.task() {
        Task::Classification => ensure_usage!(
            outputs >= needed,
            "the network {topology} has {}, but the data has {needed} classes; use --hidden instead of --layers, or \
             --task regression (with --output sigmoid) for targets of 0 and 1",
            counted(outputs as u64, "output")
        ),
        Task::Regression => ensure_usage!(
            outputs == needed,
            "the network {topology} has {outputs} outputs, but there are {needed} numbers to learn"
        ),
    }
    Ok(())
}

/// Rejects a cost that does not suit the output layer or the task, and an activation that is only
/// for output layers.
fn check_cost(topology: &Topology, task: Task) -> Result<()> {
    let (cost, output) = (topology.cost, topology.output);
    let suitable = |cost: &&Cost| !cost.needs_classes || task == Task::Classification;
    if !cost.suits.contains(&output) {
        let same_cost = cost::ALL.iter().filter(|other| other.flag == cost.flag).flat_map(|row| row.suits);
        let outputs = same_cost.map(|output| output.name).collect::<Vec<_>>();
        let outputs = either(&outputs);
        let costs = cost::ALL.into_iter().filter(|row| row.suits.contains(&output)).filter(suitable);
        let costs: Vec<String> = costs.map(|row| format!(", or --cost {}", row.flag)).collect();
        bail_usage!(
            "--cost {} is for {outputs} outputs, not {}: use --output {}{}",
            cost.flag,
            output.name,
            outputs,
            costs.join("")
        );
    }
    ensure_usage!(suitable(&cost), "--cost {} is for classes: use --cost quadratic with --task regression", cost.flag);
    ensure_usage!(
        !topology.activation.normalizes,
        "--activation {} is for the output layer: use relu, tanh or sigmoid",
        topology.activation.name
    );
    Ok(())
}
