//! Data that a device does not hold is streamed, and comes to the same weights.

mod common;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::process::{Command, Output};

use anyhow::{Result, anyhow};

use common::program::{Folder, assert_fails, gzip, idx, json, npy, stdout, zipped};
use common::{adapters_under_test, random, random_below};
use gpu_backprop::backprop::{Measures, evaluation_plan};
use gpu_backprop::cpu::Cpu;
use gpu_backprop::data::{Data, Dataset, Inputs, Split, Targets};
use gpu_backprop::gpu::GpuOptions;
use gpu_backprop::kernel::MiniBatch;
use gpu_backprop::network::activation::SIGMOID;
use gpu_backprop::network::cost::QUADRATIC;
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::plan::executor::{DeviceDescription, Executor, Memory, Progress};
use gpu_backprop::plan::{Element, Matrix, Plan};
use gpu_backprop::system::error::OutOfMemory;
use gpu_backprop::training::trainer::{Evaluation, Hyperparameters, PartOfData, Trainer, examples_of};

const WIDTHS: [usize; 3] = [37, 12, 5];
const EXAMPLES: usize = 4001;
/// 3,601 examples to train on: the last mini-batch has 5.
const BATCH: usize = 29;

/// What a data set is of.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    BytesAndClasses,
    FloatsAndWeightedClasses,
    FloatsAndNumbers,
}

/// Random examples, of which every tenth is for validation or for testing.
fn data(kind: Kind) -> Data {
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
    Data { name: format!("{kind:?}"), dataset: dataset.expect("a data set"), split }
}

/// What came of a training: what each part of the data measures, the weights, and what was chosen.
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
    let mut examples = examples_of(&data.dataset, &topology, &Matrix::of(Element::U32, "order", 1, 1));
    examples.inputs.rows = 1;
    examples.desired = examples.desired.with_rows(1);
    let measures = Measures::of(&examples, &topology, 1);
    let evaluation = evaluation_plan(&topology, &examples, 1000, &measures).expect("a plan");
    let row = examples.inputs.size() + examples.desired.of_examples().size();
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
        let rest = |choices: &[String]| -> Vec<String> {
            choices.iter().filter(|line| !line.contains("streamed")).cloned().collect()
        };
        assert_eq!(rest(&streamed.choices), rest(&resident.choices), "{what}: the same strategies");
    }
}

#[test]
fn on_the_cpu_the_weights_are_the_same() {
    let kinds = [Kind::BytesAndClasses, Kind::FloatsAndWeightedClasses, Kind::FloatsAndNumbers];
    for threads in [1, 2] {
        assert_same(&format!("{threads} threads"), &mut Cpu::new(threads), &kinds);
    }
    assert_same("twins", &mut Cpu::of_twins(), &kinds);
}

/// A device that refuses more examples than these, and says nothing before.
struct Scarce {
    inner: Cpu,
    most: usize,
}

impl Executor for Scarce {
    fn device(&self) -> &DeviceDescription {
        self.inner.device()
    }

    fn memory(&self) -> Memory {
        Memory { of_matrix: u64::MAX, of_all: u64::MAX, is_limit: false, is_of_host: false, chunk: 100_000 }
    }

    fn limit_memory(&mut self, bytes: u64) {
        self.inner.limit_memory(bytes);
    }

    fn load(&mut self, plans: &[Plan]) -> Result<()> {
        let mut examples = plans.iter().flat_map(Plan::operands).filter(|matrix| &*matrix.name == "inputs");
        if examples.any(|matrix| matrix.rows > self.most) {
            return Err(anyhow!(OutOfMemory::new("no more memory")).context("cannot load"));
        }
        self.inner.load(plans)
    }

    fn write_bytes_at(&mut self, matrix: &Matrix, offset: usize, bytes: &[u8]) -> Result<()> {
        self.inner.write_bytes_at(matrix, offset, bytes)
    }

    fn read_bytes(&mut self, matrix: &Matrix) -> Result<Vec<u8>> {
        self.inner.read_bytes(matrix)
    }

    fn run(&mut self, plan: usize, mini_batches: &[MiniBatch], progress: &mut Progress<'_>) -> Result<()> {
        self.inner.run(plan, mini_batches, progress)
    }
}

