//! Model files: safetensors, with what the network is as metadata.
//!
//! Tensors `w2`, `b2`, `w3`, `b3`, ... of 32-bit floats, numbered as in the book: w of shape
//! `(n[l], n[l-1])`, b of shape `(n[l])`. The metadata entry `gpu-backprop` holds a [`Description`]
//! as JSON.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::{Dtype, View};
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

/// Makes sure that a file can be written at `path`, without changing what is there: before hours
/// of training rather than after.
///
/// # Errors
/// A folder that does not exist or cannot be written to, or a path that names no regular file.
pub fn check_writable(path: &Path) -> Result<()> {
    let target = target_of(path)?;
    temporary_beside(&target)?;
    if !target.exists() {
        // The name itself may be one that no file can have.
        let created = OpenOptions::new().write(true).create_new(true).open(&target);
        created.and_then(|_| fs::remove_file(&target)).with_context(|| cannot_write(path))?;
    }
    Ok(())
}

/// Writes a model, atomically and durably: `path` is the old file or the complete new one. A link
/// stays a link; the file it leads to is replaced.
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
    let tensors = parameters.iter().zip(shapes).map(|((name, values), shape)| (name, Tensor { shape, values }));
    let target = target_of(path)?;
    let file = temporary_beside(&target)?;
    let context = || cannot_write(path);
    safetensors::serialize_to_file(tensors, Some(metadata), file.path()).with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    file.persist(&target).map_err(|failed| failed.error).with_context(context)?;
    // The new name lasts only once the folder is on disk; only Unix can ask for that.
    #[cfg(unix)]
    fs::File::open(folder_of(&target)).and_then(|folder| folder.sync_all()).with_context(context)?;
    Ok(())
}

/// A tensor that is written from where its numbers are.
struct Tensor<'a> {
    shape: Vec<usize>,
    values: &'a [f32],
}

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if cfg!(target_endian = "little") {
            Cow::Borrowed(bytemuck::cast_slice(self.values))
        } else {
            Cow::Owned(self.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write -o {}", path.display())
}

/// The regular file that `path` is or leads to, or the one it is to become.
fn target_of(path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    let named = path.file_name().is_some() && !path.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
    if path.is_dir() || !named {
        bail!("-o {shown}: this is a folder, a file name is needed");
    }
    match fs::symlink_metadata(path) {
        Err(_) => Ok(path.to_path_buf()),
        Ok(found) if found.is_symlink() => {
            let target = fs::canonicalize(path).with_context(|| format!("-o {shown}: a link that leads nowhere"))?;
            ensure!(target.is_file(), "-o {shown}: it leads to {}, which is no regular file", target.display());
            Ok(target)
        }
        Ok(found) => {
            ensure!(found.is_file(), "-o {shown}: not a regular file");
            Ok(path.to_path_buf())
        }
    }
}

fn temporary_beside(target: &Path) -> Result<tempfile::NamedTempFile> {
    let folder = folder_of(target);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".gpu-backprop-");
    #[cfg(unix)]
    {
        // As any new file: what the umask allows, not the private mode of temporary files.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(&folder).with_context(|| format!("{} in {}", cannot_write(target), folder.display()))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}
