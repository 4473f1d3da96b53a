//! Runs that are interrupted and go on, or whose device is lost, end with the same bits as those that never stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gpu_backprop::commands::train::{self, Architecture, ConfigText, EpochReport, Keep, Observer, Opening};
use gpu_backprop::commands::train::{Options, Report, Requested, RunOptions, Trained};
use gpu_backprop::data::{self, Inputs, Part, Source, npy};
use gpu_backprop::device::DeviceChoice;
use gpu_backprop::gpu::{Fault, GpuOptions, Injection};
use gpu_backprop::network::activation::{LEAKY_RELU, RELU, SIGMOID, TANH};
use gpu_backprop::network::optimizer::{ADAM, CHOICES};
use gpu_backprop::ranks::Alone;
use gpu_backprop::training::Decline;
use gpu_backprop::training::recipe::Recipe;
use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::harness::AdapterUnderTest;

trials! {
    once: runs_on_the_cpu_go_on, a_longer_run_goes_on_as_if_it_had_been_longer, a_damaged_checkpoint_is_noticed,
        two_processes_do_not_share_a_folder;
    on_each_adapter: runs_on_a_gpu_go_on, a_lost_device_changes_no_bit, any_call_may_fail,
        a_device_that_does_not_answer_is_left, a_device_that_fails_always_is_given_up,
        a_device_that_fails_for_good_loses_nothing, a_run_that_fell_back_stays_on_the_cpu;
}

/// Ends a training after some steps, and keeps what it was told.
#[derive(Default)]
struct Watcher {
    began: bool,
    steps: usize,
    last: Option<usize>,
    epochs: Vec<EpochReport>,
    warnings: Vec<String>,
}

impl Observer for Watcher {
    fn begin(&mut self, _: &Opening<'_>) {
        self.began = true;
    }
    fn steps(&mut self, steps: usize) {
        self.steps += steps;
    }
    fn wants_end(&self) -> bool {
        self.last.is_some_and(|last| self.steps >= last)
    }
    fn epoch(&mut self, report: &EpochReport, _: bool) {
        self.epochs.push(report.clone());
    }
    fn warn(&mut self, text: &str) {
        self.warnings.push(text.to_string());
    }
    fn refit(&mut self, _: usize, _: usize) {}
    fn end(&mut self) {}
}

fn device_of(adapter: &AdapterUnderTest) -> DeviceChoice {
    DeviceChoice::Index(adapter.number.parse().expect("a number"))
}

/// A training of some of the digits.
pub fn options(requested: Requested, device: DeviceChoice) -> Options {
    let source = Source { limit: Some(600), seed: requested.seed, ..Source::default() };
    Options {
        source,
        requested,
        device,
        gpu: GpuOptions::default(),
        threads: 2,
        device_memory: None,
        output: None,
        from: None,
        run: None,
        fall_back_to_cpu: false,
        ranks: Arc::new(Alone),
        portion: Some(1),
    }
}

