//! Trials side by side: on the CPU a network for each thread, on a GPU a network for each work group.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::devices::OpenGpu;
use super::hand_out::HandOut;
use super::result::{DataOfTrial, Flags, TrialResult};
use super::settle::{Opened, OpenedSources, Settled, settle};
use crate::commands::train::{self, EpochReport, MAX_DEVICE_FAILURES, Member, Monitor, Setup, train_side_by_side};
use crate::cpu::Cpu;
use crate::network::{Parameters, Topology};
use crate::plan::executor::Executor;
use crate::system::error::{DeviceFailed, ensure_usage};
use crate::system::interruption;
use crate::training::Training;

/// Time between two looks at how far trials are.
pub const TICK: Duration = Duration::from_millis(100);

/// Networks that are trained side by side on a GPU.
const SIDE_BY_SIDE: usize = 128;

/// The same on a software one.
const SIDE_BY_SIDE_ON_SOFTWARE: usize = 16;

/// Bytes of data that is open at once for networks side by side, whose splits differ from seed to seed.
const MOST_OPEN: usize = 1 << 30;

/// The message about a folder with results of other data.
pub const OTHER_DATA: &str =
    "the results in the folder are those of other data, or of other splits; name another folder";

/// A function that shows how far all trials are.
type Tick<'a> = RefCell<&'a mut dyn FnMut()>;

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
    /// The round of successive halving, counted from 0; `None` without rounds.
    pub round: Option<usize>,
    /// The seed.
    pub seed: u64,
}

impl Trial<'_> {
    /// The options of its training.
    fn options(&self) -> train::Options {
        self.settled.with_seed(self.seed)
    }
}

/// The facts and the counts that all trials share.
#[derive(Debug)]
pub struct Shared {
    /// The data.
    pub sources: OpenedSources,
    /// The hash of the data of the results so far.
    pub known: HashMap<DataOfTrial, String>,
    /// The most memory of a trial on the CPU, where that needs a limit.
    pub limit: Option<u64>,
    /// Trials end as soon as they can.
    pub stop: AtomicBool,
    /// The time after which no trial begins that would not end before it.
    pub deadline: Option<Instant>,
    /// Work done so far, in proportion to the multiplications.
    pub done: Mutex<f64>,
    /// The longest time of a trial in seconds, divided by its work.
    pub seconds_of_one: Mutex<f64>,
}

