//! A training that continues on another device if its device fails.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};

use super::epochs::{End, Epochs, Refitted, RunContext, train_epochs};
use super::refit::refit;
use super::report::{Report, report};
use super::state::{Refitting, State};
use super::{Keep, Observer, Opening, Options, Setup, Training, limit_memory};
use super::{agreement, divergence};
use crate::data::Data;
use crate::device::{self, DeviceChoice};
use crate::gpu::GpuOptions;
use crate::model::{self, Model};
use crate::network::{Parameters, Topology};
use crate::plan::executor::{DeviceDescription, Executor};
use crate::system::error::{DeviceFailed, Diverged, OutOfMemory, Refused, WrongUsage, ensure_usage};
use crate::training::{Position, Trainer};
use crate::verify::gradients::GradientCheck;

/// The opened device: what is announced about it, and its failures.
#[derive(Default)]
pub struct Opened {
    /// The reason for choosing the device.
    pub reason: String,
    /// The effect of mixed precision on gradients.
    pub gradient_check: Option<GradientCheck>,
    /// True once the start of training was announced.
    pub announced: bool,
    /// Failures of devices.
    pub failures: DeviceFailures,
    /// What was said about them.
    pub notes: Vec<String>,
}

/// A training, apart from its data and its device.
pub struct Job<'a> {
    /// The options that were asked for.
    pub options: &'a Options,
    /// The network.
    pub topology: &'a Topology,
    /// All other settings.
    pub setup: &'a Setup,
    /// The initial weights and biases.
    pub initial: &'a Parameters,
    /// Its key in the recorded speeds of devices.
    pub work: String,
    /// Validation examples, before a refit learns them.
    pub validation_examples: usize,
}

/// The key of a training in the recorded speeds of devices.
pub fn work_of(data: &Data, topology: &Topology, setup: &Setup, initial: &Parameters) -> String {
    Training { data, topology, initial, hyperparameters: setup.hyperparameters }.to_string()
}

