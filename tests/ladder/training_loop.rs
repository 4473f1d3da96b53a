//! The training loop in one work group against the primitive kernels it replaces.

use crate::closeness::assert_close_in_scale;
use crate::harness::AdapterUnderTest;
use crate::networks::{Kind, Learned, Network, Rung, WeightedEpoch, networks, with_rows};
use crate::primitive;
use gpu_backprop::Cpu;
use gpu_backprop::data::Data;
use gpu_backprop::gpu::GpuOptions;
use gpu_backprop::network::activation::{RELU, SIGMOID, SOFTMAX};
use gpu_backprop::network::cost::LOG_LIKELIHOOD;
use gpu_backprop::network::optimizer::{ADAM, MOMENTUM, SGD};
use gpu_backprop::network::{Initialization, Parameters};
use gpu_backprop::plan::executor::Executor;
use gpu_backprop::rewrite::training_loop::strategy::{IN_STORAGE, STRATEGIES};
use gpu_backprop::training::{PartOfData, Position, Snapshot, Started, Trainer, Training};

const SEED: u64 = 6;

fn data(network: &Network, examples: usize) -> Data {
    Data::all_training(network.to_string(), network.dataset(examples))
}

/// As for whole runs: each step rounds sums as long as the widest layer or the mini-batch, a random
/// walk over all steps, of weights of the order of 1; four standard deviations for each of the two.
fn tolerance(widths: &[usize], m: usize, steps: usize) -> f64 {
    let terms = steps * widths.iter().copied().max().unwrap_or(1).max(m);
    8.0 * f64::from(f32::EPSILON) / 2.0 * (terms as f64).sqrt()
}

fn assert_agree(what: &str, found: &[Parameters], expected: &[Parameters], tolerance: f64) {
    let pairs = found.iter().flat_map(Parameters::iter).zip(expected.iter().flat_map(Parameters::iter));
    for ((name, found), (_, expected)) in pairs {
        assert_close_in_scale(&format!("{name}, {what}"), 1, found, expected, tolerance);
    }
}

/// The parameters after some epochs, and each state that the optimizer keeps beside them.
fn train(executor: &mut dyn Executor, data: &Data, network: &Network, epochs: usize) -> Vec<Parameters> {
    let (topology, widths) = (network.topology(), network.widths);
    let initial = Parameters::random(&topology, Initialization::Scaled, SEED).expect("memory");
    // A step changes a weighted input by about η times the neurons that lead to it: more than a few
    // tens, and descent multiplies rounding errors instead of damping them.
    let widest = widths[1..].iter().copied().max().unwrap_or(1);
    // Outputs without bounds do not damp a step; their inputs are activations, or the numbers of the examples.
    let eta = if network.output.any_number || network.output.rectifies {
        0.3 / widths[widths.len() - 2] as f32
    } else {
        1.5f32.min(60.0 / widest as f32)
    };
    // Only the sigmoid damps errors.
    let share = if network.hidden == &SIGMOID { 1.0 } else { 0.1 };
    let optimizer = network.optimizer;
    let hyperparameters = network.hyperparameters(share * eta, data.split.training.len(), SEED);
    let mut trainer = Trainer::new(executor, &topology, &initial, data, hyperparameters).expect("a trainer");
    for _ in 0..epochs {
        trainer.train_epoch(&mut |_| ()).expect("an epoch");
        trainer.evaluate(PartOfData::Training).expect("evaluate");
    }
    let states = optimizer.states.iter().map(|state| trainer.state(state).expect("read")).collect::<Vec<_>>();
    std::iter::once(trainer.parameters().expect("read")).chain(states).collect()
}

fn the_loop_agrees_with_the_primitives(adapter: &AdapterUnderTest) {
    let open = |options| adapter.open(options).expect("the adapter opens");
    let mut reference = open(primitive());
    let looping = GpuOptions { workgroup_loop: Some(true), ..GpuOptions::default() };
    let mut checked = open(looping);
    let mut unchecked = open(GpuOptions { shader_checks: false, ..looping });
    let mut wider = open(GpuOptions { loop_lanes: Some(256), ..looping });
    // Large networks as they are, small ones and once more large ones with other rows, which have their turns.
    let large = |network: &Network| network.features() >= 64;
    for network in networks(Rung::Loop).filter(large).chain(with_rows(Rung::Loop)) {
        let (widths, m) = (network.widths, network.m);
        let what = format!("{network}, on {adapter}");
        // Every fourth size of a mini-batch leaves no ragged one.
        let examples = if m.is_multiple_of(4) { 5 * m } else { 5 * m + m / 2 };
        let data = data(&network, examples);
        assert!(examples / m >= 4, "{what}: too few mini-batches for a loop");
        let expected = train(&mut reference, &data, &network, 3);
        let found = train(&mut checked, &data, &network, 3);
        assert_agree(&what, &found, &expected, tolerance(widths, m, 3 * examples.div_ceil(m)));
        if large(&network) && network.hidden == &SIGMOID {
            let by_more = train(&mut wider, &data, &network, 3);
            assert!(wider.choices().iter().any(|line| line.contains("of 256")), "{:?}", wider.choices());
            assert_agree(&what, &by_more, &expected, tolerance(widths, m, 3 * examples.div_ceil(m)));
            assert_eq!(found, train(&mut checked, &data, &network, 3), "{what}: the same bits again");
            // Without checks it is another program to a compiler, which may fuse other multiplications with
            // additions: the same within rounding.
            let unchecked = train(&mut unchecked, &data, &network, 3);
            assert_agree(&what, &unchecked, &expected, tolerance(widths, m, 3 * examples.div_ceil(m)));
        }
    }
}

