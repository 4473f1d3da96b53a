//! Model files: safetensors, with a description of the network as metadata.
//!
//! Tensors `w2`, `b2`, `w3`, `b3`, ... of 32-bit floats, numbered as in the book: w of shape
//! `(n[l], n[l-1])`, b of shape `(n[l])`. The metadata entry `gpu-backprop` holds a [`Description`]
//! as JSON, which tells how to read data files and what the classes are called.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::data::{Interface, MAX_CLASSES, Outputs, Preprocessing, Quantity};
use crate::network::{Layers, Parameters, Topology};
use crate::network::{activation, cost};
use crate::system::kept_files::{BEST_MODEL, LAST_MODEL};
use crate::system::output_file::{OutputFile, cannot_write, check_writable};

/// The name of the metadata entry.
pub const METADATA_KEY: &str = "gpu-backprop";

/// The version of the format that this program writes.
pub const FORMAT_VERSION: u32 = 3;

/// The largest header that is accepted: enough for hundreds of thousands of columns, and for 65,536
/// classes with long names.
const MAX_HEADER: u64 = 64 << 20;

/// The most layers of a model file.
const MAX_LAYERS: usize = 1000;

/// A trained network, with its preprocessing and the meaning of its outputs.
#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    /// The layers.
    pub topology: Topology,
    /// Weights and biases.
    pub parameters: Parameters,
    /// Preprocessing of raw inputs into activations of layer 1.
    pub preprocessing: Preprocessing,
    /// Meaning of the outputs.
    pub outputs: Outputs,
}

impl Model {
    /// Checks that the parts of a model fit together, as [`load`] does.
    ///
    /// # Errors
    /// A cost or an activation that does not suit its layer, parameters of other shapes or that are NaN or infinite, a
    /// preprocessing for another number of inputs, and names that are not as many as classes or numbers, or not distinct.
    pub fn check(&self) -> Result<()> {
        let Model { topology, parameters, .. } = self;
        let described = Description::of(self).topology()?;
        ensure!(
            described == *topology,
            "the cost {} does not go with {} outputs",
            topology.cost.name,
            topology.output.name
        );
        parameters.check(topology)?;
        if let Some((layer, what)) = parameters.first_not_finite() {
            bail!("{what} of layer {layer} are NaN or infinite");
        }
        Ok(())
    }

    /// Interface of the network: its inputs and outputs.
    #[doc(hidden)]
    pub fn interface(&self) -> Interface<'_> {
        Interface { features: self.topology.n[1], preprocessing: &self.preprocessing, outputs: &self.outputs }
    }

    /// A name for every output: that of its class or target, or its index if the network has more
    /// outputs than classes.
    pub fn output_names(&self) -> Vec<String> {
        let outputs = self.topology.n[self.topology.last()];
        match &self.outputs {
            Outputs::Classes(names) => {
                (0..outputs).map(|j| names.get(j).cloned().unwrap_or_else(|| j.to_string())).collect()
            }
            Outputs::Numbers(quantities) => quantities.iter().map(|quantity| quantity.name.clone()).collect(),
        }
    }
}

/// Description of the network in a model file.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// [`FORMAT_VERSION`] of the program that wrote the file.
    pub format_version: u32,
    /// Version of the program that wrote the file.
    pub program_version: String,
    /// `n[1], n[2], ..., n[L]`.
    pub layers: Vec<usize>,
    /// Name of σ of the hidden layers.
    pub activation: String,
    /// Name of σ of the output layer.
    pub output_activation: String,
    /// Name of C.
    pub cost: String,
    /// Preprocessing of raw inputs into activations of layer 1.
    pub preprocessing: Preprocessing,
    /// Meaning of the outputs.
    pub outputs: Outputs,
}

/// Checks that a model, whose parameters are still to be learned, can be saved at `path`. `inputs`
/// are the files that the command reads.
///
/// # Errors
/// A network or names too large for a model file, and a file that cannot be written.
pub fn check_savable(
    path: &Path,
    topology: &Topology,
    preprocessing: &Preprocessing,
    outputs: &Outputs,
    inputs: &[PathBuf],
) -> Result<()> {
    let description = Description::new(topology, preprocessing, outputs);
    let description = description.json().with_context(|| cannot_write(path))?;
    // The names and shapes of tensors take less than 100 bytes a layer.
    let bytes = description.len() + 4 * topology.parameters() + 200 * topology.last();
    check_writable(path, inputs, bytes as u64)
}

