//! Operations on files, which tests let fail.

use std::io;

/// Called before each operation that makes, writes, syncs or moves an output file.
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
        /// Operations of this thread until one fails; `None` if none does.
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

    /// Calls `work` with the operation after `count` others failing, and all that follow. Whether it came to that.
    pub fn failing<T>(count: usize, work: impl FnOnce() -> T) -> (T, bool) {
        LEFT.set(Some(count));
        FAILED.set(false);
        let result = work();
        LEFT.set(None);
        (result, FAILED.get())
    }
}
