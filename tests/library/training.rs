//! Trainers: what they are given is checked before it reaches a device.

use gpu_backprop::{
    Adapter, Cpu, Data, Dataset, Executor, Gpu, Hyperparameters, Initialization, Inputs, Layers, Parameters,
    PartOfData, Position, Predictor, Schedule, Snapshot, Split, Targets, Topology, Trainer, WrongUsage, activation,
    cost, optimizer,
};

use crate::{assert_error, data, dataset, parameters, topology};

const HYPERPARAMETERS: Hyperparameters = Hyperparameters::sgd(4, 3.0, 0);

/// Checks that no trainer is made.
fn assert_refused(
    topology: &Topology,
    parameters: &Parameters,
    data: &Data,
    settings: Hyperparameters,
    parts: &[&str],
) {
    let mut cpu = Cpu::new(1);
    assert_error(Trainer::new(&mut cpu, topology, parameters, data, settings).map(drop), parts);
}

#[test]
fn splits_that_leave_the_data_set_or_overlap_are_refused() {
    let network = topology(&[2, 3, 2]);
    let refused = |training: Vec<u32>, validation: Vec<u32>, test: Vec<u32>, parts: &[&str]| {
        let data = Data::new("sixteen", dataset(), Split { training, validation, test });
        assert_refused(&network, &parameters(&network), &data, HYPERPARAMETERS, parts);
    };
    let first = || (0..8).collect::<Vec<u32>>();
    refused((9..17).collect(), vec![], vec![], &["training split", "example 16", "16 examples"]);
    refused(first(), vec![u32::MAX], vec![], &["validation split", "example 4294967295"]);
    refused(first(), vec![], vec![8, 99], &["test split", "example 99"]);
    refused(first(), vec![], vec![8, 7], &["example 7", "training split", "test split", "overlap"]);
    refused(first(), vec![8], vec![8], &["example 8", "validation split", "test split"]);
    // Sampling with replacement.
    let split = Split { training: vec![3; 8], validation: vec![4, 4], test: vec![5] };
    let data = Data::new("sixteen", dataset(), split);
    let mut cpu = Cpu::new(1);
    Trainer::new(&mut cpu, &network, &parameters(&network), &data, HYPERPARAMETERS).expect("drawn more than once");
}

#[test]
fn parameters_of_another_network_are_refused() {
    let (network, data) = (topology(&[2, 3, 2]), data());
    let wide = parameters(&topology(&[2, 4, 2]));
    let deep = parameters(&topology(&[2, 3, 3, 2]));
    let flat = parameters(&topology(&[2, 2]));
    let shapes = ["w2 and b2 have 8 and 4 numbers", "network 2-3-2 needs 6 (3 x 2) and 3"];
    let layers = "but the network 2-3-2 has layers 2 to 3";
    assert_refused(&network, &wide, &data, HYPERPARAMETERS, &shapes);
    assert_refused(&network, &deep, &data, HYPERPARAMETERS, &["weights of layers 2 to 4", layers]);
    assert_refused(&network, &flat, &data, HYPERPARAMETERS, &["weights of layer 2", layers]);
    let mut odd = parameters(&network);
    odd.b = Layers::new(1, 2, |_| vec![0.0; 3]);
    assert_refused(&network, &odd, &data, HYPERPARAMETERS, &["biases of layers 1 to 2", layers]);
    odd = parameters(&network);
    odd.b[3].pop();
    assert_refused(&network, &odd, &data, HYPERPARAMETERS, &["w3 and b3 have 6 and 1 numbers"]);

    let adam = Hyperparameters { optimizer: &optimizer::ADAM, eta: 0.01, ..HYPERPARAMETERS };
    let (own, mut cpu) = (parameters(&network), Cpu::new(1));
    let mut trainer = Trainer::new(&mut cpu, &network, &own, &data, adam).expect("a trainer");
    trainer.train_epoch(&mut |_| ()).expect("an epoch");
    let snapshot = trainer.snapshot().expect("a snapshot");
    assert_error(trainer.set_parameters(&wide), &shapes);
    assert_error(trainer.restore(&deep.into()), &[layers]);
    assert_error(trainer.evaluate_beside(PartOfData::Test, &wide).map(drop), &shapes);
    let few = Snapshot { states: snapshot.states[1..].to_vec(), ..snapshot.clone() };
    assert_error(trainer.restore(&few), &["7 states, but adam keeps 8"]);
    let mut short = snapshot.clone();
    short.states[2].pop();
    assert_error(
        trainer.resume(&short, Position::default(), 1.0),
        &["the state b2.mean of the snapshot has 2 numbers"],
    );
    assert_error(trainer.last_epoch_from(&short), &["b2.mean"]);
    // Nothing has changed.
    assert_eq!(trainer.snapshot().expect("a snapshot"), snapshot);
    for plateau in [f64::NAN, -1.0, 2.0] {
        assert_error(trainer.resume(&snapshot, Position::default(), plateau), &["plateaus"]);
    }
    trainer.resume(&snapshot, Position { epoch: 1, step: 1 }, 0.5).expect("its own snapshot");
}

