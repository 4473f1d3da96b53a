//! Checkpoint files: safetensors with the whole state of a training.
//!
//! The metadata entry `gpu-backprop-checkpoint` holds a header as JSON. Its hash covers the
//! description of the training and every tensor, so that any change to the file is detected.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::file::little_endian;
use crate::system::text::hexadecimal;

/// The name of the metadata entry.
const METADATA_KEY: &str = "gpu-backprop-checkpoint";

/// The version of the format that this program writes.
const FORMAT_VERSION: u32 = 1;

/// Tensors by their names, such as `w2` and `w2.momentum`.
pub type Tensors<'a> = BTreeMap<String, Cow<'a, [f32]>>;

/// The metadata of a checkpoint.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Header {
    /// [`FORMAT_VERSION`] of the program that wrote the file.
    format_version: u32,
    /// SHA-256 of the description and the tensors.
    sha256: String,
    /// The description of the training, as JSON.
    training: String,
}

fn hash_of<'a>(training: &str, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(training.as_bytes());
    for (name, data) in tensors {
        part(name.as_bytes());
        part(data);
    }
    hexadecimal(&hash.finalize())
}

/// The bytes of a checkpoint of `tensors` and the description of a training.
///
/// # Errors
/// Names for which a safetensors file has no room.
pub fn encode(tensors: &Tensors<'_>, training: String) -> Result<Vec<u8>> {
    let data: Vec<(&str, Cow<'_, [u8]>)> =
        tensors.iter().map(|(name, values)| (&**name, little_endian(values))).collect();
    let sha256 = hash_of(&training, data.iter().map(|(name, data)| (*name, &**data)));
    let header = serde_json::to_string(&Header { format_version: FORMAT_VERSION, sha256, training })?;
    let metadata = HashMap::from([(METADATA_KEY.to_string(), header)]);
    let mut views = Vec::with_capacity(data.len());
    for (name, data) in &data {
        views.push((*name, TensorView::new(Dtype::F32, vec![data.len() / size_of::<f32>()], data)?));
    }
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// The description of a training and the tensors of a checkpoint.
///
/// # Errors
/// A file that cannot be read, or that differs in any bit from what was written.
pub fn read(path: &Path) -> Result<(String, Tensors<'static>)> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    ensure!(file.metadata()?.is_file(), "not a regular file");
    file.take(u64::MAX).read_to_end(&mut bytes)?;
    decode(&bytes)
}

/// As [`read`], of bytes.
///
/// # Errors
/// As [`read`].
pub fn decode(bytes: &[u8]) -> Result<(String, Tensors<'static>)> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| anyhow!("damaged: {error}"))?;
    let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
    let header = header.context("not a checkpoint of this program")?;
    let header: Header = serde_json::from_str(header).context("damaged: its header cannot be read")?;
    ensure!(
        header.format_version == FORMAT_VERSION,
        "its format is version {}, but this program reads version {FORMAT_VERSION}",
        header.format_version
    );
    let found = SafeTensors::deserialize(bytes).map_err(|error| anyhow!("damaged: {error}"))?;
    let mut tensors: Vec<(&str, TensorView<'_>)> = found.iter().collect();
    tensors.sort_by_key(|(name, _)| *name);
    let sha256 = hash_of(&header.training, tensors.iter().map(|(name, view)| (*name, view.data())));
    ensure!(sha256 == header.sha256, "damaged: its hash is not that of its contents");
    let values = |view: &TensorView<'_>| -> Result<Cow<'static, [f32]>> {
        ensure!(view.dtype() == Dtype::F32, "it holds {:?}, but F32 is needed", view.dtype());
        let (words, _) = view.data().as_chunks::<4>();
        Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
    };
    let tensors = tensors.iter().map(|(name, view)| Ok(((*name).to_string(), values(view)?)));
    Ok((header.training, tensors.collect::<Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> (Tensors<'static>, Vec<u8>) {
        let tensor = |name: &str, values: &[f32]| (name.to_string(), values.to_vec().into());
        let tensors = Tensors::from([tensor("w2", &[0.1, -2.5, f32::MIN_POSITIVE]), tensor("b2.velocity", &[])]);
        let bytes = encode(&tensors, r#"{"epoch":3}"#.to_string()).expect("it has room");
        (tensors, bytes)
    }

    #[test]
    fn what_is_written_is_read() {
        let (tensors, bytes) = checkpoint();
        assert_eq!(decode(&bytes).expect("it is whole"), (r#"{"epoch":3}"#.to_string(), tensors));
    }

    /// A flipped bit anywhere is detected, and so is a missing end.
    #[test]
    fn what_is_damaged_is_noticed() {
        let (tensors, bytes) = checkpoint();
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // White space in the header may change to other white space, which changes nothing.
            if let Ok(read) = decode(&damaged) {
                assert_eq!(read, (r#"{"epoch":3}"#.to_string(), tensors.clone()), "bit {bit} was flipped");
            }
        }
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "{end} bytes of {} were read", bytes.len());
        }
    }
}
