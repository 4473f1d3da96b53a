//! How much memory the machine has to give.

/// Bytes that the matrices of plans may take where nothing else is said: half of what is free, since the
/// data they come from takes memory too. Without bound where that cannot be found out.
pub fn to_use() -> u64 {
    free().map_or(u64::MAX, |free| free / 2)
}

#[cfg(target_os = "linux")]
fn free() -> Option<u64> {
    free_in(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

#[cfg(not(target_os = "linux"))]
fn free() -> Option<u64> {
    None
}

/// Bytes that Linux says are free for programs, in the text of `/proc/meminfo`.
#[cfg(any(target_os = "linux", test))]
fn free_in(text: &str) -> Option<u64> {
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?.trim().strip_suffix("kB")?;
    kilobytes.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_linux_is_read() {
        let text =
            "MemTotal:       24605572 kB\nMemFree:         1000 kB\nMemAvailable:   23000000 kB\nBuffers: 1 kB\n";
        assert_eq!(free_in(text), Some(23_000_000 * 1024));
        assert_eq!(free_in("MemTotal:       24605572 kB\n"), None);
        assert_eq!(free_in("MemAvailable:   much\n"), None);
    }
}