impl Shared {
    /// Work done so far, in proportion to the multiplications.
    pub fn done(&self) -> f64 {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, multiplications: f64) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) += multiplications;
    }

    /// True if the deadline leaves time for a trial, and for training the best one once more. Always true until the first
    /// trial has ended.
    fn may_begin(&self, trial: &Trial<'_>) -> bool {
        let seconds = *self.seconds_of_one.lock().unwrap_or_else(PoisonError::into_inner) * trial.settled.size;
        let needed = Duration::try_from_secs_f64(2.0 * seconds).unwrap_or(Duration::MAX);
        seconds == 0.0
            || self.deadline.is_none_or(|deadline| deadline.saturating_duration_since(Instant::now()) > needed)
    }

    /// True where no trial is to begin any more.
    pub fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || interruption::signal().is_some()
    }

    /// Settles a trial, and opens its data.
    ///
    /// # Errors
    /// Data that is not that of the results so far.
    fn ready(&self, trial: &Trial<'_>) -> Result<Ready> {
        let (topology, setup, flags, opened) = settle(&trial.options(), &self.sources)?;
        // Nobody sees the training cost of a trial.
        let setup = Setup { monitor: Monitor::Validation, ..setup };
        let known = self.known.get(&DataOfTrial::new(&flags, trial.seed));
        ensure_usage!(known.is_none_or(|known| *known == opened.sha256), "{OTHER_DATA}");
        let initial = Parameters::random(&topology, setup.initialization, setup.hyperparameters.seed)?;
        Ok(Ready { topology, setup, flags, opened, initial })
    }

    /// Trains networks that are alike; one that was interrupted has no result.
    ///
    /// # Errors
    /// A failing device.
    fn train(
        &self,
        trials: &[Trial<'_>],
        ready: &[Ready],
        executor: &mut dyn Executor,
        tick: Option<&Tick<'_>>,
    ) -> Result<Vec<TrialResult>> {
        let started = Instant::now();
        let device = executor.device();
        let device = if device.kind == CPU { CPU.to_string() } else { device.to_string() };
        let observer = |(trial, ready): (&Trial<'_>, &Ready)| OfTrial {
            shared: self,
            of_step: (ready.setup.hyperparameters.batch * ready.topology.parameters()) as f64,
            done: 0.0,
            size: trial.settled.size,
            costs: Vec::new(),
            tick,
        };
        let mut observers: Vec<OfTrial<'_, '_>> = trials.iter().zip(ready).map(observer).collect();
        let members = ready.iter().zip(&mut observers);
        let mut members: Vec<Member<'_>> =
            members.map(|(of, observer)| Member { training: of.training(), setup: &of.setup, observer }).collect();
        let reports = train_side_by_side(&mut members, executor)?;
        drop(members);
        let seconds = started.elapsed().as_secs_f64() / trials.len() as f64;
        let mut results = Vec::new();
        for (((trial, ready), observer), report) in trials.iter().zip(ready).zip(observers).zip(reports) {
            let (rest, costs) = (trial.settled.size - observer.done, observer.costs);
            let report = match report {
                Ok(report) if report.interrupted.is_some() => continue,
                report => report,
            };
            results.push(ready.result(trial, report, costs, (&device, seconds)));
            self.add(rest);
            let mut most = self.seconds_of_one.lock().unwrap_or_else(PoisonError::into_inner);
            *most = most.max(seconds / trial.settled.size.max(1.0));
        }
        Ok(results)
    }

    /// Runs trials on the CPU as they are handed out, so many at once; `each` takes their results, and `tick` is called now and then.
    ///
    /// # Errors
    /// The first error of a trial, or of `each`; results that came before it have been taken.
    pub fn run_on_cpu(
        &self,
        trials: &[Trial<'_>],
        hand_out: &HandOut<'_>,
        threads: usize,
        each: &mut dyn FnMut(TrialResult) -> Result<()>,
        tick: &mut dyn FnMut(),
    ) -> Result<()> {
        let mut first_error = None;
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for _ in 0..threads.min(trials.len()) {
                let sender = sender.clone();
                scope.spawn(move || {
                    let mut cpu = Cpu::new(1);
                    train::limit_memory(&mut cpu, self.limit);
                    while let Some(trial) = hand_out.take().and_then(|next| trials.get(next)) {
                        if self.stops() || !self.may_begin(trial) {
                            break;
                        }
                        let done = self.ready(trial).and_then(|ready| self.train(&[*trial], &[ready], &mut cpu, None));
                        // Nobody listens after the end.
                        if sender.send(done).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            loop {
                let taken = match receiver.recv_timeout(TICK) {
                    // After an error, nothing more is kept.
                    Ok(Ok(_)) if first_error.is_some() => Ok(()),
                    Ok(Ok(results)) => results.into_iter().try_for_each(&mut *each),
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

    /// Runs trials on a GPU: those that are alike side by side, others one after the other. If the GPU fails, it is
    /// reopened, and trains its trials again: `warn` says so.
    ///
    /// # Errors
    /// The first error of a trial, or of `each`; a GPU that fails again and again.
    pub fn run_on_gpu(
        &self,
        trials: &[Trial<'_>],
        gpu: &mut OpenGpu,
        each: &mut dyn FnMut(TrialResult) -> Result<()>,
        tick: &mut dyn FnMut(),
        warn: &dyn Fn(&str),
    ) -> Result<()> {
        // On a software one, a work group for each of some threads; and results are kept when a group is done.
        let most = match gpu.executor()?.device().software {
            _ if self.deadline.is_some() => 1,
            true => SIDE_BY_SIDE_ON_SOFTWARE,
            false => SIDE_BY_SIDE,
        };
        let mut left = trials.to_vec();
        while let Some(first) = left.first().copied() {
            if self.stops() || !self.may_begin(&first) {
                break;
            }
            let (mut group, mut ready, mut others) = (Vec::<Trial<'_>>::new(), Vec::<Ready>::new(), Vec::new());
            for trial in left {
                let seeds: BTreeSet<u64> = group.iter().map(|of| of.seed).collect();
                let of_seed = ready.first().map_or(0, |first: &Ready| first.size());
                let is_open = seeds.contains(&trial.seed) || (seeds.len() + 1) * of_seed <= MOST_OPEN;
                if group.len() == most || !is_open {
                    others.push(trial);
                    continue;
                }
                let of_trial = self.ready(&trial)?;
                match ready.first() {
                    Some(first) if !first.training().is_like(&of_trial.training()) => others.push(trial),
                    _ => {
                        group.push(trial);
                        ready.push(of_trial);
                    }
                }
            }
            left = others;
            let ticking: &Tick<'_> = &RefCell::new(&mut *tick);
            let (before, mut failures) = (self.done(), 0);
            let mut train = |is_again: bool| {
                if is_again {
                    gpu.reopen()?;
                }
                self.train(&group, &ready, gpu.executor()?, Some(ticking))
            };
            let results = loop {
                let trained = train(failures > 0);
                match trained {
                    Err(error) if error.is::<DeviceFailed>() && failures < MAX_DEVICE_FAILURES => {
                        failures += 1;
                        self.add(before - self.done());
                        let most = MAX_DEVICE_FAILURES;
                        warn(&format!(
                            "{error:#}; its trials are trained again on the reopened device ({failures} of {most})"
                        ));
                    }
                    trained => break trained?,
                }
            };
            results.into_iter().try_for_each(&mut *each)?;
        }
        Ok(())
    }
}

/// A trial whose data is open.
struct Ready {
    topology: Topology,
    setup: Setup,
    flags: Flags,
    opened: Arc<Opened>,
    initial: Parameters,
}

impl Ready {
    fn training(&self) -> Training<'_> {
        let Ready { topology, setup, opened, initial, .. } = self;
        Training { data: &opened.data, topology, initial, hyperparameters: setup.hyperparameters }
    }

    /// Bytes of its inputs.
    fn size(&self) -> usize {
        let dataset = &self.opened.data.dataset;
        let of_one = if dataset.inputs().byte_scale().is_some() { 1 } else { size_of::<f32>() };
        dataset.len() * dataset.features() * of_one
    }

    /// The result of a training, or of its divergence, after these costs.
    fn result(
        &self,
        trial: &Trial<'_>,
        report: Result<train::Report>,
        validation_costs: Vec<f64>,
        (device, seconds): (&str, f64),
    ) -> TrialResult {
        let (report, diverged) = match report {
            Ok(report) => (Some(report), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let report = report.as_ref();
        TrialResult {
            trial: trial.number,
            flags: self.flags.clone(),
            seed: trial.seed,
            round: trial.round,
            epochs: validation_costs.len(),
            kept_epoch: report.and_then(|report| report.kept_epoch),
            validation_cost: report.and_then(|report| report.validation_cost),
            validation_accuracy: report.and_then(|report| report.validation_accuracy),
            validation_r2: report.and_then(|report| report.validation_r2),
            weights_sha256: report.map(|report| report.weights_sha256.clone()),
            seconds,
            training_seconds: report.map_or(0.0, |report| report.training_seconds),
            diverged,
            device: device.to_string(),
            data_sha256: self.opened.sha256.clone(),
            validation_costs,
        }
    }
}

/// The observer of one trial.
struct OfTrial<'a, 't> {
    shared: &'a Shared,
    /// Work of a step, in proportion to its multiplications.
    of_step: f64,
    done: f64,
    size: f64,
    costs: Vec<f64>,
    /// Shows how far all are, where trials run on the thread that shows it.
    tick: Option<&'a Tick<'t>>,
}

impl train::Observer for OfTrial<'_, '_> {
    fn steps(&mut self, steps: usize) {
        // The last mini-batch of an epoch may have fewer examples.
        let done = (self.done + steps as f64 * self.of_step).min(self.size);
        self.shared.add(done - self.done);
        self.done = done;
        if let Some(tick) = self.tick {
            (tick.borrow_mut())();
        }
    }

    fn wants_end(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    fn epoch(&mut self, report: &EpochReport, _: bool) {
        self.costs.extend(report.monitored_cost());
    }
}
