//! A trained network as ONNX, for other programs: from raw inputs to the names of classes, or to
//! numbers in the units of the data.
//!
//! The graph computes what `gpu-backprop predict` does, with numbers scaled in 64 bits as well.
//! Values are named as in the book: constants `w2`, `b2`, ..., weighted inputs `z2`, ...,
//! activations `a1`, `a2`, ....

mod graph;
pub mod messages;

use anyhow::{Result, ensure};
use prost::Message;

use crate::data::preprocessing::{Column, Columns, Values};
use crate::data::{Outputs, Preprocessing, Quantity};
pub use crate::model::METADATA_KEY;
use crate::model::{Description, Model};
use crate::network::Topology;
use graph::{Entries, Graph, ML_DOMAIN, texts, whole};
use messages::{DataType, ModelProto, OperatorSetIdProto, StringStringEntryProto};

/// The version of ONNX's operator set: the first in which all operators used have their present
/// form.
pub const OPSET: i64 = 13;

/// The version of the operator set `ai.onnx.ml`, which is used for columns of text.
pub const ML_OPSET: i64 = 1;

/// The version of the file format that came with [`OPSET`].
pub const IR_VERSION: i64 = 7;

/// The name of the metadata entry with the name of each output of a classifier, a JSON array.
pub const CLASSES_KEY: &str = "classes";

/// The name of the metadata entry with the names of regression targets, a JSON array.
pub const TARGETS_KEY: &str = "targets";

/// The form of a class in the output `label`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Labels {
    /// Its name, a string.
    #[default]
    Text,
    /// Its index from 0, an integer: for programs without string tensors.
    Index,
}

/// Longest protobuf message.
const MAX_BYTES: usize = i32::MAX as usize;

/// A network with its preprocessing and the meaning of its outputs.
///
/// Inputs: `inputs`, `(N, n[1])`, for arrays (bytes, or floats; doubles where these are scaled) and tables
/// of numbers without a header; otherwise one for each column, `(N, 1)`, with its name: doubles (NaN for a
/// missing one) or text. Outputs: for classes `label`, `(N)`, as `labels` says, and `probabilities`, `(N, n[L])`; for numbers
/// `prediction`, `(N, n[L])`, doubles.
///
/// # Errors
/// A network too large for an ONNX file.
pub fn model(model: &Model, labels: Labels) -> Result<ModelProto> {
    // Checked before there is a second copy of the weights in memory.
    check_size(&model.topology, size_of::<f32>().saturating_mul(model.topology.parameters()))?;
    model.parameters.check(&model.topology)?;
    let description = Description::of(model);
    let names = model.output_names();
    let mut graph = Graph::default();
    let inputs = Inputs::of(&model.preprocessing, model.topology.n[1], &mut graph);
    // The outputs have the first choice of names after the inputs.
    let names_key = match &model.outputs {
        Outputs::Classes(_) => {
            let [label, probabilities] = ["label", "probabilities"].map(|name| graph.name(name));
            feedforward(&mut graph, model, &inputs, &probabilities);
            name_classes(&mut graph, &names, labels, &probabilities, &label);
            CLASSES_KEY
        }
        Outputs::Numbers(quantities) => {
            let [prediction, last] = ["prediction", "activations"].map(|name| graph.name(name));
            feedforward(&mut graph, model, &inputs, &last);
            in_units(&mut graph, quantities, &last, &prediction);
            TARGETS_KEY
        }
    };

    let entry = |key: &str, value: String| StringStringEntryProto { key: key.to_string(), value };
    let with_text = inputs.columns().any(|column| matches!(column.values, Values::Category { .. }));
    let opsets = [("", OPSET), (ML_DOMAIN, ML_OPSET)].into_iter().take(if with_text { 2 } else { 1 });
    let onnx = ModelProto {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").to_string(),
        producer_version: env!("CARGO_PKG_VERSION").to_string(),
        doc_string: in_words(&model.topology),
        graph: Some(graph.finish(env!("CARGO_PKG_NAME"))),
        opset_import: opsets
            .map(|(domain, version)| OperatorSetIdProto { domain: domain.to_string(), version })
            .collect(),
        metadata_props: vec![
            entry(names_key, serde_json::to_string(&names)?),
            entry(METADATA_KEY, serde_json::to_string(&description)?),
        ],
    };
    check_size(&model.topology, onnx.encoded_len())?;
    Ok(onnx)
}

fn check_size(topology: &Topology, bytes: usize) -> Result<()> {
    ensure!(
        bytes <= MAX_BYTES,
        "the network {topology} takes {bytes} bytes as ONNX, more than the {MAX_BYTES} that such a file may have"
    );
    Ok(())
}

