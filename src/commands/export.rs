//! A trained network in the formats of other programs: what `gpu-backprop export` does.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use prost::Message;
use serde::Serialize;

use crate::model::onnx::messages::{DataType, Extent, ModelProto, ValueInfoProto};
use crate::model::{self, onnx};
use crate::system::error::WrongUsage;
use crate::system::output_file::{OutputFile, cannot_write};

/// A format to export to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// ONNX, with preprocessing and what the outputs stand for.
    Onnx,
}

/// What to export, and where to.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model.
    pub model: PathBuf,
    /// The format.
    pub format: Format,
    /// The file to write; `-` for stdout.
    pub output: PathBuf,
}

/// One dimension of a shape.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(untagged)]
pub enum Dimension {
    /// As long as what is given: `N`, the number of examples.
    Any(String),
    /// Always as long.
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
    /// Its name.
    pub name: String,
    /// The type of its entries: `uint8`, `float`, `double`, `string`.
    pub r#type: &'static str,
    /// Its shape.
    pub shape: Vec<Dimension>,
    /// What it is.
    pub meaning: String,
}

/// What was written, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Report {
    /// `onnx`.
    pub format: &'static str,
    /// The file; `-` for stdout.
    pub file: String,
    /// Its length.
    pub bytes: usize,
    /// What the network is.
    pub network: String,
    /// The sets of operators in use, each with its version.
    pub opsets: BTreeMap<String, i64>,
    /// The version of the file format.
    pub ir_version: i64,
    /// What the network takes.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
}

/// Exports a network.
///
/// # Errors
/// A file that is no model or cannot be written, or a network that the format has no room for.
pub fn run(options: &Options) -> Result<Report> {
    let Options { model: path, format: Format::Onnx, output } = options;
    if is_same_file(path, output) {
        bail!(WrongUsage::new(format!("-o {}: this is the model that is to be exported", output.display())));
    }
    let model = model::load(path)?;
    let file = if output == Path::new("-") { None } else { Some(OutputFile::new(output)?) };
    let onnx = onnx::model(&model).with_context(|| format!("model {}", path.display()))?;
    let bytes = onnx.encode_to_vec();
    match file {
        None => std::io::stdout().lock().write_all(&bytes).context("cannot write to stdout")?,
        Some(file) => {
            file.file().write_all(&bytes).with_context(|| cannot_write(output))?;
            file.finish()?;
        }
    }
    Ok(report(&onnx, output, bytes.len()))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    fs::canonicalize(one).ok().zip(fs::canonicalize(other).ok()).is_some_and(|(one, other)| one == other)
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