impl Job<'_> {
    pub fn training<'t>(&'t self, data: &'t Data) -> Training<'t> {
        let hyperparameters = self.setup.hyperparameters;
        Training { data, topology: self.topology, initial: self.initial, hyperparameters }
    }

    /// Opens the device.
    pub fn open(&self, choice: &DeviceChoice, gpu: GpuOptions, data: &Data) -> Result<device::Chosen> {
        let (options, training) = (self.options, self.training(data));
        let mut chosen = device::open(choice, options.threads, gpu, &self.work, &mut |executor, time| {
            limit_memory(executor, options.device_memory);
            training.trainer(executor)?.measure_speed(time)
        })?;
        limit_memory(chosen.executor.as_mut(), options.device_memory);
        Ok(chosen)
    }

    /// As [`Self::open`]; if the device cannot be opened, the CPU, if it may take its place.
    pub fn open_or_fall_back(
        &self,
        choice: &DeviceChoice,
        data: &Data,
        opened: &mut Opened,
        observer: &mut dyn Observer,
    ) -> Result<device::Chosen> {
        match self.open(choice, self.options.gpu, data) {
            Err(error) if self.options.fall_back_to_cpu && !error.is::<WrongUsage>() => {
                opened.note(format!("{error:#}; training runs on the CPU"), observer);
                let reason = "it takes the place of a GPU (--fallback)".to_string();
                Ok(device::Chosen { reason, ..self.open(&DeviceChoice::Cpu, self.options.gpu, data)? })
            }
            opened => opened,
        }
    }

    fn trainer<'e, 't>(&self, training: &Training<'t>, executor: &'e mut dyn Executor) -> Result<Trainer<'e, 't>> {
        let ranks = &self.options.ranks;
        let mut trainer = agreement::agree(&**ranks, training.trainer(executor))?;
        trainer.share_with(Arc::clone(ranks))?;
        if let Some(steps) = self.options.portion {
            trainer.pause_after(steps);
        }
        Ok(trainer)
    }

    /// Checks that a run can have the number of epochs now asked for.
    pub fn check_length(&self, state: &State) -> Result<()> {
        if let Some(Refitting { out_of_patience: false, .. }) = state.refit {
            ensure_usage!(
                state.reports.len() >= self.setup.epochs,
                "--epochs {}: after {} epochs the run began to train on all examples (--refit), and cannot be \
                 lengthened; name another folder",
                self.setup.epochs,
                state.reports.len()
            );
        }
        Ok(())
    }

    /// Trains from a state to the end.
    pub fn train(
        &self,
        data: &mut Data,
        state: &mut State,
        executor: &mut dyn Executor,
        opened: &mut Opened,
        context: &mut RunContext<'_>,
    ) -> Result<(Report, Result<()>)> {
        let setup = self.setup;
        let mut epochs = if let Some(refitting) = state.refit {
            let end = if refitting.out_of_patience { End::Patience } else { End::Epochs };
            Epochs::of(&State { position: Position::default(), ..state.clone() }, setup, end)
        } else {
            let training = self.training(data);
            let mut trainer = self.trainer(&training, executor)?;
            opened.announce(&trainer, &training, setup, state.position, context);
            let ended = train_epochs(&mut trainer, setup, &training, state, context);
            let end = match ended {
                Ok(end) => end,
                Err(error) => {
                    let reached = trainer.position();
                    if error.is::<Diverged>() {
                        self.go_back(&mut trainer, state, context)?;
                    }
                    return Err(divergence::located(error, &mut trainer, state, reached));
                }
            };
            let epochs = Epochs::of(state, setup, end);
            if let Some(best) = state.best.as_ref().filter(|_| epochs.kept.is_some()) {
                trainer.set_parameters(best)?;
            }
            if !setup.refit || setup.epochs == 0 || epochs.interrupted.is_some() {
                return self.finish(&mut trainer, &training, epochs, context);
            }
            let refitting = Refitting::after(&epochs, setup, data.split.validation.len());
            *state = refitting.state(state, self.initial, trainer.parameters()?);
            epochs
        };
        let Some(refitting) = state.refit else { bail!("no refit has begun") };
        data.learn_validation();
        let training =
            Training { hyperparameters: refitting.hyperparameters(setup.hyperparameters), ..self.training(data) };
        let mut trainer = self.trainer(&training, executor)?;
        opened.announce(&trainer, &training, setup, state.position, context);
        context.observer.refit(data.split.training.len(), refitting.epochs);
        let ended = refit(&mut trainer, &training, setup.patience, state, context);
        let reached = trainer.position();
        match ended.map_err(|error| divergence::located(error, &mut trainer, state, reached))? {
            End::Signal(signal) => {
                epochs.interrupted = Some(signal);
                if let Some(kept) = &state.best {
                    trainer.set_parameters(kept)?;
                }
                // The weights are those of before, which have not learned the validation split.
                let (report, saved) = self.finish(&mut trainer, &training, epochs, context)?;
                let validation_examples = self.validation_examples;
                let train_examples = report.train_examples - validation_examples;
                return Ok((Report { train_examples, validation_examples, ..report }, saved));
            }
            End::Epochs | End::Patience => {
                let seconds = state.refit.map_or(0.0, |refit| refit.seconds);
                let (epochs_of_refit, validation_examples) = (refitting.epochs, self.validation_examples);
                epochs.refit = Some(Refitted { epochs: epochs_of_refit, seconds, validation_examples });
            }
        }
        self.finish(&mut trainer, &training, epochs, context)
    }

    /// Saves the network of a finished training and makes its report.
    fn finish(
        &self,
        trainer: &mut Trainer<'_, '_>,
        training: &Training<'_>,
        epochs: Epochs,
        context: &mut RunContext<'_>,
    ) -> Result<(Report, Result<()>)> {
        let saved = match &self.options.output {
            Some(path) => self.save(path, training.data, trainer.parameters()?),
            None => Ok(()),
        };
        let epochs = Epochs { seconds_to_first_step: context.seconds_to_first_step, ..epochs };
        Ok((report(trainer, training, self.setup, epochs)?, saved))
    }

    fn save(&self, path: &Path, data: &Data, parameters: Parameters) -> Result<()> {
        let (preprocessing, outputs) = (data.dataset.preprocessing().clone(), data.dataset.outputs());
        model::save(path, &Model { topology: self.topology.clone(), parameters, preprocessing, outputs })
    }

    /// Goes back to the last complete epoch of a training that diverged, and saves its checkpoint.
    fn go_back(&self, trainer: &mut Trainer<'_, '_>, state: &mut State, context: &mut RunContext<'_>) -> Result<()> {
        let Some(history) = context.history.take() else { return Ok(()) };
        divergence::return_to_last_epoch(trainer, self.setup.patience, state, history)?;
        if let Some(failure) = context.keeper.as_mut().and_then(|keeper| keeper.save(state)) {
            context.observer.warn(&failure);
        }
        Ok(())
    }

    /// Saves the weights from before what ended a training: `it diverged`, say.
    pub fn save_last_good(&self, state: &State, data: &Data, what: &str, observer: &mut dyn Observer) {
        let Some(path) = &self.options.output else { return };
        if state.position == Position::default() && state.refit.is_none() {
            let path = path.display();
            return observer.warn(&format!("{path} is not written: {what} in the first epoch"));
        }
        // Those of a refit are not better than the ones that were kept before it.
        let best = state.best.as_deref().filter(|_| state.refit.is_some() || self.setup.keep == Keep::Best);
        let parameters = best.unwrap_or(&state.snapshot.parameters).clone();
        match self.save(path, data, parameters) {
            Ok(()) => observer.warn(&format!("{} holds the weights from before {what}", path.display())),
            Err(error) => observer.warn(&format!("{error:#}")),
        }
    }

    /// True for an error that may not occur on another device. If a device refuses the work before training starts, the
    /// options are at fault.
    pub fn may_go_on(&self, error: &anyhow::Error, device: &DeviceDescription, opened: &Opened) -> bool {
        let refused = error.is::<OutOfMemory>() || error.is::<Refused>();
        let is_gpu = device.backend.is_some();
        is_gpu && (error.is::<DeviceFailed>() || refused && (opened.announced || self.options.fall_back_to_cpu))
    }

    /// Reopens a device that has failed, or opens the one to fall back to.
    ///
    /// # Errors
    /// The failure, if it has happened too often.
    pub fn recover(
        &self,
        mut error: anyhow::Error,
        failed: device::Chosen,
        state: &State,
        data: &Data,
        opened: &mut Opened,
        context: &mut RunContext<'_>,
    ) -> Result<device::Chosen> {
        let DeviceDescription { name, backend, driver, .. } = failed.executor.device().clone();
        // Its memory is needed for the next device.
        drop(failed);
        let place = format!("epoch {}, step {}", state.position.epoch + 1, state.position.step + 1);
        let told = |error: &anyhow::Error| format!("{name} (driver {}): {error:#}", driver.as_deref().unwrap_or(""));
        let same = DeviceChoice::Same { name: name.clone(), backend };
        // What was refused at the start would be refused again.
        let most = if error.is::<DeviceFailed>() || opened.announced { MAX_DEVICE_FAILURES } else { 0 };
        let reopened = loop {
            let tries = opened.failures.count(state);
            if tries > most {
                break Err(error.context(format!("{name} failed {tries} times at {place}")));
            }
            let again = format!("training continues from {place} on the reopened device ({tries} of {most})");
            opened.note(format!("{}; {again}", told(&error)), context.observer);
            // Two failures at the same position: shorter submissions may succeed.
            let gpu = self.options.gpu.of_reopened(tries.saturating_sub(1));
            match self.open(&same, gpu, data) {
                Ok(chosen) => break Ok(chosen),
                Err(other) => error = other,
            }
            std::thread::sleep(TIME_OF_A_RESET);
        };
        let reopened = match reopened {
            Err(error) if self.options.fall_back_to_cpu => {
                opened.note(format!("{error:#}; training continues from {place} on the CPU"), context.observer);
                self.open(&DeviceChoice::Cpu, self.options.gpu, data)?
            }
            reopened => reopened?,
        };
        if let Some(keeper) = &mut context.keeper {
            keeper.go_on(state, reopened.executor.device())?;
        }
        Ok(reopened)
    }
}

