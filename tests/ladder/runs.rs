//! Runs that are interrupted and go on, or whose device is lost, end with the same bits as those that never stopped.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gpu_backprop::commands::train::{self, Architecture, ConfigText, EpochReport, Keep, Observer, Opening};
use gpu_backprop::commands::train::{Options, Report, RunOptions, Trained, Wishes};
use gpu_backprop::data::{Part, Source};
use gpu_backprop::device::DeviceChoice;
use gpu_backprop::gpu::{GpuOptions, Losses};
use gpu_backprop::network::activation::{LEAKY_RELU, RELU, SIGMOID, TANH};
use gpu_backprop::network::optimizer::{ADAM, CHOICES};
use gpu_backprop::training::Decline;
use gpu_backprop::training::recipe::Recipe;
use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::harness::AdapterUnderTest;

trials! {
    once: runs_on_the_cpu_go_on, a_longer_run_goes_on_as_if_it_had_been_longer, a_damaged_checkpoint_is_noticed,
        two_processes_do_not_share_a_folder;
    on_each_adapter: runs_on_a_gpu_go_on, a_lost_device_changes_no_bit, a_device_that_fails_always_is_given_up;
}

/// Ends a training after some steps, and keeps what it was told.
#[derive(Default)]
struct Watcher {
    steps: usize,
    last: Option<usize>,
    epochs: Vec<EpochReport>,
    warnings: Vec<String>,
}

impl Observer for Watcher {
    fn begin(&mut self, _: &Opening<'_>) {}
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
fn options(wishes: Wishes, device: DeviceChoice) -> Options {
    let source = Source { limit: Some(600), seed: wishes.seed, ..Source::default() };
    Options {
        source,
        wishes,
        device,
        gpu: GpuOptions::default(),
        threads: 2,
        device_memory: None,
        output: None,
        from: None,
        run: None,
        fall_back_to_cpu: false,
        portion: Some(1),
    }
}

fn in_folder(options: &Options, folder: &Path, interval: Duration) -> Options {
    let epochs = options.wishes.epochs;
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
            "{} {} {} {:?} {:?}",
            epoch.epoch, epoch.eta, epoch.train_cost, epoch.train_accuracy, epoch.validation_cost
        )
    });
    let epochs = epochs.collect::<Vec<_>>().join("\n");
    let Report { weights_sha256, best_epoch, kept_epoch, refit_epochs, stopped, test_cost, .. } = report;
    format!("{epochs}\n{weights_sha256} {best_epoch:?} {kept_epoch:?} {refit_epochs:?} {stopped} {test_cost:?}")
}

/// Draws a training.
fn drawn(rng: &mut ChaCha8Rng, device: DeviceChoice) -> Options {
    let activation = [&SIGMOID, &TANH, &RELU, &LEAKY_RELU].choose(rng).copied();
    let optimizer = CHOICES.choose(rng).copied();
    let decline = Decline::ALL.choose(rng).map(|row| row.2);
    let eta = if optimizer == Some(&ADAM) { 0.01 } else { 0.05 };
    let wishes = Wishes {
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
        ..Wishes::default()
    };
    let mut options = options(wishes, device);
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
    let mut streamed = 0;
    for _ in 0..60 {
        let report = goes_on(&drawn(&mut rng, DeviceChoice::Cpu), &mut rng);
        streamed += usize::from(report.choices.concat().contains("streamed"));
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
    let wishes = |epochs| Wishes { epochs: Some(epochs), optimizer: Some(&ADAM), eta: Some(0.01), ..Wishes::default() };
    let whole = ended(&options(wishes(6), DeviceChoice::Cpu), &mut Watcher::default());
    let folder = tempfile::tempdir().expect("a folder");
    for epochs in [2, 3, 6] {
        let options = in_folder(&options(wishes(epochs), DeviceChoice::Cpu), folder.path(), Duration::from_secs(60));
        let report = ended(&options, &mut Watcher::default());
        assert_eq!(report.epochs.len(), epochs);
        if epochs == 6 {
            assert_eq!(figures(&report), figures(&whole));
        }
    }
    let shorter = in_folder(&options(wishes(5), DeviceChoice::Cpu), folder.path(), Duration::from_secs(60));
    let error = train::run(&shorter, &mut Watcher::default()).expect_err("it is shorter");
    assert!(error.to_string().contains("--epochs: 6 there, 5 (a run can only be lengthened) now"), "{error:#}");
}

fn a_damaged_checkpoint_is_noticed() {
    let wishes = Wishes { epochs: Some(3), ..Wishes::default() };
    let folder = tempfile::tempdir().expect("a folder");
    let options = in_folder(&options(wishes, DeviceChoice::Cpu), folder.path(), Duration::ZERO);
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
    assert!(format!("{error:#}").contains("no whole checkpoint is left"), "{error:#}");
}

fn two_processes_do_not_share_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let lock = std::fs::File::create(folder.path().join("lock")).expect("a file");
    lock.lock().expect("it locks");
    let options = in_folder(&options(Wishes::default(), DeviceChoice::Cpu), folder.path(), Duration::ZERO);
    let error = train::run(&options, &mut Watcher::default()).expect_err("it is locked");
    assert!(format!("{error:#}").contains("another process trains in this folder"), "{error:#}");
}

/// Options with losses of the device after these numbers of submissions.
fn losing(options: &Options, losses: Vec<u32>) -> Options {
    let losses = Losses(Box::leak(Box::new(Mutex::new(losses))));
    Options { gpu: GpuOptions { losses: Some(losses), ..options.gpu }, ..options.clone() }
}

fn a_lost_device_changes_no_bit(adapter: &AdapterUnderTest) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let device = device_of(adapter);
    for case in 0..4 {
        let options = drawn(&mut rng, device.clone());
        let whole = ended(&options, &mut Watcher::default());
        let losses = (0..3).map(|_| rng.random_range(0..60)).collect::<Vec<u32>>();
        let options = losing(&options, losses.clone());
        let folder = tempfile::tempdir().expect("a folder");
        let options = if case % 2 == 0 { options } else { in_folder(&options, folder.path(), Duration::ZERO) };
        let mut watcher = Watcher::default();
        let report = ended(&options, &mut watcher);
        assert_eq!(figures(&report), figures(&whole), "{options:?}, lost after {losses:?}");
        assert!(watcher.warnings.iter().all(|text| text.contains("the GPU failed")), "{:?}", watcher.warnings);
        assert!(!watcher.warnings.is_empty(), "nothing was lost");
    }
}

fn a_device_that_fails_always_is_given_up(adapter: &AdapterUnderTest) {
    let device = device_of(adapter);
    let options = options(Wishes { epochs: Some(2), ..Wishes::default() }, device);
    let lost = losing(&options, vec![3; 100]);
    let error = train::run(&lost, &mut Watcher::default()).expect_err("it is lost each time");
    assert!(format!("{error:#}").contains("failed 5 times at epoch 1, step 1"), "{error:#}");
    let falling_back = Options { fall_back_to_cpu: true, ..losing(&options, vec![3; 100]) };
    let mut watcher = Watcher::default();
    let report = ended(&falling_back, &mut watcher);
    assert_eq!(report.device, "cpu");
    assert!(watcher.warnings.last().expect("told").contains("on the CPU"), "{:?}", watcher.warnings);
    let on_cpu = ended(&Options { device: DeviceChoice::Cpu, ..options }, &mut Watcher::default());
    assert_eq!(figures(&report), figures(&on_cpu));
}
