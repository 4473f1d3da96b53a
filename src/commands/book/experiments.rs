//! The table of experiments.

use std::sync::Arc;

use anyhow::{Context, Result};

use super::{Curve, Measured, Options};
use crate::commands::train::{self, Architecture, EpochReport, Keep, Observer, Requested, Trained};
use crate::data::Part;
use crate::gpu::GpuOptions;
use crate::network::activation::{Activation, SIGMOID, SOFTMAX};
use crate::network::cost::{CROSS_ENTROPY, Cost, QUADRATIC};
use crate::network::{Initialization, Layers, Parameters, Topology};
use crate::ranks::Alone;
use crate::training::Decline;
use crate::training::look::Look;
use crate::training::recipe::Recipe;
use crate::verify::worked::{Network, all_kept};

/// An experiment of the book.
#[derive(Debug)]
pub struct Experiment {
    /// The name on the command line.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// The place in the book.
    pub place: &'static str,
    /// Names of the axes of its curves.
    pub axes: [&'static str; 2],
    /// True if it needs training data.
    pub needs_data: bool,
    /// Runs it.
    pub run: fn(&Options, &mut dyn Observer) -> Result<Measured>,
}

const ACCURACY: [&str; 2] = ["epoch", "accuracy on the validation split, %"];

/// All experiments, in the order of the book.
pub static EXPERIMENTS: [Experiment; 9] = [
    Experiment {
        name: "network",
        title: "network.py: 30 hidden neurons, quadratic cost, weights of N(0, 1), η = 3",
        place: "chapter 1, Implementing our network to classify digits",
        axes: ACCURACY,
        needs_data: true,
        run: |options, observer| accuracies(options, observer, &[("accuracy", CHAPTER_1)]),
    },
    Experiment {
        name: "hidden-100",
        title: "the same with 100 hidden neurons",
        place: "chapter 1, Implementing our network to classify digits",
        axes: ACCURACY,
        needs_data: true,
        run: |options, observer| accuracies(options, observer, &[("accuracy", Run { hidden: 100, ..CHAPTER_1 })]),
    },
    Experiment {
        name: "saturated-neuron",
        title: "one neuron with w = b = 2 learns to turn 1 into 0, with the quadratic cost and with cross-entropy, η = \
                0.15",
        place: "chapter 3, The cross-entropy cost function",
        axes: ["step", "output a"],
        needs_data: false,
        run: saturated_neuron,
    },
    Experiment {
        name: "cross-entropy",
        title: "cross-entropy instead of the quadratic cost, 30 and 100 hidden neurons, η = 0.5",
        place: "chapter 3, The cross-entropy cost function",
        axes: ACCURACY,
        needs_data: true,
        run: |options, observer| {
            let hundred = Run { hidden: 100, ..CROSS };
            accuracies(options, observer, &[("accuracy, 30 hidden", CROSS), ("accuracy, 100 hidden", hundred)])
        },
    },
    Experiment {
        name: "softmax",
        title: "softmax outputs with the log-likelihood, 100 hidden neurons, η = 0.1, 60 epochs, the best epoch",
        place: "chapter 6, Convolutional neural networks in practice",
        axes: ACCURACY,
        needs_data: true,
        run: |options, observer| {
            let run = Run {
                hidden: 100,
                output: &SOFTMAX,
                eta: 0.1,
                epochs: [60, 60],
                init: Initialization::Scaled,
                keep: Keep::Best,
                ..CROSS
            };
            accuracies(options, observer, &[("accuracy", run)])
        },
    },
    Experiment {
        name: "overfitting",
        title: "few training examples, 400 epochs: the network memorizes the training split",
        place: "chapter 3, Overfitting and regularization",
        axes: ACCURACY,
        needs_data: true,
        run: |options, observer| memorizing(options, observer, FEW),
    },
    Experiment {
        name: "regularization",
        title: "the same with weight decay, λ = 0.1",
        place: "chapter 3, Overfitting and regularization",
        axes: ACCURACY,
        needs_data: true,
        run: |options, observer| memorizing(options, observer, Run { lambda: 0.1, ..FEW }),
    },
    Experiment {
        name: "initialization",
        title: "large versus scaled initial weights, 30 hidden neurons, cross-entropy, η = 0.1, λ = 5",
        place: "chapter 3, Weight initialization",
        axes: ACCURACY,
        needs_data: true,
        run: initialization,
    },
    Experiment {
        name: "layer-speeds",
        title: "‖δ‖ of each of four hidden layers of 30 neurons before training",
        place: "chapter 5, The vanishing gradient problem",
        axes: ["layer", "‖δ‖"],
        needs_data: true,
        run: layer_speeds,
    },
];

/// A training of the book, on MNIST and in its short form.
#[derive(Clone, Copy, Debug)]
struct Run {
    hidden: usize,
    output: &'static Activation,
    cost: &'static Cost,
    init: Initialization,
    eta: f32,
    /// λ on MNIST, to be scaled in proportion to the number of training examples.
    lambda: f32,
    /// Epochs on MNIST and on the digits.
    epochs: [usize; 2],
    /// Training examples; `None` for 50,000 of MNIST, all of the digits.
    examples: Option<[usize; 2]>,
    keep: Keep,
}

const CHAPTER_1: Run = Run {
    hidden: 30,
    output: &SIGMOID,
    cost: &QUADRATIC,
    init: Initialization::Large,
    eta: 3.0,
    lambda: 0.0,
    epochs: [30, 30],
    examples: None,
    keep: Keep::Last,
};

const CROSS: Run = Run { cost: &CROSS_ENTROPY, eta: 0.5, ..CHAPTER_1 };

const FEW: Run = Run { epochs: [400, 400], examples: Some([1000, 150]), ..CROSS };

/// The fraction of the examples that is the validation split: as in the book, 10,000 of 60,000.
const VALIDATION: f64 = 1.0 / 6.0;

impl Run {
    fn options(self, options: &Options) -> train::Options {
        let short = usize::from(options.data.is_none());
        let mut source = options.source();
        source.validation = Some(Part::Fraction(VALIDATION));
        source.limit = self.examples.map(|examples| examples[short] * 6 / 5);
        let requested = Requested {
            recipe: Some(Recipe::Book),
            architecture: Some(Architecture::Hidden(vec![self.hidden])),
            activation: Some(&SIGMOID),
            output: Some(self.output),
            cost: Some(self.cost),
            initialization: Some(self.init),
            eta: Some(self.eta),
            lambda: Some(self.lambda),
            decline: Some(Decline::Constant),
            epochs: Some(self.epochs[short]),
            batch: Some(10),
            seed: options.seed,
            keep: Some(self.keep),
            refit: Some(false),
            ..Requested::default()
        };
        train::Options {
            source,
            requested,
            device: options.device.clone(),
            gpu: GpuOptions::default(),
            threads: options.threads,
            device_memory: None,
            output: None,
            from: None,
            run: None,
            fall_back_to_cpu: false,
            ranks: Arc::new(Alone),
            portion: None,
        }
    }
}

fn percent(of: Option<f64>) -> f64 {
    of.map_or(f64::NAN, |of| 100.0 * of)
}

fn curve(name: impl Into<String>, epochs: &[EpochReport], y: impl Fn(&EpochReport) -> Option<f64>) -> Curve {
    Curve { name: name.into(), points: epochs.iter().map(|epoch| [epoch.epoch as f64, percent(y(epoch))]).collect() }
}

/// Trains, and returns the report of a training that was not interrupted.
fn trained(run: Run, options: &Options, observer: &mut dyn Observer) -> Result<train::Report> {
    let Trained { report, .. } = train::run(&run.options(options), observer)?;
    report.uninterrupted()
}

/// The accuracy on the test split at the end of each training.
fn accuracies(options: &Options, observer: &mut dyn Observer, runs: &[(&'static str, Run)]) -> Result<Measured> {
    let mut measured = Measured::default();
    for (name, run) in runs {
        let report = trained(*run, options, observer)?;
        measured.numbers.push((name, percent(report.test_accuracy)));
        measured.curves.push(curve(*name, &report.epochs, |epoch| epoch.validation_accuracy));
    }
    Ok(measured)
}

fn memorizing(options: &Options, observer: &mut dyn Observer, run: Run) -> Result<Measured> {
    let report = trained(run, options, observer)?;
    let last = report.epochs.last().context("there are epochs")?;
    Ok(Measured {
        numbers: vec![
            ("training accuracy", percent(last.train_accuracy)),
            ("test accuracy", percent(report.test_accuracy)),
        ],
        curves: vec![
            curve("training", &report.epochs, |epoch| epoch.train_accuracy),
            curve("validation", &report.epochs, |epoch| epoch.validation_accuracy),
        ],
    })
}

fn initialization(options: &Options, observer: &mut dyn Observer) -> Result<Measured> {
    let large = Run { eta: 0.1, lambda: 5.0, ..CROSS };
    // λ is meant for a cost of 50,000 examples.
    let large = if options.data.is_none() { Run { lambda: 0.1, ..large } } else { large };
    let scaled = Run { init: Initialization::Scaled, ..large };
    let mut measured = Measured::default();
    for (name, at, run) in [
        ("large", ["large, epoch 1", "large, epoch 30"], large),
        ("scaled", ["scaled, epoch 1", "scaled, epoch 30"], scaled),
    ] {
        let report = trained(run, options, observer)?;
        let first = report.epochs.first().context("there are epochs")?;
        measured
            .numbers
            .extend([(at[0], percent(first.validation_accuracy)), (at[1], percent(report.validation_accuracy))]);
        measured.curves.push(curve(name, &report.epochs, |epoch| epoch.validation_accuracy));
    }
    Ok(measured)
}

/// The book's animation: w = b = 2, x = 1, y = 0.
fn saturated_neuron(_: &Options, _: &mut dyn Observer) -> Result<Measured> {
    const STEPS: usize = 300;
    let mut measured = Measured::default();
    for (name, cost) in [("quadratic", &QUADRATIC), ("cross-entropy", &CROSS_ENTROPY)] {
        let topology = Topology::new(&[1, 1], &SIGMOID, cost)?;
        let two = || Layers::new(2, 2, |_| vec![2.0]);
        let mut neuron = Network { topology, w: two(), b: two() };
        let mut points = Vec::new();
        for step in 0..=STEPS {
            let forward = neuron.feedforward(&[1.0], &[0.0], &all_kept);
            points.push([step as f64, forward.a[2][0]]);
            let delta = neuron.backpropagate(&forward, &[0.0], &all_kept).delta[2][0];
            neuron.w[2][0] -= 0.15 * delta;
            neuron.b[2][0] -= 0.15 * delta;
        }
        let [first, fifty, last] = [0, 50, STEPS].map(|step: usize| points[step][1]);
        measured.numbers.extend(match cost.name == QUADRATIC.name {
            true => [("output at first", first), ("quadratic, step 50", fifty), ("quadratic, step 300", last)],
            false => [("output at first", first), ("cross-entropy, step 50", fifty), ("cross-entropy, step 300", last)],
        });
        measured.curves.push(Curve { name: name.to_string(), points });
    }
    // The output before training is the same for both costs.
    measured.numbers.remove(3);
    Ok(measured)
}

/// As the book's generate_gradient.py: the gradient averaged over 1,000 training images.
fn layer_speeds(options: &Options, _: &mut dyn Observer) -> Result<Measured> {
    let data = options.open()?;
    let few = data.dataset.picked(&data.split.training[..data.split.training.len().min(1000)])?;
    let widths = [&[few.features()], &[30; 4][..], &[few.output_width()]].concat();
    let topology = Topology::new(&widths, &SIGMOID, &CROSS_ENTROPY)?;
    let initial = Parameters::random(&topology, Initialization::Scaled, options.seed)?;
    let look = Look::new(&few, &topology, &initial)?;
    let names = ["hidden layer 1", "hidden layer 2", "hidden layer 3", "hidden layer 4"];
    let deltas = look.layers.iter().map(|layer| layer.delta);
    Ok(Measured {
        numbers: names.into_iter().zip(deltas.clone()).collect(),
        curves: vec![Curve {
            name: "‖δ‖".to_string(),
            points: deltas.take(names.len()).enumerate().map(|(l, delta)| [l as f64 + 1.0, delta]).collect(),
        }],
    })
}
