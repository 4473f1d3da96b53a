//! One example worked through, equation by equation: `gpu-backprop inspect`.

pub mod typed;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use self::typed::Beginning;
use crate::data::{ExampleFile, ExampleReader, Outputs, Picked, Targets, Task};
use crate::model;
use crate::network::cost::CROSS_ENTROPY;
use crate::network::{Layers, Topology};
use crate::system::error::{bail_usage, ensure_usage};
use crate::verify::worked::{Backward, Forward, Network, all_kept};

/// Examples that are read at a time.
const CHUNK: usize = 1024;

/// Options of an inspection.
#[derive(Clone, Debug)]
pub struct Options {
    /// A model, a file of network2.py, or a typed example.
    pub network: PathBuf,
    /// The data.
    pub data: Option<ExampleFile>,
    /// The example, counted from 1; `None` for the first.
    pub example: Option<usize>,
    /// The inputs, if they are typed.
    pub x: Option<Vec<f64>>,
    /// The desired outputs, if they are typed.
    pub y: Option<Vec<f64>>,
    /// η of the step; `None` for that of the file, or 1.
    pub eta: Option<f64>,
}

/// A network and one example.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The network.
    pub network: Network,
    /// The inputs: the activations of layer 1.
    pub x: Vec<f64>,
    /// The desired outputs.
    pub y: Vec<f64>,
    /// η.
    pub eta: f64,
    /// True if the inputs are bytes: an image, if their number is a square.
    pub is_image: bool,
    /// True if the outputs are of classes, as far as is known.
    pub is_classifier: bool,
    /// The names of the outputs.
    pub names: Vec<String>,
    /// The source of the example.
    pub name: String,
}

/// Layer l of an example.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Layer {
    /// l, as in the book.
    pub layer: usize,
    /// zˡ = wˡ aˡ⁻¹ + bˡ.
    pub z: Vec<f64>,
    /// aˡ = σ(zˡ).
    pub a: Vec<f64>,
    /// σ′(zˡ).
    pub sigma_prime: Vec<f64>,
    /// δˡ = ∂C/∂zˡ.
    pub delta: Vec<f64>,
    /// wˡ, a row for each neuron j.
    pub w: Vec<Vec<f64>>,
    /// bˡ.
    pub b: Vec<f64>,
    /// ∂C/∂wˡ.
    pub nabla_w: Vec<Vec<f64>>,
    /// ∂C/∂bˡ.
    pub nabla_b: Vec<f64>,
    /// wˡ after the step.
    pub w_after: Vec<Vec<f64>>,
    /// bˡ after the step.
    pub b_after: Vec<f64>,
}

/// One example, worked; as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Worked {
    /// `n[l]`, input layer first.
    pub layers: Vec<usize>,
    /// σ of the hidden layers.
    pub activation: &'static str,
    /// σ of the output layer.
    pub output: &'static str,
    /// C.
    pub cost_function: &'static str,
    /// The source of the example.
    pub example: String,
    /// a¹.
    pub x: Vec<f64>,
    /// y.
    pub y: Vec<f64>,
    /// Cₓ.
    pub cost: f64,
    /// η.
    pub eta: f64,
    /// Cₓ after a step on this example alone.
    pub cost_after: f64,
    /// Each layer from 2.
    pub of_layers: Vec<Layer>,
}

/// Reads a network and an example.
///
/// # Errors
/// Files that cannot be read or do not belong together, and an example that does not exist.
pub fn subject(options: &Options) -> Result<Subject> {
    match typed::beginning(&options.network)? {
        Beginning::Model => of_model(options),
        Beginning::Json => typed_example(typed::network2(&options.network)?, options),
        Beginning::Text => typed_example(typed::text(&options.network)?, options),
    }
}

