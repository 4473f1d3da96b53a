//! Trials side by side: on the CPU a network for each thread, on a GPU one after the other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::result::TrialResult;
use super::settle::{OpenedSources, Settled, settle};
use crate::commands::train::{self, EpochReport, Opening, train_alone, work_of};
use crate::cpu::Cpu;
use crate::device::{self, DeviceChoice};
use crate::network::Parameters;
use crate::plan::executor::Executor;
use crate::system::error::{Diverged, ensure_usage};
use crate::system::interruption;
use crate::training::Training;

/// Time between two looks at how far trials are.
const TICK: Duration = Duration::from_millis(100);

/// What is said of a folder with results of other data.
pub const OTHER_DATA: &str =
    "the results in the folder are those of other data, or of other splits; name another folder";

/// The CPU, as the device of a result.
pub const CPU: &str = "cpu";

/// A trial: a combination of flags with a seed.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'s> {
    /// The number in the sweep, counted from 1.
    pub number: usize,
    /// The combination.
    pub settled: &'s Settled,
    /// Its index.
    pub combination: usize,
    /// The seed.
    pub seed: u64,
}

impl Trial<'_> {
    /// The options of its training.
    pub fn options(&self) -> train::Options {
        let mut options = self.settled.options.clone();
        options.wishes.seed = self.seed;
        options.source.seed = self.seed;
        options
    }
}

/// What all trials share.
#[derive(Debug)]
pub struct Shared {
    /// The data.
    pub sources: OpenedSources,
    /// The hash of the data of the results so far, by seed.
    pub known: HashMap<u64, String>,
    /// The most memory of a trial on the CPU, where that needs a limit.
    pub limit: Option<u64>,
    /// Trials end as soon as they can.
    pub stop: AtomicBool,
    /// The time after which no trial begins that would not end before it.
    pub deadline: Option<Instant>,
    /// Multiplications done, but for a factor.
    pub done: Mutex<f64>,
    /// The most seconds that one of them took.
    pub seconds_of_one: Mutex<f64>,
}

impl Shared {
    /// Multiplications done, but for a factor.
    pub fn done(&self) -> f64 {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, multiplications: f64) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) += multiplications;
    }

    /// True where a trial would end, and the best one could be trained once more, before the deadline; and as long as none has ended.
    fn may_begin(&self, trial: &Trial<'_>) -> bool {
        let seconds = *self.seconds_of_one.lock().unwrap_or_else(PoisonError::into_inner) * trial.settled.size;
        let needed = Duration::try_from_secs_f64(2.0 * seconds).unwrap_or(Duration::MAX);
        seconds == 0.0
            || self.deadline.is_none_or(|deadline| deadline.saturating_duration_since(Instant::now()) > needed)
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || interruption::signal().is_some()
    }

    /// Trains a network; `None` where it was interrupted.
    ///
    /// # Errors
    /// A failing device, or data that is not that of the results so far.
    pub fn run(&self, trial: &Trial<'_>, executor: &mut dyn Executor) -> Result<Option<TrialResult>> {
        let started = Instant::now();
        let (options, size) = (trial.options(), trial.settled.size);
        let (topology, setup, flags, opened) = settle(&options, &self.sources)?;
        let known = self.known.get(&trial.seed);
        ensure_usage!(known.is_none_or(|known| *known == opened.sha256), "{OTHER_DATA}");
        let initial = Parameters::random(&topology, setup.initialization, setup.hyperparameters.seed)?;
        let training = Training {
            data: &opened.data,
            topology: &topology,
            initial: &initial,
            hyperparameters: setup.hyperparameters,
        };
        let of_step = (setup.hyperparameters.batch * topology.parameters()) as f64;
        let mut observer = OfTrial { shared: self, of_step, done: 0.0, size, costs: Vec::new() };
        let device = executor.device();
        let device = if device.kind == CPU { CPU.to_string() } else { device.to_string() };
        let report = train_alone(&training, &setup, executor, &mut observer);
        let (rest, costs) = (size - observer.done, observer.costs);
        let mut result = TrialResult {
            trial: trial.number,
            flags,
            seed: trial.seed,
            epochs: costs.len(),
            kept_epoch: None,
            validation_cost: None,
            validation_accuracy: None,
            validation_r2: None,
            weights_sha256: None,
            seconds: 0.0,
            training_seconds: 0.0,
            diverged: None,
            device,
            data_sha256: opened.sha256.clone(),
            validation_costs: costs,
        };
        match report {
            Ok(report) if report.interrupted.is_some() => return Ok(None),
            Ok(report) => {
                result.kept_epoch = report.kept_epoch;
                result.validation_cost = report.validation_cost;
                result.validation_accuracy = report.validation_accuracy;
                result.validation_r2 = report.validation_r2;
                result.weights_sha256 = Some(report.weights_sha256);
                result.training_seconds = report.training_seconds;
            }
            Err(error) if error.is::<Diverged>() => result.diverged = Some(format!("{error:#}")),
            Err(error) => return Err(error),
        }
        self.add(rest);
        result.seconds = started.elapsed().as_secs_f64();
        let mut most = self.seconds_of_one.lock().unwrap_or_else(PoisonError::into_inner);
        *most = most.max(result.seconds / size.max(1.0));
        drop(most);
        Ok(Some(result))
    }

    /// Runs trials on the CPU, so many at once; `each` takes their results, and `tick` is called now and then.
    ///
    /// # Errors
    /// The first error of a trial, or of `each`; results that came before it have been taken.
    pub fn run_on_cpu(
        &self,
        trials: &[Trial<'_>],
        threads: usize,
        each: &mut dyn FnMut(TrialResult) -> Result<()>,
        tick: &mut dyn FnMut(),
    ) -> Result<()> {
        let next = AtomicUsize::new(0);
        let mut first_error = None;
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for _ in 0..threads.min(trials.len()) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    let mut cpu = Cpu::new(1);
                    train::limit_memory(&mut cpu, self.limit);
                    while let Some(trial) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if self.stops() || !self.may_begin(trial) {
                            break;
                        }
                        // Nobody listens after the end.
                        if sender.send(self.run(trial, &mut cpu)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            loop {
                let taken = match receiver.recv_timeout(TICK) {
                    Ok(Ok(Some(result))) => each(result),
                    Ok(Ok(None)) => Ok(()),
                    Ok(Err(error)) => Err(error),
                    Err(RecvTimeoutError::Timeout) => Ok(()),
                    Err(RecvTimeoutError::Disconnected) => break,
                };
                if let Err(error) = taken {
                    self.stop.store(true, Ordering::Relaxed);
                    first_error.get_or_insert(error);
                }
                tick();
            }
        });
        first_error.map_or(Ok(()), Err)
    }

    /// Runs trials on a GPU, one after the other.
    ///
    /// # Errors
    /// The first error of a trial, or of `each`.
    pub fn run_on_gpu(
        &self,
        trials: &[Trial<'_>],
        executor: &mut dyn Executor,
        each: &mut dyn FnMut(TrialResult) -> Result<()>,
        tick: &mut dyn FnMut(),
    ) -> Result<()> {
        for trial in trials {
            if self.stops() || !self.may_begin(trial) {
                break;
            }
            if let Some(result) = self.run(trial, executor)? {
                each(result)?;
            }
            tick();
        }
        Ok(())
    }
}