#[test]
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
    let hyperparameters = Hyperparameters { batch: BATCH, eta: 1.0, seed: 4 };
    let mut nothing = Scarce { inner: Cpu::new(1), most: 0 };
    let error = Trainer::new(&mut nothing, &topology, &initial, &data, hyperparameters).expect_err("no memory");
    assert_eq!(format!("{error:#}"), "cannot load: no more memory");
}

#[test]
fn on_a_gpu_the_weights_are_the_same_by_dispatches_and_by_the_loop() {
    for adapter in adapters_under_test() {
        for workgroup_loop in [false, true] {
            let options = GpuOptions { workgroup_loop: Some(workgroup_loop), ..GpuOptions::default() };
            let mut gpu = adapter.open(options).expect("the adapter opens");
            let what = format!("{}, loop: {workgroup_loop}", adapter.description());
            assert_same(&what, &mut gpu, &[Kind::BytesAndClasses, Kind::FloatsAndNumbers]);
            let looped = gpu.choices().iter().any(|line| line.contains("a loop in one work group of"));
            assert_eq!(looped, workgroup_loop, "{:?}", gpu.choices());
        }
    }
}

/// Inputs of an example, enough for files that are large with few examples.
const WIDE: usize = 2000;

/// A file of bytes and one of floats of more than 16 MB each, which stay where they are; and the same
/// compressed, which are read into memory.
fn large_files(folder: &Folder) -> [[String; 2]; 2] {
    let images = 9000;
    let bytes: Vec<u8> = random_below(5, images * WIDE, 256).into_iter().map(|byte| byte as u8).collect();
    let plain = idx(&[images as u32, 20, 100], &bytes);
    let classes: Vec<u8> = random_below(6, images, 5).into_iter().map(|class| class as u8).collect();
    folder.file("y.idx", &idx(&[images as u32], &classes));
    let bytes = [folder.file("x.idx", &plain), folder.file("x.idx.gz", &gzip(&plain))];
    let rows = 2250;
    let floats: Vec<f32> = random(7, rows * WIDE);
    let x = npy("<f4", false, &format!("({rows}, {WIDE})"), bytemuck::cast_slice(&floats));
    let y = npy("|u1", false, &format!("({rows},)"), &classes[..rows]);
    folder.file("y.npy", &y);
    [bytes, [folder.file("x.npy", &x), folder.file("x.npz", &zipped(&[("x.npy", &x), ("y.npy", &y)]))]]
}

#[test]
fn a_large_file_is_the_same_as_one_in_memory() {
    let folder = Folder::new();
    let [bytes, floats] = large_files(&folder);
    let (idx_labels, npy_labels) = (folder.text("y.idx"), folder.text("y.npy"));
    let parts = ["--validation", "0.1", "--test", "0.1", "--layers", "2000,12,5", "--epochs", "2", "--batch", "50"];
    let limited = ["--scale", "zscore", "--limit", "1000"];
    // Memory for the network and for a chunk of as many examples as are measured at a time, but not for all;
    // those that are limited are too few for that.
    for ([mapped, in_memory], labels, memory, more) in [
        (&bytes, &idx_labels, "13", &[][..]),
        (&bytes, &idx_labels, "9", &limited[..]),
        (&bytes, &idx_labels, "30", &["--scale", "zscore"]),
        (&floats, &npy_labels, "25", &[][..]),
        (&floats, &npy_labels, "25", &["--scale", "unit"]),
        (&floats, &npy_labels, "9", &limited[..]),
    ] {
        let train = |data: &str, memory: &[&str]| {
            let labels = if data.ends_with(".npz") { vec![] } else { vec!["--labels", labels] };
            let flags = [&parts[..], more, &["--device", "cpu", "--json"], memory].concat();
            let mut report = json(&[&["train", data], &labels[..], &flags[..]].concat());
            let took = ["training_seconds", "samples_per_second", "steps_per_second", "seconds_to_first_step"];
            took.iter().for_each(|field| report[*field] = 0.into());
            for epoch in report["epochs"].as_array_mut().expect("epochs") {
                (epoch["seconds"], epoch["samples_per_second"]) = (0.into(), 0.into());
            }
            let streamed = report["choices"].to_string().contains("streamed in chunks of");
            report["choices"] = 0.into();
            (report, streamed)
        };
        let (expected, streamed) = train(in_memory, &[]);
        assert!(!streamed, "{in_memory} {more:?}");
        // Scaled bytes take four times as much as their file: too much to hold, if they need not be.
        let streams = more == ["--scale", "zscore"];
        for (data, memory, streams) in [
            (mapped, &[][..], streams),
            (mapped, &["--device-memory", memory], true),
            (in_memory, &["--device-memory", memory], true),
        ] {
            let (found, streamed) = train(data, memory);
            assert_eq!(streamed, streams, "{data} {more:?} {memory:?}");
            assert_eq!(found["weights_sha256"], expected["weights_sha256"], "{data} {more:?} {memory:?}");
            if more != limited || !streamed {
                assert_eq!(found, expected, "{data} {more:?} {memory:?}");
            }
        }
    }
}

