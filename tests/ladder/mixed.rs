//! Mixed precision: what it computes, that it is checked before it trains, and what it says where it cannot be.

use crate::closeness::{assert_close, wide};
use crate::doubles::{Silent, setup};
use crate::harness::{AdapterUnderTest, Ignored};
use crate::nielsen::Network;
use crate::program::{assert_fails, json, stdout};
use gpu_backprop::commands::compare::compare;
use gpu_backprop::commands::train::Training;
use gpu_backprop::cpu::Cpu;
use gpu_backprop::data::digits::digits;
use gpu_backprop::data::{Data, Dataset, Inputs};
use gpu_backprop::gpu::{Adapter, GpuOptions};
use gpu_backprop::kernel::product::Precision;
use gpu_backprop::network::activation::SIGMOID;
use gpu_backprop::network::cost::QUADRATIC;
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::plan::executor::Executor;
use gpu_backprop::rewrite::fuse::KernelSet;
use gpu_backprop::training::Hyperparameters;
use gpu_backprop::verify::gradients;
use gpu_backprop::verify::lockstep::Side;

const HYPERPARAMETERS: Hyperparameters = Hyperparameters::sgd(12, 3.0, 5);

/// An adapter without mixed precision must say so; nothing else can be tested on it.
fn mixing(adapter: &AdapterUnderTest) -> Result<(), Ignored> {
    if adapter.has(Precision::Mixed) {
        return Ok(());
    }
    let lacks = ["no 16-bit floats in shaders", "--precision full"];
    assert_fails(&["train", "--precision", "mixed", "--quiet", "--device", &adapter.number], 1, &lacks);
    Err(Ignored("the adapter has no mixed precision".into()))
}

fn open(adapter: &Adapter) -> impl Executor + use<> {
    adapter.open(GpuOptions { precision: Precision::Mixed, ..GpuOptions::default() }).expect("the adapter opens")
}

fn topology() -> Topology {
    Topology::new(&[64, 37, 10], &SIGMOID, &QUADRATIC).expect("a network")
}

/// The digits, their pixels multiplied by `scale`.
fn data(scale: f32) -> Data {
    let digits = digits().expect("the digits");
    let Inputs::Bytes { values, scale: unit } = digits.inputs() else { panic!("the digits are bytes") };
    let floats = values.iter().map(|&byte| scale * unit * f32::from(byte)).collect();
    let dataset = Dataset::new(Inputs::Floats(floats), 64, digits.labels().to_vec()).expect("a data set");
    Data::all_training("digits", dataset)
}

