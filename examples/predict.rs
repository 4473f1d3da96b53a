//! Prediction with a model file, as `gpu-backprop train -o MODEL.safetensors` or [`save_model`] writes it: whether a
//! parcel is bulky, from raw values in centimetres and kilograms.

use gpu_backprop::{Cpu, Data, Dataset, Hyperparameters, Initialization, Inputs, Model, Parameters, Scale, Topology};
use gpu_backprop::{Trainer, activation, cost, load_model, predict, save_model};

fn main() -> anyhow::Result<()> {
    let path = std::env::temp_dir().join(format!("parcels-{}.safetensors", std::process::id()));
    train(&path)?;

    let model = load_model(&path)?;
    std::fs::remove_file(&path)?;
    // Raw values, as they are measured: the model scales them as it did in training.
    let parcels = vec![30.0, 2.0, 180.0, 40.0];
    // One row for each parcel: an output for each of the classes.
    let outputs = predict(&model, &mut Cpu::new(1), Inputs::Floats(parcels))?;
    let names = model.output_names();
    let classes: Vec<&str> =
        outputs.chunks(names.len()).map(|row| names[usize::from(row[1] > row[0])].as_str()).collect();
    println!("30 cm and 2 kg: {}; 180 cm and 40 kg: {}", classes[0], classes[1]);
    assert_eq!(classes, ["small", "bulky"]);
    Ok(())
}

fn train(path: &std::path::Path) -> anyhow::Result<()> {
    // Lengths of 5 to 200 cm, weights of 1 to 40 kg.
    let parcels: Vec<[f32; 2]> = (0..1600).map(|i| [5.0 * (1 + i % 40) as f32, (1 + i / 40) as f32]).collect();
    let labels = parcels.iter().map(|[length, weight]| u32::from(length / 200.0 + weight / 40.0 > 1.0)).collect();
    let all: Vec<u32> = (0..1600).collect();
    let dataset = Dataset::new(Inputs::Floats(parcels.concat()), 2, labels)?
        .with_class_names(vec!["small".into(), "bulky".into()])?
        .scaled(&all, Some(Scale::Zscore))?;
    let data = Data::all_training("parcels", dataset);

    let topology = Topology::new(&[2, 8, 2], &activation::SIGMOID, &cost::QUADRATIC)?;
    let parameters = Parameters::random(&topology, Initialization::Scaled, 0)?;
    let mut cpu = Cpu::new(1);
    let mut trainer = Trainer::new(&mut cpu, &topology, &parameters, &data, Hyperparameters::sgd(10, 3.0, 0))?;
    for _ in 0..20 {
        trainer.train_epoch(&mut |_| ())?;
    }
    // The scaling goes into the file, with the names of the classes.
    let parameters = trainer.parameters()?;
    let (preprocessing, outputs) = (data.dataset.preprocessing().clone(), data.dataset.outputs());
    save_model(path, &Model { topology, parameters, preprocessing, outputs })
}
