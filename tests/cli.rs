//! The built binary, as people and scripts use it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gpu-backprop"))
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("the program starts")
}

/// Runs a command that must succeed; its stdout.
fn stdout(arguments: &[&str]) -> String {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(arguments)).expect("JSON")
}

/// Runs a command that must fail with an exit code and one line that says each of `parts`.
fn assert_fails(arguments: &[&str], code: i32, parts: &[&str]) {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{arguments:?} printed a result");
    let last = stderr.lines().filter(|line| line.starts_with("gpu-backprop: ")).collect::<Vec<_>>();
    // clap explains wrong flags over several lines, in its own well-known form.
    let message = if last.is_empty() && code == 2 { stderr.clone() } else { last.join("\n") };
    assert!(!message.is_empty() && last.len() <= 1, "{arguments:?}: not one line of error: {stderr}");
    for part in parts {
        assert!(message.contains(part), "{arguments:?}: \"{part}\" is not in: {message}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// An IDX file of bytes.
fn idx(dimensions: &[u32], entries: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    dimensions.iter().for_each(|dimension| bytes.extend(dimension.to_be_bytes()));
    bytes.extend(entries);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("gzip");
    encoder.finish().expect("gzip")
}

/// A folder of files for one test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        text(&self.path(name))
    }

    /// Writes a file; its path as text.
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).expect("write");
        self.text(name)
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_string()
}

/// 40 images of 2x3 whose class (of 3) is the brightest column.
fn images_and_labels() -> (Vec<u8>, Vec<u8>) {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for i in 0..40u8 {
        let class = i % 3;
        for pixel in 0..6 {
            images.push(if pixel % 3 == class { 200 + i } else { i });
        }
        labels.push(class);
    }
    (idx(&[40, 2, 3], &images), idx(&[40], &labels))
}

#[test]
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

#[test]
fn quiet_says_nothing_but_the_result() {
    let output = run(&["train", "--epochs", "1", "--quiet"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("test accuracy"));
}

#[test]
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

#[test]
fn what_is_absent_is_null() {
    let report = json(&["train", "--json", "--epochs", "0", "--test", "0", "--device", "cpu"]);
    for field in ["test_accuracy", "test_cost", "samples_per_second", "steps_per_second"] {
        assert_eq!(report[field], Value::Null, "{field}");
    }
    let report = json(&["train", "--json", "--epochs", "1", "--device", "cpu"]);
    assert_eq!(report["epochs"][0]["validation_accuracy"], Value::Null);
}

#[test]
fn a_seed_decides_everything() {
    let hash = |seed: &str| {
        json(&["train", "--json", "--epochs", "1", "--seed", seed, "--device", "cpu"])["weights_sha256"].clone()
    };
    assert_eq!(hash("1"), hash("1"));
    assert_ne!(hash("1"), hash("2"));
}

#[test]
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
    assert_eq!(description["input_scale"], 0.0625);

    // The same run writes the same bytes, over the old file, and leaves nothing else behind.
    let again = json(&["train", "--json", "--layers", "64,5,10", "--epochs", "1", "--device", "cpu", "-o", &path]);
    assert_eq!(report["weights_sha256"], again["weights_sha256"]);
    assert_eq!(std::fs::read(&path).expect("the model"), bytes);
    assert_eq!(std::fs::read_dir(folder.0.path()).expect("the folder").count(), 1);
}

#[test]
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

#[test]
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

#[test]
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

#[test]
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

#[test]
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
    assert!(stdout(&["devices"]).contains("--device auto takes"));
}

#[test]
fn a_gpu_trains_by_number_and_by_name() {
    let devices = json(&["devices", "--json"]);
    let adapters = devices["adapters"].as_array().expect("adapters");
    if adapters.is_empty() {
        assert!(std::env::var_os("GPU_BACKPROP_SKIP_GPU_TESTS").is_some(), "no GPU adapter found");
        eprintln!("SKIPPED: no GPU adapter found");
    }
    for adapter in adapters {
        let index = adapter["index"].to_string();
        let cpu = json(&["train", "--json", "--epochs", "3", "--device", "cpu"]);
        let accuracy = |report: &Value| report["test_accuracy"].as_f64().expect("a test accuracy");
        for kernels in ["fused", "primitive"] {
            let report = json(&["train", "--json", "--epochs", "3", "--device", &index, "--kernels", kernels]);
            assert_eq!((&report["device"], &report["adapter"]), (&"gpu".into(), &adapter["adapter"]));
            assert_eq!(report["backend"], adapter["backend"]);
            assert!((accuracy(&report) - accuracy(&cpu)).abs() <= 0.005, "{report} and {cpu}");
        }
        let name = adapter["adapter"].as_str().expect("a name").to_uppercase();
        assert_eq!(json(&["train", "--json", "--epochs", "0", "--device", &name])["adapter"], adapter["adapter"]);
    }
}

