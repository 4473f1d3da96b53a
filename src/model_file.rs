//! Model files: safetensors, with what the network is as metadata.
//!
//! Tensors `w2`, `b2`, `w3`, `b3`, ... of 32-bit floats, numbered as in the book: w of shape
//! `(n[l], n[l-1])`, b of shape `(n[l])`. The metadata entry `gpu-backprop` holds a [`Description`]
//! as JSON.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::network::{Parameters, Topology};

/// The name of the metadata entry.
pub const METADATA_KEY: &str = "gpu-backprop";

/// The version of the format that this program writes.
pub const FORMAT_VERSION: u32 = 1;

/// What a model file says of its network.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// [`FORMAT_VERSION`] of the program that wrote the file.
    pub format_version: u32,
    /// Version of the program that wrote the file.
    pub program_version: String,
    /// `n[1], n[2], ..., n[L]`.
    pub layers: Vec<usize>,
    /// Name of σ.
    pub activation: String,
    /// Name of C.
    pub cost: String,
    /// What raw inputs are multiplied with to become the activations of layer 1.
    pub input_scale: f32,
}

/// Makes sure that a file can be written at `path`, without writing it: before hours of training
/// rather than after.
///
/// # Errors
/// A folder that does not exist or cannot be written to, or a path that is a folder.
pub fn check_writable(path: &Path) -> Result<()> {
    ensure!(!path.is_dir(), "-o {}: this is a folder, a file name is needed", path.display());
    temporary_beside(path)?;
    Ok(())
}

/// Writes a model, atomically and durably: `path` is the old file or the complete new one.
///
/// # Errors
/// A file that cannot be written.
pub fn save(path: &Path, topology: &Topology, parameters: &Parameters, input_scale: f32) -> Result<()> {
    let description = Description {
        format_version: FORMAT_VERSION,
        program_version: env!("CARGO_PKG_VERSION").to_string(),
        layers: topology.widths().to_vec(),
        activation: topology.activation.name.to_string(),
        cost: topology.cost.name.to_string(),
        input_scale,
    };
    // A single entry: the order of several would change from run to run.
    let metadata = HashMap::from([(METADATA_KEY.to_string(), serde_json::to_string(&description)?)]);
    let n = &topology.n;
    let shapes = (2..=topology.last()).flat_map(|l| [vec![n[l], n[l - 1]], vec![n[l]]]);
    let encoded: Vec<(String, Vec<u8>)> = parameters
        .iter()
        .map(|(name, values)| (name, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let tensors = encoded
        .iter()
        .zip(shapes)
        .map(|((name, bytes), shape)| Ok((name, TensorView::new(Dtype::F32, shape, bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    write_atomically(path, &safetensors::serialize(tensors, Some(metadata))?)
}

fn temporary_beside(path: &Path) -> Result<tempfile::NamedTempFile> {
    let folder = folder_of(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".gpu-backprop-");
    #[cfg(unix)]
    {
        // As any new file: what the umask allows, not the private mode of temporary files.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(&folder).with_context(|| format!("cannot write {} in {}", path.display(), folder.display()))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut file = temporary_beside(path)?;
    file.write_all(bytes).with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    file.persist(path).with_context(context)?;
    // The new name lasts only once the folder is on disk; only Unix can ask for that.
    #[cfg(unix)]
    std::fs::File::open(folder_of(path)).and_then(|folder| folder.sync_all()).with_context(context)?;
    Ok(())
}