/// A description of a network for people.
pub fn in_words(topology: &Topology) -> String {
    let Topology { activation, output, cost, .. } = topology;
    format!("network {topology}, {}, {} outputs, {} cost", activation.name, output.name, cost.flag)
}

/// The inputs of the graph.
enum Inputs<'a> {
    /// Bytes, which the graph scales.
    Bytes { name: String, scale: f32 },
    /// Floats, unscaled.
    Floats { name: String },
    /// Numbers without names, each with its own scaling.
    Numbers { name: String, columns: &'a [Column] },
    /// Each column as an input of its own.
    Columns { names: Vec<String>, columns: &'a [Column] },
}

impl<'a> Inputs<'a> {
    /// Adds the inputs to a graph. They must be named before any other value, because users rely on
    /// their names.
    fn of(preprocessing: &'a Preprocessing, features: usize, graph: &mut Graph) -> Self {
        let mut array = |entries, meaning| graph.input("inputs", entries, features, meaning);
        match preprocessing {
            Preprocessing::Bytes { input_scale } => {
                Inputs::Bytes { name: array(DataType::Uint8, "raw bytes, such as pixels"), scale: *input_scale }
            }
            Preprocessing::Floats {} => Inputs::Floats { name: array(DataType::Float, "numbers, as they are") },
            Preprocessing::Columns(Columns { columns, .. }) if columns.iter().all(is_unnamed_number) => {
                let name = array(DataType::Double, "raw numbers; they are scaled as in training");
                Inputs::Numbers { name, columns }
            }
            Preprocessing::Columns(Columns { columns, .. }) => {
                Inputs::Columns { names: columns.iter().map(|column| input_of(column, graph)).collect(), columns }
            }
        }
    }

    fn columns(&self) -> impl Iterator<Item = &'a Column> {
        match self {
            Inputs::Columns { columns, .. } | Inputs::Numbers { columns, .. } => *columns,
            Inputs::Bytes { .. } | Inputs::Floats { .. } => &[],
        }
        .iter()
    }

    /// Adds the preprocessing; returns the name of the activations of layer 1, `(N, n[1])`.
    fn activations(&self, graph: &mut Graph) -> String {
        match self {
            Inputs::Floats { name } => name.clone(),
            Inputs::Bytes { name, scale } => {
                let scale = graph.constant("input_scale", &[], Entries::Floats(&[*scale]));
                let bytes = graph.cast(name, DataType::Float, "bytes");
                graph.node("Mul", &[&bytes, &scale], vec![], "a1")
            }
            Inputs::Numbers { name, columns } => scaled(graph, name, *columns, "a1"),
            Inputs::Columns { names, columns } => {
                let named: Vec<(&str, &Column)> = names.iter().map(String::as_str).zip(*columns).collect();
                // Adjacent columns of numbers are scaled together.
                let parts = named.chunk_by(|(_, one), (_, other)| is_number(one) && is_number(other));
                let parts: Vec<String> = parts.map(|part| part_of_activations(graph, part)).collect();
                concatenated(graph, &parts.iter().map(String::as_str).collect::<Vec<_>>(), "a1")
            }
        }
    }
}

fn is_number(column: &Column) -> bool {
    matches!(column.values, Values::Number { .. })
}

fn is_unnamed_number(column: &Column) -> bool {
    is_number(column) && column.name.is_none()
}

/// Adds the input of one column, named after it, or by its number from 1.
fn input_of(column: &Column, graph: &mut Graph) -> String {
    // No value of a graph has an empty name.
    let name = column.name.clone().filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| (column.position + 1).to_string());
    let (entries, meaning) = match &column.values {
        Values::Number { missing: None, .. } => (DataType::Double, "a number"),
        Values::Number { missing: Some(_), .. } => (DataType::Double, "a number; NaN if it is missing"),
        Values::Category { .. } => (DataType::String, "text without white space around it; empty if it is missing"),
    };
    graph.input(&name, entries, 1, meaning)
}

/// Adds the activations of a column of text, or of adjacent columns of numbers.
fn part_of_activations(graph: &mut Graph, part: &[(&str, &Column)]) -> String {
    if let [(name, Column { values: Values::Category { categories, .. }, .. })] = part {
        // (N, 1, categories): all 0 for text that is not one of the categories.
        let attributes = vec![texts("cats_strings", categories), whole("zeros", 1)];
        let one_hot = graph.node("OneHotEncoder", &[name], attributes, &format!("{name}_one_hot"));
        return graph.node("Flatten", &[&one_hot], vec![whole("axis", 1)], &format!("{name}_categories"));
    }
    let (names, columns): (Vec<&str>, Vec<&Column>) = part.iter().copied().unzip();
    let numbers = concatenated(graph, &names, "numbers");
    scaled(graph, &numbers, columns, "scaled")
}