fn in_folder(options: &Options, folder: &Path, interval: Duration) -> Options {
    let epochs = options.requested.epochs;
    let text = move |_: &[(&'static str, String)]| format!("epochs = {}\n", epochs.unwrap_or(30));
    let run = RunOptions { folder: folder.to_path_buf(), interval, config: ConfigText(Arc::new(text)) };
    Options { run: Some(run), ..options.clone() }
}

fn ended(options: &Options, watcher: &mut Watcher) -> Report {
    let Trained { report, saved } = train::run(options, watcher).expect("it trains");
    saved.expect("it is saved");
    report
}

/// What must be the same: bits and figures, but no times.
fn figures(report: &Report) -> String {
    let epochs = report.epochs.iter().map(|epoch| {
        format!(
            "{} {} {:?} {:?} {:?}",
            epoch.epoch, epoch.eta, epoch.train_cost, epoch.train_accuracy, epoch.validation_cost
        )
    });
    let epochs = epochs.collect::<Vec<_>>().join("\n");
    let Report { weights_sha256, best_epoch, kept_epoch, refit_epochs, stopped, test_cost, .. } = report;
    format!("{epochs}\n{weights_sha256} {best_epoch:?} {kept_epoch:?} {refit_epochs:?} {stopped} {test_cost:?}")
}

/// An array large enough to stay in its file, and its labels: 600 examples of 1,800 inputs.
struct LargeArray {
    folder: TempDir,
}

impl LargeArray {
    fn new() -> Self {
        let (examples, inputs) = (600, 1_800);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let classes: Vec<f64> = (0..examples).map(|_| f64::from(rng.random_range(0..3u8))).collect();
        let values = classes.iter().flat_map(|class| vec![*class; inputs]);
        let values: Vec<f64> = values.map(|class| rng.random::<f64>() * (0.1 + class)).collect();
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in
            [("x.npy", npy::encode(&[examples, inputs], &values)), ("y.npy", npy::encode(&[examples], &classes))]
        {
            std::fs::write(folder.path().join(name), bytes).expect("a file");
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.path().join(name))
    }
}

/// Draws a training.
fn drawn(rng: &mut ChaCha8Rng, device: DeviceChoice) -> Options {
    let activation = [&SIGMOID, &TANH, &RELU, &LEAKY_RELU].choose(rng).copied();
    let optimizer = CHOICES.choose(rng).copied();
    let decline = Decline::ALL.choose(rng).map(|row| row.2);
    let eta = if optimizer == Some(&ADAM) { 0.01 } else { 0.05 };
    let requested = Requested {
        recipe: Some(if rng.random_bool(0.5) { Recipe::Book } else { Recipe::Modern }),
        architecture: Some(Architecture::Hidden(vec![rng.random_range(3..12)])),
        activation,
        optimizer,
        eta: Some(eta),
        lambda: Some(if rng.random_bool(0.3) { 0.5 } else { 0.0 }),
        dropout: Some(if rng.random_bool(0.5) { 0.2 } else { 0.0 }),
        decline,
        schedule_every: decline.filter(|decline| decline.has_every()).map(|_| 2),
        warmup: Some(rng.random_range(0..2)),
        epochs: Some(rng.random_range(2..7)),
        batch: Some(rng.random_range(5..40)),
        seed: rng.random_range(0..1000),
        patience: rng.random_bool(0.4).then_some(2),
        keep: Some(if rng.random_bool(0.5) { Keep::Best } else { Keep::Last }),
        refit: Some(rng.random_bool(0.3)),
        ..Requested::default()
    };
    let mut options = options(requested, device);
    options.source.validation = Some(Part::Fraction(0.2));
    options.source.balanced = rng.random_bool(0.3);
    // Streamed in chunks.
    options.device_memory = rng.random_bool(0.3).then_some(75_000);
    options.portion = Some(rng.random_range(1..4));
    options
}

/// Stops a training some times, each time after a few steps more, and compares its end with that of one that never stopped.
fn goes_on(options: &Options, rng: &mut ChaCha8Rng) -> Report {
    let whole = ended(options, &mut Watcher::default());
    let folder = tempfile::tempdir().expect("a folder");
    let interval = if rng.random_bool(0.5) { Duration::ZERO } else { Duration::from_secs(60) };
    let mut stops = Vec::new();
    let last = loop {
        let threads = rng.random_range(1..3);
        let options = Options { threads, ..in_folder(options, folder.path(), interval) };
        let stop = (stops.len() < 4).then(|| rng.random_range(0..60));
        let mut watcher = Watcher { last: stop, ..Watcher::default() };
        let report = ended(&options, &mut watcher);
        assert!(watcher.warnings.is_empty(), "{:?}", watcher.warnings);
        if report.stopped != "interrupted" {
            break report;
        }
        stops.push((stop, report.epochs.len(), report.further_steps));
    };
    assert_eq!(figures(&last), figures(&whole), "{options:?}, stopped at {stops:?}");
    let metrics = std::fs::read_to_string(folder.path().join("metrics.jsonl")).expect("metrics");
    let read: Vec<EpochReport> = metrics.lines().map(|line| serde_json::from_str(line).expect("a report")).collect();
    assert_eq!(read, last.epochs);
    // The same command once more is done at once.
    let mut watcher = Watcher::default();
    let again = ended(&in_folder(options, folder.path(), interval), &mut watcher);
    assert_eq!((figures(&again), watcher.steps), (figures(&whole), 0));
    whole
}

fn runs_on_the_cpu_go_on() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let large = LargeArray::new();
    let source = Source { data: large.path("x.npy"), labels: large.path("y.npy"), ..Source::default() };
    let inputs = data::open(&source).expect("data").dataset.inputs().clone();
    assert!(matches!(inputs, Inputs::Mapped(_)), "the array stays in its file");
    let mut streamed = 0;
    for i in 0..60 {
        let mut options = drawn(&mut rng, DeviceChoice::Cpu);
        if i % 6 == 0 {
            options.source.data = large.path("x.npy");
            options.source.labels = large.path("y.npy");
            options.device_memory = Some(3_000_000);
        }
        let report = goes_on(&options, &mut rng);
        let choices = report.choices.concat();
        streamed += usize::from(choices.contains("streamed"));
    }
    assert!(streamed > 5, "only {streamed} of 60 runs were streamed");
}

fn runs_on_a_gpu_go_on(adapter: &AdapterUnderTest) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..4 {
        goes_on(&drawn(&mut rng, device_of(adapter)), &mut rng);
    }
}

