//! Choosing by measurement: what it says, what it remembers, and that it changes no result.

mod common;

use std::path::Path;

use common::adapters_under_test;
use common::program::{Folder, program};
use serde_json::Value;

const TRAIN: [&str; 6] = ["train", "--epochs", "1", "--quiet", "--json", "--device"];

/// Trains on an adapter with a cache in this folder.
fn train(cache: &Path, device: &str, more: &[&str]) -> Value {
    let output = program()
        .env("GPU_BACKPROP_CACHE_DIR", cache)
        .args(TRAIN)
        .arg(device)
        .args(more)
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn choices(report: &Value) -> String {
    let lines = report["choices"].as_array().expect("a list");
    lines.iter().map(|line| line.as_str().expect("text")).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_was_measured_is_remembered_and_gives_the_same_bits() {
    for (index, _) in adapters_under_test().iter().enumerate() {
        let (folder, device) = (Folder::new(), index.to_string());
        let first = train(folder.0.path(), &device, &[]);
        assert!(choices(&first).contains("training 64-30-10 on bytes, m = 10: "), "{}", choices(&first));
        let file = std::fs::read_to_string(folder.path("tuning.json")).expect("a cache was written");
        let second = train(folder.0.path(), &device, &[]);
        assert_eq!(choices(&first), choices(&second), "measured once");
        assert_eq!(first["weights_sha256"], second["weights_sha256"]);
        let unchanged = std::fs::read_to_string(folder.path("tuning.json")).expect("still there");
        assert_eq!(file, unchanged, "nothing new was chosen");
    }
}

#[test]
fn a_damaged_or_hopeless_cache_is_no_failure() {
    for (index, _) in adapters_under_test().iter().enumerate() {
        let (folder, device) = (Folder::new(), index.to_string());
        folder.file("tuning.json", b"{\"adapters\": {\"");
        train(folder.0.path(), &device, &[]);
        let mended = std::fs::read(folder.path("tuning.json")).expect("still there");
        serde_json::from_slice::<Value>(&mended).expect("written anew");
        // A choice that does not exist is measured again.
        let text = String::from_utf8(mended).expect("UTF-8");
        folder.file("tuning.json", text.replace("\"chosen\": \"", "\"chosen\": \"no such ").as_bytes());
        assert!(!choices(&train(folder.0.path(), &device, &[])).contains("no such"));
        // A folder that cannot be made: a file is in the way.
        let report = train(&folder.path("tuning.json").join("below a file"), &device, &[]);
        assert!(choices(&report).contains("these choices are not remembered"), "{}", choices(&report));
    }
}

#[test]
fn without_tuning_nothing_is_measured_or_written() {
    for (index, _) in adapters_under_test().iter().enumerate() {
        let (folder, device) = (Folder::new(), index.to_string());
        let report = train(folder.0.path(), &device, &["--tune", "off"]);
        assert!(choices(&report).contains("by rule") && !choices(&report).contains("measured"));
        assert!(!folder.path("tuning.json").exists());
    }
}

#[test]
fn the_time_to_the_first_step_and_of_each_kernel_is_told() {
    for (index, adapter) in adapters_under_test().iter().enumerate() {
        let (folder, device) = (Folder::new(), index.to_string());
        for kernels in ["primitive", "fused"] {
            let report =
                train(folder.0.path(), &device, &["--tune", "off", "--profile", "--kernels", kernels, "--batch", "11"]);
            assert!(report["seconds_to_first_step"].as_f64().expect("a number") > 0.0);
            let profile = &report["profile"];
            let names: Vec<&str> = profile["kernels"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|kernel| kernel["kernel"].as_str().expect("a name"))
                .collect();
            let expected = if kernels == "primitive" { "outer_product" } else { "train_in_workgroup" };
            assert!(names.contains(&expected), "{}: {names:?}", adapter.description());
            let calls: u64 = profile["kernels"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|kernel| kernel["calls"].as_u64().expect("a count"))
                .sum();
            assert!(calls > 0);
        }
        // Taking times changes no result.
        let plain = train(folder.0.path(), &device, &["--tune", "off", "--batch", "11"]);
        let timed = train(folder.0.path(), &device, &["--tune", "off", "--batch", "11", "--profile"]);
        assert_eq!(plain["weights_sha256"], timed["weights_sha256"]);
        assert!(plain["profile"].is_null());
    }
}
