//! Prediction with a model file, as `gpu-backprop train -o MODEL.safetensors` or [`save_model`] writes it.

use gpu_backprop::{Cpu, Hyperparameters, Initialization, Model, Parameters, Source, Topology, Trainer};
use gpu_backprop::{activation, cost, load_model, open_data, predict, save_model};

fn main() -> anyhow::Result<()> {
    let path = std::env::temp_dir().join(format!("digits-{}.safetensors", std::process::id()));
    train(&path)?;

    let model = load_model(&path)?;
    std::fs::remove_file(&path)?;
    let data = open_data(&Source::default())?;
    // One row for each image: an output for each of the 10 classes.
    let outputs = predict(&model, &mut Cpu::new(1), data.dataset.inputs().clone())?;
    let names = model.output_names();
    let classes = outputs.chunks(names.len()).map(|row| (0..row.len()).max_by(|&i, &j| row[i].total_cmp(&row[j])));

    let labels = data.dataset.labels();
    let correct = classes.zip(labels).filter(|(class, label)| *class == Some(**label as usize)).count();
    println!("the first image is a {}; {correct} of {} are correct", names[labels[0] as usize], labels.len());
    assert!(correct as f64 > 0.9 * labels.len() as f64);
    Ok(())
}

fn train(path: &std::path::Path) -> anyhow::Result<()> {
    let data = open_data(&Source::default())?;
    let topology = Topology::new(&[64, 30, 10], &activation::SIGMOID, &cost::QUADRATIC)?;
    let parameters = Parameters::random(&topology, Initialization::Scaled, 0)?;
    let hyperparameters = Hyperparameters::sgd(10, 3.0, 0);
    let mut cpu = Cpu::new(1);
    let mut trainer = Trainer::new(&mut cpu, &topology, &parameters, &data, hyperparameters)?;
    for _ in 0..10 {
        trainer.train_epoch(&mut |_| ())?;
    }
    let parameters = trainer.parameters()?;
    let (preprocessing, outputs) = (data.dataset.preprocessing().clone(), data.dataset.outputs());
    save_model(path, &Model { topology, parameters, preprocessing, outputs })
}
