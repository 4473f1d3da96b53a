//! Opening and closing of instances and devices, by one thread at a time.
//!
//! The Vulkan loader keeps process-wide lists of instances and devices. It walks them when a device
//! is opened and when an object is named, without a lock that excludes changes: a thread that opens
//! a device crashes if another thread closes one (KhronosGroup/Vulkan-Loader, issues 200 and 2018).

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::system::panics::caught;

static LISTS: Mutex<()> = Mutex::new(());

/// Locks opening and closing until the guard is dropped. A thread that holds the guard must not
/// drop a [`Closed`], which takes the same lock.
pub fn exclusive() -> MutexGuard<'static, ()> {
    LISTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A value that holds instances or devices; dropping it takes the lock of [`exclusive`].
#[derive(Debug)]
pub struct Closed<T>(Option<T>);

/// Every access is before the drop.
const OPEN: &str = "it is open";

impl<T> Closed<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Closed(Some(value))
    }
}

impl<T> Deref for Closed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(OPEN)
    }
}

impl<T> DerefMut for Closed<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(OPEN)
    }
}

impl<T> Drop for Closed<T> {
    fn drop(&mut self) {
        let _exclusive = exclusive();
        let value = self.0.take();
        // wgpu panics when it closes devices that have failed in some ways; nothing is left to be done about them.
        let _ = caught(|| drop(value));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::thread;
    use std::time::Duration;

    use super::*;

    struct Told(Arc<AtomicBool>);

    impl Drop for Told {
        fn drop(&mut self) {
            assert!(LISTS.try_lock().is_err(), "nobody else may open or close anything now");
            self.0.store(true, SeqCst);
        }
    }

    #[test]
    fn nothing_is_closed_while_another_thread_opens() {
        let closed = Arc::new(AtomicBool::new(false));
        let open = Closed::new(Told(Arc::clone(&closed)));
        let opening = exclusive();
        let closing = thread::spawn(move || drop(open));
        thread::sleep(Duration::from_millis(50));
        assert!(!closed.load(SeqCst));
        drop(opening);
        closing.join().expect("it is closed");
        assert!(closed.load(SeqCst));
    }
}