/// Concatenates columns.
fn concatenated(graph: &mut Graph, parts: &[&str], to: &str) -> String {
    match parts {
        [only] => (*only).to_string(),
        parts => graph.node("Concat", parts, vec![whole("axis", 1)], to),
    }
}

/// (x − offset) · scale for each of the columns, in 64 bits, with missing x replaced.
fn scaled<'a>(graph: &mut Graph, numbers: &str, columns: impl IntoIterator<Item = &'a Column>, to: &str) -> String {
    let (mut offsets, mut scales, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for column in columns {
        if let Values::Number { offset, scale, missing: mean } = column.values {
            offsets.push(offset);
            scales.push(scale);
            missing.push(mean.unwrap_or(f64::NAN));
        }
    }
    let mut complete = numbers.to_string();
    if !missing.iter().all(|mean| mean.is_nan()) {
        let mean = graph.vector("mean", &missing);
        let is_missing = graph.node("IsNaN", &[numbers], vec![], "is_missing");
        complete = graph.node("Where", &[&is_missing, &mean, numbers], vec![], "complete");
    }
    let offset = graph.vector("offset", &offsets);
    let scale = graph.vector("scale", &scales);
    let centred = graph.node("Sub", &[&complete, &offset], vec![], "centred");
    let scaled = graph.node("Mul", &[&centred, &scale], vec![], "product");
    graph.cast(&scaled, DataType::Float, to)
}

/// zˡ = wˡ aˡ⁻¹ + bˡ and aˡ = σ(zˡ) for every layer; the last activations are named `to`.
fn feedforward(graph: &mut Graph, model: &Model, inputs: &Inputs<'_>, to: &str) {
    let Model { topology, parameters, .. } = model;
    let (n, last) = (&topology.n, topology.last());
    let mut a = inputs.activations(graph);
    for l in 2..=last {
        let w = graph.constant(&format!("w{l}"), &[n[l], n[l - 1]], Entries::Floats(&parameters.w[l]));
        let b = graph.constant(&format!("b{l}"), &[n[l]], Entries::Floats(&parameters.b[l]));
        let z = graph.node("Gemm", &[&a, &w, &b], vec![whole("transB", 1)], &format!("z{l}"));
        if l == last {
            graph.node_to(topology.output.onnx, &[&z], vec![], to);
        } else {
            a = graph.node(topology.activation.onnx, &[&z], vec![], &format!("a{l}"));
        }
    }
}

/// The class with the largest output; of equal ones, the first.
fn name_classes(graph: &mut Graph, names: &[String], labels: Labels, probabilities: &str, label: &str) {
    let attributes = vec![whole("axis", 1), whole("keepdims", 0)];
    match labels {
        Labels::Text => {
            let classes = graph.constant("classes", &[names.len()], Entries::Texts(names));
            let class = graph.node("ArgMax", &[probabilities], attributes, "class");
            graph.node_to("Gather", &[&classes, &class], vec![], label);
            graph.output(label, DataType::String, None, "the name of the class with the largest output");
        }
        Labels::Index => {
            graph.node_to("ArgMax", &[probabilities], attributes, label);
            graph.output(label, DataType::Int64, None, "the index of the class with the largest output, from 0");
        }
    }
    let meaning = "the outputs of the network, those of the first class first";
    graph.output(probabilities, DataType::Float, Some(names.len()), meaning);
}

/// offset + scale · a for each of the numbers, in 64 bits.
fn in_units(graph: &mut Graph, quantities: &[Quantity], last: &str, prediction: &str) {
    let (offsets, scales): (Vec<f64>, Vec<f64>) =
        quantities.iter().map(|quantity| (quantity.offset, quantity.scale)).unzip();
    let a = graph.cast(last, DataType::Double, "wide");
    let scale = graph.vector("target_scale", &scales);
    let offset = graph.vector("target_offset", &offsets);
    let product = graph.node("Mul", &[&a, &scale], vec![], "target_product");
    graph.node_to("Add", &[&product, &offset], vec![], prediction);
    let meaning = "the numbers, in the units of the data";
    graph.output(prediction, DataType::Double, Some(quantities.len()), meaning);
}
