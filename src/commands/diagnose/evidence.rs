//! The evidence of a diagnosis: the epochs of a training, and looks into its network before the
//! first epoch and after the last.

use anyhow::Result;
use rand::seq::IndexedRandom;

use crate::commands::train::{EpochReport, Setup};
use crate::data::Data;
use crate::network::{Parameters, Topology};
use crate::system::random::{Stream, rng};
use crate::training::diagnosis::{self, Learned};
use crate::training::look::{Correlation, Look, Neighbours, correlation, deviations, most_examples, neighbours};

/// The fewest examples of a class for which the fraction classified correctly is reliable.
const OF_CLASS: usize = 20;

/// A class of the data.
#[derive(Clone, Debug)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Its training examples.
    pub examples: usize,
    /// The recall of the class: the fraction classified correctly of the examples looked at.
    pub found: f64,
    /// The number of examples looked at.
    pub looked_at: usize,
    /// True if it is predicted for some example.
    pub is_predicted: bool,
}

/// Everything from which verdicts are found.
#[derive(Debug)]
pub struct Evidence {
    /// The name of the data.
    pub name: String,
    /// The network.
    pub topology: Topology,
    /// Everything else that it was trained with.
    pub setup: Setup,
    /// Number of training examples.
    pub training: usize,
    /// Number of validation examples.
    pub validation: usize,
    /// True if some classes or examples count more than others.
    pub has_weights: bool,
    /// Each epoch.
    pub epochs: Vec<EpochReport>,
    /// The message about a training that ended in NaN or infinity.
    pub diverged: Option<String>,
    /// The network before training, with some of the training examples.
    pub before: Look,
    /// The network after it.
    pub after: Look,
    /// The classes; empty for regression.
    pub classes: Vec<Class>,
    /// Nearest neighbours of the examples of each class; empty for regression.
    pub neighbours: Vec<Neighbours>,
    /// The correlation of targets with those of nearest neighbours; `None` for classification.
    pub correlation: Option<Correlation>,
    /// The fraction of examples in the largest class, which guessing would get right; 0 for
    /// regression.
    pub guessed: f64,
    /// The standard deviation of each input over the examples.
    pub deviations: Vec<f64>,
    /// The root mean square of all inputs.
    pub input_size: f64,
    /// A line about a network that is no better than guessing; `None` if it is better.
    pub not_learned: Option<String>,
    /// ‖w‖ after training divided by ‖w‖ before, for the layer that has shrunk most.
    pub shrinkage: f64,
}

impl Evidence {
    /// Collects the evidence of a finished training, with the parameters before and after it.
    ///
    /// # Errors
    /// Data that cannot be read.
    pub fn new(
        data: &Data,
        topology: Topology,
        setup: Setup,
        [initial, last_parameters]: [&Parameters; 2],
        epochs: Vec<EpochReport>,
        diverged: Option<String>,
    ) -> Result<Self> {
        let training = &data.split.training;
        let seed = setup.hyperparameters.seed;
        let most = most_examples(&topology).min(training.len());
        let picked: Vec<u32> = training.sample(&mut rng(seed, Stream::Watched), most).copied().collect();
        let few = data.dataset.picked(&picked)?;
        let (before, after) = (Look::new(&few, &topology, initial)?, Look::new(&few, &topology, last_parameters)?);
        let not_learned = match epochs.last() {
            Some(last) => {
                let learned = Learned { accuracy: last.train_accuracy, r2: last.train_r2 };
                diagnosis::note(data, &topology, last_parameters, learned, setup.initialization)?
            }
            _ => None,
        };
        let mut evidence = Evidence {
            not_learned,
            name: data.name.clone(),
            shrinkage: shrinkage(initial, last_parameters),
            training: training.len(),
            validation: data.split.validation.len(),
            has_weights: data.dataset.has_weights(),
            epochs,
            diverged,
            classes: Vec::new(),
            neighbours: Vec::new(),
            correlation: None,
            guessed: 0.0,
            deviations: deviations(&before.a[1], data.dataset.features()),
            input_size: root_mean_square(&before.a[1]),
            before,
            after,
            topology,
            setup,
        };
        if data.dataset.classes() > 0 && data.dataset.quantities().is_empty() {
            evidence.add_classes(data, few.labels(), last_parameters)?;
        } else {
            evidence.correlation = correlation(&evidence.before);
        }
        Ok(evidence)
    }

