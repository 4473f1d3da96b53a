//! The library as its users see it: names of the crate's root only, without the feature `internals`' modules.

#![deny(dead_code)]

mod data;
mod models;
mod training;

use gpu_backprop::{Data, Dataset, Inputs, Model, Parameters, Split, Topology};
use gpu_backprop::{Initialization, activation, cost};

/// Sixteen examples of two inputs and two classes; the last four are the test split.
fn data() -> Data {
    Data::new("sixteen", dataset(), Split { training: (0..12).collect(), validation: vec![], test: (12..16).collect() })
}

fn dataset() -> Dataset {
    let inputs = (0..32).map(|i| (i * 7 % 13) as f32 / 13.0).collect();
    Dataset::new(Inputs::Floats(inputs), 2, (0..16).map(|i| i % 2).collect()).expect("a data set")
}

fn topology(widths: &[usize]) -> Topology {
    Topology::new(widths, &activation::SIGMOID, &cost::QUADRATIC).expect("a network")
}

fn parameters(topology: &Topology) -> Parameters {
    Parameters::random(topology, Initialization::Scaled, 0).expect("memory")
}

fn model(widths: &[usize]) -> Model {
    let topology = topology(widths);
    let dataset = dataset();
    Model {
        parameters: parameters(&topology),
        topology,
        preprocessing: dataset.preprocessing().clone(),
        outputs: dataset.outputs(),
    }
}

/// Checks that a call fails with a message that has all `parts`.
fn assert_error<T>(result: anyhow::Result<T>, parts: &[&str]) {
    let Err(error) = result else { panic!("no error, but {parts:?} were expected") };
    let text = format!("{error:#}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}