fn a_longer_run_goes_on_as_if_it_had_been_longer() {
    let requested =
        |epochs| Requested { epochs: Some(epochs), optimizer: Some(&ADAM), eta: Some(0.01), ..Requested::default() };
    let whole = ended(&options(requested(6), DeviceChoice::Cpu), &mut Watcher::default());
    let folder = tempfile::tempdir().expect("a folder");
    for epochs in [2, 3, 6] {
        let options = in_folder(&options(requested(epochs), DeviceChoice::Cpu), folder.path(), Duration::from_secs(60));
        let report = ended(&options, &mut Watcher::default());
        assert_eq!(report.epochs.len(), epochs);
        if epochs == 6 {
            assert_eq!(figures(&report), figures(&whole));
        }
    }
    let shorter = in_folder(&options(requested(5), DeviceChoice::Cpu), folder.path(), Duration::from_secs(60));
    let error = train::run(&shorter, &mut Watcher::default()).expect_err("it is shorter");
    assert!(error.to_string().contains("--epochs: 6 then, 5 (a run can only be lengthened) now"), "{error:#}");
}

fn a_damaged_checkpoint_is_noticed() {
    let requested = Requested { epochs: Some(3), ..Requested::default() };
    let folder = tempfile::tempdir().expect("a folder");
    let options = in_folder(&options(requested, DeviceChoice::Cpu), folder.path(), Duration::ZERO);
    let whole = ended(&options, &mut Watcher::default());
    let damage = |name: &str| {
        let path = folder.path().join(name);
        let mut bytes = std::fs::read(&path).expect("a checkpoint");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(&path, bytes).expect("write");
    };
    damage("checkpoint.safetensors");
    let mut watcher = Watcher::default();
    let report = ended(&options, &mut watcher);
    assert_eq!(figures(&report), figures(&whole));
    let told = watcher.warnings.concat();
    assert!(told.contains("checkpoint.safetensors: damaged") && told.contains("the checkpoint before"), "{told}");
    damage("checkpoint.safetensors");
    damage("checkpoint.previous.safetensors");
    let error = train::run(&options, &mut Watcher::default()).expect_err("nothing is whole");
    assert!(format!("{error:#}").contains("no intact checkpoint is left"), "{error:#}");
}

fn two_processes_do_not_share_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let lock = std::fs::File::create(folder.path().join("lock")).expect("a file");
    lock.lock().expect("it locks");
    let options = in_folder(&options(Requested::default(), DeviceChoice::Cpu), folder.path(), Duration::ZERO);
    let error = train::run(&options, &mut Watcher::default()).expect_err("it is locked");
    assert!(format!("{error:#}").contains("another process is training in this folder"), "{error:#}");
}

/// Options with faults at calls of wgpu of these numbers.
fn failing(options: &Options, faults: &[(usize, Fault)]) -> (Options, Injection) {
    let injection = Injection::new(faults.to_vec());
    (Options { gpu: GpuOptions { injection: Some(injection), ..options.gpu }, ..options.clone() }, injection)
}

