//! Interruptions: a signal that asks the program to end, which a long work may heed by itself to save what it has.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Somebody heeds signals.
static AWAITED: AtomicBool = AtomicBool::new(false);

/// The signal that came; 0 for none.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// The time in which the first signal that asks the program to end is left to the work at hand; the second one ends it at once.
#[derive(Debug)]
pub struct Heeded(());

/// Heeds signals until the result is dropped.
pub fn heed() -> Heeded {
    AWAITED.store(true, Ordering::SeqCst);
    Heeded(())
}

impl Drop for Heeded {
    fn drop(&mut self) {
        AWAITED.store(false, Ordering::SeqCst);
    }
}

/// The number of the signal that asked the program to end.
pub fn signal() -> Option<i32> {
    Some(SIGNAL.load(Ordering::SeqCst)).filter(|&signal| signal != 0)
}

/// Takes note of a signal; whether somebody heeds it.
pub(super) fn note(signal: i32) -> bool {
    let heeded = AWAITED.load(Ordering::SeqCst) && SIGNAL.swap(signal, Ordering::SeqCst) == 0;
    if heeded {
        // A closed stderr is no reason to fail.
        let _ = writeln!(io::stderr(), "interrupted: training ends after this epoch; once more ends it at once");
    }
    heeded
}