#[test]
fn a_changed_topology_is_refused() {
    let (mut network, data) = (topology(&[2, 3, 2]), data());
    let own = parameters(&network);
    network.n[2] = 0;
    assert_refused(&network, &own, &data, HYPERPARAMETERS, &["layer 2 of 2-0-2 has 0 neurons"]);
    network.n = Layers::new(0, 2, |l| [2, 3, 2][l]);
    assert_refused(&network, &own, &data, HYPERPARAMETERS, &["begins with layer 0"]);
}

#[test]
fn settings_are_checked() {
    let (network, data) = (topology(&[2, 3, 2]), data());
    let own = parameters(&network);
    for shards in [0, 3, 8] {
        let settings = Hyperparameters { shards, ..HYPERPARAMETERS };
        assert_refused(&network, &own, &data, settings, &[&format!("--shards {shards}"), "power of two"]);
    }
    let mut cpu = Cpu::new(1);
    let sharded = Hyperparameters { shards: 4, ..HYPERPARAMETERS };
    let mut trainer = Trainer::new(&mut cpu, &network, &own, &data, sharded).expect("a trainer");
    for factor in [f64::NAN, -1.0, 0.0, 10.0, f64::INFINITY] {
        assert_error(trainer.lower_eta(factor), &["factor of η"]);
    }
    assert_eq!(trainer.eta(), 3.0);
    trainer.lower_eta(0.5).expect("half");
    assert_eq!(trainer.eta(), 1.5);
    let error = Trainer::new(&mut Cpu::new(1), &network, &own, &data, Hyperparameters::sgd(0, 1.0, 0)).map(drop);
    assert!(error.expect_err("no batch").is::<WrongUsage>());
}

#[test]
fn schedules_are_made_by_name() {
    let at = |schedule: Schedule| [0, 20, 40].map(|step| (1e3 * schedule.of_step(step, 10)).round() / 1e3);
    assert_eq!(at(Schedule::CONSTANT), [1.0; 3]);
    assert_eq!(at(Schedule::step(0.1, 2)), [1.0, 0.1, 0.01]);
    assert_eq!(at(Schedule::exponential(0.5)), [1.0, 0.25, 0.063]);
    assert_eq!(at(Schedule::cosine(4)), [1.0, 0.5, 0.0]);
    assert_eq!(at(Schedule::cosine(6).with_warmup(2)), [0.05, 1.0, 0.5]);
    let (network, data) = (topology(&[2, 3, 2]), data());
    let warm = Hyperparameters { schedule: Schedule::step(0.5, 2).with_warmup(3), ..HYPERPARAMETERS };
    Trainer::new(&mut Cpu::new(1), &network, &parameters(&network), &data, warm).expect("a warm-up of any length");
    let cold = Hyperparameters { schedule: Schedule::cosine(3).with_warmup(3), ..HYPERPARAMETERS };
    assert_refused(&network, &parameters(&network), &data, cold, &["--warmup 3"]);
}