/// The calls of wgpu that a training makes, in all and before its first step.
fn calls_of(options: &Options) -> (Report, usize) {
    let (options, injection) = failing(options, &[]);
    (ended(&options, &mut Watcher::default()), injection.calls())
}

fn a_lost_device_changes_no_bit(adapter: &AdapterUnderTest) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let device = device_of(adapter);
    let mut lost = 0;
    for case in 0..6 {
        let options = drawn(&mut rng, device.clone());
        let (whole, calls) = calls_of(&options);
        let places = (0..4).map(|_| (rng.random_range(calls / 4..calls), Fault::Loss)).collect::<Vec<_>>();
        let (options, injection) = failing(&options, &places);
        let folder = tempfile::tempdir().expect("a folder");
        let options = if case % 2 == 0 { options } else { in_folder(&options, folder.path(), Duration::ZERO) };
        let mut watcher = Watcher::default();
        let report = ended(&options, &mut watcher);
        assert_eq!(figures(&report), figures(&whole), "{options:?}, lost at {places:?} of {calls} calls");
        assert!(watcher.warnings.iter().all(|text| text.contains("the GPU failed")), "{:?}", watcher.warnings);
        lost += places.len() - injection.left();
    }
    assert!(lost >= 20, "only {lost} losses");
}

/// A fault at a call is an error before training begins, and changes no bit later. `GPU_BACKPROP_FAULTS` is the number of calls to try
/// for each fault.
fn any_call_may_fail(adapter: &AdapterUnderTest) {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let device = device_of(adapter);
    let tries = std::env::var("GPU_BACKPROP_FAULTS").map_or(4, |number| number.parse().expect("a number"));
    for fault in [Fault::Validation, Fault::OutOfMemory, Fault::Silence, Fault::Loss] {
        let options = drawn(&mut rng, device.clone());
        let (whole, calls) = calls_of(&options);
        let mut failed = 0;
        for _ in 0..tries {
            let call = rng.random_range(0..calls);
            let (options, injection) = failing(&options, &[(call, fault)]);
            let mut watcher = Watcher::default();
            let trained = train::run(&options, &mut watcher);
            let told = format!("{fault:?} at call {call} of {calls}; {:?}; {options:?}", watcher.warnings);
            // The number of calls depends on time, so that the last ones may not come.
            failed += 1 - injection.left();
            match trained {
                Ok(Trained { report, saved }) => {
                    saved.expect("it is saved");
                    assert_eq!(figures(&report), figures(&whole), "{told}");
                }
                Err(error) => assert!(!watcher.began && !error.to_string().is_empty(), "{error:#}: {told}"),
            }
        }
        assert!(failed > 0, "no {fault:?}");
    }
}

fn a_device_that_does_not_answer_is_left(adapter: &AdapterUnderTest) {
    let options = options(Requested { epochs: Some(2), ..Requested::default() }, device_of(adapter));
    let (whole, calls) = calls_of(&options);
    let (mut options, _) = failing(&options, &[(calls / 2, Fault::Hang)]);
    options.gpu.longest_wait = Duration::from_millis(200);
    let mut watcher = Watcher::default();
    let report = ended(&options, &mut watcher);
    assert_eq!(figures(&report), figures(&whole));
    // llvmpipe works while it takes a submission: nothing is waited for.
    let waits = !adapter.description().name.contains("llvmpipe");
    assert_eq!(watcher.warnings.iter().any(|text| text.contains("waiting for")), waits, "{:?}", watcher.warnings);
}