/// No backend of this kind is on this system: the same as no adapter at all.
fn without_adapters(arguments: &[&str]) -> Output {
    let absent = if cfg!(windows) { "metal" } else { "dx12" };
    program().env("WGPU_BACKEND", absent).args(arguments).output().expect("the program starts")
}

#[test]
fn without_an_adapter_auto_is_the_cpu_and_gpu_an_error() {
    let output = without_adapters(&["train", "--epochs", "1"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("no GPU adapter found"), "{stderr}");

    let output = without_adapters(&["train", "--device", "gpu"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("no GPU adapter found") && stderr.contains("--device cpu"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");

    assert!(stderr.contains("WGPU_BACKEND="), "the restriction is named: {stderr}");

    let output = without_adapters(&["devices"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("WGPU_BACKEND="), "{stdout}");
}

#[test]
fn wrong_flags_are_named() {
    assert_fails(&["train", "--hidden", "0"], 2, &["layer 2", "0 neurons"]);
    assert_fails(&["train", "--layers", "64,0,10"], 2, &["layer 2 of 64-0-10", "at least 1"]);
    assert_fails(&["train", "--layers", "64"], 2, &["input and an output layer"]);
    assert_fails(&["train", "--layers", "63,10"], 2, &["63 inputs", "64"]);
    assert_fails(&["train", "--layers", "64,9"], 2, &["9 outputs", "10 classes"]);
    assert_fails(&["train", "--layers", "64,4294967295,10"], 2, &["w2", "2^32"]);
    assert_fails(&["train", "--hidden", "x"], 2, &["--hidden"]);
    assert_fails(&["train", "--hidden", "3", "--layers", "64,10"], 2, &["--hidden", "--layers"]);
    assert_fails(&["train", "--batch", "0"], 2, &["--batch 0", "at least 1"]);
    assert_fails(&["train", "--batch", "5000"], 2, &["--batch 5000", "1438 examples"]);
    assert_fails(&["train", "--eta", "nan"], 2, &["--eta NaN"]);
    assert_fails(&["train", "--eta", "inf"], 2, &["--eta inf"]);
    assert_fails(&["train", "--eta", "-1"], 2, &["--eta -1"]);
    assert_fails(&["train", "--threads", "0"], 2, &["--threads 0"]);
    assert_fails(&["train", "--device", "no such gpu"], 2, &["--device no such gpu", "cpu"]);
    assert_fails(&["train", "--device", "99"], 2, &["--device 99"]);
    assert_fails(&["train", "--test", "1.5"], 2, &["--test 1.5", "below 1"]);
    assert_fails(&["train", "--validation", "-0.1"], 2, &["--validation"]);
    assert_fails(&["train", "--test", "images"], 2, &["--test-labels"]);
    assert_fails(&["train", "--test-labels", "labels"], 2, &["--test FILE"]);
    assert_fails(&["train", "--labels", "labels"], 2, &["--labels", "built-in"]);
    assert_fails(&["train", "--eta", "1e39"], 2, &["--eta 1e39", "32-bit"]);
    assert_fails(&["train", "--eta", "1e-60"], 2, &["--eta 1e-60", "32-bit"]);
    assert_fails(&["train", "--seed", "-1"], 2, &["-1", "--seed"]);
    assert_fails(&["train", "--batch", "-1"], 2, &["-1", "--batch"]);
    assert_fails(&["train", "--hidden", "-1"], 2, &["-1", "--hidden"]);
    assert_fails(&["train", "--test", "0.0001"], 2, &["--test 0.0001", "none"]);
    assert_fails(&["train", "--device", ""], 2, &["--device", "auto, cpu, gpu"]);
    assert_fails(&["train", "--print-plan", "--batch", "0"], 2, &["--batch 0"]);
    assert_fails(&["train", "--print-plan", "--batch", "5000"], 2, &["--batch 5000"]);
    assert_fails(&["train", "--print-plan", "--layers", "64,9"], 2, &["9 outputs"]);
    assert_fails(&["train", "--print-plan", "--json"], 2, &["--print-plan", "--json"]);
    assert_fails(&["train", "--init", "huge"], 2, &["large", "scaled"]);
    assert_fails(&["train", "--validation", "0.9", "--test", "0.999"], 2, &["leave no example"]);
}

#[test]
fn wrong_files_are_named() {
    let folder = Folder::new();
    let (images, labels) = images_and_labels();
    let good = [folder.file("images", &images), folder.file("labels", &labels)];
    let [good_images, good_labels] = [&good[0][..], &good[1][..]];
    let train = |images: &str, labels: &str, parts: &[&str]| {
        assert_fails(&["train", images, "--labels", labels, "--batch", "2", "--device", "cpu"], 1, parts);
    };
    let missing = folder.text("missing");
    train(&missing, good_labels, &["missing"]);
    train(good_images, &missing, &["missing"]);
    assert_fails(&["train", good_images], 2, &["images", "--labels FILE"]);
    assert_fails(&["train", &missing], 1, &["missing", "no such file"]);
    assert_fails(&["train", &text(folder.0.path())], 1, &["train-images-idx3-ubyte", "is missing"]);

    let file = |name: &str, bytes: &[u8]| folder.file(name, bytes);
    train(&file("cut", &images[..100]), good_labels, &["cut", "truncated", "256 bytes", "100"]);
    train(&file("cut-header", &images[..9]), good_labels, &["cut-header", "truncated", "dimensions"]);
    train(&file("empty", &[]), good_labels, &["empty", "truncated", "header"]);
    train(&file("cut.gz", &gzip(&images[..100])), good_labels, &["cut.gz", "truncated"]);
    let compressed = gzip(&images);
    train(&file("broken.gz", &compressed[..compressed.len() / 2]), good_labels, &["broken.gz"]);
    train(&file("long", &[&images[..], &[0]].concat()), good_labels, &["long", "goes on after"]);
    train(&file("text", b"label,p0,p1\n1,2,3\n"), good_labels, &["text", "not an IDX file"]);
    train(&file("type", &[0, 0, 7, 1, 0, 0, 0, 0]), good_labels, &["type", "not an IDX file"]);
    train(&file("huge", &idx(&[u32::MAX; 3], &[])), good_labels, &["huge", "more than memory"]);
    train(&file("bomb.gz", &gzip(&idx(&[u32::MAX; 3], &[]))), good_labels, &["bomb.gz", "more than memory"]);
    train(good_images, &file("few", &idx(&[39], &[0; 39])), &["40 images", "few", "39 labels"]);
    train(good_images, good_images, &["images", "3 dimensions", "labels have 1"]);
    train(good_labels, good_labels, &["labels", "1 dimension", "images need at least 2"]);
    train(&file("none", &idx(&[0, 2, 3], &[])), &file("no-labels", &idx(&[0], &[])), &["none", "no examples"]);
    train(&file("points", &idx(&[40, 0], &[])), good_labels, &["points", "without inputs"]);

    let mut nan = vec![0, 0, 0x0d, 2, 0, 0, 0, 40, 0, 0, 0, 1];
    (0..40).for_each(|i| nan.extend(if i == 16 { f32::NAN } else { 0.5 }.to_be_bytes()));
    train(&file("nan", &nan), good_labels, &["nan", "input 1 of example 17 is NaN"]);
    let mut negative = vec![0, 0, 0x09, 1, 0, 0, 0, 40];
    negative.extend([255u8; 40]);
    train(good_images, &file("negative", &negative), &["negative", "example 1 is -1"]);

    let other = [file("wide", &idx(&[2, 7], &[0; 14])), file("two", &idx(&[2], &[0, 1]))];
    assert_fails(
        &["train", good_images, "--labels", good_labels, "--test", &other[0], "--test-labels", &other[1]],
        1,
        &["--test", "wide", "7 inputs", "6"],
    );
}

#[test]
fn a_model_that_cannot_be_written_is_refused_before_training() {
    let folder = Folder::new();
    let inside = folder.text("no/such/folder/model.safetensors");
    assert_fails(&["train", "--epochs", "100000", "-o", &inside], 1, &["cannot write", "no/such/folder"]);
    assert_fails(&["train", "--epochs", "100000", "-o", &text(folder.0.path())], 1, &["-o", "is a folder"]);
}

#[test]
fn divergence_is_exit_code_4_and_keeps_the_old_model() {
    let folder = Folder::new();
    let path = folder.file("model.safetensors", b"precious");
    // Inputs so large that weighted inputs are infinity minus infinity.
    let mut images = vec![0, 0, 0x0d, 2, 0, 0, 0, 40, 0, 0, 0, 8];
    (0..320).for_each(|_| images.extend(3e38f32.to_be_bytes()));
    let images = folder.file("images", &images);
    let labels = folder.file("labels", &images_and_labels().1);
    assert_fails(
        &["train", &images, "--labels", &labels, "--batch", "1", "--init", "large", "--device", "cpu", "-o", &path],
        4,
        &["diverged", "epoch 1", "--eta"],
    );
    assert_eq!(std::fs::read(&path).expect("the old model"), b"precious");
}

#[test]
fn an_initial_network_without_a_cost_is_divergence_too() {
    let folder = Folder::new();
    let mut images = vec![0, 0, 0x0d, 2, 0, 0, 0, 1, 0, 0, 0, 8];
    (0..8).for_each(|_| images.extend(3e38f32.to_be_bytes()));
    let images = folder.file("images", &images);
    let labels = folder.file("labels", &idx(&[1], &[1]));
    let flags = ["train", &images, "--labels", &labels, "--batch", "1", "--init", "large", "--device", "cpu"];
    assert_fails(&[&flags[..], &["--epochs", "0"]].concat(), 4, &["initial network", "scale the inputs"]);
    assert_fails(&[&flags[..], &["--eta", "0"]].concat(), 4, &["initial network", "scale the inputs"]);
}

#[test]
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

#[test]
fn any_number_of_threads_will_do() {
    let threads = u64::MAX.to_string();
    let flags = ["train", "--json", "--epochs", "1", "--hidden", "500", "--batch", "200", "--device", "cpu"];
    let report = json(&[&flags[..], &["--threads", &threads]].concat());
    let other = json(&[&flags[..], &["--threads", "1"]].concat());
    assert_eq!(report["weights_sha256"], other["weights_sha256"]);
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_replaced() {
    let folder = Folder::new();
    let train = |path: &str| run(&["train", "--epochs", "0", "--device", "cpu", "-q", "-o", path]);
    assert_fails(&["train", "--epochs", "100000", "-o", "/dev/null"], 1, &["-o /dev/null", "not a regular file"]);
    assert_fails(&["train", "--epochs", "100000", "-o", &folder.text("new/")], 1, &["new/", "a file name is needed"]);
    let long = folder.text(&"x".repeat(300));
    assert_fails(&["train", "--epochs", "100000", "-o", &long], 1, &["cannot write"]);

    // A link stays a link, to the new file.
    folder.file("target", b"old");
    std::os::unix::fs::symlink("target", folder.path("link")).expect("a link");
    assert!(train(&folder.text("link")).status.success());
    assert!(folder.path("link").is_symlink());
    assert!(SafeTensors::deserialize(&std::fs::read(folder.path("target")).expect("the target")).is_ok());
    std::os::unix::fs::symlink("nowhere", folder.path("dangling")).expect("a link");
    assert_fails(&["train", "-o", &folder.text("dangling")], 1, &["dangling", "leads nowhere"]);
}

#[test]
fn bytes_and_floats_do_not_mix() {
    let folder = Folder::new();
    let (images, labels) = images_and_labels();
    let [images, labels] = [folder.file("images", &images), folder.file("labels", &labels)];
    let mut floats = vec![0, 0, 0x0d, 2, 0, 0, 0, 1, 0, 0, 0, 6];
    (0..6).for_each(|_| floats.extend(0.5f32.to_be_bytes()));
    let test = [folder.file("floats", &floats), folder.file("one", &idx(&[1], &[1]))];
    assert_fails(
        &["train", &images, "--labels", &labels, "--test", &test[0], "--test-labels", &test[1]],
        1,
        &["--test", "floats", "another type"],
    );
}

#[test]
fn a_closed_pipe_is_no_failure() {
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
}

#[test]
fn help_and_version_work() {
    for command in [&["--help"][..], &["train", "--help"], &["devices", "--help"]] {
        assert!(stdout(command).contains("Usage"), "{command:?}");
    }
    assert!(stdout(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
}