/// The subject of a typed network, which may have an example of its own.
fn typed_example(typed: typed::Typed, options: &Options) -> Result<Subject> {
    ensure_usage!(options.data.is_none(), "DATA goes with a model of this program; give the example by --x and --y");
    ensure_usage!(options.example.is_none(), "--example goes with DATA and a model of this program");
    let file = options.network.display();
    let topology = &typed.network.topology;
    let last = topology.last();
    let values = |flag: &str, given: &Option<Vec<f64>>, own: Option<Vec<f64>>, width: usize| {
        let (source, values) = match (given, own) {
            (Some(values), _) => (format!("--{flag}"), values.clone()),
            (None, Some(values)) => (format!("{flag} of {file}"), values),
            (None, None) => bail_usage!("{file} has no {flag}: give it, as in --{flag} 0.05,0.1"),
        };
        ensure_usage!(values.len() == width, "{source}: {} numbers, but {topology} has {width}", values.len());
        Ok(values)
    };
    let y = values("y", &options.y, typed.y, topology.n[last])?;
    check_desired(topology, &y)?;
    Ok(Subject {
        x: values("x", &options.x, typed.x, topology.n[1])?,
        y,
        eta: options.eta.or(typed.eta).unwrap_or(1.0),
        is_image: false,
        is_classifier: true,
        names: (0..topology.n[last]).map(|j| j.to_string()).collect(),
        name: file.to_string(),
        network: typed.network,
    })
}

/// An example of the data of a model.
fn of_model(options: &Options) -> Result<Subject> {
    let model = model::load(&options.network)?;
    let (topology, outputs) = (&model.topology, model.topology.n[model.topology.last()]);
    let network = Network::new(topology, &model.parameters);
    let eta = options.eta.unwrap_or(1.0);
    let names = model.output_names();
    let is_classifier = model.outputs.task() == Task::Classification;
    if let (Some(x), Some(y)) = (&options.x, &options.y) {
        ensure_usage!(options.data.is_none(), "--x and --y are an example: they go without DATA");
        ensure_usage!(options.example.is_none(), "--x and --y are an example: they go without --example");
        let fits = x.len() == topology.n[1] && y.len() == outputs;
        ensure_usage!(fits, "--x and --y: {topology} takes {} and {outputs} numbers", topology.n[1]);
        check_desired(topology, y)?;
        let name = "typed".to_string();
        return Ok(Subject { network, x: x.clone(), y: y.clone(), eta, is_image: false, is_classifier, names, name });
    }
    ensure_usage!(
        options.x.is_none() && options.y.is_none(),
        "--x and --y go together: the activations of layer 1, and the desired outputs"
    );
    let digits = ExampleFile { path: "digits".into(), labels: None, table: Default::default() };
    let mut reader = ExampleReader::open(options.data.as_ref().unwrap_or(&digits), model.interface(), true)?;
    let name = reader.name().to_string();
    let (mut before, example) = (0, options.example.unwrap_or(1));
    ensure_usage!(example > 0, "--example 0: examples are counted from 1");
    while let Some(mut chunk) = reader.next_chunk(CHUNK)? {
        if example > before + chunk.examples {
            before += chunk.examples;
            continue;
        }
        let at = (example - before - 1) as u32;
        let mut picked = Picked::default();
        chunk.inputs.pick(&[at], topology.n[1], &mut picked)?;
        let scale = f64::from(chunk.inputs.byte_scale().unwrap_or(1.0));
        let (x, is_image) = match picked {
            Picked::Bytes(values) => (values.into_iter().map(|byte| f64::from(byte) * scale).collect(), true),
            Picked::Floats(values) => (values.into_iter().map(f64::from).collect(), false),
        };
        let targets = chunk.targets.take().context("targets were asked for")?;
        let y = match (&targets, &model.outputs) {
            (Targets::Classes(labels), _) => {
                (0..outputs).map(|j| f64::from(u8::from(labels[at as usize] as usize == j))).collect()
            }
            (Targets::Numbers { values, width }, Outputs::Numbers(quantities)) => {
                let own = &values[at as usize * width..][..*width];
                own.iter().zip(quantities).map(|(&value, quantity)| f64::from(quantity.activation(value))).collect()
            }
            (Targets::Numbers { .. }, Outputs::Classes(_)) => bail!("numbers are no classes"),
        };
        return Ok(Subject {
            network,
            x,
            y,
            eta,
            is_image,
            is_classifier,
            names,
            name: format!("example {example} of {name}"),
        });
    }
    bail_usage!("--example {example}: {name} has {before} examples, counted from 1")
}