fn a_device_that_fails_always_is_given_up(adapter: &AdapterUnderTest) {
    let device = device_of(adapter);
    let options = options(Requested { epochs: Some(2), ..Requested::default() }, device);
    let (_, calls) = calls_of(&options);
    // Each try fails before the next state is on the host, unless the machine is busy: states are taken by the clock.
    let always = (calls / 3..100 * calls).step_by(40).map(|call| (call, Fault::Loss)).collect::<Vec<_>>();
    let error = train::run(&failing(&options, &always).0, &mut Watcher::default()).expect_err("it is lost each time");
    assert!(format!("{error:#}").contains("failed 5 times at epoch 1, step "), "{error:#}");
    let falling_back = Options { fall_back_to_cpu: true, ..failing(&options, &always).0 };
    let mut watcher = Watcher::default();
    let report = ended(&falling_back, &mut watcher);
    assert_eq!(report.device, "cpu");
    let told = watcher.warnings.last().expect("told");
    assert!(told.contains("on the CPU"), "{told}");
    let on_cpu = ended(&Options { device: DeviceChoice::Cpu, ..options }, &mut Watcher::default());
    if told.ends_with("training continues from epoch 1, step 1 on the CPU") {
        assert_eq!(figures(&report), figures(&on_cpu));
    } else {
        // The first steps were those of the GPU.
        let [some, all] = [&report, &on_cpu].map(|report| report.test_cost.expect("it has a test split"));
        assert!((some - all).abs() < 1e-3 * all, "{some} and {all}: {told}");
    }
}

/// A run whose device fails at each call from a third of its calls on, and the files of its end.
fn fails_for_good(adapter: &AdapterUnderTest, folder: &Path, falls_back: bool) -> (Options, Options) {
    let requested = Requested { epochs: Some(3), ..Requested::default() };
    let options = Options { fall_back_to_cpu: falls_back, ..options(requested, device_of(adapter)) };
    let counted = tempfile::tempdir().expect("a folder");
    let (_, calls) = calls_of(&in_folder(&options, counted.path(), Duration::ZERO));
    let output = Some(folder.join("model.safetensors"));
    let whole = Options { output, ..in_folder(&options, &folder.join("run"), Duration::ZERO) };
    let always = (calls / 3..20 * calls).map(|call| (call, Fault::Loss)).collect::<Vec<_>>();
    (failing(&whole, &always).0, whole)
}

fn a_device_that_fails_for_good_loses_nothing(adapter: &AdapterUnderTest) {
    let folder = tempfile::tempdir().expect("a folder");
    let (fails, whole) = fails_for_good(adapter, folder.path(), false);
    let mut watcher = Watcher::default();
    let error = train::run(&fails, &mut watcher).expect_err("it is lost each time");
    assert!(format!("{error:#}").contains("failed 5 times at epoch "), "{error:#}");
    let told = watcher.warnings.join("\n");
    assert!(told.contains("holds the weights from before the device failed"), "{told}");
    assert!(told.contains("the same command continues from epoch "), "{told}");
    let saved = gpu_backprop::load_model(folder.path().join("model.safetensors")).expect("a model");
    let last = gpu_backprop::load_model(folder.path().join("run/last.safetensors")).expect("a model");
    assert!(saved.parameters == last.parameters);
    let unbroken = ended(&Options { run: None, output: None, ..whole.clone() }, &mut Watcher::default());
    let mut watcher = Watcher::default();
    let report = ended(&whole, &mut watcher);
    assert_eq!(figures(&report), figures(&unbroken));
    assert!(watcher.steps > 0 && report.notes.is_empty(), "{:?}", report.notes);
}

fn a_run_that_fell_back_stays_on_the_cpu(adapter: &AdapterUnderTest) {
    let folder = tempfile::tempdir().expect("a folder");
    let (fails, whole) = fails_for_good(adapter, folder.path(), true);
    let report = ended(&fails, &mut Watcher::default());
    assert_eq!(report.device, "cpu");
    assert!(report.notes.iter().any(|note| note.contains("on the CPU")), "{:?}", report.notes);
    // The same command again, with a device that works: the run is complete, and can be extended where it was.
    assert_eq!(figures(&ended(&whole, &mut Watcher::default())), figures(&report));
    let longer = Requested { epochs: Some(4), ..whole.requested.clone() };
    let longer = in_folder(&Options { requested: longer, ..whole }, &folder.path().join("run"), Duration::ZERO);
    let report = ended(&longer, &mut Watcher::default());
    assert_eq!((report.device.as_str(), report.epochs.len()), ("cpu", 4));
}
