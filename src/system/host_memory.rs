//! Memory of the host.

use anyhow::Result;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::system::error::OutOfMemory;

/// Bytes of memory that are available, within the limit of a container; `None` where the system does not tell.
pub fn free() -> Option<u64> {
    let system =
        System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()));
    // What is mapped or cached of files is given back when others need it.
    let of_container = system.cgroup_limits().map(|limits| limits.total_memory.saturating_sub(limits.rss));
    let of_machine = system.available_memory();
    (of_machine > 0).then(|| of_container.map_or(of_machine, |free| free.min(of_machine)))
}

/// Makes room for `additional` more values.
///
/// # Errors
/// The bytes that there is no room for ([`OutOfMemory`]).
pub(crate) fn reserve<T>(values: &mut Vec<T>, additional: usize) -> Result<()> {
    values.try_reserve_exact(additional).map_err(|_| {
        let megabytes = (additional * size_of::<T>()) as f64 / 1e6;
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
