//! Compiled pipelines on disk, where the backend supports it.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::system::cache::{cache_folder, write_whole};

/// Size limit of a cache file; a larger one is ignored.
const MAX_BYTES: u64 = 64 << 20;

/// The pipeline cache of an adapter, driver and version of this program.
#[derive(Debug)]
pub struct PipelineCache {
    /// The cache that pipelines are compiled through.
    pub cache: wgpu::PipelineCache,
    path: PathBuf,
    /// The digest of the file on disk.
    saved: Option<Digested>,
}

type Digested = [u8; 32];

impl PipelineCache {
    /// Opens the cache of an adapter, empty if none is on disk; `None` where the device has no pipeline cache
    /// or the system no cache folder.
    pub fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let key = wgpu::util::pipeline_cache_key(info)?;
        let path = cache_folder()?.join(format!("{key}-{}.pipelines", env!("CARGO_PKG_VERSION")));
        let stored = read(&path);
        let saved = stored.as_ref().map(|data| digest(data));
        #[allow(unsafe_code, reason = "the price of a pipeline cache")]
        // SAFETY: `save` got the bytes from the same driver: they begin with a digest of the rest, and wgpu
        // checks adapter and driver as well.
        let cache = unsafe {
            device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("pipelines"),
                data: stored.as_deref(),
                fallback: true,
            })
        };
        Some(PipelineCache { cache, path, saved })
    }

    /// Writes the cache if it has changed. A failure is ignored: the next run compiles again.
    pub fn save(&mut self) {
        let Some(data) = self.cache.get_data() else { return };
        let digest = digest(&data);
        if data.is_empty() || self.saved == Some(digest) {
            return;
        }
        if write_whole(&self.path, &[&digest[..], &data].concat()).is_ok() {
            self.saved = Some(digest);
        }
    }
}

fn digest(data: &[u8]) -> Digested {
    Sha256::digest(data).into()
}

/// Reads the bytes of a cache, unless they are damaged.
fn read(path: &std::path::Path) -> Option<Vec<u8>> {
    if std::fs::metadata(path).ok()?.len() > MAX_BYTES {
        return None;
    }
    let mut bytes = std::fs::read(path).ok()?;
    let data = bytes.split_off(32.min(bytes.len()));
    (bytes[..] == digest(&data)).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_bytes_are_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cache");
        assert_eq!(read(&path), None);
        let good = [&digest(b"pipelines")[..], b"pipelines"].concat();
        std::fs::write(&path, &good).expect("written");
        assert_eq!(read(&path).as_deref(), Some(&b"pipelines"[..]));
        for damaged in [&good[..good.len() - 1], &good[..20], b"", &[&good[..], b"x"].concat()] {
            std::fs::write(&path, damaged).expect("written");
            assert_eq!(read(&path), None);
        }
    }
}
