//! Checks of a training, before anything large is made.

use anyhow::Result;

use super::hyperparameters::Hyperparameters;
use crate::data::{Data, Dataset, Task};
use crate::network::Topology;
use crate::network::optimizer::Settings;
use crate::system::error::{bail_usage, ensure_usage};

/// Checks that a network can be trained on data with some hyperparameters.
///
/// # Errors
/// [`WrongUsage`](crate::system::error::WrongUsage): a mini-batch of 0 examples or larger than the training part, a learning rate
/// that is not a number, or data that does not fit the network.
pub fn check(topology: &Topology, data: &Data, hyperparameters: Hyperparameters) -> Result<()> {
    check_hyperparameters(hyperparameters, data.split.training.len())?;
    check_fit(topology, &data.dataset)?;
    check_cost(topology, data.dataset.task())
}

fn check_hyperparameters(hyperparameters: Hyperparameters, examples: usize) -> Result<()> {
    let Hyperparameters { batch, eta, settings, .. } = hyperparameters;
    ensure_usage!(batch > 0, "--batch 0: a mini-batch needs at least 1 example");
    ensure_usage!(
        batch <= examples,
        "--batch {batch} is larger than the training set of {examples} examples: use --batch {examples} or less"
    );
    ensure_usage!(
        eta.is_finite() && eta >= 0.0,
        "--eta {eta}: the learning rate must be a finite number, 0 or greater"
    );
    check_settings(&settings)
}

/// Checks the hyperparameters of optimizers.
///
/// # Errors
/// [`WrongUsage`](crate::system::error::WrongUsage): a momentum coefficient outside 0 to 1.
pub fn check_settings(settings: &Settings) -> Result<()> {
    let momentum = settings.momentum;
    ensure_usage!(
        (0.0..1.0).contains(&momentum),
        "--momentum {momentum}: the momentum coefficient must be 0 or greater, and below 1"
    );
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
            "the network {topology} has {outputs} outputs, but the data has {needed} classes"
        ),
        Task::Regression => ensure_usage!(
            outputs == needed,
            "the network {topology} has {outputs} outputs, but there are {needed} numbers to learn"
        ),
    }
    Ok(())
}

/// Refuses a cost that the output layer or the task does not fit.
fn check_cost(topology: &Topology, task: Task) -> Result<()> {
    let (cost, output) = (topology.cost, topology.output);
    if !cost.suits.contains(&output) {
        let suitable = cost.suits.iter().map(|output| output.name).collect::<Vec<_>>().join(" or ");
        bail_usage!(
            "--cost {} is for {suitable} outputs, not {}: use --output {suitable}, or --cost quadratic",
            cost.name,
            output.name
        );
    }
    ensure_usage!(
        !cost.needs_classes || task == Task::Classification,
        "--cost {} is for classes: use --cost quadratic with --task regression",
        cost.name
    );
    Ok(())
}