#[test]
fn a_model_is_applied_to_a_large_file_as_to_one_in_memory() {
    let folder = Folder::new();
    let [_, [mapped, in_memory]] = large_files(&folder);
    let (labels, model) = (folder.text("y.npy"), folder.text("model.safetensors"));
    let train = ["train", &mapped, "--labels", &labels, "--scale", "zscore", "--epochs", "1", "--batch", "50"];
    stdout(&[&train[..], &["--device", "cpu", "-o", &model, "--json"]].concat());
    let mut reports = [(&mapped, &["--labels", &labels][..]), (&in_memory, &[])]
        .map(|(data, labels)| json(&[&["evaluate", &model, data, "--device", "cpu", "--json"], labels].concat()));
    reports.iter_mut().for_each(|report| report["data"] = 0.into());
    assert_eq!(reports[0], reports[1]);
    let predict = |data: &str| stdout(&["predict", &model, data, "--device", "cpu", "--probabilities"]);
    assert_eq!(predict(&mapped), predict(&in_memory));

    // The files of other parts are added to those of training, wherever they are.
    let parts = |data: &str, other: &str| {
        let flags = ["--test", other, "--test-labels", &labels, "--epochs", "1", "--batch", "50", "--device", "cpu"];
        json(&[&["train", data, "--labels", &labels, "--json"], &flags[..]].concat())["test_cost"].clone()
    };
    let small =
        folder.file("small.npy", &npy("<f4", false, "(2250, 2000)", bytemuck::cast_slice(&random(7, 2250 * WIDE))));
    assert_eq!(parts(&mapped, &small), parts(&small, &mapped));
}

#[test]
fn what_is_wrong_with_a_large_file_is_named() {
    let folder = Folder::new();
    let [_, [file, _]] = large_files(&folder);
    let (labels, mut bytes) = (folder.text("y.npy"), std::fs::read(&file).expect("read"));
    let train = |bytes: &[u8], parts: &[&str]| {
        let x = folder.file("wrong.npy", bytes);
        assert_fails(&["train", &x, "--labels", &labels, "--device", "cpu"], 1, &[&["wrong.npy"], parts].concat());
    };
    train(&bytes[..bytes.len() - 1], &["truncated", "its header claims 18000128 bytes", "it has 18000127"]);
    train(&[&bytes[..], &[0]].concat(), &["it goes on after the [2250, 2000] entries"]);
    let at = 128 + 4 * (2000 * 2248 + 6);
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    train(&bytes, &["input 7 of example 2249 is NaN"]);
}

#[test]
fn too_little_memory_for_a_mini_batch_is_wrong_usage() {
    let train = ["train", "digits", "--device", "cpu", "--device-memory"];
    assert_fails(&[&train[..], &["0"]].concat(), 2, &["--device-memory 0", "above 0"]);
    assert_fails(&[&train[..], &["nan"]].concat(), 2, &["--device-memory NaN", "above 0"]);
    assert_fails(&[&train[..], &["0.01"]].concat(), 2, &["mini-batches of 10 examples take", "--device-memory"]);
    let enough = json(&[&train[..], &["0.2", "--epochs", "1", "--json"]].concat());
    assert!(enough["choices"].to_string().contains("streamed"), "{enough}");
    let whole = json(&["train", "digits", "--device", "cpu", "--epochs", "1", "--json"]);
    assert_eq!(enough["weights_sha256"], whole["weights_sha256"]);
}

