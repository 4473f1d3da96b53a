//! `gpu-backprop export`: a trained network in formats of other programs.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use prost::Message;
use serde::Serialize;

use crate::data::Task;
use crate::model::onnx::Labels;
use crate::model::onnx::messages::{DataType, Extent, ModelProto, ValueInfoProto};
use crate::model::{self, onnx};
use crate::system::error::ensure_usage;
use crate::system::output_file::OutputFile;

/// An output format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// ONNX, with the preprocessing and the meaning of the outputs.
    Onnx,
}

/// One dimension of a shape.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(untagged)]
pub enum Dimension {
    /// `N`, the number of examples.
    Any(String),
    /// A fixed extent.
    Fixed(i64),
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dimension::Any(name) => f.write_str(name),
            Dimension::Fixed(extent) => extent.fmt(f),
        }
    }
}

/// An input or an output of an exported network, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Port {
    /// The name.
    pub name: String,
    /// The element type: `uint8`, `float`, `double`, `int64`, `string`.
    pub r#type: &'static str,
    /// The shape.
    pub shape: Vec<Dimension>,
    /// The meaning, as shown to the user.
    pub meaning: String,
}

/// The report of an export, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Report {
    /// The format: `onnx`.
    pub format: &'static str,
    /// The file; `-` for stdout.
    pub file: String,
    /// The size of the file in bytes.
    pub bytes: usize,
    /// A description of the network.
    pub network: String,
    /// The operator sets in use, with their versions.
    pub opsets: BTreeMap<String, i64>,
    /// The version of the file format.
    pub ir_version: i64,
    /// The inputs of the network.
    pub inputs: Vec<Port>,
    /// The outputs of the network.
    pub outputs: Vec<Port>,
}

/// Exports a network to a file, or to stdout for `-`.
///
/// # Errors
/// A file that is not a model or cannot be written, a network too large for the format, or class
/// indices for a network that learned numbers.
pub fn run(path: &Path, format: Format, labels: Labels, output: &Path) -> Result<Report> {
    let Format::Onnx = format;
    let model = model::load(path)?;
    ensure_usage!(
        labels == Labels::Text || model.outputs.task() == Task::Classification,
        "--labels index: the model predicts numbers, not classes; leave the flag out"
    );
    let file = if output == Path::new("-") { None } else { Some(OutputFile::new(output, &[path.to_path_buf()])?) };
    let onnx = onnx::model(&model, labels).with_context(|| format!("model {}", path.display()))?;
    let bytes = onnx.encode_to_vec();
    match file {
        None => std::io::stdout().lock().write_all(&bytes).context("cannot write to stdout")?,
        Some(file) => {
            file.write_all(&bytes)?;
            file.finish()?;
        }
    }
    Ok(report(&onnx, output, bytes.len()))
}

fn report(onnx: &ModelProto, output: &Path, bytes: usize) -> Report {
    let domain = |domain: &str| if domain.is_empty() { "ai.onnx".to_string() } else { domain.to_string() };
    let graph = onnx.graph.as_ref();
    let ports = |values: Option<&Vec<ValueInfoProto>>| values.into_iter().flatten().map(port).collect();
    Report {
        format: "onnx",
        file: output.display().to_string(),
        bytes,
        network: onnx.doc_string.clone(),
        opsets: onnx.opset_import.iter().map(|set| (domain(&set.domain), set.version)).collect(),
        ir_version: onnx.ir_version,
        inputs: ports(graph.map(|graph| &graph.input)),
        outputs: ports(graph.map(|graph| &graph.output)),
    }
}

fn port(value: &ValueInfoProto) -> Port {
    let tensor = value.r#type.clone().and_then(|of| of.tensor_type).unwrap_or_default();
    let dimensions = tensor.shape.iter().flat_map(|shape| &shape.dim).filter_map(|dimension| dimension.value.as_ref());
    let shape = dimensions.map(|extent| match extent {
        Extent::DimValue(extent) => Dimension::Fixed(*extent),
        Extent::DimParam(name) => Dimension::Any(name.clone()),
    });
    let shape = shape.collect();
    let r#type = match tensor.elem_type() {
        DataType::Undefined => "undefined",
        DataType::Float => "float",
        DataType::Uint8 => "uint8",
        DataType::Int64 => "int64",
        DataType::String => "string",
        DataType::Double => "double",
    };
    Port { name: value.name.clone(), r#type, shape, meaning: value.doc_string.clone() }
}
