//! Whole runs: GPU and CPU agree, and the same seed on the same device gives the same bits.

use crate::closeness::{assert_close, wide};
use crate::harness::AdapterUnderTest;
use crate::primitive;
use gpu_backprop::cpu::Cpu;
use gpu_backprop::data::digits::digits;
use gpu_backprop::data::{Data, Dataset, Inputs, Split};
use gpu_backprop::gpu::GpuOptions;
use gpu_backprop::model::Model;
use gpu_backprop::network::activation::{LEAKY_RELU, SIGMOID, SOFTMAX, TANH};
use gpu_backprop::network::cost::{LOG_LIKELIHOOD, QUADRATIC};
use gpu_backprop::network::optimizer::{ADAM, Settings};
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::plan::executor::Executor;
use gpu_backprop::training::predictor::Predictor;
use gpu_backprop::training::{Evaluation, Hyperparameters, PartOfData, Trainer};

const SEED: u64 = 4;
const BATCH: usize = 10;
/// 100 mini-batches, the last of them ragged.
const TRAINING: usize = 99 * BATCH + 7;

/// Each set of kernels, and as in a release run without shader checks.
fn configurations() -> [GpuOptions; 3] {
    let fused = GpuOptions::default();
    let unchecked = GpuOptions { shader_checks: false, ..fused };
    [primitive(), fused, unchecked]
}

fn data(dataset: Dataset) -> Data {
    let rest = (TRAINING..dataset.len()).map(|i| i as u32);
    Data::new("digits", dataset, Split { test: rest.collect(), ..Split::all_training(0..TRAINING) })
}

/// The same pixels, as floats.
fn as_floats(dataset: &Dataset) -> Dataset {
    let Inputs::Bytes { values, scale } = dataset.inputs() else { panic!("the digits are bytes") };
    let floats = values.iter().map(|&byte| scale * f32::from(byte)).collect();
    Dataset::new(Inputs::Floats(floats), dataset.features(), dataset.labels().to_vec()).expect("a data set")
}

fn topology() -> Topology {
    Topology::new(&[64, 30, 10], &SIGMOID, &QUADRATIC).expect("a network")
}

/// A training as in the book, or with what came after it.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Learning {
    Book,
    /// Rectified neurons, softmax, Adam, decay and dropout.
    Modern,
    /// The same with an ε that makes steps as smooth as those of sgd, which rounding changes little.
    Smooth,
}

fn train(executor: &mut dyn Executor, data: &Data, epochs: usize) -> (Parameters, Evaluation) {
    train_by(Learning::Book, executor, data, epochs)
}

fn train_by(learning: Learning, executor: &mut dyn Executor, data: &Data, epochs: usize) -> (Parameters, Evaluation) {
    let book = Hyperparameters::sgd(BATCH, 3.0, SEED);
    let (topology, hyperparameters) = match learning {
        Learning::Book => (topology(), book),
        Learning::Modern | Learning::Smooth => {
            let hidden = if learning == Learning::Modern { &LEAKY_RELU } else { &TANH };
            let topology = Topology::new(&[64, 30, 10], hidden, &LOG_LIKELIHOOD).expect("a network");
            let epsilon = if learning == Learning::Modern { ADAM.settings.epsilon } else { 0.1 };
            let settings = Settings { epsilon, ..ADAM.settings };
            let modern = Hyperparameters { optimizer: &ADAM, settings, eta: 0.01, lambda: 1.0, dropout: 0.2, ..book };
            (topology.with_output(&SOFTMAX), modern)
        }
    };
    let initial = Parameters::random(&topology, Initialization::Scaled, SEED).expect("memory");
    let mut trainer = Trainer::new(executor, &topology, &initial, data, hyperparameters).expect("a trainer");
    for _ in 0..epochs {
        trainer.train_epoch(&mut |_| ()).expect("an epoch");
    }
    let test = trainer.evaluate(PartOfData::Test).expect("evaluate").expect("a test part");
    (trainer.parameters().expect("read"), test)
}

