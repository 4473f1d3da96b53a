//! Interruptions: signals that ask the program to end. A long computation may handle them itself,
//! to save its results.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// The number of the signal of Ctrl-C, as on Unix.
pub const CTRL_C: i32 = 2;

/// True while a computation handles signals.
static AWAITED: AtomicBool = AtomicBool::new(false);

/// The signal received; 0 for none.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// True while that computation writes checkpoints.
static WRITES_CHECKPOINTS: AtomicBool = AtomicBool::new(false);

/// True after a signal asked for a checkpoint.
static CHECKPOINT: AtomicBool = AtomicBool::new(false);

/// A guard while the first signal that asks the program to end is left to the current computation;
/// a second one ends the program at once.
#[derive(Debug)]
pub struct Heeded(());

/// True if a signal asked for a checkpoint that has not been started.
pub fn is_checkpoint_wanted() -> bool {
    CHECKPOINT.load(Ordering::SeqCst)
}

/// Records that the checkpoint is started.
pub fn checkpoint_follows() {
    CHECKPOINT.store(false, Ordering::SeqCst);
}

/// Records a signal that asks for a checkpoint.
#[cfg(unix)]
pub(super) fn note_checkpoint() {
    let writes = WRITES_CHECKPOINTS.load(Ordering::SeqCst);
    CHECKPOINT.store(writes, Ordering::SeqCst);
    let text = if writes {
        "a checkpoint is written"
    } else {
        "no checkpoint is written: there is no --run DIR, or training has not begun"
    };
    let _ = writeln!(io::stderr(), "SIGUSR1: {text}");
}

/// Handles signals until the result is dropped, including those for checkpoints if
/// `writes_checkpoints`.
pub fn heed(writes_checkpoints: bool) -> Heeded {
    WRITES_CHECKPOINTS.store(writes_checkpoints, Ordering::SeqCst);
    AWAITED.store(true, Ordering::SeqCst);
    Heeded(())
}

impl Drop for Heeded {
    fn drop(&mut self) {
        AWAITED.store(false, Ordering::SeqCst);
        WRITES_CHECKPOINTS.store(false, Ordering::SeqCst);
    }
}

/// The number of the signal that asked the program to end.
pub fn signal() -> Option<i32> {
    Some(SIGNAL.load(Ordering::SeqCst)).filter(|&signal| signal != 0)
}

/// Records a signal; returns true if a computation handles it.
pub(super) fn note(signal: i32) -> bool {
    let heeded = AWAITED.load(Ordering::SeqCst) && SIGNAL.swap(signal, Ordering::SeqCst) == 0;
    if heeded {
        // A closed stderr is not a failure.
        let _ = writeln!(io::stderr(), "interrupted: stopping soon; interrupt again to stop at once");
    }
    heeded
}