/// Time that a driver may need to recover.
pub const TIME_OF_A_RESET: Duration = Duration::from_secs(1);

/// The number of failures at the same position that training survives.
pub const MAX_DEVICE_FAILURES: u32 = 4;

/// Failures of a device.
#[derive(Default)]
pub struct DeviceFailures {
    /// The position that training continued from after the last failure.
    at: Option<(bool, Position)>,
    count: u32,
}

impl DeviceFailures {
    /// True if there was none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Counts a failure; returns the number of failures since the last progress.
    fn count(&mut self, state: &State) -> u32 {
        let at = Some((state.refit.is_some(), state.position));
        self.count = if self.at == at { self.count + 1 } else { 1 };
        self.at = at;
        self.count
    }
}

impl Opened {
    /// Says something about a failure, at once and in the report.
    pub fn note(&mut self, text: String, observer: &mut dyn Observer) {
        observer.warn(&text);
        self.notes.push(text);
    }

    /// Announces once that training starts or continues.
    fn announce(
        &mut self,
        trainer: &Trainer<'_, '_>,
        training: &Training<'_>,
        setup: &Setup,
        position: Position,
        context: &mut RunContext<'_>,
    ) {
        if std::mem::replace(&mut self.announced, true) {
            return;
        }
        context.observer.begin(&Opening {
            data: training.data,
            topology: training.topology,
            device: trainer.executor().device(),
            reason: &self.reason,
            choices: &trainer.choices(),
            gradient_check: self.gradient_check.as_ref(),
            setup,
            steps_per_epoch: trainer.steps_per_epoch(),
            position,
        });
    }
}
