//! The training loop in one work group against the primitive kernels it replaces.

use crate::closeness::{assert_close, wide};
use crate::harness::AdapterUnderTest;
use crate::numbers::{random, random_below};
use crate::primitive;
use gpu_backprop::data::{Data, Dataset, Inputs, Split, Targets, Task};
use gpu_backprop::gpu::GpuOptions;
use gpu_backprop::network::activation::{LINEAR, SIGMOID};
use gpu_backprop::network::cost::QUADRATIC;
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::plan::executor::Executor;
use gpu_backprop::training::{Hyperparameters, PartOfData, Trainer};

const SEED: u64 = 6;

/// Whether the inputs of a network are bytes or floats.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Bytes,
    Floats,
}

/// Widths around multiples of 4 and 16, with and without hidden layers, and more blocks of neurons
/// than invocations; mini-batches likewise, some of which leave a ragged last one.
const NETWORKS: [(&[usize], usize, usize, Kind); 12] = [
    (&[1, 1], 1, 5, Kind::Bytes),
    (&[3, 2], 4, 21, Kind::Floats),
    (&[5, 4, 3], 3, 17, Kind::Bytes),
    (&[5, 4, 3], 3, 17, Kind::Floats),
    (&[6, 1, 5, 2], 5, 23, Kind::Bytes),
    (&[8, 12, 4], 8, 40, Kind::Floats),
    (&[7, 9, 6, 5, 3], 7, 30, Kind::Floats),
    (&[20, 6, 3], 17, 74, Kind::Bytes),
    (&[32, 270, 3], 2, 9, Kind::Bytes),
    (&[130, 17, 33], 9, 40, Kind::Bytes),
    (&[64, 30, 10], 10, 107, Kind::Floats),
    (&[784, 30, 10], 10, 60, Kind::Bytes),
];

fn inputs(kind: Kind, len: usize) -> Inputs {
    match kind {
        Kind::Bytes => {
            let values = random_below(1, len, 256).into_iter().map(|byte| byte as u8).collect();
            Inputs::Bytes { values, scale: 1.0 / 255.0 }
        }
        Kind::Floats => Inputs::Floats(random(1, len)),
    }
}

/// As for whole runs: each step rounds sums as long as the widest layer or the mini-batch, a random
/// walk over all steps, of weights of the order of 1; four standard deviations for each of the two.
fn tolerance(widths: &[usize], m: usize, steps: usize) -> f64 {
    let terms = steps * widths.iter().copied().max().unwrap_or(1).max(m);
    8.0 * f64::from(f32::EPSILON) / 2.0 * (terms as f64).sqrt()
}

fn assert_agree(what: &str, found: &Parameters, expected: &Parameters, tolerance: f64) {
    for ((name, found), (_, expected)) in found.iter().zip(expected.iter()) {
        let largest = expected.iter().fold(1f32, |largest, value| largest.max(value.abs()));
        assert_close(&format!("{name}, {what}"), 1, found, &wide(expected), tolerance * f64::from(largest));
    }
}

/// What a network learns.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Learned {
    Classes,
    WeightedClasses,
    Numbers,
}

fn dataset(inputs: Inputs, features: usize, outputs: usize, examples: usize, learned: Learned) -> Dataset {
    let labels = [vec![outputs as u32 - 1], random_below(2, examples - 1, outputs as u32)].concat();
    match learned {
        Learned::Classes => Dataset::new(inputs, features, labels).expect("a data set"),
        Learned::WeightedClasses => {
            let weights = random(3, outputs).into_iter().map(f32::abs).collect();
            let dataset = Dataset::new(inputs, features, labels).expect("a data set");
            dataset.weighted(weights).expect("a weight for each class")
        }
        Learned::Numbers => {
            let values = random(4, examples * outputs).into_iter().map(f64::from).collect();
            let targets = Targets::Numbers { values, width: outputs };
            Dataset::with_targets(inputs, features, targets).expect("a data set")
        }
    }
}

