//! Data that a device does not hold is streamed, and comes to the same weights.

mod common;

use common::program::{Folder, assert_fails, json, npy, program, stdout};
use common::{adapters_under_test, random, random_below};
use gpu_backprop::activation::SIGMOID;
use gpu_backprop::backprop::{Examples, evaluation_plan};
use gpu_backprop::cost::QUADRATIC;
use gpu_backprop::cpu::Cpu;
use gpu_backprop::data::{Data, Dataset, Inputs, Split};
use gpu_backprop::executor::Executor;
use gpu_backprop::gpu::GpuOptions;
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::plan::{Element, Matrix};
use gpu_backprop::trainer::{Evaluation, Hyperparameters, PartOfData, Trainer};

const WIDTHS: [usize; 3] = [37, 12, 5];
const EXAMPLES: usize = 8001;
/// 7,201 examples to train on: the last mini-batch has 7.
const BATCH: usize = 11;

/// Random examples, of which every tenth is for validation or for testing.
fn data(bytes: bool) -> Data {
    let len = EXAMPLES * WIDTHS[0];
    let inputs = if bytes {
        let values = random_below(1, len, 256).into_iter().map(|byte| byte as u8).collect();
        Inputs::Bytes { values, scale: 1.0 / 255.0 }
    } else {
        Inputs::Floats(random(1, len))
    };
    let dataset = Dataset::new(inputs, WIDTHS[0], random_below(2, EXAMPLES, 5)).expect("a data set");
    let numbers = |wanted: &dyn Fn(u32) -> bool| (0..EXAMPLES as u32).filter(|&i| wanted(i)).collect();
    let split = Split {
        training: numbers(&|i| i % 10 != 3),
        validation: numbers(&|i| i % 20 == 3),
        test: numbers(&|i| i % 20 == 13),
    };
    Data { name: "random".into(), dataset, split }
}

/// What came of a training: each epoch's measurements, the weights, and what was chosen.
struct Trained {
    evaluations: Vec<Evaluation>,
    sha256: String,
    choices: Vec<String>,
}

fn train(executor: &mut dyn Executor, data: &Data, batch: usize) -> Trained {
    let topology = Topology::new(&WIDTHS, &SIGMOID, &QUADRATIC).expect("a network");
    let initial = Parameters::random(&topology, Initialization::Scaled, 3).expect("memory");
    let hyperparameters = Hyperparameters { batch, eta: 1.0, seed: 4 };
    let mut trainer = Trainer::new(executor, &topology, &initial, data, hyperparameters).expect("a trainer");
    let (mut evaluations, mut steps) = (Vec::new(), 0);
    for _ in 0..2 {
        trainer.train_epoch(&mut |finished| steps += finished).expect("an epoch");
        for part in [PartOfData::Training, PartOfData::Validation, PartOfData::Test] {
            evaluations.push(trainer.evaluate(part).expect("evaluate").expect("the part is not empty"));
        }
    }
    assert_eq!(steps, 2 * data.split.training.len().div_ceil(batch), "every step is told of once");
    let sha256 = trainer.parameters().expect("read").sha256();
    Trained { evaluations, sha256, choices: trainer.choices() }
}

/// Memory for the network, and for a chunk of about 1,500 examples while the next one is on its way.
fn limit(executor: &dyn Executor, bytes: bool) -> u64 {
    let topology = Topology::new(&WIDTHS, &SIGMOID, &QUADRATIC).expect("a network");
    let (element, row) = if bytes { (Element::Byte, WIDTHS[0]) } else { (Element::F32, 4 * WIDTHS[0]) };
    let examples = Examples {
        order: Matrix::of(Element::U32, "order", 1, 1),
        inputs: Matrix::of(element, "inputs", 1, WIDTHS[0]),
        scale: 1.0,
        labels: Matrix::of(Element::U32, "labels", 1, 1),
    };
    let (totals, counts) = (Matrix::new("totals", 1, 1), Matrix::of(Element::U32, "counts", 1, 1));
    let evaluation = evaluation_plan(&topology, &examples, 1000, &totals, &counts).expect("a plan");
    executor.size_of(&[evaluation]) + 1500 * (2 * (row as u64 + 4) + 4)
}

/// Trains on all data at once, and then in memory for a part of it: the same to the bit.
fn assert_same(what: &str, executor: &mut dyn Executor) {
    for bytes in [true, false] {
        let data = data(bytes);
        let resident = train(executor, &data, BATCH);
        assert!(!resident.choices.iter().any(|line| line.contains("streamed")), "{what}: {:?}", resident.choices);
        let unlimited = executor.memory().of_all;
        executor.limit_memory(limit(executor, bytes));
        let streamed = train(executor, &data, BATCH);
        executor.limit_memory(unlimited);
        let line = streamed.choices.iter().find(|line| line.contains("streamed in chunks of"));
        let line = line.unwrap_or_else(|| panic!("{what}: {:?}", streamed.choices));
        let chunk: usize = line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number");
        assert!(chunk < data.split.training.len() / 2, "{what}: {line}");
        assert_eq!(streamed.sha256, resident.sha256, "{what}, bytes: {bytes}: {line}");
        assert_eq!(streamed.evaluations, resident.evaluations, "{what}, bytes: {bytes}: {line}");
        let rest = |choices: &[String]| -> Vec<String> {
            choices.iter().filter(|line| !line.contains("streamed")).cloned().collect()
        };
        assert_eq!(rest(&streamed.choices), rest(&resident.choices), "{what}: the same strategies");
    }
}

#[test]
fn on_the_cpu_the_weights_are_the_same() {
    for threads in [1, 2] {
        assert_same(&format!("{threads} threads"), &mut Cpu::new(threads));
    }
    assert_same("twins", &mut Cpu::of_twins());
}

#[test]
fn on_a_gpu_the_weights_are_the_same_by_dispatches_and_by_the_loop() {
    for adapter in adapters_under_test() {
        for workgroup_loop in [false, true] {
            let options = GpuOptions { workgroup_loop: Some(workgroup_loop), ..GpuOptions::default() };
            let mut gpu = adapter.open(options).expect("the adapter opens");
            assert_same(&format!("{}, loop: {workgroup_loop}", adapter.description()), &mut gpu);
            let looped = gpu.choices().iter().any(|line| line.contains("a loop in one work group of"));
            assert_eq!(looped, workgroup_loop, "{:?}", gpu.choices());
        }
        let mut gpu = adapter.open(common::primitive()).expect("the adapter opens");
        assert_same(&format!("{}, primitive", adapter.description()), &mut gpu);
    }
}
