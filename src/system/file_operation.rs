//! File operations, which tests can make fail.

use std::io;

/// Called before each operation that creates, writes, syncs or moves an output file.
///
/// # Errors
/// Only in tests: see [`failing`](tests::failing).
#[cfg(not(test))]
#[allow(clippy::unnecessary_wraps, reason = "it fails in tests")]
pub fn begin() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub use tests::begin;

#[cfg(test)]
pub mod tests {
    use std::cell::Cell;

    use super::io;

    thread_local! {
        /// Number of operations of this thread until one fails; `None` if none is to fail.
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
        /// True if one has failed.
        static FAILED: Cell<bool> = const { Cell::new(false) };
    }

    pub fn begin() -> io::Result<()> {
        match LEFT.get() {
            Some(0) => {
                FAILED.set(true);
                Err(io::Error::other("this operation was to fail"))
            }
            left => {
                LEFT.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }

    /// Calls `work`, letting the operation after `count` others fail, and all later ones. Returns
    /// the result, and whether an operation failed.
    pub fn failing<T>(count: usize, work: impl FnOnce() -> T) -> (T, bool) {
        LEFT.set(Some(count));
        FAILED.set(false);
        let result = work();
        LEFT.set(None);
        (result, FAILED.get())
    }
}
