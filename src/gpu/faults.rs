//! Errors of the device, caught instead of left to panic.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail};

/// What went wrong on a device outside of any scope: the first error counts.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Option<String>>>);

impl Faults {
    /// Watches a device from now on.
    pub fn watch(device: &wgpu::Device) -> Self {
        let faults = Faults::default();
        let uncaptured = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| uncaptured.note(first_line(&error))));
        let lost = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            // The device is also "lost" when it is dropped in good order.
            if reason != wgpu::DeviceLostReason::Destroyed {
                lost.note(format!("the device was lost: {message}"));
            }
        });
        faults
    }

    fn note(&self, fault: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
    }

    /// Fails if anything has gone wrong.
    pub fn check(&self) -> Result<()> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(fault) => bail!("the GPU failed: {fault}"),
            None => Ok(()),
        }
    }

    /// Catches every error that calls of this thread cause until [`Scope::end`].
    pub fn scope(&self, device: &wgpu::Device) -> Scope {
        Scope {
            validation: device.push_error_scope(wgpu::ErrorFilter::Validation),
            internal: device.push_error_scope(wgpu::ErrorFilter::Internal),
            memory: device.push_error_scope(wgpu::ErrorFilter::OutOfMemory),
        }
    }
}

/// See [`Faults::scope`].
#[derive(Debug)]
pub struct Scope {
    validation: wgpu::ErrorScopeGuard,
    internal: wgpu::ErrorScopeGuard,
    memory: wgpu::ErrorScopeGuard,
}

impl Scope {
    /// Fails if a call failed.
    pub fn end(self) -> Result<()> {
        // The reverse of the order in which they began.
        let errors = [self.memory, self.internal, self.validation].map(|scope| pollster::block_on(scope.pop()));
        match errors.into_iter().flatten().next() {
            Some(error @ wgpu::Error::OutOfMemory { .. }) => {
                bail!("out of memory on the device ({})", first_line(&error))
            }
            Some(error) => bail!("{}", first_line(&error)),
            None => Ok(()),
        }
    }
}

/// wgpu explains over many lines, of which the deepest cause says most.
fn first_line(error: &wgpu::Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}
