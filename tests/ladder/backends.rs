//! Every shader of every configuration is written for Metal and for DX12, which cannot run everywhere: what one of them refuses is
//! found here. Needs no GPU.
//!
//! With `GPU_BACKPROP_HLSL` set to a folder, the texts for DX12 are kept there, for a compiler of HLSL (tests/python/check_hlsl.py).

use std::collections::HashSet;
use std::fmt::Write;

use naga::back::pipeline_constants::process_overrides;
use naga::back::{hlsl, msl};
use naga::proc::Layouter;
use naga::valid::ModuleInfo;
use naga::{AddressSpace, Module, ShaderStage};

use crate::contract::{MODULES, validated};

trials! {
    once: shaders_are_written_for_metal, shaders_are_written_for_dx12;
}

/// A shader with the constants of its pipeline.
struct Shader {
    name: String,
    /// It uses cooperative matrices.
    is_cooperative: bool,
    module: Module,
    info: ModuleInfo,
    entry_point: (ShaderStage, String),
}

/// Calls `each` with all shaders.
fn each_shader(mut each: impl FnMut(&Shader)) {
    for (i, (kernel, _, realization, module)) in MODULES.iter().enumerate() {
        let constants = kernel.grid(*realization).constants();
        let constants = constants.into_iter().map(|(name, value)| (name.to_string(), f64::from(value))).collect();
        let info = validated(kernel.name, module);
        let entry_point = (ShaderStage::Compute, kernel.entry_point().to_string());
        let (module, info) =
            process_overrides(module, &info, Some((entry_point.0, &entry_point.1)), &constants).expect("constants");
        let is_cooperative = realization.is_some_and(|realization| realization.variant.cooperative.is_some());
        let (module, info) = (module.into_owned(), info.into_owned());
        each(&Shader { name: format!("{}_{i}", kernel.name), is_cooperative, module, info, entry_point });
    }
}

fn shaders_are_written_for_metal() {
    // Metal 2.3, of macOS 11, has all that kernels need but matrices of bounded width.
    let options = msl::Options { lang_version: (2, 3), ..msl::Options::default() };
    let mut written = 0;
    each_shader(|shader| {
        let entry_point = Some(shader.entry_point.clone());
        let pipeline = msl::PipelineOptions { entry_point, ..msl::PipelineOptions::default() };
        let (text, _) = msl::write_string(&shader.module, &shader.info, &options, &pipeline)
            .unwrap_or_else(|error| panic!("{}: {error}", shader.name));
        assert!(text.contains(&format!("kernel void {}", shader.entry_point.1)), "{}: {text}", shader.name);
        written += 1;
    });
    assert_eq!(written, MODULES.len());
}

/// The first function that is defined twice: naga 30 does that where an array is made among the constants and in a function.
fn defined_twice(hlsl: &str) -> Option<&str> {
    let mut seen = HashSet::new();
    hlsl.lines().find(|line| line.ends_with(") {") && !line.starts_with(' ') && !seen.insert(*line))
}

/// Bytes that work groups may share in DX12.
const SHARED_MEMORY_OF_DX12: u32 = 32 << 10;

/// Bytes that a work group shares.
fn shared_memory(module: &Module) -> u32 {
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).expect("sizes of types");
    let shared = module.global_variables.iter().filter(|(_, global)| global.space == AddressSpace::WorkGroup);
    shared.map(|(_, global)| layouter[global.ty].size).sum()
}

fn shaders_are_written_for_dx12() {
    let options = hlsl::Options {
        // That of wave intrinsics and 16-bit floats.
        shader_model: hlsl::ShaderModel::V6_2,
        ..hlsl::Options::default()
    };
    let folder = std::env::var_os("GPU_BACKPROP_HLSL").map(std::path::PathBuf::from);
    let (mut written, mut refused) = (0, String::new());
    each_shader(|shader| {
        let pipeline = hlsl::PipelineOptions { entry_point: Some(shader.entry_point.clone()) };
        let mut text = String::new();
        let result = hlsl::Writer::new(&mut text, &options, &pipeline).write(&shader.module, &shader.info, None);
        match result {
            Ok(_) => {
                assert!(!shader.is_cooperative, "{}: DX12 has no cooperative matrices", shader.name);
                assert!(text.contains(&format!("void {}(", shader.entry_point.1)), "{}: {text}", shader.name);
                assert_eq!(defined_twice(&text), None, "{}", shader.name);
                written += 1;
                // Larger ones are for devices that have more; there, they are never chosen.
                if let Some(folder) = folder.as_ref().filter(|_| shared_memory(&shader.module) <= SHARED_MEMORY_OF_DX12)
                {
                    std::fs::write(folder.join(format!("{}.hlsl", shader.name)), &text).expect("a file");
                }
            }
            // No device offers them there, and so they are never chosen.
            Err(_) if shader.is_cooperative => {}
            Err(error) => writeln!(refused, "{}: {error}", shader.name).expect("memory"),
        }
    });
    assert!(refused.is_empty(), "{refused}");
    assert!(written > 0);
}
