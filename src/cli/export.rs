//! `gpu-backprop export`

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use clap::builder::TypedValueParser;

use super::{one_of, output_path, print, print_json};
use crate::commands::export::{self, Format, Port, Report};
use crate::model::onnx::Labels;
use crate::system::error::ensure_usage;

/// The flags of `export`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Trained network (.safetensors).
    model: PathBuf,
    /// Output format.
    #[arg(long, value_parser = formats(), value_name = "FORMAT")]
    to: Format,
    /// Labels of the classes in the output `label`: text, or whole numbers for programs without tensors of text, such as
    /// TensorRT.
    #[arg(long, value_parser = labels(), default_value = "text", value_name = "KIND")]
    labels: Labels,
    /// Output file; `-` for stdout.
    #[arg(short, value_parser = output_path(), value_name = "FILE")]
    output: PathBuf,
    /// Print a description of the exported model as one JSON object.
    #[arg(long)]
    json: bool,
}

fn formats() -> impl TypedValueParser<Value = Format> {
    let onnx = "ONNX: the network with its preprocessing, and its class names or the units of its targets";
    one_of([("onnx", onnx, Format::Onnx)])
}

fn labels() -> impl TypedValueParser<Value = Labels> {
    one_of([
        ("text", "The name of the class", Labels::Text),
        ("index", "The index of the class from 0, int64; the metadata holds the names", Labels::Index),
    ])
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let to_stdout = arguments.output == Path::new("-");
    ensure_usage!(!(to_stdout && arguments.json), "-o - and --json both write to stdout: name a file for -o");
    let report = export::run(&arguments.model, arguments.to, arguments.labels, &arguments.output)?;
    match (to_stdout, arguments.json) {
        (true, _) => Ok(()),
        (false, true) => print_json(&report),
        (false, false) => print(&text(&report)?),
    }
}

/// The most inputs that are listed; the others are summarised.
const MAX_INPUTS: usize = 20;

fn text(report: &Report) -> Result<String> {
    let mut text = String::new();
    let opsets: Vec<String> = report.opsets.iter().map(|(domain, version)| format!("{domain} {version}")).collect();
    writeln!(text, "model    {}", report.network)?;
    writeln!(
        text,
        "written  {}: ONNX, opset {}, IR version {}, {} bytes",
        report.file,
        opsets.join(" and "),
        report.ir_version,
        report.bytes
    )?;
    for input in report.inputs.iter().take(MAX_INPUTS) {
        writeln!(text, "input    {}", line(input))?;
    }
    if report.inputs.len() > MAX_INPUTS {
        writeln!(text, "         and {} more inputs", report.inputs.len() - MAX_INPUTS)?;
    }
    for output in &report.outputs {
        writeln!(text, "output   {}", line(output))?;
    }
    Ok(text)
}

fn line(port: &Port) -> String {
    let Port { name, r#type, shape, meaning } = port;
    let shape = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("{}: {type} ({shape}), {meaning}", name.escape_debug())
}