fn train(executor: &mut dyn Executor, data: &Data, widths: &[usize], m: usize, epochs: usize) -> Parameters {
    let numbers = data.dataset.task() == Task::Regression;
    let output = if numbers { &LINEAR } else { &SIGMOID };
    let topology = Topology::new(widths, &SIGMOID, &QUADRATIC).expect("a network").with_output(output);
    let initial = Parameters::random(&topology, Initialization::Scaled, SEED).expect("memory");
    // A step changes a weighted input by about η times the neurons that lead to it: more than a few
    // tens, and descent multiplies rounding errors instead of damping them.
    let widest = widths[1..].iter().copied().max().unwrap_or(1);
    // Linear outputs do not damp a step; their inputs are activations, or the numbers of the examples.
    let eta = if numbers { 0.3 / widths[widths.len() - 2] as f32 } else { 1.5f32.min(60.0 / widest as f32) };
    let hyperparameters = Hyperparameters::sgd(m, eta, SEED);
    let mut trainer = Trainer::new(executor, &topology, &initial, data, hyperparameters).expect("a trainer");
    for _ in 0..epochs {
        trainer.train_epoch(&mut |_| ()).expect("an epoch");
        trainer.evaluate(PartOfData::Training).expect("evaluate");
    }
    trainer.parameters().expect("read")
}

fn the_loop_agrees_with_the_primitives(adapter: &AdapterUnderTest) {
    let open = |options| adapter.open(options).expect("the adapter opens");
    let mut reference = open(primitive());
    let looping = GpuOptions { workgroup_loop: Some(true), ..GpuOptions::default() };
    let mut checked = open(looping);
    let mut unchecked = open(GpuOptions { shader_checks: false, ..looping });
    let mut wider = open(GpuOptions { loop_lanes: Some(256), ..looping });
    let learned = [Learned::Numbers, Learned::WeightedClasses, Learned::Classes].into_iter().cycle();
    for ((widths, m, examples, kind), learned) in NETWORKS.into_iter().zip(learned) {
        let (features, outputs) = (widths[0], widths[widths.len() - 1]);
        let what = format!("{learned:?} by {widths:?} of {kind:?}, m = {m}, on {}", adapter.description());
        let data = Data {
            name: what.clone(),
            dataset: dataset(inputs(kind, examples * features), features, outputs, examples, learned),
            split: Split::all_training(0..examples),
        };
        assert!(examples / m >= 4, "{what}: too few mini-batches for a loop");
        let expected = train(&mut reference, &data, widths, m, 3);
        let found = train(&mut checked, &data, widths, m, 3);
        assert_agree(&what, &found, &expected, tolerance(widths, m, 3 * examples.div_ceil(m)));
        if features >= 64 {
            let by_more = train(&mut wider, &data, widths, m, 3);
            assert!(wider.choices().iter().any(|line| line.contains("of 256")), "{:?}", wider.choices());
            assert_agree(&what, &by_more, &expected, tolerance(widths, m, 3 * examples.div_ceil(m)));
            assert_eq!(found, train(&mut checked, &data, widths, m, 3), "{what}: the same bits again");
            // Without checks it is another program to a compiler, which may fuse other multiplications with
            // additions: the same within rounding.
            let unchecked = train(&mut unchecked, &data, widths, m, 3);
            assert_agree(&what, &unchecked, &expected, tolerance(widths, m, 3 * examples.div_ceil(m)));
        }
    }
}

/// More mini-batches than one dispatch may go through on a driver that ends long loops silently.
fn long_runs_are_divided_and_right(adapter: &AdapterUnderTest) {
    let (widths, m, examples) = (&[64, 30, 10][..], 1, 3000);
    let data = Data {
        name: "random".into(),
        dataset: dataset(Inputs::Floats(random(1, examples * 64)), 64, 10, examples, Learned::Classes),
        split: Split::all_training(0..examples),
    };
    let looping = GpuOptions { workgroup_loop: Some(true), ..GpuOptions::default() };
    let mut looping = adapter.open(looping).expect("the adapter opens");
    let mut dispatching =
        adapter.open(GpuOptions { workgroup_loop: Some(false), ..GpuOptions::default() }).expect("the adapter opens");
    let expected = train(&mut dispatching, &data, widths, m, 1);
    let found = train(&mut looping, &data, widths, m, 1);
    assert_agree(&adapter.description().to_string(), &found, &expected, tolerance(widths, m, examples));
}

trials! {
    on_each_adapter:
        the_loop_agrees_with_the_primitives,
        long_runs_are_divided_and_right;
}
