//! Choosing by measurement: what it says, what it remembers, and that it changes no result.

use std::path::Path;

use crate::harness::{AdapterUnderTest, Ignored};
use crate::program::{Folder, program};
use gpu_backprop::kernel::product::Precision;
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

fn what_was_measured_is_remembered_and_gives_the_same_bits(adapter: &AdapterUnderTest) {
    let (folder, device) = (Folder::new(), adapter.number.as_str());
    let first = train(folder.0.path(), device, &[]);
    assert!(
        choices(&first).contains("training 64-30-10 (sigmoid, quadratic, sgd) on bytes, m = 10: "),
        "{}",
        choices(&first)
    );
    let file = std::fs::read_to_string(folder.path("tuning.json")).expect("a cache was written");
    let second = train(folder.0.path(), device, &[]);
    assert_eq!(choices(&first), choices(&second), "measured once");
    assert_eq!(first["weights_sha256"], second["weights_sha256"]);
    let unchanged = std::fs::read_to_string(folder.path("tuning.json")).expect("still there");
    assert_eq!(file, unchanged, "nothing new was chosen");
}

/// A loop has full precision only: in mixed precision the products are chosen, apart from those in full.
fn choices_are_remembered_by_precision(adapter: &AdapterUnderTest) -> Result<(), Ignored> {
    if !adapter.has(Precision::Mixed) {
        return Err(Ignored("the adapter has no mixed precision".into()));
    }
    let (folder, device) = (Folder::new(), adapter.number.as_str());
    let full = train(folder.0.path(), device, &[]);
    let mixed = train(folder.0.path(), device, &["--precision", "mixed"]);
    assert!(!choices(&full).contains("mixed precision"), "{}", choices(&full));
    for line in choices(&mixed).lines() {
        assert!(line.contains(", mixed precision: ") && line.contains(" f16"), "{line}");
    }
    assert_eq!(choices(&train(folder.0.path(), device, &[])), choices(&full));
    assert_eq!(choices(&train(folder.0.path(), device, &["--precision", "mixed"])), choices(&mixed));
    Ok(())
}

fn a_damaged_or_hopeless_cache_is_no_failure(adapter: &AdapterUnderTest) {
    let (folder, device) = (Folder::new(), adapter.number.as_str());
    folder.file("tuning.json", b"{\"adapters\": {\"");
    train(folder.0.path(), device, &[]);
    let mended = std::fs::read(folder.path("tuning.json")).expect("still there");
    serde_json::from_slice::<Value>(&mended).expect("written anew");
    // A choice that does not exist is measured again.
    let text = String::from_utf8(mended).expect("UTF-8");
    folder.file("tuning.json", text.replace("\"chosen\": \"", "\"chosen\": \"no such ").as_bytes());
    assert!(!choices(&train(folder.0.path(), device, &[])).contains("no such"));
    // A folder that cannot be made: a file is in the way.
    let report = train(&folder.path("tuning.json").join("below a file"), device, &[]);
    let told = choices(&report);
    assert!(told.contains("choices are not remembered") && !told.contains("measured"), "{told}");
}

fn without_tuning_nothing_is_measured_or_written(adapter: &AdapterUnderTest) {
    let (folder, device) = (Folder::new(), adapter.number.as_str());
    let report = train(folder.0.path(), device, &["--tune", "off"]);
    assert!(choices(&report).contains("by rule") && !choices(&report).contains("measured"));
    assert!(!folder.path("tuning.json").exists());
}