/// Every strategy at several widths; on processors that compute shaders, which do nothing behind the back of a program, with the bits
/// of the first one.
fn every_strategy_agrees_with_the_primitives(adapter: &AdapterUnderTest) {
    let mut reference = adapter.open(primitive()).expect("the adapter opens");
    let (bytes, floats, classes) = (Kind::Bytes, Kind::Floats, Learned::Classes);
    // Gradients of several groups of examples add up in the second.
    let groups = Network {
        hidden: &RELU,
        output: &SOFTMAX,
        cost: &LOG_LIKELIHOOD,
        optimizer: &ADAM,
        decays: true,
        dropout: 0.25,
        ..Network::new(&[20, 7, 6, 3], 35, bytes, classes)
    };
    let state = Network { optimizer: &MOMENTUM, ..Network::new(&[37, 19, 5], 6, floats, Learned::Numbers) };
    for network in [Network::new(&[64, 30, 10], 10, bytes, classes), groups, state] {
        let data = data(&network, 5 * network.m + network.m / 2);
        let expected = train(&mut reference, &data, &network, 2);
        let steps = 2 * (5 * network.m + network.m / 2).div_ceil(network.m);
        let widths: &[usize] =
            if network.hidden == &SIGMOID && network.optimizer == &SGD { &[16, 1024] } else { &[64] };
        for &lanes in widths.iter().filter(|&&lanes| lanes <= adapter.largest_work_group() as usize) {
            let mut first = None;
            for strategy in STRATEGIES {
                // Memory for the sums of so many invocations is the same question for each strategy.
                if lanes == 1024 && *strategy != IN_STORAGE {
                    continue;
                }
                let options = GpuOptions {
                    workgroup_loop: Some(true),
                    loop_strategy: Some(strategy),
                    loop_lanes: Some(lanes),
                    ..GpuOptions::default()
                };
                let what = format!("{network}, {strategy}, {lanes} invocations, on {adapter}");
                let mut looping = adapter.open(options).expect("the adapter opens");
                let found = train(&mut looping, &data, &network, 2);
                let way = format!("a loop in one work group of {lanes}, {strategy}");
                if !looping.choices().iter().any(|line| line.contains(&way)) {
                    // Sixteen invocations would have too many weights each for registers.
                    assert!(lanes == 16 && strategy.name.contains("registers"), "{what}: {:?}", looping.choices());
                    continue;
                }
                assert_agree(&what, &found, &expected, tolerance(network.widths, network.m, steps));
                let first = first.get_or_insert_with(|| found.clone());
                if adapter.description().software {
                    assert!(*first == found, "{what}: other bits than those of the first strategy");
                }
            }
        }
    }
}

/// Examples that each have a weight of their own, of classes and of numbers.
fn weights_of_examples_agree_with_the_primitives(adapter: &AdapterUnderTest) {
    let mut reference = adapter.open(primitive()).expect("the adapter opens");
    let looping = GpuOptions { workgroup_loop: Some(true), ..GpuOptions::default() };
    let mut looping = adapter.open(looping).expect("the adapter opens");
    for learned in [Learned::Classes, Learned::Numbers] {
        let network = Network { dropout: 0.3, ..Network::new(&[5, 7, 6, 3], 5, Kind::Bytes, learned) };
        let epoch = WeightedEpoch::new(network);
        let what = format!("{network}, weighted, on {adapter}");
        let found = epoch.run(&mut looping);
        assert!(looping.choices().iter().any(|line| line.contains("a loop in one work group")), "{what}");
        assert_agree(&what, &[found], &[epoch.run(&mut reference)], tolerance(network.widths, network.m, 4));
    }
}

/// More mini-batches than one dispatch may go through on a driver that ends long loops silently.
fn long_runs_are_divided_and_right(adapter: &AdapterUnderTest) {
    let network = Network::new(&[64, 30, 10], 1, Kind::Floats, Learned::Classes);
    let examples = 3000;
    let data = data(&network, examples);
    let looping = GpuOptions { workgroup_loop: Some(true), ..GpuOptions::default() };
    let mut looping = adapter.open(looping).expect("the adapter opens");
    let mut dispatching =
        adapter.open(GpuOptions { workgroup_loop: Some(false), ..GpuOptions::default() }).expect("the adapter opens");
    let expected = train(&mut dispatching, &data, &network, 1);
    let found = train(&mut looping, &data, &network, 1);
    assert_agree(&adapter.description().to_string(), &found, &expected, tolerance(network.widths, network.m, examples));
}