#[test]
fn a_diverged_network_shows() {
    let targets = Targets::Numbers { values: (0..16).map(f64::from).collect(), width: 1 };
    let inputs = Inputs::Floats((0..32).map(|i| i as f32).collect());
    let numbers = Dataset::with_targets(inputs.clone(), 2, targets).expect("a data set");
    let classes = Dataset::new(inputs, 2, (0..16).map(|i| i % 2).collect()).expect("a data set");
    for (dataset, width) in [(numbers, 1), (classes, 2)] {
        let split = Split { test: (12..16).collect(), ..Split::all_training(0..12) };
        let data = Data::new("sixteen", dataset, split);
        let network = Topology::new(&[2, 3, width], &activation::LINEAR, &cost::QUADRATIC).expect("a network");
        let own = Parameters::random(&network, Initialization::He, 1).expect("memory");
        let settings = Hyperparameters { eta: 1e30, ..HYPERPARAMETERS };
        let mut cpu = Cpu::new(1);
        let mut trainer = Trainer::new(&mut cpu, &network, &own, &data, settings).expect("a trainer");
        let before = trainer.evaluate(PartOfData::Test).expect("a device").expect("a split");
        assert!(before.is_finite() && (before.accuracy().is_some() || before.r2().is_some()), "{before:?}");
        trainer.train_epoch(&mut |_| ()).expect("no error");
        trainer.train_epoch(&mut |_| ()).expect("no error");
        let after = trainer.evaluate(PartOfData::Test).expect("a device").expect("a split");
        assert!(!after.is_finite() && after.accuracy().is_none() && after.r2().is_none(), "{after:?}");
        assert!(!trainer.parameters().expect("a device").all_finite());
    }
}

#[test]
fn layers_out_of_range_are_named() {
    let own = parameters(&topology(&[2, 3, 2]));
    assert_eq!((own.w.get(1), own.w.get(4), own.w.get(0)), (None, None, None));
    assert_eq!(own.w.get(2).map(Vec::len), Some(6));
    for l in [1, 9] {
        let panic = std::panic::catch_unwind(|| own.w[l].len()).expect_err("no such layer");
        let text = panic.downcast_ref::<String>().expect("a message");
        assert_eq!(*text, format!("layer {l} is none of layers 2 to 3"));
    }
}

#[test]
fn an_output_layer_brings_its_cost() {
    let network = Topology::new(&[2, 3, 2], &activation::RELU, &cost::CROSS_ENTROPY).expect("a network");
    let network = network.with_output(&activation::SOFTMAX);
    assert_eq!(*network.cost, cost::LOG_LIKELIHOOD);
    let data = data();
    Trainer::new(&mut Cpu::new(1), &network, &parameters(&network), &data, HYPERPARAMETERS).expect("a trainer");
}

#[test]
fn devices_and_trainers_may_change_threads() {
    fn is_send<T: Send + ?Sized>() {}
    is_send::<Box<dyn Executor>>();
    is_send::<dyn Executor>();
    is_send::<(Cpu, Gpu, Adapter)>();
    is_send::<Trainer<'_, '_>>();
    is_send::<Predictor<'_>>();
    let (network, data) = (topology(&[2, 3, 2]), data());
    let own = parameters(&network);
    let mut boxed: Box<dyn Executor> = Box::new(Cpu::new(1));
    let mut trainer = Trainer::new(boxed.as_mut(), &network, &own, &data, HYPERPARAMETERS).expect("a trainer");
    let trained = std::thread::scope(|scope| scope.spawn(|| trainer.train_epoch(&mut |_| ())).join());
    trained.expect("no panic").expect("an epoch");
}