/// Checks that the cost is defined for the desired outputs.
fn check_desired(topology: &Topology, y: &[f64]) -> Result<()> {
    if topology.cost.flag != CROSS_ENTROPY.flag {
        return Ok(());
    }
    if let Some(y) = y.iter().find(|y| !(0.0..=1.0).contains(*y)) {
        bail_usage!("y: {y}, but the cross-entropy needs desired outputs from 0 to 1");
    }
    let sum: f64 = y.iter().sum();
    ensure_usage!(
        !topology.output.normalizes || (sum - 1.0).abs() <= 1e-6,
        "y: the desired outputs sum to {sum}, but those of {} are probabilities, which sum to 1",
        topology.output.name
    );
    Ok(())
}

/// The rows of a matrix.
fn rows(values: &[f64], cols: usize) -> Vec<Vec<f64>> {
    values.chunks_exact(cols).map(<[f64]>::to_vec).collect()
}

/// Works an example: the forward pass, the backward pass, and one step.
pub fn worked(Subject { network, x, y, eta, name, .. }: &Subject) -> Worked {
    let topology = &network.topology;
    let last = topology.last();
    let forward = network.feedforward(x, y, &all_kept);
    let Backward { sigma_prime, delta } = network.backpropagate(&forward, y, &all_kept);
    let Forward { z, a, cost, .. } = forward;
    let nabla_w = Layers::new(2, last, |l| {
        delta[l].iter().flat_map(|delta| a[l - 1].iter().map(move |a| a * delta)).collect::<Vec<f64>>()
    });
    let step = |before: &[f64], nabla: &[f64]| {
        before.iter().zip(nabla).map(|(before, nabla)| before - eta * nabla).collect::<Vec<f64>>()
    };
    let after = Network {
        topology: topology.clone(),
        w: Layers::new(2, last, |l| step(&network.w[l], &nabla_w[l])),
        b: Layers::new(2, last, |l| step(&network.b[l], &delta[l])),
    };
    let of_layer = |l: usize| Layer {
        layer: l,
        z: z[l].clone(),
        a: a[l].clone(),
        sigma_prime: sigma_prime[l].clone(),
        delta: delta[l].clone(),
        w: rows(&network.w[l], topology.n[l - 1]),
        b: network.b[l].clone(),
        nabla_w: rows(&nabla_w[l], topology.n[l - 1]),
        nabla_b: delta[l].clone(),
        w_after: rows(&after.w[l], topology.n[l - 1]),
        b_after: after.b[l].clone(),
    };
    Worked {
        layers: topology.widths().to_vec(),
        activation: topology.activation.name,
        output: topology.output.name,
        cost_function: topology.cost.name,
        example: name.clone(),
        x: x.clone(),
        y: y.clone(),
        cost,
        eta: *eta,
        cost_after: after.feedforward(x, y, &all_kept).cost,
        of_layers: (2..=last).map(of_layer).collect(),
    }
}

impl Worked {
    /// Every matrix with its name in files (z2, a2, sigma_prime2, delta2, nabla_w2, nabla_b2, ...),
    /// its shape and its entries.
    pub fn matrices(&self) -> Vec<(String, Vec<usize>, Vec<f64>)> {
        let mut all = vec![
            ("a1".to_string(), vec![self.x.len()], self.x.clone()),
            ("y".to_string(), vec![self.y.len()], self.y.clone()),
        ];
        for layer in &self.of_layers {
            let l = layer.layer;
            let vectors = [
                ("z", &layer.z),
                ("a", &layer.a),
                ("sigma_prime", &layer.sigma_prime),
                ("delta", &layer.delta),
                ("b", &layer.b),
                ("nabla_b", &layer.nabla_b),
            ];
            all.extend(vectors.map(|(name, values)| (format!("{name}{l}"), vec![values.len()], values.clone())));
            for (name, rows) in [("w", &layer.w), ("nabla_w", &layer.nabla_w)] {
                let cols = rows.first().map_or(0, Vec::len);
                all.push((format!("{name}{l}"), vec![rows.len(), cols], rows.concat()));
            }
        }
        all
    }
}

/// The topology of layers whose activations and cost are given by name.
pub(crate) fn topology(
    widths: &[usize],
    activation: &'static crate::network::activation::Activation,
    output: &'static crate::network::activation::Activation,
    cost: &'static crate::network::cost::Cost,
) -> Result<Topology> {
    let row = cost.of_outputs(output);
    ensure_usage!(row.suits.contains(&output), "the {} cost is not for {} outputs", cost.flag, output.name);
    Ok(Topology::new(widths, activation, row)?.with_output(output))
}
