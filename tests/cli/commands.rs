//! The built binary, as people and scripts use it.

use crate::files::{gzip, idx, images_and_labels};
use crate::harness::{AdapterUnderTest, Ignored};
use crate::program::{Folder, json, program, run, stdout, text};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;

fn with_no_flags_it_trains_the_built_in_digits_well() {
    let output = run(&["train"]);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    let accuracy: f64 = stdout
        .lines()
        .find_map(|line| line.strip_prefix("test accuracy")?.trim().split('%').next()?.parse().ok())
        .unwrap_or_else(|| panic!("no test accuracy in: {stdout}"));
    assert!(accuracy >= 93.0, "{stdout}");
    assert!(stderr.contains("\ndevice "), "it says which device and why: {stderr}");
    assert!(stderr.contains("epoch 30/30"), "plain lines where stderr is no terminal: {stderr}");
    assert!(!stderr.contains('\x1b') && !stderr.contains('\r'), "{stderr}");
}

fn quiet_says_nothing_but_the_result() {
    let output = run(&["train", "--epochs", "1", "--quiet"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("test accuracy"));
}

fn train_json_has_every_field_of_the_contract() {
    let report =
        json(&["train", "--json", "--epochs", "2", "--validation", "0.1", "--seed", "3", "--device", "cpu", "-q"]);
    assert_eq!(report["device"], "cpu");
    assert_eq!((&report["adapter"], &report["backend"]), (&Value::Null, &Value::Null));
    assert_eq!(report["seed"], 3);
    assert_eq!(report["layers"], serde_json::json!([64, 30, 10]));
    assert_eq!(report["parameters"], 65 * 30 + 31 * 10);
    let epochs = report["epochs"].as_array().expect("epochs");
    assert_eq!(epochs.len(), 2);
    for (i, epoch) in epochs.iter().enumerate() {
        assert_eq!(epoch["epoch"], i + 1);
        for field in ["train_cost", "validation_cost", "validation_accuracy", "seconds", "samples_per_second"] {
            assert!(epoch[field].as_f64().expect(field) > 0.0, "{epoch}");
        }
    }
    for field in ["test_accuracy", "training_seconds", "samples_per_second", "steps_per_second"] {
        assert!(report[field].as_f64().expect(field) > 0.0, "{report}");
    }
    let hash = report["weights_sha256"].as_str().expect("a hash");
    assert!(hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{hash}");
}

fn what_is_absent_is_null() {
    let report = json(&["train", "--json", "--epochs", "0", "--test", "0", "--device", "cpu"]);
    for field in ["test_accuracy", "test_cost", "samples_per_second", "steps_per_second"] {
        assert_eq!(report[field], Value::Null, "{field}");
    }
    let report = json(&["train", "--json", "--epochs", "1", "--device", "cpu"]);
    assert_eq!(report["epochs"][0]["validation_accuracy"], Value::Null);
}

fn a_seed_decides_everything() {
    let hash = |seed: &str| {
        json(&["train", "--json", "--epochs", "1", "--seed", seed, "--device", "cpu"])["weights_sha256"].clone()
    };
    assert_eq!(hash("1"), hash("1"));
    assert_ne!(hash("1"), hash("2"));
}

fn the_model_holds_the_tensors_of_the_book() {
    let folder = Folder::new();
    let path = folder.text("model.safetensors");
    let report = json(&["train", "--json", "--layers", "64,5,10", "--epochs", "1", "--device", "cpu", "-o", &path]);
    let bytes = std::fs::read(&path).expect("the model");
    let model = SafeTensors::deserialize(&bytes).expect("safetensors");
    let shape = |name: &str| {
        let tensor = model.tensor(name).expect(name);
        assert_eq!(tensor.dtype(), Dtype::F32);
        tensor.shape().to_vec()
    };
    assert_eq!(model.len(), 4);
    assert_eq!([shape("w2"), shape("w3")], [[5, 64], [10, 5]]);
    assert_eq!([shape("b2"), shape("b3")], [[5], [10]]);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("metadata");
    let description: Value =
        serde_json::from_str(&metadata.metadata().as_ref().expect("metadata")["gpu-backprop"]).expect("JSON");
    assert_eq!(description["layers"], serde_json::json!([64, 5, 10]));
    assert_eq!((&description["activation"], &description["cost"]), (&"sigmoid".into(), &"quadratic".into()));
    assert_eq!(description["preprocessing"], serde_json::json!({"bytes": {"input_scale": 0.0625}}));
    assert_eq!(
        description["outputs"]["classes"],
        serde_json::json!(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"])
    );

    // The same run writes the same bytes, over the old file, and leaves nothing else behind.
    let again = json(&["train", "--json", "--layers", "64,5,10", "--epochs", "1", "--device", "cpu", "-o", &path]);
    assert_eq!(report["weights_sha256"], again["weights_sha256"]);
    assert_eq!(std::fs::read(&path).expect("the model"), bytes);
    assert_eq!(std::fs::read_dir(folder.0.path()).expect("the folder").count(), 1);
}

fn with_no_epochs_the_initial_network_is_written() {
    let folder = Folder::new();
    let tensors = |init: &str, epochs: &str| {
        let path = folder.text(&format!("{init}-{epochs}.safetensors"));
        stdout(&["train", "--init", init, "--epochs", epochs, "--device", "cpu", "-q", "-o", &path]);
        let bytes = std::fs::read(path).expect("the model");
        let data = SafeTensors::deserialize(&bytes).expect("safetensors").tensor("w2").expect("w2").data().to_vec();
        bytemuck::pod_collect_to_vec::<u8, f32>(&data)
    };
    let deviation = |w: &[f32]| (w.iter().map(|w| f64::from(w * w)).sum::<f64>() / w.len() as f64).sqrt();
    let (large, scaled) = (tensors("large", "0"), tensors("scaled", "0"));
    assert!((deviation(&large) - 1.0).abs() < 0.1, "{}", deviation(&large));
    assert!((deviation(&scaled) - 0.125).abs() < 0.0125, "{}", deviation(&scaled));
    assert_ne!(tensors("large", "1"), large);
}

fn the_plan_is_printed_equation_by_equation() {
    let parts =
        ["feedforward", "BP1", "BP2", "BP3", "BP4", "descent", "a1 (7, 64)", "w2 -= (η/7) nabla_w2", "z2 = a1 w2ᵀ"];
    for kernels in ["fused", "primitive"] {
        let plan = stdout(&["train", "--print-plan", "--batch", "7", "--kernels", kernels]);
        assert_eq!(plan.contains("outer_product_update"), kernels == "fused");
        for part in parts {
            assert!(plan.contains(part), "{part} is not in\n{plan}");
        }
    }
}

fn idx_files_plain_and_compressed_are_the_same_data() {
    let folder = Folder::new();
    let (images, labels) = images_and_labels();
    let plain = [folder.file("images", &images), folder.file("labels", &labels)];
    let compressed = [folder.file("images.gz", &gzip(&images)), folder.file("labels.gz", &gzip(&labels))];
    let train = |[images, labels]: &[String; 2]| {
        json(&[
            "train", images, "--labels", labels, "--json", "--epochs", "30", "--batch", "4", "--test", "0.25",
            "--device", "cpu",
        ])
    };
    let (report, other) = (train(&plain), train(&compressed));
    assert_eq!(report["layers"], serde_json::json!([6, 30, 3]));
    assert_eq!((&report["test_examples"], &report["test_accuracy"]), (&10.into(), &1.0.into()));
    assert_eq!(report["weights_sha256"], other["weights_sha256"]);
}

fn an_mnist_folder_brings_its_test_set() {
    let folder = Folder::new();
    let (images, labels) = images_and_labels();
    folder.file("train-images-idx3-ubyte.gz", &gzip(&images));
    folder.file("train-labels.idx1-ubyte", &labels);
    folder.file("t10k-images-idx3-ubyte", &idx(&[2, 2, 3], &[0, 250, 0, 0, 250, 0, 0, 0, 240, 0, 0, 240]));
    folder.file("t10k-labels-idx1-ubyte", &idx(&[2], &[1, 2]));
    let path = text(folder.0.path());
    let report = json(&["train", &path, "--json", "--epochs", "40", "--batch", "4", "--device", "cpu"]);
    assert_eq!((&report["test_examples"], &report["test_correct"]), (&2.into(), &2.into()));

    // Another file, or a fraction, in the place of its own test set.
    let (images, labels) = (folder.text("train-images-idx3-ubyte.gz"), folder.text("train-labels.idx1-ubyte"));
    let epoch = ["train", &path, "--json", "--epochs", "1", "--batch", "4", "--device", "cpu", "--test"];
    assert_eq!(json(&[&epoch[..], &["0.1"]].concat())["test_examples"], 4);
    assert_eq!(json(&[&epoch[..], &[&images, "--test-labels", &labels]].concat())["test_examples"], 40);
}

fn devices_lists_adapters_and_what_auto_takes() {
    let devices = json(&["devices", "--json"]);
    assert!(devices["cpu"]["threads"].as_u64().expect("threads") >= 1);
    for (i, adapter) in devices["adapters"].as_array().expect("adapters").iter().enumerate() {
        assert_eq!(adapter["index"], i);
        for field in ["adapter", "backend", "kind", "driver"] {
            assert!(adapter[field].as_str().is_some_and(|text| !text.is_empty()), "{adapter}");
        }
        assert_eq!(adapter["usable"], adapter["shortcomings"].as_array().expect("a list").is_empty());
    }
    assert!(devices["auto"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert!(stdout(&["devices"]).contains("--device auto selects"));
}

fn devices_check_trains_in_every_way() {
    let devices = json(&["devices", "--check", "--json"]);
    for adapter in devices["adapters"].as_array().expect("adapters") {
        let findings = adapter["check"].as_array().expect("findings");
        let named = |part: &str| {
            findings.iter().any(|finding| finding["what"].as_str().is_some_and(|what| what.contains(part)))
        };
        assert!(named("long loops") && named("registers_8x8") && named("one work group"), "{findings:?}");
        assert!(findings.iter().all(|finding| finding["passed"] == true), "{findings:?}");
    }
    assert!(
        json(&["devices", "--json"])["adapters"]
            .as_array()
            .expect("adapters")
            .iter()
            .all(|adapter| adapter["check"].is_null())
    );
}

fn bench_measures_steps_and_kernels_and_compares() {
    const FIELDS: &str = "device adapter backend driver what name layers batch rows cols inner median_seconds min_seconds \
                          max_seconds samples_per_second steps_per_second gflops fraction_of_peak";
    let folder = Folder::new();
    let bench = |device: &str, more: &[&str]| {
        let of_size = ["bench", "--layers", "20,7,3", "--batches", "4,8", "--seconds", "0.01"];
        stdout(&[&of_size[..], &["--tune", "off", "--quiet", "--devices", device], more].concat())
    };
    let adapters = json(&["devices", "--json"])["adapters"].as_array().expect("adapters").len();
    for device in (0..adapters).map(|index| index.to_string()).chain(["cpu".to_string()]) {
        let lines = bench(&device, &["--json"]);
        let measured: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        for line in &measured {
            for field in FIELDS.split_whitespace() {
                assert!(line.get(field).is_some(), "{field} is missing: {line}");
            }
            let seconds = |field: &str| line[field].as_f64().expect("a number");
            assert!(0.0 < seconds("min_seconds") && seconds("min_seconds") <= seconds("median_seconds"));
            assert!(seconds("median_seconds") <= seconds("max_seconds") && seconds("gflops") > 0.0);
            assert!(seconds("fraction_of_peak") <= 1.0 || line["inner"].is_null(), "{line}");
        }
        let trained: Vec<_> = measured.iter().filter(|line| line["what"] == "train").collect();
        assert_eq!(trained.iter().map(|line| &line["batch"]).collect::<Vec<_>>(), [4, 8], "{device}");
        assert!(measured.iter().any(|line| line["name"] == "outer_product_update"));
        let earlier = folder.file("earlier.jsonl", lines.as_bytes());
        let table = bench(&device, &["--against", &earlier]);
        assert!(table.contains("20-7-3, batch 8") && table.contains("!: beyond the spread"), "{table}");
        assert!(!table.contains("not measured before"), "{table}");
    }
    assert!(bench("cpu", &["--only-training", "--json"]).lines().count() == 2);
    let earlier = folder.file("earlier.jsonl", bench("cpu", &["--json"]).as_bytes());
    for line in bench("cpu", &["--json", "--against", &earlier]).lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert!(line["speedup"].as_f64().expect("a ratio") > 0.0 && line["beyond_spread"].is_boolean(), "{line}");
    }
}

fn a_gpu_trains_by_number_and_by_name(adapter: &AdapterUnderTest) {
    let (index, description) = (&adapter.number, adapter.description());
    let name = description.name.as_str();
    let cpu = json(&["train", "--json", "--epochs", "3", "--device", "cpu"]);
    let accuracy = |report: &Value| report["test_accuracy"].as_f64().expect("a test accuracy");
    for kernels in ["fused", "primitive"] {
        let report = json(&["train", "--json", "--epochs", "3", "--device", index, "--kernels", kernels]);
        assert_eq!((&report["device"], &report["adapter"]), (&"gpu".into(), &name.into()));
        assert_eq!(report["backend"], description.backend.as_deref().expect("a GPU"));
        assert!((accuracy(&report) - accuracy(&cpu)).abs() <= 0.005, "{report} and {cpu}");
    }
    assert_eq!(json(&["train", "--json", "--epochs", "0", "--device", &name.to_uppercase()])["adapter"], name);
}

fn with_no_epochs_the_initial_network_is_measured() {
    let result = stdout(&["train", "--epochs", "0", "--validation", "0.1", "--device", "cpu"]);
    for part in ["training  ", "validation  ", "test accuracy"] {
        assert!(result.contains(part), "{part} is not in {result}");
    }
    let report = json(&["train", "--json", "--epochs", "0", "--validation", "0.1", "--device", "CPU"]);
    for field in ["train_cost", "train_accuracy", "validation_cost", "validation_accuracy", "test_cost"] {
        assert!(report[field].as_f64().expect(field) >= 0.0, "{report}");
    }
    assert_eq!(report["training_seconds"].to_string(), "0.0");
}

fn any_number_of_threads_will_do() {
    let threads = u64::MAX.to_string();
    let flags = ["train", "--json", "--epochs", "1", "--hidden", "500", "--batch", "200", "--device", "cpu"];
    let report = json(&[&flags[..], &["--threads", &threads]].concat());
    let other = json(&[&flags[..], &["--threads", "1"]].concat());
    assert_eq!(report["weights_sha256"], other["weights_sha256"]);
}

fn a_closed_pipe_is_no_failure() -> Result<(), Ignored> {
    if !cfg!(unix) {
        return Err(Ignored("pipes of Unix".into()));
    }
    use std::process::Stdio;
    let mut child = program()
        .args(["train", "--print-plan"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    Ok(())
}

fn help_and_version_work() {
    for command in [&["--help"][..], &["train", "--help"], &["compare", "--help"], &["devices", "--help"]] {
        assert!(stdout(command).contains("Usage"), "{command:?}");
    }
    assert!(stdout(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
}

trials! {
    once:
        with_no_flags_it_trains_the_built_in_digits_well,
        quiet_says_nothing_but_the_result,
        train_json_has_every_field_of_the_contract,
        what_is_absent_is_null,
        a_seed_decides_everything,
        the_model_holds_the_tensors_of_the_book,
        with_no_epochs_the_initial_network_is_written,
        the_plan_is_printed_equation_by_equation,
        idx_files_plain_and_compressed_are_the_same_data,
        an_mnist_folder_brings_its_test_set,
        devices_lists_adapters_and_what_auto_takes,
        devices_check_trains_in_every_way,
        bench_measures_steps_and_kernels_and_compares,
        with_no_epochs_the_initial_network_is_measured,
        any_number_of_threads_will_do,
        a_closed_pipe_is_no_failure,
        help_and_version_work;
    on_each_adapter:
        a_gpu_trains_by_number_and_by_name;
}
