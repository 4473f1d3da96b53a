//! Watched layers: their figures are those of the oracle, on every device, and no bit of the training depends on them.

use gpu_backprop::cpu::Cpu;
use gpu_backprop::data::digits::digits;
use gpu_backprop::data::{Data, Dataset, Inputs, Split, balanced_weights};
use gpu_backprop::gpu::GpuOptions;
use gpu_backprop::network::activation::{RELU, SIGMOID, SOFTMAX, TANH};
use gpu_backprop::network::cost::{CROSS_ENTROPY, LOG_LIKELIHOOD, QUADRATIC};
use gpu_backprop::network::optimizer::ADAM;
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::plan::executor::Executor;
use gpu_backprop::training::watch::watched_examples;
use gpu_backprop::training::{Hyperparameters, LayerReport, Trainer};

use crate::harness::AdapterUnderTest;
use crate::nielsen::{Network, Rows, Vector};
use crate::primitive;

trials! {
    once: figures_are_those_of_the_oracle_on_the_cpu;
    on_each_adapter: figures_are_those_of_the_oracle;
}

const SEED: u64 = 3;
const BATCH: usize = 40;
/// Whole mini-batches, and a ragged one.
const TRAINING: usize = 310;

struct Case {
    topology: Topology,
    hyperparameters: Hyperparameters,
    weighted: bool,
}

fn cases() -> [Case; 3] {
    let topology = |widths: &[usize], hidden, cost| Topology::new(widths, hidden, cost).expect("a network");
    let sgd = Hyperparameters::sgd(BATCH, 1.0, SEED);
    let adam = Hyperparameters { optimizer: &ADAM, settings: ADAM.settings, eta: 0.01, dropout: 0.3, ..sgd };
    let decaying = Hyperparameters { lambda: 3.0, eta: 0.1, ..sgd };
    [
        Case { topology: topology(&[64, 13, 10], &SIGMOID, &QUADRATIC), hyperparameters: sgd, weighted: false },
        Case {
            topology: topology(&[64, 9, 11, 10], &RELU, &LOG_LIKELIHOOD).with_output(&SOFTMAX),
            hyperparameters: adam,
            weighted: true,
        },
        Case {
            topology: topology(&[64, 7, 10], &TANH, &CROSS_ENTROPY).with_output(&SIGMOID),
            hyperparameters: decaying,
            weighted: false,
        },
    ]
}

fn data(weighted: bool) -> Data {
    let digits = digits().expect("digits");
    let digits = match weighted {
        true => {
            let weights = balanced_weights(digits.labels().iter().map(|&label| (label, 1.0)), 10);
            digits.weighted(weights).expect("weights")
        }
        false => digits,
    };
    Data::new("digits", digits, Split::all_training(0..TRAINING))
}

/// Trains two epochs; returns the parameters before the last whole step, after it and at the end, and what was watched.
fn trained(executor: &mut dyn Executor, case: &Case, data: &Data, watched: bool) -> (Parameters, Vec<LayerReport>) {
    let hyperparameters = Hyperparameters { watched, ..case.hyperparameters };
    let initial = Parameters::random(&case.topology, Initialization::Xavier, SEED).expect("memory");
    let mut trainer = Trainer::new(executor, &case.topology, &initial, data, hyperparameters).expect("a trainer");
    for _ in 0..2 {
        trainer.train_epoch(&mut |_| ()).expect("an epoch");
    }
    let layers = trainer.layer_reports().expect("figures");
    assert_eq!(layers.is_some(), watched);
    (trainer.parameters().expect("read"), layers.unwrap_or_default())
}

/// The parameters before and after the last whole mini-batch of the second epoch.
fn around_the_last_step(case: &Case, data: &Data) -> [Parameters; 2] {
    let initial = Parameters::random(&case.topology, Initialization::Xavier, SEED).expect("memory");
    let mut cpu = Cpu::new(1);
    let mut trainer = Trainer::new(&mut cpu, &case.topology, &initial, data, case.hyperparameters).expect("a trainer");
    let per_epoch = TRAINING.div_ceil(BATCH);
    let mut after = |steps| {
        assert!(trainer.train_steps(steps).expect("steps"));
        trainer.parameters().expect("read")
    };
    [after(per_epoch + TRAINING / BATCH - 1), after(1)]
}