trials! {
    on_each_adapter:
        the_loop_agrees_with_the_primitives,
        every_strategy_agrees_with_the_primitives,
        networks_side_by_side_have_the_bits_of_each_alone,
        weights_of_examples_agree_with_the_primitives,
        a_training_that_diverged_leaves_nothing_behind,
        long_runs_are_divided_and_right;
}

/// Networks of the same loop with learning rates and seeds of their own, over two epochs.
fn networks_side_by_side_have_the_bits_of_each_alone(adapter: &AdapterUnderTest) {
    let options = GpuOptions { workgroup_loop: Some(true), ..GpuOptions::default() };
    let [mut alone, mut together] = [0, 1].map(|_| adapter.open(options).expect("the adapter opens"));
    for network in with_rows(Rung::Loop) {
        let topology = network.topology();
        let data = data(&network, 5 * network.m + network.m / 2);
        let examples = data.split.training.len();
        let members = [0.01, 0.04].map(|eta| {
            let seed = SEED + (eta * 100.0) as u64;
            let initial = Parameters::random(&topology, Initialization::Scaled, seed).expect("memory");
            (initial, network.hyperparameters(eta, examples, seed))
        });
        let trainings = members.each_ref().map(|(initial, hyperparameters)| Training {
            data: &data,
            topology: &topology,
            initial,
            hyperparameters: *hyperparameters,
        });
        let before = trainings.map(|training| Snapshot::from(training.initial.clone()));
        let expected = [0, 1].map(|i| {
            let mut trainer = trainings[i].trainer(&mut alone).expect("a trainer");
            let (steps, mut snapshot) = (trainer.steps_per_epoch(), before[i].clone());
            [0, 1].map(|epoch| {
                trainer.resume(&snapshot, Position { epoch, step: 0 }, 0.5).expect("it begins");
                assert!(trainer.train_steps(steps - 1).expect("it trains"));
                let trained = trainer.snapshot().expect("read");
                assert!(trained.parameters != snapshot.parameters, "{network}: nothing was learned");
                snapshot = trained.clone();
                trained
            })
        });
        let mut trainer = trainings[0].trainer(&mut together).expect("a trainer");
        assert!(trainer.most_side_by_side() >= 2, "{network}, on {adapter}: one after the other");
        let mut snapshots = before.to_vec();
        for epoch in [0, 1] {
            let started = |(training, snapshot)| Started { training, snapshot, epoch, plateau: 0.5 };
            let started: Vec<Started<'_>> = trainings.into_iter().zip(&snapshots).map(started).collect();
            let mut done = 0;
            let (found, _) = trainer.train_side_by_side(&started, &mut |steps| done += steps).expect("it trains");
            assert_eq!(done, 2 * (trainer.steps_per_epoch() - 1), "{network}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!(*found == expected[epoch], "{network}, on {adapter}, epoch {epoch}: other bits side by side");
            }
            snapshots = found;
        }
    }
}

/// After NaN everywhere, a training from a snapshot has the bits of a new one: padding is no refuge. Widths are no multiples
/// of 4.
fn a_training_that_diverged_leaves_nothing_behind(adapter: &AdapterUnderTest) {
    let network = Network::new(&[7, 6, 5], 5, Kind::Floats, Learned::Numbers);
    let (topology, data) = (network.topology(), data(&network, 25));
    let initial = Parameters::random(&topology, Initialization::Scaled, SEED).expect("memory");
    let hyperparameters = network.hyperparameters(0.05, data.split.training.len(), SEED);
    let looping = |looping| GpuOptions { workgroup_loop: Some(looping), ..GpuOptions::default() };
    let open = |options| -> Box<dyn Executor> { Box::new(adapter.open(options).expect("the adapter opens")) };
    for mut executor in [open(looping(true)), open(looping(false)), open(primitive()), Box::new(Cpu::new(1))] {
        let what = executor.device().to_string();
        let mut trainer =
            Trainer::new(executor.as_mut(), &topology, &initial, &data, hyperparameters).expect("a trainer");
        let mut trained = || {
            trainer.resume(&initial.clone().into(), Position::default(), 1.0).expect("it begins");
            trainer.train_epoch(&mut |_| ()).expect("an epoch");
            let found = trainer.parameters().expect("read");
            let mut nan = initial.clone();
            nan.w[2].fill(f32::NAN);
            trainer.set_parameters(&nan).expect("written");
            trainer.train_epoch(&mut |_| ()).expect("an epoch");
            assert!(!trainer.parameters().expect("read").all_finite(), "{what}: NaN is lost");
            found
        };
        let first = trained();
        assert!(first.all_finite() && first == trained(), "{what}, on {adapter}: other bits after NaN");
    }
}