/// Every way to learn in every configuration.
fn each_learning(ways: &[Learning]) -> impl Iterator<Item = (Learning, GpuOptions)> {
    ways.iter().flat_map(|&learning| configurations().map(|options| (learning, options)))
}

fn gpu_and_cpu_agree_after_100_mini_batches(adapter: &AdapterUnderTest) {
    let data = data(digits().expect("the digits"));
    for (learning, options) in each_learning(&[Learning::Book, Learning::Smooth]) {
        let (expected, cpu_test) = train_by(learning, &mut Cpu::new(2), &data, 1);
        let mut gpu = adapter.open(options).expect("the adapter opens");
        let (found, gpu_test) = train_by(learning, &mut gpu, &data, 1);
        // Each step rounds sums of up to 64 terms, independently on both devices: over 100 steps
        // that is a random walk of 100 times 64 roundings, each of a weight's magnitude, a part in
        // 2^24; four standard deviations, for each of the two.
        let tolerance = |values: &[f32]| {
            let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            8.0 * f64::from(f32::EPSILON) / 2.0 * (100.0f64 * 64.0).sqrt() * f64::from(largest)
        };
        for ((name, found), (_, expected)) in found.iter().zip(expected.iter()) {
            let what = format!("{name}, {learning:?} on {}, {options:?}", adapter.description());
            assert_close(&what, 1, found, &wide(expected), tolerance(expected));
        }
        // Outputs change by at most a few times as much as the weights.
        assert!((gpu_test.cost - cpu_test.cost).abs() < 1e-3, "{gpu_test:?} and {cpu_test:?}");
    }
}

/// For every number of examples, and after others.
fn a_predictor_agrees_with_the_cpu(adapter: &AdapterUnderTest) {
    let dataset = digits().expect("the digits");
    let (topology, features) = (topology(), dataset.features());
    let parameters = Parameters::random(&topology, Initialization::Scaled, SEED).expect("memory");
    let (preprocessing, outputs) = (dataset.preprocessing().clone(), dataset.outputs());
    let model = Model { topology, parameters, preprocessing, outputs };
    let Inputs::Bytes { values, .. } = dataset.inputs() else { panic!("the digits are bytes") };
    let mut cpu = Predictor::new(&model, Box::new(Cpu::new(1))).expect("a predictor");
    let gpu = adapter.open(GpuOptions { shader_checks: false, ..GpuOptions::default() }).expect("the adapter opens");
    let mut gpu = Predictor::new(&model, Box::new(gpu)).expect("a predictor");
    for examples in [1, 3, 1700, 2, 1] {
        let images = || Inputs::Bytes { values: values[features..][..examples * features].to_vec(), scale: 1.0 };
        let (found, expected) = (gpu.predict(images()).expect("outputs"), cpu.predict(images()).expect("outputs"));
        // Two layers with sums of up to 64 terms, which stay below 10; a sigmoid makes errors no larger.
        let tolerance = 2.0 * 64.0 * f64::from(f32::EPSILON) * 10.0;
        let what = format!("{examples} examples on {}", adapter.description());
        assert_close(&what, 10, &found, &wide(&expected), tolerance);
    }
}

fn the_same_seed_on_the_same_device_gives_the_same_bits(adapter: &AdapterUnderTest) {
    let data = data(digits().expect("the digits"));
    for (learning, options) in each_learning(&[Learning::Book, Learning::Modern]) {
        let what = format!("{learning:?} on {}", adapter.description());
        let mut gpu = adapter.open(options).expect("the adapter opens");
        let first = train_by(learning, &mut gpu, &data, 2);
        // Submissions are of other lengths the second time; another device object is opened the third.
        assert_eq!(first, train_by(learning, &mut gpu, &data, 2), "{what}");
        let mut again = adapter.open(options).expect("it opens again");
        assert_eq!(first, train_by(learning, &mut again, &data, 2), "{what}");
    }
}

