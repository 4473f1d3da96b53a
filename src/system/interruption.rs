//! Interruptions: a signal that asks the program to end, which a long work may heed by itself to save what it has.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// The number of the signal of Ctrl-C, as on Unix.
pub const CTRL_C: i32 = 2;

/// Somebody heeds signals.
static AWAITED: AtomicBool = AtomicBool::new(false);

/// The signal that came; 0 for none.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// Somebody writes checkpoints.
static WRITES_CHECKPOINTS: AtomicBool = AtomicBool::new(false);

/// A signal asked for a checkpoint.
static CHECKPOINT: AtomicBool = AtomicBool::new(false);

/// The time in which the first signal that asks the program to end is left to the work at hand; the second one ends it at once.
#[derive(Debug)]
pub struct Heeded(());

/// True if a signal asked for a checkpoint that has not been begun.
pub fn is_checkpoint_wanted() -> bool {
    CHECKPOINT.load(Ordering::SeqCst)
}

/// Takes note that a checkpoint is begun.
pub fn checkpoint_follows() {
    CHECKPOINT.store(false, Ordering::SeqCst);
}

/// Takes note of a signal that asks for a checkpoint.
#[cfg(unix)]
pub(super) fn note_checkpoint() {
    let writes = WRITES_CHECKPOINTS.load(Ordering::SeqCst);
    CHECKPOINT.store(writes, Ordering::SeqCst);
    let text = if writes { "a checkpoint is written" } else { "no checkpoint is written: there is no --run DIR" };
    let _ = writeln!(io::stderr(), "SIGUSR1: {text}");
}

/// Heeds signals until the result is dropped, those that ask for checkpoints too if somebody `writes_checkpoints`.
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

/// Takes note of a signal; whether somebody heeds it.
pub(super) fn note(signal: i32) -> bool {
    let heeded = AWAITED.load(Ordering::SeqCst) && SIGNAL.swap(signal, Ordering::SeqCst) == 0;
    if heeded {
        // A closed stderr is no reason to fail.
        let _ =
            writeln!(io::stderr(), "interrupted: this ends soon and what is done is saved; once more ends it at once");
    }
    heeded
}