#[test]
fn streamed_data_is_compared_and_run_in_lockstep() {
    let compare = |more: &[&str]| {
        let devices = ["compare", "digits", "--devices", "cpu,cpu:primitive", "--epochs", "2", "--json"];
        json(&[&devices[..], more].concat())
    };
    let streamed = compare(&["--device-memory", "0.2", "--lockstep", "4"]);
    let resident = compare(&["--lockstep", "4"]);
    assert_eq!(streamed["within_tolerance"], true);
    assert_eq!(streamed["lockstep"], resident["lockstep"]);
    for device in [0, 1] {
        let sha256 = |report: &serde_json::Value| report["devices"][device]["weights_sha256"].clone();
        assert_eq!(sha256(&streamed), sha256(&resident));
    }
    let too_many =
        ["compare", "--json", "--devices", "cpu,cpu:primitive", "--device-memory", "0.2", "--lockstep", "145"];
    assert_fails(&too_many, 2, &["--lockstep 145", "an epoch has 144"]);
}

/// Bytes of the files of the tests of memory: most of them are holes, which take no disk.
const LARGE: u64 = 1 << 30;

/// Kilobytes that a program may take for itself, files that are mapped aside.
const ALLOWED: u64 = 300_000;

/// Runs the program with as much memory for itself as `ALLOWED` says.
fn run_in_little_memory(arguments: &[&str]) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -d {ALLOWED} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_gpu-backprop")]);
    shell.args(arguments).output().expect("the shell starts")
}

/// A file of zeros after a header, but for the first input of each of the first examples.
fn sparse(folder: &Folder, name: &str, header: &[u8], row: usize, one: &[u8]) -> String {
    let mut file = File::create(folder.path(name)).expect("a file");
    file.write_all(header).expect("write");
    for example in 0..100 {
        file.seek(SeekFrom::Start(header.len() as u64 + example * 2 * row as u64)).expect("seek");
        file.write_all(one).expect("write");
    }
    file.set_len(header.len() as u64 + LARGE).expect("the length");
    folder.text(name)
}

#[test]
fn large_data_takes_little_memory() {
    if !cfg!(target_os = "linux") {
        eprintln!("SKIPPED: only Linux limits the memory that a program takes for itself, mapped files aside");
        return;
    }
    let folder = Folder::new();
    let (row, size) = (16_384, LARGE as usize);
    let examples = size / row;
    let labels: Vec<u8> = (0..examples).map(|i| u8::from(i % 2 == 0 && i < 200)).collect();
    let labels = folder.file("labels", &idx(&[examples as u32], &labels));
    let bytes = idx(&[examples as u32, 128, 128], &[]);
    let bytes = sparse(&folder, "x.idx", &bytes, row, &[255]);
    let shape = format!("({examples}, {})", row / 4);
    let floats = sparse(&folder, "x.npy", &npy("<f4", false, &shape, &[]), row, &1f32.to_le_bytes());
    let model = folder.text("model.safetensors");
    let flags = ["--labels", &labels, "--hidden", "2", "--epochs", "1", "--batch", "1000", "--device", "cpu"];
    let succeeds = |arguments: &[&str]| {
        let output = run_in_little_memory(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    for data in [&bytes, &floats] {
        let memory = ["--device-memory", "150", "--test", "0.1", "--json", "-o", &model];
        let report = succeeds(&[&["train", data], &flags[..], &memory].concat());
        assert!(report.contains("streamed in chunks of"), "{report}");
        let report = succeeds(&["evaluate", &model, data, "--labels", &labels, "--device", "cpu", "--json"]);
        assert!(report.contains(&format!("\"examples\":{examples}")), "{report}");
        let rows = succeeds(&["predict", &model, data, "--device", "cpu"]);
        assert_eq!(rows.lines().count(), examples + 1);
    }
    // Without a word about memory: all of it at once is tried, and fails.
    let report = succeeds(&[&["train", &bytes], &flags[..], &["--limit", "60000", "--json"]].concat());
    assert!(report.contains("streamed in chunks of"), "{report}");
    // The limit bites: what is to be put in order is read into memory, and does not fit.
    let fortran = sparse(&folder, "f.npy", &npy("<f4", true, &shape, &[]), row, &[0]);
    let output = run_in_little_memory(&[&["train", &fortran], &flags[..]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("more than memory holds"), "{stderr}");
}
