//! A training loop with early stopping: the parameters with the best validation accuracy are kept.

use gpu_backprop::{Cpu, Hyperparameters, Initialization, Parameters, Part, PartOfData, Source, Topology, Trainer};
use gpu_backprop::{activation, cost, open_data};

/// Epochs without improvement after which training stops.
const PATIENCE: usize = 5;

fn main() -> anyhow::Result<()> {
    // The built-in digits: 20% are the test split, and 20% of the rest the validation split.
    let data = open_data(&Source { validation: Some(Part::Fraction(0.2)), ..Source::default() })?;
    let widths = [data.dataset.features(), 30, data.dataset.output_width()];
    let topology = Topology::new(&widths, &activation::SIGMOID, &cost::QUADRATIC)?;
    let parameters = Parameters::random(&topology, Initialization::Scaled, 0)?;
    let hyperparameters = Hyperparameters::sgd(10, 3.0, 0);

    let mut cpu = Cpu::new(1);
    let mut trainer = Trainer::new(&mut cpu, &topology, &parameters, &data, hyperparameters)?;
    let (mut best_accuracy, mut best_epoch, mut best_parameters) = (None, 0, parameters);
    for epoch in 1..=100 {
        let time = trainer.train_epoch(&mut |_| ())?;
        let accuracy = trainer.evaluate(PartOfData::Validation)?.and_then(|validation| validation.accuracy());
        println!("epoch {epoch}: validation accuracy {accuracy:?}, {time:?}");
        if accuracy > best_accuracy {
            (best_accuracy, best_epoch, best_parameters) = (accuracy, epoch, trainer.parameters()?);
        }
        if epoch - best_epoch >= PATIENCE {
            break;
        }
    }

    let mut best = Trainer::new(&mut cpu, &topology, &best_parameters, &data, hyperparameters)?;
    let accuracy = best.evaluate(PartOfData::Test)?.and_then(|test| test.accuracy());
    println!("test accuracy {accuracy:?} with the parameters of epoch {best_epoch}");
    assert!(accuracy > Some(0.9));
    Ok(())
}