fn the_time_to_the_first_step_and_of_each_kernel_is_told(adapter: &AdapterUnderTest) {
    let (folder, device) = (Folder::new(), adapter.number.as_str());
    for kernels in ["primitive", "fused"] {
        let report =
            train(folder.0.path(), device, &["--tune", "off", "--profile", "--kernels", kernels, "--batch", "11"]);
        assert!(report["seconds_to_first_step"].as_f64().expect("a number") > 0.0);
        let timed = report["profile"]["kernels"].as_array().expect("a list");
        let names: Vec<&str> = timed.iter().map(|kernel| kernel["kernel"].as_str().expect("a name")).collect();
        let expected = if kernels == "primitive" { "outer_product" } else { "train_in_workgroup" };
        assert!(names.contains(&expected), "{}: {names:?}", adapter.description());
        assert!(timed.iter().map(|kernel| kernel["calls"].as_u64().expect("a count")).sum::<u64>() > 0);
    }
    // Taking times changes no result.
    let plain = train(folder.0.path(), device, &["--tune", "off", "--batch", "11"]);
    let timed = train(folder.0.path(), device, &["--tune", "off", "--batch", "11", "--profile"]);
    assert_eq!(plain["weights_sha256"], timed["weights_sha256"]);
    assert!(plain["profile"].is_null());
}

/// How fast a device trained is remembered, shown, and held against the device that is asked for.
fn a_gpu_that_is_slower_than_the_cpu_was_says_so(adapter: &AdapterUnderTest) {
    let (folder, device) = (Folder::new(), adapter.number.as_str());
    let with_cache = |arguments: &[&str]| {
        let output =
            program().env("GPU_BACKPROP_CACHE_DIR", folder.0.path()).args(arguments).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8(output.stdout).expect("UTF-8"), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let train = ["train", "--epochs", "30", "--threads", "1", "--device", device];
    let (_, first) = with_cache(&train);
    assert!(!first.contains("the CPU was"), "nothing is known yet: {first}");
    let text = std::fs::read_to_string(folder.path("speeds.json")).expect("a speed is remembered");
    let mut speeds: Value = serde_json::from_str(&text).expect("JSON");
    let devices = speeds["devices"].as_object_mut().expect("devices");
    let (key, work) = devices.iter().next().expect("the adapter");
    assert!(key.starts_with(&adapter.description().name), "{key}");
    let (work, speed) = work.as_object().and_then(|work| work.iter().next()).expect("what was trained");
    assert_eq!(work, "training 64-30-10 (sigmoid, quadratic, sgd) on bytes, m = 10");
    let faster = serde_json::json!({ work: 20.0 * speed.as_f64().expect("a number") });
    devices.insert(format!("1 thread |  |  | gpu-backprop {}", env!("CARGO_PKG_VERSION")), faster);
    folder.file("speeds.json", speeds.to_string().as_bytes());
    let (_, second) = with_cache(&train);
    assert!(second.contains("; the CPU was 20 times as fast when last used"), "{second}");
    let (_, untuned) = with_cache(&[&train[..], &["--tune", "off"]].concat());
    assert!(!untuned.contains("the CPU was"), "without tuning nothing is remembered: {untuned}");
    let (table, _) = with_cache(&["devices"]);
    assert!(table.contains("training 64-30-10 (sigmoid, quadratic, sgd) on bytes, m = 10: "), "{table}");
    // A damaged file is as good as none.
    folder.file("speeds.json", b"{\"devices\": 7");
    let (_, third) = with_cache(&train);
    assert!(!third.contains("the CPU was"), "{third}");
}

fn the_cpu_tells_the_time_of_each_step_too() {
    let folder = Folder::new();
    let report = train(folder.0.path(), "cpu", &["--profile"]);
    let kernels = report["profile"]["kernels"].as_array().expect("a list");
    let of_update = kernels.iter().find(|kernel| kernel["kernel"] == "outer_product_update").expect("a fused step");
    assert_eq!((&report["profile"]["clock"], &of_update["calls"]), (&"wall".into(), &143.into()));
    assert_eq!(report["weights_sha256"], train(folder.0.path(), "cpu", &[])["weights_sha256"]);
}

trials! {
    once:
        the_cpu_tells_the_time_of_each_step_too;
    on_each_adapter:
        what_was_measured_is_remembered_and_gives_the_same_bits,
        choices_are_remembered_by_precision,
        a_damaged_or_hopeless_cache_is_no_failure,
        without_tuning_nothing_is_measured_or_written,
        the_time_to_the_first_step_and_of_each_kernel_is_told,
        a_gpu_that_is_slower_than_the_cpu_was_says_so;
}
