//! Checkpoint files: safetensors with the whole state of a training.
//!
//! The metadata entry `gpu-backprop-checkpoint` holds a header as JSON. Its hash covers the
//! description of the training, the reports of its epochs and every tensor, so that any change to the file is detected.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::file::little_endian;
use crate::system::text::hexadecimal;

/// The name of the metadata entry.
const METADATA_KEY: &str = "gpu-backprop-checkpoint";

/// The version of the format that this program writes.
const FORMAT_VERSION: u32 = 2;

/// The name of the tensor of bytes that holds the reports: there may be more of them than a header has room for.
const REPORTS: &str = "reports";

/// Tensors by their names, such as `w2` and `w2.momentum`.
pub type Tensors<'a> = BTreeMap<String, Cow<'a, [f32]>>;

/// The contents of a checkpoint.
#[derive(Clone, PartialEq, Debug)]
pub struct Contents<'a> {
    /// The description of the training, as JSON.
    pub training: String,
    /// The reports of its epochs, a line of JSON each.
    pub reports: Vec<u8>,
    /// Its parameters and the state of its optimizer.
    pub tensors: Tensors<'a>,
}

/// The metadata of a checkpoint.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Header {
    /// [`FORMAT_VERSION`] of the program that wrote the file.
    format_version: u32,
    /// SHA-256 of the description, the reports and the tensors.
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

/// The bytes of a checkpoint.
///
/// # Errors
/// Names for which a safetensors file has no room.
pub fn encode(contents: Contents<'_>) -> Result<Vec<u8>> {
    let Contents { training, reports, tensors } = contents;
    let mut parts: Vec<(&str, Dtype, Cow<'_, [u8]>)> =
        tensors.iter().map(|(name, values)| (&**name, Dtype::F32, little_endian(values))).collect();
    parts.push((REPORTS, Dtype::U8, Cow::Owned(reports)));
    parts.sort_by_key(|(name, ..)| *name);
    let sha256 = hash_of(&training, parts.iter().map(|(name, _, bytes)| (*name, &**bytes)));
    let header = serde_json::to_string(&Header { format_version: FORMAT_VERSION, sha256, training })?;
    let metadata = HashMap::from([(METADATA_KEY.to_string(), header)]);
    let mut views = Vec::with_capacity(parts.len());
    for (name, dtype, bytes) in &parts {
        views.push((*name, TensorView::new(*dtype, vec![8 * bytes.len() / dtype.bitsize()], bytes)?));
    }
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// The contents of a checkpoint.
///
/// # Errors
/// A file that cannot be read, or that differs in any bit from what was written.
pub fn read(path: &Path) -> Result<Contents<'static>> {
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
pub fn decode(bytes: &[u8]) -> Result<Contents<'static>> {
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
    let (mut reports, mut values) = (None, Tensors::new());
    for (name, view) in tensors {
        match view.dtype() {
            Dtype::U8 if name == REPORTS => reports = Some(view.data().to_vec()),
            Dtype::F32 => {
                let (words, _) = view.data().as_chunks::<4>();
                values.insert(name.to_string(), words.iter().map(|word| f32::from_le_bytes(*word)).collect());
            }
            other => bail!("{name} holds {other:?}, but F32 is needed"),
        }
    }
    let reports = reports.context("it has no reports of epochs")?;
    Ok(Contents { training: header.training, reports, tensors: values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> (Contents<'static>, Vec<u8>) {
        let tensor = |name: &str, values: &[f32]| (name.to_string(), values.to_vec().into());
        let tensors = Tensors::from([tensor("w2", &[0.1, -2.5, f32::MIN_POSITIVE]), tensor("b2.velocity", &[])]);
        let reports = b"{\"epoch\":1}\n{\"epoch\":2}\n".to_vec();
        let contents = Contents { training: r#"{"epoch":3}"#.to_string(), reports, tensors };
        let bytes = encode(contents.clone()).expect("it has room");
        (contents, bytes)
    }

    #[test]
    fn what_is_written_is_read() {
        let (contents, bytes) = checkpoint();
        assert_eq!(decode(&bytes).expect("it is whole"), contents);
    }

    /// The header of a safetensors file has room for 100 MB; the reports of a million epochs are more.
    #[test]
    fn reports_need_no_room_in_the_header() {
        let (contents, _) = checkpoint();
        let contents = Contents { reports: vec![b'1'; 101_000_000], ..contents };
        let bytes = encode(contents.clone()).expect("it has room");
        assert!(decode(&bytes).expect("it is whole") == contents);
    }

    /// A flipped bit anywhere is detected, and so is a missing end.
    #[test]
    fn what_is_damaged_is_noticed() {
        let (contents, bytes) = checkpoint();
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // White space in the header may change to other white space, which changes nothing.
            if let Ok(read) = decode(&damaged) {
                assert_eq!(read, contents, "bit {bit} was flipped");
            }
        }
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "{end} bytes of {} were read", bytes.len());
        }
    }
}