/// Writes a model, atomically and durably: `path` holds the old file or the complete new one. A
/// symbolic link stays a link; the file it leads to is replaced and keeps its mode.
///
/// # Errors
/// A model that [`load`] would refuse, as too large or because its parts do not fit together ([`Model::check`]), or a
/// file that cannot be written; the old file stays.
pub fn save(path: impl AsRef<Path>, model: &Model) -> Result<()> {
    let path = path.as_ref();
    model.check().with_context(|| cannot_write(path))?;
    let bytes = encode(&model.topology, &model.parameters, &Description::of(model));
    let bytes = bytes.with_context(|| cannot_write(path))?;
    let file = OutputFile::new(path, &[])?;
    // Not `serialize_to_file`: it would replace this file by one of its own, which is never synced
    // to disk.
    file.write_all(&bytes)?;
    file.finish()
}

/// The bytes of a model file.
///
/// # Errors
/// A model larger than [`load`] accepts.
pub fn encode(topology: &Topology, parameters: &Parameters, description: &Description) -> Result<Vec<u8>> {
    // A single entry, because the order of several would change from run to run.
    let metadata = HashMap::from([(METADATA_KEY.to_string(), description.json()?)]);
    let n = &topology.n;
    let shapes = (2..=topology.last()).flat_map(|l| [vec![n[l], n[l - 1]], vec![n[l]]]);
    let data: Vec<_> = parameters.iter().map(|(name, values)| (name, little_endian(values))).collect();
    let view = |((name, data), shape)| anyhow::Ok((name, TensorView::new(Dtype::F32, shape, data)?));
    let views = data.iter().map(|(name, data)| (name, &**data)).zip(shapes).map(view).collect::<Result<Vec<_>>>()?;
    let tensors = views.iter().map(|(name, view)| (name, view));
    Ok(safetensors::serialize(tensors, Some(metadata))?)
}

/// Reads a model.
///
/// # Errors
/// A file that is not a model of this version of the format, or that contradicts its description;
/// each names the file.
pub fn load(path: impl AsRef<Path>) -> Result<Model> {
    let path = path.as_ref();
    let context = || format!("model {}", path.display());
    // Opening a pipe would wait for a writer.
    let metadata = std::fs::metadata(path).with_context(context)?;
    if metadata.is_dir() {
        let inside = [BEST_MODEL, LAST_MODEL].into_iter().find(|name| path.join(name).exists());
        let hint = inside.map_or(String::new(), |name| format!("; use {}", path.join(name).display()));
        bail!("{}: a folder, not a model{hint}", context());
    }
    ensure!(metadata.is_file(), "{}: not a regular file", context());
    let file = File::open(path).with_context(context)?;
    decode(file, metadata.len()).with_context(context)
}

/// Decodes a model of `stored` bytes.
///
/// # Errors
/// As [`load`], without the name of the file.
pub fn decode(mut reader: impl Read, stored: u64) -> Result<Model> {
    let mut bytes = Vec::new();
    reader.by_ref().take(8).read_to_end(&mut bytes)?;
    let length = bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
    let length = length.context("not a model: shorter than the header of a safetensors file")?;
    ensure!(
        length <= MAX_HEADER && length <= stored.saturating_sub(8),
        "not a model of this program (.safetensors), or a truncated one"
    );
    reader.by_ref().take(length).read_to_end(&mut bytes)?;
    let description = described(bytes.get(8..).unwrap_or_default())?;
    let topology = description.topology()?;
    // Only now is the length of the file known: nothing beyond it is read.
    let expected = 8 + length + 4 * topology.parameters() as u64;
    ensure!(
        stored == expected,
        "it has {stored} bytes, but a network {topology} takes {expected}: it is truncated or has been changed"
    );
    reader.take(expected - 8 - length).read_to_end(&mut bytes)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| anyhow!("not a safetensors file: {error}"))?;
    ensure!(
        tensors.len() == 2 * (topology.last() - 1),
        "{} tensors, but a network {topology} has {}",
        tensors.len(),
        2 * (topology.last() - 1)
    );
    let n = &topology.n;
    let w = Layers::try_new(2, topology.last(), |l| tensor(&tensors, &format!("w{l}"), &[n[l], n[l - 1]]))?;
    let b = Layers::try_new(2, topology.last(), |l| tensor(&tensors, &format!("b{l}"), &[n[l]]))?;
    let Description { preprocessing, outputs, .. } = description;
    Ok(Model { topology, parameters: Parameters { w, b }, preprocessing, outputs })
}