/// The observer of one trial.
struct OfTrial<'a> {
    shared: &'a Shared,
    /// Multiplications of a step, but for a factor.
    of_step: f64,
    done: f64,
    size: f64,
    costs: Vec<f64>,
}

impl train::Observer for OfTrial<'_> {
    fn begin(&mut self, _: &Opening<'_>) {}

    fn steps(&mut self, steps: usize) {
        // The last mini-batch of an epoch may have fewer examples.
        let done = (self.done + steps as f64 * self.of_step).min(self.size);
        self.shared.add(done - self.done);
        self.done = done;
    }

    fn wants_end(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    fn epoch(&mut self, report: &EpochReport, _: bool) {
        self.costs.push(report.watched_cost());
    }

    fn warn(&mut self, _: &str) {}

    fn refit(&mut self, _: usize, _: usize) {}

    fn end(&mut self) {}
}

/// The devices of the trials.
#[derive(Debug, Default)]
pub struct Devices {
    gpus: Vec<Box<dyn Executor>>,
    /// The index of a GPU, or the CPU, for each kind of training.
    places: HashMap<String, Option<usize>>,
}

impl Devices {
    /// The GPU of a combination; `None` for the CPU. `auto` measures as in `train`.
    ///
    /// # Errors
    /// Those of [`device::open`].
    pub fn place(&mut self, settled: &Settled, sources: &OpenedSources) -> Result<Option<usize>> {
        let options = &settled.options;
        if options.device == DeviceChoice::Cpu {
            return Ok(None);
        }
        let (topology, setup, _, opened) = settle(options, sources)?;
        let initial = Parameters::random(&topology, setup.initialization, setup.hyperparameters.seed)?;
        let hyperparameters = setup.hyperparameters;
        let training = Training { data: &opened.data, topology: &topology, initial: &initial, hyperparameters };
        let work = match options.device {
            DeviceChoice::Auto => work_of(&opened.data, &topology, &setup, &initial),
            // A device that is named is the same for all.
            _ => String::new(),
        };
        if let Some(place) = self.places.get(&work) {
            return Ok(*place);
        }
        let mut trial = |executor: &mut dyn Executor, time| {
            train::limit_memory(executor, options.device_memory);
            training.trainer(executor)?.measure_speed(time)
        };
        let mut executor = device::open(&options.device, options.threads, options.gpu, &work, &mut trial)?.executor;
        train::limit_memory(executor.as_mut(), options.device_memory);
        let place = (executor.device().kind == "gpu").then(|| {
            self.gpus.iter().position(|other| other.device() == executor.device()).unwrap_or_else(|| {
                self.gpus.push(executor);
                self.gpus.len() - 1
            })
        });
        self.places.insert(work, place);
        Ok(place)
    }

    /// The GPUs in use.
    pub fn gpus(&mut self) -> &mut [Box<dyn Executor>] {
        &mut self.gpus
    }
}
