//! Training on arrays in memory: whether a point lies inside a circle.

use gpu_backprop::{Cpu, Data, Dataset, Hyperparameters, Initialization, Inputs, Parameters, PartOfData, Split};
use gpu_backprop::{Topology, Trainer, activation, cost};

fn main() -> anyhow::Result<()> {
    // A grid of 40 x 40 points in the square from -1 to 1.
    let points: Vec<[f32; 2]> = (0..1600).map(|i| [(i % 40) as f32, (i / 40) as f32].map(|x| x / 19.5 - 1.0)).collect();
    let labels = points.iter().map(|[x, y]| u32::from(x * x + y * y < 0.5)).collect();

    // One example after the other; every fifth is kept for testing.
    let dataset = Dataset::new(Inputs::Floats(points.concat()), 2, labels)?;
    let (test, training) = (0..1600).partition(|i| i % 5 == 0);
    let split = Split { training, test, validation: Vec::new() };
    let data = Data::new("circle", dataset, split);

    let topology = Topology::new(&[2, 16, 2], &activation::SIGMOID, &cost::QUADRATIC)?;
    let parameters = Parameters::random(&topology, Initialization::Scaled, 0)?;
    let hyperparameters = Hyperparameters::sgd(10, 3.0, 0);

    let mut cpu = Cpu::new(1); // or a GPU, if adapters().first() is one: adapter.open(GpuOptions::default())?
    let mut trainer = Trainer::new(&mut cpu, &topology, &parameters, &data, hyperparameters)?;
    for _ in 0..100 {
        trainer.train_epoch(&mut |_| ())?;
    }
    let accuracy = trainer.evaluate(PartOfData::Test)?.and_then(|test| test.accuracy());
    println!("test accuracy {accuracy:?}");
    assert!(accuracy > Some(0.95));
    Ok(())
}