fn the_same_seed_gives_the_same_bits_on_the_cpu() {
    let data = data(digits().expect("the digits"));
    for learning in [Learning::Book, Learning::Modern] {
        let train = |threads| train_by(learning, &mut Cpu::new(threads), &data, 2);
        assert_eq!(train(2), train(2));
        assert_eq!(train(1), train(2), "threads change nothing");
    }
}

fn bytes_and_floats_train_alike_on_the_cpu() {
    let bytes = digits().expect("the digits");
    let (of_floats, of_bytes) = (data(as_floats(&bytes)), data(bytes));
    assert_eq!(train(&mut Cpu::new(1), &of_bytes, 1), train(&mut Cpu::new(1), &of_floats, 1));
}

fn bytes_and_floats_train_alike(adapter: &AdapterUnderTest) {
    let bytes = digits().expect("the digits");
    let (of_floats, of_bytes) = (data(as_floats(&bytes)), data(bytes));
    for options in configurations() {
        let mut gpu = adapter.open(options).expect("the adapter opens");
        assert_eq!(train(&mut gpu, &of_bytes, 1), train(&mut gpu, &of_floats, 1), "{}", adapter.description());
    }
}

fn training_learns() {
    let data = data(digits().expect("the digits"));
    for (learning, epochs) in [(Learning::Book, 20), (Learning::Modern, 10)] {
        let (_, untrained) = train_by(learning, &mut Cpu::new(1), &data, 0);
        let (_, trained) = train_by(learning, &mut Cpu::new(1), &data, epochs);
        assert!(untrained.accuracy() < Some(0.3), "{untrained:?}");
        assert!(trained.accuracy() > Some(0.9), "{trained:?}");
    }
}

fn a_trial_measures_and_an_impossible_training_is_refused() {
    let data = data(digits().expect("the digits"));
    let topology = topology();
    let initial = Parameters::random(&topology, Initialization::Scaled, SEED).expect("memory");
    let refused = |topology: &Topology, batch, eta| {
        let hyperparameters = Hyperparameters::sgd(batch, eta, SEED);
        let initial = Parameters::random(topology, Initialization::Scaled, SEED).expect("memory");
        let error = Trainer::new(&mut Cpu::new(1), topology, &initial, &data, hyperparameters).map(|_| ());
        format!("{:#}", error.expect_err("refused"))
    };
    assert!(refused(&topology, 0, 3.0).contains("--batch 0"));
    assert!(refused(&topology, 5000, 3.0).contains("larger than the training set of 997 examples"));
    assert!(refused(&topology, 10, f32::NAN).contains("--eta NaN"));
    let narrow = Topology::new(&[63, 10], &SIGMOID, &QUADRATIC).expect("a network");
    assert!(refused(&narrow, 10, 3.0).contains("63 inputs, but the examples have 64"));
    let few = Topology::new(&[64, 9], &SIGMOID, &QUADRATIC).expect("a network");
    assert!(refused(&few, 10, 3.0).contains("9 outputs, but the data has 10 classes"));

    let mut cpu = Cpu::new(1);
    let hyperparameters = Hyperparameters::sgd(BATCH, 3.0, SEED);
    let mut trainer = Trainer::new(&mut cpu, &topology, &initial, &data, hyperparameters).expect("a trainer");
    let speed = trainer.measure_speed(std::time::Duration::from_millis(20)).expect("a trial");
    assert!(speed.is_finite() && speed > 0.0, "{speed}");
}

trials! {
    once:
        the_same_seed_gives_the_same_bits_on_the_cpu,
        bytes_and_floats_train_alike_on_the_cpu,
        training_learns,
        a_trial_measures_and_an_impossible_training_is_refused;
    on_each_adapter:
        a_predictor_agrees_with_the_cpu,
        gpu_and_cpu_agree_after_100_mini_batches,
        the_same_seed_on_the_same_device_gives_the_same_bits,
        bytes_and_floats_train_alike;
}