fn oracle(parameters: &Parameters, topology: &Topology) -> Network {
    let widths = topology.widths();
    let rows = |l: usize, w: &Vec<f32>| -> Rows {
        w.chunks(widths[l - 2]).map(|row| row.iter().map(|&w| f64::from(w)).collect()).collect()
    };
    let weights = parameters.w.iter().map(|(l, w)| rows(l, w)).collect();
    let biases = parameters.b.iter().map(|(_, b)| b.iter().map(|&b| f64::from(b)).collect()).collect();
    Network::new(weights, biases, topology.activation.name, topology.output.name, topology.cost.name)
}

fn norm<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// Checks what was watched against the oracle, with the weights at the end of the epoch.
fn check(executor: &mut dyn Executor, case: &Case) {
    let data = data(case.weighted);
    let (parameters, layers) = trained(executor, case, &data, true);
    let (unwatched, _) = trained(executor, case, &data, false);
    assert_eq!(parameters, unwatched, "watching changes no bit");
    let network = oracle(&parameters, &case.topology);
    let numbers = watched_examples(&data.split.training, usize::MAX, SEED);
    let m = numbers.len() as f64;
    let last = case.topology.last();
    let mut sums: Vec<(Vector, Vector)> = vec![Default::default(); last - 1];
    for &i in &numbers {
        let (x, y) = example(&data.dataset, i as usize);
        let weight = data.dataset.weights(&[i]).map_or(1.0, |weights| f64::from(weights[0]));
        let gradient = network.backprop(&x, &y);
        for (l, (nabla_b, nabla_w)) in sums.iter_mut().enumerate() {
            add(nabla_b, weight, gradient.nabla_b[l].iter());
            add(nabla_w, weight, gradient.nabla_w[l].iter().flatten());
        }
    }
    let [before, after] = around_the_last_step(case, &data);
    assert_eq!(layers.len(), sums.len());
    for (layer, (nabla_b, nabla_w)) in layers.iter().zip(&sums) {
        let close = |name: &str, found: f64, expected: f64| {
            let error = (found - expected).abs() / expected;
            assert!(error < 2e-3, "layer {}: {name} is {found}, not {expected}", layer.layer);
        };
        close("‖δ‖", layer.delta, norm(nabla_b.iter()) / m);
        close("‖∂C/∂w‖", layer.nabla_w, norm(nabla_w.iter()) / m);
        let wide = |w: &Vec<f32>| w.iter().map(|&w| f64::from(w)).collect::<Vec<_>>();
        let (before, after) = (wide(&before.w[layer.layer]), wide(&after.w[layer.layer]));
        let moved: Vec<f64> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
        close("‖Δw‖/‖w‖", layer.update_ratio, norm(moved.iter()) / norm(before.iter()));
        let has_flat = case.topology.sigma(layer.layer).flat.is_some();
        assert_eq!((layer.saturated.is_some(), layer.dead.is_some()), (has_flat, has_flat));
    }
}

/// Inputs and desired outputs of a digit.
fn example(digits: &Dataset, i: usize) -> (Vector, Vector) {
    let Inputs::Bytes { values, scale } = digits.inputs() else { panic!("the digits are bytes") };
    let x = values[64 * i..64 * (i + 1)].iter().map(|&byte| f64::from(scale * f32::from(byte))).collect();
    let y = (0..10).map(|class| if digits.labels()[i] == class { 1.0 } else { 0.0 }).collect();
    (x, y)
}

fn add<'a>(sums: &mut Vector, weight: f64, values: impl Iterator<Item = &'a f64>) {
    let values: Vector = values.map(|value| weight * value).collect();
    sums.resize(values.len(), 0.0);
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

fn figures_are_those_of_the_oracle_on_the_cpu() {
    for case in cases() {
        check(&mut Cpu::new(2), &case);
    }
}

fn figures_are_those_of_the_oracle(adapter: &AdapterUnderTest) {
    for options in [primitive(), GpuOptions::default()] {
        for case in cases() {
            check(&mut adapter.open(options).expect("the adapter opens"), &case);
        }
    }
}