    fn add_classes(&mut self, data: &Data, labels: &[u32], last: &Parameters) -> Result<()> {
        let (classes, all) = (data.dataset.classes(), data.dataset.labels());
        let mut counts = vec![0; classes];
        self.examples_of_classes(data, &mut counts);
        self.neighbours = neighbours(&self.before, labels, classes);
        let mut looked_at = vec![0; classes];
        labels.iter().for_each(|&label| looked_at[label as usize] += 1);
        // More examples of rare classes.
        let mut rare = Vec::new();
        for &example in &data.split.training {
            let class = all[example as usize] as usize;
            if looked_at[class] < OF_CLASS {
                looked_at[class] += 1;
                rare.push(example);
            }
        }
        // There may be more than classes.
        let outputs = self.topology.n[self.topology.last()];
        let mut pairs: Vec<(usize, usize)> =
            labels.iter().map(|&label| label as usize).zip(self.after.predicted(outputs)).collect();
        if !rare.is_empty() {
            let more = data.dataset.picked(&rare)?;
            let predicted = Look::new(&more, &self.topology, last)?.predicted(outputs);
            pairs.extend(more.labels().iter().map(|&label| label as usize).zip(predicted));
        }
        self.guessed = counts.iter().copied().max().unwrap_or(0) as f64 / self.training.max(1) as f64;
        let class = |class: usize| {
            let of_it = pairs.iter().filter(|(label, _)| *label == class);
            let (looked_at, found) =
                of_it.fold((0, 0), |(all, found), (_, predicted)| (all + 1, found + usize::from(*predicted == class)));
            Class {
                name: data.dataset.class_name(class).into_owned(),
                examples: counts[class],
                found: found as f64 / (looked_at as f64).max(1.0),
                looked_at,
                is_predicted: pairs.iter().any(|(_, predicted)| *predicted == class),
            }
        };
        self.classes = (0..classes).map(class).collect();
        Ok(())
    }

    fn examples_of_classes(&self, data: &Data, counts: &mut [usize]) {
        let labels = data.dataset.labels();
        data.split.training.iter().for_each(|&example| counts[labels[example as usize] as usize] += 1);
    }

    /// The fraction of what can be learned that the network has learned of the training split: 0
    /// for guessing, 1 for all.
    pub fn learned(&self) -> f64 {
        let Some(last) = self.epochs.last() else { return 0.0 };
        if let (true, Some(found)) = (self.has_weights, self.mean_found()) {
            // The most frequent class is no good guess if all classes count alike.
            let guessed = 1.0 / self.classes.len() as f64;
            return ((found - guessed) / (1.0 - guessed).max(1e-9)).max(0.0);
        }
        match (last.train_accuracy, last.train_r2) {
            (Some(accuracy), _) => ((accuracy - self.guessed) / (1.0 - self.guessed).max(1e-9)).max(0.0),
            (None, Some(r2)) => r2.max(0.0),
            (None, None) => 0.0,
        }
    }

    /// The mean recall over all classes; `None` for regression.
    pub fn mean_found(&self) -> Option<f64> {
        let seen: Vec<f64> = self.classes.iter().filter(|class| class.looked_at > 0).map(|class| class.found).collect();
        (!seen.is_empty()).then(|| seen.iter().sum::<f64>() / seen.len() as f64)
    }

    /// The training cost before training, estimated from the examples of the look, and after each
    /// epoch.
    pub fn costs(&self) -> Vec<f64> {
        std::iter::once(self.before.cost).chain(self.epochs.iter().filter_map(|epoch| epoch.train_cost)).collect()
    }

    /// The sum of all rises and the sum of all falls of the training cost.
    pub fn rises_and_falls(&self) -> (f64, f64) {
        let costs = self.costs();
        let steps = costs.windows(2).map(|pair| pair[1] - pair[0]);
        steps.fold((0.0, 0.0), |(rises, falls), step| (rises + step.max(0.0), falls + (-step).max(0.0)))
    }
}

fn root_mean_square(values: &[f32]) -> f64 {
    let sum: f64 = values.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    (sum / values.len().max(1) as f64).sqrt()
}

fn shrinkage(before: &Parameters, after: &Parameters) -> f64 {
    let norm = |values: &[f32]| values.iter().map(|&w| f64::from(w) * f64::from(w)).sum::<f64>().sqrt();
    let layers = before.w.iter().zip(after.w.iter());
    layers.map(|((_, before), (_, after))| norm(after) / norm(before).max(1e-30)).fold(f64::INFINITY, f64::min)
}
