//! The adapters of this machine.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

use super::adapter::Adapter;
use super::exclusive::exclusive;
use super::faults::catching;
use crate::plan::executor::DeviceDescription;
use crate::system::error::WrongUsage;

/// The kinds of adapters, in their order.
const KINDS: [&str; 5] = ["discrete", "integrated", "virtual", "other", "software"];

/// Returns every adapter of this machine, hardware before software, and within each kind in the
/// order of the drivers. Of several with one name, the second is `NAME (2)`.
///
/// The environment variables `WGPU_BACKEND` (`vulkan`, `metal`, `dx12`, `gl`) and
/// `WGPU_ADAPTER_NAME` (part of a name) restrict the list. `WGPU_DEBUG=1` passes the names of
/// buffers and pipelines to the driver; `WGPU_VALIDATION=1` loads the validation layers.
pub fn adapters() -> Vec<Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY | wgpu::Backends::GL;
    // wgpu sets both in debug builds. When an object is named, the Vulkan loader walks lists that
    // other threads change; the validation layers do so in each call
    // (KhronosGroup/Vulkan-ValidationLayers, issue 4391).
    let unsafe_among_threads = wgpu::InstanceFlags::DEBUG | wgpu::InstanceFlags::VALIDATION;
    descriptor.flags = (descriptor.flags - unsafe_among_threads).with_env();
    // An empty variable counts as unset.
    let restricted = std::env::var_os("WGPU_BACKEND").is_some_and(|backend| !backend.is_empty());
    let descriptor = if restricted { descriptor.with_env() } else { descriptor };
    let found = enumerated(&descriptor);
    let wanted = std::env::var("WGPU_ADAPTER_NAME").unwrap_or_default();
    let mut found: Vec<Adapter> = found
        .into_iter()
        // The noop backend accepts everything and computes nothing.
        .filter(|adapter| adapter.get_info().backend != wgpu::Backend::Noop)
        .map(Adapter::new)
        .filter(|adapter| adapter.is_named(&wanted))
        .collect();
    found.sort_by_key(|adapter| KINDS.iter().position(|kind| *kind == adapter.kind()));
    tell_apart(found.iter_mut().map(|adapter| &mut adapter.description));
    found
}

/// The adapters of an instance. A driver that makes wgpu panic costs only the adapters of its backend.
fn enumerated(descriptor: &wgpu::InstanceDescriptor) -> Vec<wgpu::Adapter> {
    let of = |backends: wgpu::Backends| {
        catching(|| {
            let _exclusive = exclusive();
            let mut restricted = wgpu::InstanceDescriptor::new_without_display_handle();
            (restricted.backends, restricted.flags) = (backends, descriptor.flags);
            (restricted.memory_budget_thresholds, restricted.backend_options) =
                (descriptor.memory_budget_thresholds, descriptor.backend_options.clone());
            pollster::block_on(wgpu::Instance::new(restricted).enumerate_adapters(backends))
        })
    };
    let mut failed = failed_backends();
    failed.clear();
    of(descriptor.backends).unwrap_or_else(|_| {
        let each = BACKENDS.into_iter().filter(|(backend, _)| descriptor.backends.contains(*backend));
        let found = each.map(|(backend, name)| {
            of(backend).unwrap_or_else(|error| {
                failed.push(format!("{name}: {error:#}"));
                Vec::new()
            })
        });
        found.collect::<Vec<_>>().concat()
    })
}

/// Every backend, in the order of adapters.
const BACKENDS: [(wgpu::Backends, &str); 4] = [
    (wgpu::Backends::VULKAN, "vulkan"),
    (wgpu::Backends::METAL, "metal"),
    (wgpu::Backends::DX12, "dx12"),
    (wgpu::Backends::GL, "gl"),
];

/// Backends whose drivers failed when adapters were looked for, with the reason.
static FAILED_BACKENDS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn failed_backends() -> MutexGuard<'static, Vec<String>> {
    FAILED_BACKENDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why the last [`adapters`] lack those of some backends: their drivers failed.
pub fn failures_of_drivers() -> Vec<String> {
    failed_backends().clone()
}

/// Checks the environment variables that restrict the adapters.
///
/// # Errors
/// An unknown backend, which wgpu would ignore ([`WrongUsage`]).
pub fn check_environment() -> Result<()> {
    let Some(text) = std::env::var_os("WGPU_BACKEND") else { return Ok(()) };
    let text = text.to_string_lossy();
    let all = BACKENDS.into_iter().fold(wgpu::Backends::empty(), |all, (backend, _)| all | backend);
    let unknown = |name: &&str| !name.is_empty() && !wgpu::Backends::from_comma_list(name).intersects(all);
    if let Some(name) = text.split(',').map(str::trim).find(unknown) {
        bail!(WrongUsage::new(format!(
            "WGPU_BACKEND={text}: there is no backend `{}`; there are vulkan, metal, dx12 and gl",
            name.escape_debug()
        )));
    }
    Ok(())
}

/// Numbers adapters of the same name and backend, such as two GPUs of one kind, from the second on.
fn tell_apart<'a>(descriptions: impl Iterator<Item = &'a mut DeviceDescription>) {
    let mut seen: HashMap<_, u32> = HashMap::new();
    for description in descriptions {
        let count = seen.entry((description.name.clone(), description.backend.clone())).or_default();
        *count += 1;
        if *count > 1 {
            description.name = format!("{} ({count})", description.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_of_one_kind_are_told_apart() {
        let named = |name: &str, backend: &str| DeviceDescription {
            kind: "gpu",
            name: name.into(),
            backend: Some(backend.into()),
            driver: None,
            software: false,
        };
        let mut adapters =
            [named("A", "vulkan"), named("B", "vulkan"), named("A", "vulkan"), named("A", "gl"), named("A", "vulkan")];
        tell_apart(adapters.iter_mut());
        assert_eq!(adapters.each_ref().map(|adapter| adapter.name.as_str()), ["A", "B", "A (2)", "A", "A (3)"]);
    }
}