/// Calls `with` with a training whose inputs, and the weights that they meet, are multiplied by so much.
fn with_training<T>(inputs: f32, weights: f32, with: impl FnOnce(&Training<'_>) -> T) -> T {
    let (data, topology) = (data(inputs), topology());
    let mut initial = Parameters::random(&topology, Initialization::Scaled, 1).expect("memory");
    initial.w[2].iter_mut().for_each(|weight| *weight *= weights);
    with(&Training { data: &data, topology: &topology, initial: &initial, hyperparameters: HYPERPARAMETERS })
}

/// What the check says of such a training.
fn checked(executor: &mut dyn Executor, inputs: f32, weights: f32) -> anyhow::Result<f64> {
    let found = with_training(inputs, weights, |training| gradients::check(executor, training, 1))?;
    assert_eq!(found.examples, 12);
    Ok(found.max_relative_difference)
}

/// The gradients that everything is held against are the book's.
fn first_gradients_are_those_of_the_book() {
    let (data, topology) = (data(1.0), topology());
    let initial = Parameters::random(&topology, Initialization::Scaled, 1).expect("memory");
    // All examples in one mini-batch: whatever their order.
    let hyperparameters = Hyperparameters { batch: data.dataset.len(), ..HYPERPARAMETERS };
    let training = Training { data: &data, topology: &topology, initial: &initial, hyperparameters };
    let mut cpu = Cpu::new(1);
    let found = gradients::of_first_mini_batch(&mut cpu, &training).expect("gradients");
    let rows = |l: usize| initial.w[l].chunks(topology.n[l - 1]).map(wide).collect();
    let weights = (2..=3).map(rows).collect();
    let biases = (2..=3).map(|l| wide(&initial.b[l])).collect();
    let network = Network::new(weights, biases, "sigmoid", "sigmoid", "quadratic");
    let Inputs::Floats(inputs) = data.dataset.inputs() else { panic!("they are floats") };
    let mut expected: Vec<(Vec<f64>, Vec<f64>)> =
        (2..=3).map(|l| (vec![0.0; found.w[l].len()], vec![0.0; found.b[l].len()])).collect();
    for (x, &label) in inputs.chunks(64).zip(data.dataset.labels()) {
        let x = wide(x);
        let y: Vec<f64> = (0..10).map(|class| f64::from(u8::from(class == label))).collect();
        let gradient = network.backprop(&x, &y);
        for (sum, (w, b)) in expected.iter_mut().zip(gradient.nabla_w.iter().zip(&gradient.nabla_b)) {
            sum.0.iter_mut().zip(w.iter().flatten()).for_each(|(sum, value)| *sum += value);
            sum.1.iter_mut().zip(b).for_each(|(sum, value)| *sum += value);
        }
    }
    for (l, (w, b)) in (2..).zip(&expected) {
        for (name, found, expected) in [("w", &found.w[l], w), ("b", &found.b[l], b)] {
            let largest = expected.iter().fold(0f64, |largest, value| largest.max(value.abs()));
            // Sums over 1797 examples of sums over 64 inputs.
            let tolerance = 8.0 * f64::from(f32::EPSILON) / 2.0 * (1797.0f64 * 64.0).sqrt() * largest;
            assert_close(&format!("gradient of {name}{l}"), 1, found, expected, tolerance);
        }
    }
}

fn gradients_are_checked_before_training(adapter: &AdapterUnderTest) -> Result<(), Ignored> {
    mixing(adapter)?;
    let gpu = &mut open(adapter);
    let difference = checked(gpu, 1.0, 1.0).expect("gradients within rounding");
    // Rounded at all, and by little.
    assert!(difference > 1e-6 && difference < 5e-3, "{difference} on {}", adapter.description());
    // Inputs that are infinite in 16 bits, and some that are 0; in 32 bits both are as good as before.
    for (inputs, weights) in [(1e5, 1e-5), (1e-5, 1e4)] {
        let refused = checked(gpu, inputs, weights).expect_err("numbers beyond 16 bits").to_string();
        assert!(refused.contains("--precision mixed") && refused.contains("gradient of"), "{refused}");
    }
    Ok(())
}

fn mixed_precision_learns_as_well(adapter: &AdapterUnderTest) -> Result<(), Ignored> {
    mixing(adapter)?;
    let train = |more: &[&str]| {
        let arguments = ["train", "--epochs", "4", "--tune", "off", "--quiet", "--json", "--device", &adapter.number];
        json(&[&arguments[..], more].concat())
    };
    let (mixed, full) = (train(&["--precision", "mixed"]), train(&[]));
    assert_eq!((&mixed["precision"], &full["precision"]), (&"mixed".into(), &"full".into()));
    assert!(full["gradient_check"].is_null());
    let check = &mixed["gradient_check"];
    let [difference, tolerance] =
        ["max_relative_difference", "tolerance"].map(|name| check[name].as_f64().expect("a number"));
    assert!(difference <= tolerance && tolerance < 0.1, "{check}");
    assert_ne!(mixed["weights_sha256"], full["weights_sha256"], "{}", adapter.description());
    let accuracy = |report: &serde_json::Value| report["test_accuracy"].as_f64().expect("a number");
    assert!((accuracy(&mixed) - accuracy(&full)).abs() < 0.02, "{mixed} and {full}");
    Ok(())
}

/// What is compared, or measured, in mixed precision passes the same check first.
fn a_comparison_checks_gradients_too(adapter: &AdapterUnderTest) -> Result<(), Ignored> {
    mixing(adapter)?;
    let (mut gpu, mut cpu) = (open(adapter), Cpu::new(1));
    let kernels = KernelSet::Fused;
    let sides = [
        Side { executor: &mut gpu, kernels, precision: Precision::Mixed },
        Side { executor: &mut cpu, kernels, precision: Precision::Full },
    ];
    let refused = with_training(1e5, 1e-5, |training| compare(sides, training, &setup(training, 1), None, &mut Silent));
    let refused = refused.expect_err("numbers beyond 16 bits").to_string();
    assert!(refused.contains("--precision mixed") && refused.contains("gradient of"), "{refused}");
    Ok(())
}

fn mixed_precision_is_compared_and_measured(adapter: &AdapterUnderTest) -> Result<(), Ignored> {
    mixing(adapter)?;
    let devices = format!("{},cpu", adapter.number);
    let compared = ["compare", "--epochs", "1", "--lockstep", "2", "--quiet", "--tune", "off", "--json"];
    let report = json(&[&compared[..], &["--precision", "mixed", "--devices", &devices]].concat());
    assert_eq!(report["within_tolerance"], true, "{report}");
    let precision = |device: usize| report["devices"][device]["precision"].clone();
    assert_eq!((precision(0), precision(1)), ("mixed".into(), "full".into()));
    let check = |device: usize| report["devices"][device]["gradient_check"].clone();
    assert!(check(0)["max_relative_difference"].as_f64().is_some_and(|difference| difference > 0.0), "{report}");
    assert!(check(1).is_null(), "{report}");
    let bench = ["bench", "--layers", "20,10", "--batches", "5", "--seconds", "0.01", "--only-training", "--quiet"];
    let measured = stdout(&[&bench[..], &["--json", "--precision", "mixed", "--devices", &adapter.number]].concat());
    assert!(measured.contains("\"precision\":\"mixed\""), "{measured}");
    Ok(())
}

trials! {
    once:
        first_gradients_are_those_of_the_book;
    on_each_adapter:
        gradients_are_checked_before_training,
        mixed_precision_learns_as_well,
        a_comparison_checks_gradients_too,
        mixed_precision_is_compared_and_measured;
}
