//! Tests of whole trainings.

use super::epochs::{End, train_epochs};
use super::report::measured;
use super::state::State;
use super::*;
use crate::cpu::Cpu;
use crate::data::{self, Part};
use crate::network::Initialization;
use crate::network::Parameters;
use crate::network::activation::{Activation, LINEAR, SIGMOID};
use crate::network::cost::QUADRATIC;
use crate::ranks::Alone;
use crate::system::error::Diverged;
use crate::training::Hyperparameters;
use crate::training::PartOfData;
use crate::training::recipe::Recipe;
use crate::training::stopping::Patience;

/// Records each reported epoch and the number of steps until then.
#[derive(Default, Debug)]
struct Listener {
    steps: usize,
    epochs: Vec<(usize, bool, usize)>,
}

impl Observer for Listener {
    fn steps(&mut self, steps: usize) {
        self.steps += steps;
    }
    fn epoch(&mut self, report: &EpochReport, best: bool) {
        self.epochs.push((report.epoch, best, self.steps));
    }
}

/// A training on some of the digits, by an executor with this many threads. The products are too small for a second
/// thread, which is free to evaluate.
struct Trial {
    weight: f32,
    epochs: usize,
    output: &'static Activation,
    eta: f32,
    threads: usize,
    validation: Option<Part>,
    patience: Patience,
}

impl Default for Trial {
    fn default() -> Self {
        let (output, patience) = (&SIGMOID, Patience::default());
        Trial { weight: 0.5, epochs: 1, output, eta: 1.0, threads: 1, validation: None, patience }
    }
}

impl Trial {
    /// Trains a network with the given value for one of its weights. Returns the final state and what was reported.
    fn run(self) -> Result<(State, End, Listener)> {
        let data = data::open(&Source { validation: self.validation, limit: Some(300), ..Source::default() })?;
        let topology = Topology::new(&[64, 5, 10], &SIGMOID, &QUADRATIC)?.with_output(self.output);
        let mut parameters = Parameters::random(&topology, Initialization::Scaled, 0)?;
        parameters.w[3][7] = self.weight;
        let hyperparameters = Hyperparameters::sgd(10, self.eta, 0);
        let mut cpu = Cpu::new(self.threads);
        let training = Training { data: &data, topology: &topology, initial: &parameters, hyperparameters };
        let mut trainer = training.trainer(&mut cpu)?;
        trainer.evaluate_all_beside();
        let setup = Setup {
            recipe: Recipe::Book,
            initialization: Initialization::Scaled,
            epochs: self.epochs,
            patience: self.patience,
            keep: Keep::Best,
            refit: false,
            monitor: Monitor::All,
            hyperparameters,
        };
        let mut state = State::before(parameters.clone());
        let mut listener = Listener::default();
        let mut company = Company::new(&mut listener, None, Instant::now(), &Alone);
        let end = train_epochs(&mut trainer, &setup, &training, &mut state, &mut company)?;
        measured(&mut trainer, PartOfData::Test, state.reports.len(), hyperparameters)?;
        Ok((state, end, listener))
    }
}

/// A diverged run ends before it writes a model.
#[test]
fn weights_or_costs_that_are_no_numbers_are_divergence() {
    let told = |weight, epochs| {
        let error = Trial { weight, epochs, ..Trial::default() }.run().expect_err("it diverged");
        assert!(error.is::<Diverged>(), "{error:#}");
        error.to_string()
    };
    assert!(told(f32::NAN, 1).contains("epoch 1"), "{}", told(f32::NAN, 1));
    assert!(told(f32::INFINITY, 2).contains("epoch 1"), "{}", told(f32::INFINITY, 2));
    assert!(told(f32::NAN, 0).contains("initial network"), "{}", told(f32::NAN, 0));
    Trial::default().run().expect("a network of numbers");
}

/// The weights stay unchanged and finite; the cost is not finite.
#[test]
fn a_cost_that_is_no_number_is_found_by_another_thread_too() {
    for threads in [1, 2] {
        let trial = Trial { weight: 1e30, epochs: 3, output: &LINEAR, eta: 0.0, threads, ..Trial::default() };
        let error = trial.run().expect_err("it diverged");
        assert_eq!(error.downcast_ref::<Diverged>().map(|diverged| diverged.epoch), Some(1), "{error:#}");
    }
}

/// The figures of the training split are the same when they are measured during the next epoch.
#[test]
fn an_idle_thread_evaluates_with_the_same_figures() {
    let fifth = || Some(Part::Fraction(0.2));
    let patience = Patience { stop: Some(2), plateau: Some((1, 0.5)) };
    // Whether another thread may evaluate: not if the next epoch depends on the result.
    for (validation, patience, late) in [
        (None, Patience::default(), true),
        (None, patience, false),
        (fifth(), Patience::default(), true),
        (fifth(), patience, true),
    ] {
        let run = |threads| {
            let trial =
                Trial { epochs: 12, eta: 9.0, threads, validation: validation.clone(), patience, ..Trial::default() };
            let (state, end, told) = trial.run().expect("a trained network");
            let timeless = |report| EpochReport { seconds: 0.0, samples_per_second: 0.0, ..report };
            let reports: Vec<EpochReport> = state.reports.into_iter().map(timeless).collect();
            (reports, state.best.map(|best| best.sha256()), state.snapshot.parameters.sha256(), end, told)
        };
        let (one, two) = (run(1), run(2));
        assert_eq!((&one.0, &one.1, &one.2, &one.3), (&two.0, &two.1, &two.2, &two.3));
        let best = |listener: &Listener| listener.epochs.iter().map(|&(_, best, _)| best).collect::<Vec<_>>();
        assert_eq!(best(&one.4), best(&two.4));
        // All epochs except the last are reported after steps of the next one.
        let steps = one.4.epochs[0].2;
        assert!(one.4.epochs.iter().all(|&(epoch, _, after)| after == epoch * steps), "{:?}", one.4);
        let (_, before_last) = two.4.epochs.split_last().expect("epochs");
        assert!(before_last.iter().all(|&(epoch, _, after)| (after > epoch * steps) == late), "{:?}", two.4);
        assert!(before_last.len() > 2 && best(&two.4)[0]);
    }
}