/// The description in the header of a file.
fn described(header: &[u8]) -> Result<Description> {
    #[derive(Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__", default)]
        metadata: HashMap<String, String>,
    }
    #[derive(Deserialize)]
    struct Version {
        format_version: Option<u32>,
    }
    let header: Header =
        serde_json::from_slice(header).context("not a model: its header is not that of a safetensors file")?;
    let description = header.metadata.get(METADATA_KEY);
    let description =
        description.with_context(|| format!("not a model of this program: no `{METADATA_KEY}` in its metadata"))?;
    let version: Version = serde_json::from_str(description).context("a description that cannot be read")?;
    match version.format_version {
        Some(FORMAT_VERSION) => {}
        Some(other) => bail!(
            "its format is version {other}, but this program reads version {FORMAT_VERSION}: train it again, or use \
             the program that wrote it"
        ),
        None => bail!("its description has no format version: train it again"),
    }
    serde_json::from_str(description).context("a description that cannot be read")
}

impl Description {
    /// The description of a model.
    pub fn of(model: &Model) -> Self {
        Self::new(&model.topology, &model.preprocessing, &model.outputs)
    }

    /// The description of a model that is still to be trained.
    pub fn new(topology: &Topology, preprocessing: &Preprocessing, outputs: &Outputs) -> Self {
        Description {
            format_version: FORMAT_VERSION,
            program_version: env!("CARGO_PKG_VERSION").to_string(),
            layers: topology.widths().to_vec(),
            activation: topology.activation.name.to_string(),
            output_activation: topology.output.name.to_string(),
            cost: topology.cost.flag.to_string(),
            preprocessing: preprocessing.clone(),
            outputs: outputs.clone(),
        }
    }

    /// The description as JSON.
    ///
    /// # Errors
    /// More layers or longer names than a model file allows.
    fn json(&self) -> Result<String> {
        let layers = self.layers.len();
        ensure!(layers <= MAX_LAYERS, "{layers} layers: a model file has room for {MAX_LAYERS}");
        let text = serde_json::to_string(self)?;
        ensure!(
            (text.len() as u64) < MAX_HEADER / 2,
            "the names of columns, categories and classes take {} bytes: a model file has room for {}",
            text.len(),
            MAX_HEADER / 2
        );
        Ok(text)
    }

    /// The described topology.
    ///
    /// # Errors
    /// A description that contradicts itself.
    fn topology(&self) -> Result<Topology> {
        let (activation, output) = (activation::named(&self.activation)?, activation::named(&self.output_activation)?);
        let cost = cost::named(&self.cost)?.of_outputs(output);
        ensure!(cost.suits.contains(&output), "the cost {} does not go with {} outputs", cost.flag, output.name);
        ensure!(!activation.normalizes, "activation {} is only for the output layer", activation.name);
        ensure!(self.layers.len() <= MAX_LAYERS, "{} layers, more than {MAX_LAYERS}", self.layers.len());
        let topology = Topology::new(&self.layers, activation, cost).map_err(|error| anyhow!("{error}"))?;
        let topology = topology.with_output(output);
        let (inputs, outputs) = (topology.n[1], topology.n[topology.last()]);
        match &self.preprocessing {
            Preprocessing::Columns(columns) => {
                columns.check()?;
                ensure!(
                    columns.features() == inputs,
                    "columns for {} inputs, but the network {topology} has {inputs}",
                    columns.features()
                );
            }
            other => other.check()?,
        }
        match &self.outputs {
            Outputs::Classes(names) => {
                let classes = names.len();
                ensure!(
                    (1..=outputs.min(MAX_CLASSES)).contains(&classes),
                    "{classes} classes, but the network {topology} has {outputs} outputs"
                );
                let mut names: Vec<&String> = names.iter().collect();
                names.sort_unstable();
                ensure!(names.windows(2).all(|pair| pair[0] != pair[1]), "two classes of the same name");
            }
            Outputs::Numbers(quantities) => {
                let numbers = quantities.len();
                ensure!(numbers == outputs, "{numbers} numbers, but the network {topology} has {outputs} outputs");
                quantities.iter().try_for_each(Quantity::check)?;
            }
        }
        Ok(topology)
    }
}

fn tensor(tensors: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let tensor = tensors.tensor(name).map_err(|_| anyhow!("tensor {name} is missing"))?;
    ensure!(tensor.dtype() == Dtype::F32, "tensor {name} holds {:?}, but F32 is needed", tensor.dtype());
    ensure!(tensor.shape() == shape, "tensor {name} has shape {:?}, but {shape:?} is needed", tensor.shape());
    let values =
        tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let values: Vec<f32> = values.collect();
    ensure!(values.iter().all(|value| value.is_finite()), "tensor {name} has an entry that is NaN or infinite");
    Ok(values)
}

/// Floats as little-endian bytes.
pub(super) fn little_endian(values: &[f32]) -> Cow<'_, [u8]> {
    match cfg!(target_endian = "little") {
        true => Cow::Borrowed(bytemuck::cast_slice(values)),
        false => Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
    }
}
