//! Memory of the host.

use anyhow::Result;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::system::error::OutOfMemory;

/// Bytes of available memory, within the limit of a container; `None` if the system does not tell.
pub fn free() -> Option<u64> {
    let system =
        System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()));
    // Memory of mapped or cached files does not count: the system takes it back when it is needed.
    let of_container = system.cgroup_limits().map(|limits| limits.total_memory.saturating_sub(limits.rss));
    let of_machine = system.available_memory();
    (of_machine > 0).then(|| of_container.map_or(of_machine, |free| free.min(of_machine)))
}

/// Reserves memory for `additional` more values.
///
/// # Errors
/// The bytes that cannot be allocated ([`OutOfMemory`]).
pub(crate) fn reserve<T>(values: &mut Vec<T>, additional: usize) -> Result<()> {
    values.try_reserve_exact(additional).map_err(|_| {
        let megabytes = additional as f64 * size_of::<T>() as f64 / 1e6;
        let message = "use narrower layers or a smaller --batch";
        OutOfMemory::new(format!("out of memory: cannot hold another {megabytes:.1} MB; {message}")).into()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_some() {
        if sysinfo::IS_SUPPORTED_SYSTEM {
            // This test itself runs in more than a megabyte.
            assert!(super::free().expect("a system that tells") > 1 << 20);
        }
    }
}
