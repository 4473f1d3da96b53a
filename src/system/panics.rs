//! Panics of libraries, converted to errors.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// True while panics of this thread are caught and converted to errors.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Calls a library function that may panic where it should return an error.
///
/// # Errors
/// The message of the panic, which is not printed, on one line.
pub fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    static QUIET_HOOK: Once = Once::new();
    QUIET_HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CATCHING.get() {
                print(info);
            }
        }));
    });
    let within = CATCHING.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    CATCHING.set(within);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("unknown failure");
        text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
    })
}
