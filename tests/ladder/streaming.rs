//! Data that a device does not hold is streamed, and comes to the same weights.

use crate::doubles::Scarce;
use crate::harness::AdapterUnderTest;
use crate::numbers::{random, random_below};
use gpu_backprop::backprop::{Measures, evaluation_plan};
use gpu_backprop::cpu::Cpu;
use gpu_backprop::data::{Data, Dataset, Inputs, Split, Targets};
use gpu_backprop::gpu::GpuOptions;
use gpu_backprop::network::activation::SIGMOID;
use gpu_backprop::network::cost::QUADRATIC;
use gpu_backprop::network::optimizer::ADAM;
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::plan::executor::Executor;
use gpu_backprop::plan::{Element, Matrix};
use gpu_backprop::training::{Decline, Evaluation, Hyperparameters, PartOfData, Schedule, Trainer, examples_of};

pub const WIDTHS: [usize; 3] = [37, 12, 5];
const EXAMPLES: usize = 4001;
/// 3,601 examples to train on: the last mini-batch has 5.
const BATCH: usize = 29;

/// What a data set is of.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    BytesAndClasses,
    FloatsAndWeightedClasses,
    FloatsAndNumbers,
}

/// Random examples, of which every tenth is for validation or for testing.
pub fn data(kind: Kind) -> Data {
    let len = EXAMPLES * WIDTHS[0];
    let floats = Inputs::Floats(random(1, len));
    let classes = random_below(2, EXAMPLES, 5);
    let dataset = match kind {
        Kind::BytesAndClasses => {
            let values = random_below(1, len, 256).into_iter().map(|byte| byte as u8).collect();
            Dataset::new(Inputs::Bytes { values, scale: 1.0 / 255.0 }, WIDTHS[0], classes)
        }
        Kind::FloatsAndWeightedClasses => {
            Dataset::new(floats, WIDTHS[0], classes).and_then(|data| data.weighted(vec![1.0, 2.0, 0.5, 0.0, 1.5]))
        }
        Kind::FloatsAndNumbers => {
            let values = random(3, EXAMPLES * 5).into_iter().map(f64::from).collect();
            Dataset::with_targets(floats, WIDTHS[0], Targets::Numbers { values, width: 5 })
        }
    };
    let numbers = |wanted: &dyn Fn(u32) -> bool| (0..EXAMPLES as u32).filter(|&i| wanted(i)).collect();
    let split = Split {
        training: numbers(&|i| i % 10 != 3),
        validation: numbers(&|i| i % 20 == 3),
        test: numbers(&|i| i % 20 == 13),
    };
    Data::new(format!("{kind:?}"), dataset.expect("a data set"), split)
}

/// What came of a training: what each part of the data measures, the weights, and what was chosen.
struct Trained {
    evaluations: Vec<Evaluation>,
    sha256: String,
    choices: Vec<String>,
}

/// As in the book, but for data of classes with weights, where what a step does depends on its number: by Adam, with dropout,
/// decay and a schedule.
pub fn hyperparameters(data: &Data, batch: usize) -> Hyperparameters {
    let book = Hyperparameters::sgd(batch, 1.0, 4);
    let schedule = Schedule { decline: Decline::Cosine, epochs: 2, ..Schedule::CONSTANT };
    if data.dataset.has_weights() {
        Hyperparameters { optimizer: &ADAM, eta: 0.01, lambda: 100.0, dropout: 0.2, schedule, ..book }
    } else {
        book
    }
}

fn train(executor: &mut dyn Executor, data: &Data, batch: usize) -> Trained {
    let topology = Topology::new(&WIDTHS, &SIGMOID, &QUADRATIC).expect("a network");
    let initial = Parameters::random(&topology, Initialization::Scaled, 3).expect("memory");
    let hyperparameters = hyperparameters(data, batch);
    let mut trainer = Trainer::new(executor, &topology, &initial, data, hyperparameters).expect("a trainer");
    let mut steps = 0;
    for _ in 0..2 {
        trainer.train_epoch(&mut |finished| steps += finished).expect("an epoch");
    }
    let parts = [PartOfData::Training, PartOfData::Validation, PartOfData::Test];
    let mut evaluate = |part| trainer.evaluate(part).expect("evaluate").expect("the part is not empty");
    let evaluations = parts.map(&mut evaluate).to_vec();
    assert_eq!(steps, 2 * data.split.training.len().div_ceil(batch), "every step is told of once");
    let sha256 = trainer.parameters().expect("read").sha256();
    Trained { evaluations, sha256, choices: trainer.choices() }
}

