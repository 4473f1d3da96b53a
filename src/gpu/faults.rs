//! Errors of the device, caught before wgpu panics.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail};

use crate::system::error::{DeviceFailed, OutOfMemory, Refused};
use crate::system::panics;

/// The first error on a device outside of any scope.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Option<String>>>);

impl Faults {
    /// Watches a device from now on.
    pub fn watch(device: &wgpu::Device) -> Self {
        let faults = Faults::default();
        let uncaptured = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| uncaptured.note(one_line(&error))));
        let lost = faults.clone();
        // A device that is dropped is reported as lost, too, when nothing checks any more.
        device.set_device_lost_callback(move |_, message| lost.note(format!("the device was lost: {message}")));
        faults
    }

    /// Remembers a fault, if it is the first.
    pub fn note(&self, fault: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
    }

    /// Checks that nothing has failed.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<()> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(fault) => bail!(DeviceFailed::new(fault)),
            None => Ok(()),
        }
    }

    /// The cause of an error: the first fault of the device, such as its loss, or else `error`.
    pub fn reason(&self, device: &wgpu::Device, error: anyhow::Error) -> anyhow::Error {
        // A loss is reported only by a poll; other faults have been noted already.
        let _ = catching(|| device.poll(wgpu::PollType::Poll));
        self.check().err().unwrap_or(error)
    }

    /// Catches the errors that calls of this thread cause until [`Scope::end`].
    pub fn scope(&self, device: &wgpu::Device) -> Scope {
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        Scope { memory, internal, validation, has_no_memory: false, device: device.clone(), faults: self.clone() }
    }
}

/// An error scope, see [`Faults::scope`]. Fields are dropped in the order of their declaration, and wgpu
/// requires that the scope that began last ends first.
#[derive(Debug)]
pub struct Scope {
    memory: wgpu::ErrorScopeGuard,
    internal: wgpu::ErrorScopeGuard,
    validation: wgpu::ErrorScopeGuard,
    /// Set by tests: the scope ends with an out-of-memory error.
    pub has_no_memory: bool,
    device: wgpu::Device,
    faults: Faults,
}

impl Scope {
    /// Ends the scope.
    ///
    /// # Errors
    /// The first error of a call within the scope.
    pub fn end(self) -> Result<()> {
        // The reverse of the order in which they began.
        let errors = [self.memory, self.internal, self.validation].map(|scope| pollster::block_on(scope.pop()));
        match errors.into_iter().flatten().next() {
            _ if self.has_no_memory => bail!(OutOfMemory::new("out of memory on the device")),
            Some(error @ wgpu::Error::OutOfMemory { .. }) => {
                bail!(OutOfMemory::new(format!("out of memory on the device ({})", one_line(&error))))
            }
            Some(error) => Err(self.faults.reason(&self.device, Refused::new(one_line(&error)).into())),
            None => Ok(()),
        }
    }
}

/// Joins the lines of an error of wgpu.
fn one_line(error: &wgpu::Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

/// Calls a function of wgpu that panics where it should return an error: losing a device while waiting
/// for it (a driver's watchdog, an unplugged GPU) is fatal to wgpu 30.
///
/// # Errors
/// The message of the panic, which is not printed.
pub fn catching<T>(call: impl FnOnce() -> T) -> Result<T> {
    panics::caught(call).map_err(|message| DeviceFailed::new(message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_wgpu_is_an_error() {
        let error = catching(|| panic!("Error in Device::poll: parent device\nis lost")).expect_err("it panicked");
        assert_eq!(error.to_string(), "the GPU failed: Error in Device::poll: parent device is lost");
        assert_eq!(catching(|| 7).expect("no panic"), 7);
    }
}
