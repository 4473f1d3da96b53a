//! A server: a thread keeps a loaded network and answers requests of one image each.

use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use gpu_backprop::{Cpu, Hyperparameters, Initialization, Inputs, Model, Parameters, Predictor, Source, Topology};
use gpu_backprop::{Trainer, activation, cost, open_data, predict};

/// Pixels of an image.
const PIXELS: usize = 64;

/// A raw image, and where the name of its class is sent.
type Request = (Vec<u8>, Sender<anyhow::Result<String>>);

fn main() -> anyhow::Result<()> {
    let (model, images) = train()?;

    let mut predictor = Predictor::new(&model, Box::new(Cpu::new(1)))?;
    let (requests, received) = channel::<Request>();
    let server = std::thread::spawn(move || {
        for (image, answer) in received {
            let name = predictor.class_names(Inputs::Bytes { values: image, scale: 1.0 });
            // A client that is gone needs no answer.
            let _ = answer.send(name.map(|names| names[0].to_string()));
        }
    });
    let (answer, answers) = channel();
    for image in images.chunks(PIXELS).take(10) {
        requests.send((image.to_vec(), answer.clone()))?;
    }
    let names: Vec<String> = answers.iter().take(10).collect::<anyhow::Result<_>>()?;
    println!("the first ten images: {}", names.join(" "));
    drop(requests);
    server.join().expect("the server ends with its requests");

    // `predict` plans and uploads the network each time.
    let image = || Inputs::Bytes { values: images[..PIXELS].to_vec(), scale: 1.0 };
    let mut predictor = Predictor::new(&model, Box::new(Cpu::new(1)))?;
    let mut cpu = Cpu::new(1);
    assert_eq!(predictor.predict(image())?, predict(&model, &mut cpu, image())?);
    let start = Instant::now();
    (0..1000).try_for_each(|_| predict(&model, &mut cpu, image()).map(drop))?;
    let once = start.elapsed() / 1000;
    let start = Instant::now();
    (0..1000).try_for_each(|_| predictor.predict(image()).map(drop))?;
    println!("an image by predict: {once:?}, by a predictor: {:?}", start.elapsed() / 1000);
    Ok(())
}

/// A trained network, and raw images.
fn train() -> anyhow::Result<(Model, Vec<u8>)> {
    let data = open_data(&Source::default())?;
    let topology = Topology::new(&[PIXELS, 30, 10], &activation::SIGMOID, &cost::QUADRATIC)?;
    let parameters = Parameters::random(&topology, Initialization::Scaled, 0)?;
    let mut cpu = Cpu::new(1);
    let mut trainer = Trainer::new(&mut cpu, &topology, &parameters, &data, Hyperparameters::sgd(10, 3.0, 0))?;
    for _ in 0..5 {
        trainer.train_epoch(&mut |_| ())?;
    }
    let parameters = trainer.parameters()?;
    let (preprocessing, outputs) = (data.dataset.preprocessing().clone(), data.dataset.outputs());
    // Bytes of a data set are raw: the factor that scales them is kept beside them.
    let Inputs::Bytes { values, .. } = data.dataset.inputs() else { anyhow::bail!("images are bytes") };
    Ok((Model { topology, parameters, preprocessing, outputs }, values.clone()))
}