/// Memory for the network, and for a chunk of about 1,500 examples while the next one is on its way.
fn limit(executor: &dyn Executor, data: &Data) -> u64 {
    let topology = Topology::new(&WIDTHS, &SIGMOID, &QUADRATIC).expect("a network");
    let examples = examples_of(&data.dataset, &Matrix::of(Element::U32, "order", 1, 1)).with_rows(1);
    let measures = Measures::of(&examples, &topology, 1);
    let evaluation = evaluation_plan(&topology, &examples, 1000, &measures).expect("a plan");
    let row: usize = examples.of_examples().map(Matrix::size).sum();
    executor.size_of(&[evaluation]) + 1500 * (2 * row as u64 + 4)
}

/// Trains on all data at once, and then in memory for a part of it: the same to the bit.
fn assert_same(what: &str, executor: &mut dyn Executor, kinds: &[Kind]) {
    for &kind in kinds {
        let data = data(kind);
        let resident = train(executor, &data, BATCH);
        assert!(!resident.choices.iter().any(|line| line.contains("streamed")), "{what}: {:?}", resident.choices);
        let unlimited = executor.memory().of_all;
        executor.limit_memory(limit(executor, &data));
        let streamed = train(executor, &data, BATCH);
        executor.limit_memory(unlimited);
        let line = streamed.choices.iter().find(|line| line.contains("streamed in chunks of"));
        let line = line.unwrap_or_else(|| panic!("{what}: {:?}", streamed.choices));
        let chunk: usize = line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number");
        assert!(chunk < data.split.training.len() / 2, "{what}: {line}");
        assert_eq!(streamed.sha256, resident.sha256, "{what}, {kind:?}: {line}");
        assert_eq!(streamed.evaluations, resident.evaluations, "{what}, {kind:?}: {line}");
        // The number of CPU threads is measured anew each time, and changes no bit.
        let is_strategy = |line: &&String| !line.contains("streamed") && !line.contains(" threads, the fastest number");
        let rest = |choices: &[String]| -> Vec<String> { choices.iter().filter(is_strategy).cloned().collect() };
        assert_eq!(rest(&streamed.choices), rest(&resident.choices), "{what}: the same strategies");
    }
}

fn on_the_cpu_the_weights_are_the_same() {
    let kinds = [Kind::BytesAndClasses, Kind::FloatsAndWeightedClasses, Kind::FloatsAndNumbers];
    for threads in [1, 2] {
        assert_same(&format!("{threads} threads"), &mut Cpu::new(threads), &kinds);
    }
    assert_same("twins", &mut Cpu::of_twins(), &kinds);
}

fn what_a_device_refuses_is_streamed() {
    let mut data = data(Kind::BytesAndClasses);
    // The last parts are less than what is measured at a time.
    for examples in [data.split.training.len(), 500] {
        data.split.training.truncate(examples);
        let resident = train(&mut Cpu::new(1), &data, BATCH);
        let streamed = train(&mut Scarce { inner: Cpu::new(1), most: EXAMPLES - 1 }, &data, BATCH);
        assert!(streamed.choices[0].contains("does not hold all of it: cannot load: no more memory"));
        assert_eq!((streamed.sha256, streamed.evaluations), (resident.sha256, resident.evaluations));
    }
    // If a chunk is refused as well, it is an error.
    let topology = Topology::new(&WIDTHS, &SIGMOID, &QUADRATIC).expect("a network");
    let initial = Parameters::random(&topology, Initialization::Scaled, 3).expect("memory");
    let hyperparameters = Hyperparameters::sgd(BATCH, 1.0, 4);
    let mut nothing = Scarce { inner: Cpu::new(1), most: 0 };
    let error = Trainer::new(&mut nothing, &topology, &initial, &data, hyperparameters).expect_err("no memory");
    assert_eq!(format!("{error:#}"), "cannot load: no more memory");
}

fn on_a_gpu_the_weights_are_the_same_by_dispatches_and_by_the_loop(adapter: &AdapterUnderTest) {
    for workgroup_loop in [false, true] {
        let options = GpuOptions { workgroup_loop: Some(workgroup_loop), ..GpuOptions::default() };
        let mut gpu = adapter.open(options).expect("the adapter opens");
        let what = format!("{}, loop: {workgroup_loop}", adapter.description());
        let kinds = [Kind::BytesAndClasses, Kind::FloatsAndWeightedClasses, Kind::FloatsAndNumbers];
        assert_same(&what, &mut gpu, &kinds);
        let looped = gpu.choices().iter().any(|line| line.contains("a loop in one work group of"));
        assert_eq!(looped, workgroup_loop, "{:?}", gpu.choices());
    }
}

trials! {
    once:
        on_the_cpu_the_weights_are_the_same,
        what_a_device_refuses_is_streamed;
    on_each_adapter:
        on_a_gpu_the_weights_are_the_same_by_dispatches_and_by_the_loop;
}
