//! Guards against files that claim, or unpack to, more than they are.

use std::io::{self, Read};

use anyhow::{Result, anyhow, ensure};

/// A file may unpack to this, whatever its own size.
const ALWAYS_ALLOWED: u64 = 64 << 20;

/// A file that unpacks to more than that may do so to at most so many times its size.
const MAX_RATIO: u64 = 100;

/// Bytes of the entries of an array.
///
/// # Errors
/// More than memory can hold.
pub(super) fn size_of_entries(dimensions: &[usize], element: usize) -> Result<usize> {
    let entries = if dimensions.contains(&0) {
        Some(0)
    } else {
        dimensions.iter().try_fold(1usize, |entries, &dimension| entries.checked_mul(dimension))
    };
    entries
        .and_then(|entries| entries.checked_mul(element))
        .filter(|&size| size < isize::MAX as usize)
        .ok_or_else(|| anyhow!("its header claims {dimensions:?} entries, more than memory can hold"))
}

/// Refuses a compressed file of `stored` bytes that claims to unpack to far more.
///
/// # Errors
/// As described.
pub(super) fn check(claimed: u64, stored: u64) -> Result<()> {
    ensure!(
        claimed <= ALWAYS_ALLOWED || claimed <= stored.saturating_mul(MAX_RATIO),
        "its {stored} bytes claim to unpack to {claimed}, more than {MAX_RATIO} times as much: unpack it first, if \
         that is meant"
    );
    Ok(())
}

/// Whether what a compressed file claims is so much that it is to be counted before any of it is kept.
pub(super) fn is_to_be_counted(claimed: u64, stored: u64) -> bool {
    claimed > ALWAYS_ALLOWED / 2 + stored
}

/// Reads to the end, but not further than one byte past `claimed`; the number of bytes.
///
/// # Errors
/// Errors of reading.
pub(super) fn count(reader: impl Read, claimed: u64) -> io::Result<u64> {
    io::copy(&mut reader.take(claimed + 1), &mut io::sink())
}
