//! What the built binary says of wrong flags, wrong files and runs that fail.

use std::process::Command;

use crate::files::{idx, images_and_labels};
use crate::program::{Folder, assert_command_fails, assert_fails, program, run, text};
use safetensors::SafeTensors;

/// What is said of the variable that leaves no adapter.
const RESTRICTION: &str = "WGPU_BACKEND=";

/// No backend of this kind is on this system: the same as no adapter at all.
fn without_adapters(arguments: &[&str]) -> Command {
    let absent = if cfg!(windows) { "metal" } else { "dx12" };
    let mut program = program();
    program.env("WGPU_BACKEND", absent).args(arguments);
    program
}

fn without_an_adapter_auto_is_the_cpu_and_gpu_an_error() {
    let output = without_adapters(&["train", "--epochs", "1"]).output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("no GPU adapter found"), "{stderr}");

    let none = "no GPU adapter found";
    let fails = |arguments: &[&str], parts: &[&str]| assert_command_fails(&mut without_adapters(arguments), 1, parts);
    // The restriction is named.
    let stderr = fails(&["train", "--device", "gpu"], &[none, "--device cpu", RESTRICTION]);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    fails(&["train", "--precision", "mixed"], &[none, "--precision full"]);
    fails(&["bench", "--precision", "mixed"], &[none]);

    let output = without_adapters(&["devices"]).output().expect("the program starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains(RESTRICTION), "{stdout}");
}

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
    let cross_entropy = ["train", "--cost", "cross-entropy", "--output"];
    for output in ["linear", "tanh"] {
        let refused = [&cross_entropy[..], &[output]].concat();
        assert_fails(&refused, 2, &["--cost cross-entropy", output, "--output sigmoid", "--cost quadratic"]);
    }
    let numbers = ["--target", "progression", "--task", "regression", "--output", "sigmoid"];
    let refused = ["train", "tests/fixtures/diabetes.csv", "--cost", "cross-entropy"];
    assert_fails(&[&refused[..], &numbers].concat(), 2, &["--cost cross-entropy is for classes", "--cost quadratic"]);
    assert_fails(&["train", "--momentum", "0.5"], 2, &["--momentum is for --optimizer momentum or nesterov, not sgd"]);
    for momentum in ["1", "-0.1", "nan"] {
        let refused = ["train", "--optimizer", "momentum", "--momentum", momentum];
        assert_fails(&refused, 2, &["--momentum", "0 or greater, and below 1"]);
    }
    let neurons = "sigmoid, tanh, relu, leaky-relu, linear";
    assert_fails(&["train", "--activation", "swish"], 2, &["--activation", "swish", neurons]);
    // Softmax is of a whole layer, and of the last.
    assert_fails(&["train", "--activation", "softmax"], 2, &["--activation", "softmax", neurons]);
    let softmax = ["train", "--output", "softmax", "--cost", "quadratic"];
    assert_fails(&softmax, 2, &["--cost quadratic", "not softmax", "--cost cross-entropy"]);
    let optimizers = "sgd, momentum, nesterov, rmsprop, adam";
    for optimizer in ["lbfgs", "gradient"] {
        assert_fails(&["train", "--optimizer", optimizer], 2, &["--optimizer", optimizer, optimizers]);
    }
    assert_fails(&["train", "--beta1", "0.5"], 2, &["--beta1 is for --optimizer adam, not sgd"]);
    let refused = ["train", "--optimizer", "rmsprop", "--beta1", "0.5"];
    assert_fails(&refused, 2, &["--beta1 is for --optimizer adam, not rmsprop"]);
    for (flag, value, part) in [
        ("--beta1", "1", "0 or greater, and below 1"),
        ("--beta2", "nan", "0 or greater, and below 1"),
        ("--epsilon", "0", "at least 1e-30"),
        // Bias correction would make it subnormal, and some GPUs take that for 0.
        ("--epsilon", "1e-38", "at least 1e-30"),
    ] {
        assert_fails(&["train", "--optimizer", "adam", flag, value], 2, &[flag, part]);
    }
    for (flag, value) in [("--lambda", "-1"), ("--lambda", "nan"), ("--l1", "-0.5"), ("--l1", "inf")] {
        assert_fails(&["train", flag, value], 2, &[flag, "finite number, 0 or greater"]);
    }
    assert_fails(&["train", "--lambda", "1e9"], 2, &["--lambda", "sign of all weights", "use less than 479.333"]);
    for value in ["1", "-0.1", "nan"] {
        assert_fails(&["train", "--dropout", value], 2, &["--dropout", "0 or greater, and below 1"]);
    }
    let step = ["train", "--schedule", "step"];
    for (flag, value) in [("--schedule-factor", "0"), ("--schedule-factor", "2"), ("--schedule-every", "0")] {
        assert_fails(&[&step[..], &[flag, value]].concat(), 2, &[&format!("{flag} {value}")]);
    }
    let factor = ["train", "--schedule", "cosine", "--schedule-factor", "0.5"];
    assert_fails(&factor, 2, &["--schedule-factor is for --schedule step, exponential or plateau, not cosine"]);
    assert_fails(&["train", "--schedule-every", "2"], 2, &["--schedule-every is for --schedule step or plateau"]);
    assert_fails(&["train", "--patience", "0"], 2, &["--patience 0: at least 1"]);
    let warm = ["train", "--schedule", "cosine", "--epochs", "3", "--warmup", "3"];
    assert_fails(&warm, 2, &["--warmup 3", "3 epochs", "use 2 or less"]);
    assert_fails(&["train", "--recipe", "cookbook"], 2, &["--recipe", "book, modern"]);
    let mixed = ["--precision", "mixed"];
    assert_fails(&[&["train", "--device", "cpu"], &mixed[..]].concat(), 2, &["--precision mixed is for GPUs"]);
    assert_fails(&[&["bench", "--devices", "cpu"], &mixed[..]].concat(), 2, &["--precision mixed is for GPUs"]);
    assert_fails(
        &[&["compare", "--devices", "cpu,cpu"], &mixed[..]].concat(),
        2,
        &["--precision mixed needs the fused kernels"],
    );
    for command in ["train", "compare", "bench"] {
        let arguments = [&[command, "--kernels", "primitive"], &mixed[..]].concat();
        assert_fails(&arguments, 2, &["--precision mixed", "primitive kernels", "--kernels fused"]);
    }
    let sweep = ["sweep", "--device", "cpu", "--eta", "1,2", "--epochs", "1"];
    assert_fails(&[&sweep[..], &mixed].concat(), 2, &["--precision mixed is for GPUs"]);
    assert_fails(&["train", "--precision", "half"], 2, &["--precision", "mixed"]);
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
    assert_fails(&["train", "--validation", "0.9", "--test", "0.999"], 2, &["selects none of them"]);
}

fn wrong_flags_of_compare_are_named() {
    let compare =
        |flags: &[&str], code: i32, parts: &[&str]| assert_fails(&[&["compare"], flags].concat(), code, parts);
    compare(&["--devices", "cpu"], 2, &["--devices cpu", "two devices"]);
    compare(&["--devices", "cpu,cpu,cpu"], 2, &["--devices cpu,cpu,cpu", "two devices"]);
    compare(&["--devices", "cpu,auto"], 2, &["--devices auto"]);
    compare(&["--devices", "cpu,"], 2, &["--devices", "cpu, gpu"]);
    compare(&["--devices", "cpu,cpu:quick"], 2, &["--devices cpu:quick", ":fused or :primitive"]);
    compare(&["--devices", "cpu,no such gpu"], 2, &["--devices no such gpu", "there are cpu, gpu"]);
    compare(&["--devices", "99,cpu"], 2, &["--devices 99"]);
    compare(&["--devices", "cpu,cpu", "--lockstep", "0"], 2, &["--lockstep 0"]);
    compare(&["--devices", "cpu,cpu", "--lockstep", "-1"], 2, &["-1", "--lockstep"]);
    compare(&["--devices", "cpu,cpu", "-o", "model"], 2, &["-o"]);
    compare(&["--device", "cpu"], 2, &["--device"]);
    compare(&["--print-plan"], 2, &["--print-plan"]);
    compare(&["--devices", "cpu,cpu", "--batch", "0"], 2, &["--batch 0"]);
    compare(&["--devices", "cpu,cpu", "--eta", "nan"], 2, &["--eta NaN"]);

    let mut command = without_adapters(&["compare"]);
    let stderr = assert_command_fails(&mut command, 1, &["--devices gpu: no GPU adapter found"]);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// The others are among the cases of `tests/robustness/bad_files.rs`.
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
    assert_fails(&["train", &missing], 1, &["missing", "no such file"]);

    let file = |name: &str, bytes: &[u8]| folder.file(name, bytes);
    let mut negative = vec![0, 0, 0x09, 1, 0, 0, 0, 40];
    negative.extend([255u8; 40]);
    train(good_images, &file("negative", &negative), &["negative", "only the class -1"]);

    let other = [file("wide", &idx(&[2, 7], &[0; 14])), file("two", &idx(&[2], &[0, 1]))];
    assert_fails(
        &["train", good_images, "--labels", good_labels, "--test", &other[0], "--test-labels", &other[1]],
        1,
        &["--test", "wide", "7 inputs", "6"],
    );
}

fn a_model_that_cannot_be_written_is_refused_before_training() {
    let folder = Folder::new();
    let inside = folder.text("no/such/folder/model.safetensors");
    assert_fails(&["train", "--epochs", "100000", "-o", &inside], 1, &["cannot write", "no/such/folder"]);
    assert_fails(&["train", "--epochs", "100000", "-o", &text(folder.0.path())], 1, &["-o", "is a folder"]);
}

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
        &["--test", "floats", "a different type"],
    );
}

fn bench_refuses_what_it_cannot_measure() {
    let folder = Folder::new();
    let bench = |more: &[&str], code: i32, parts: &[&str]| {
        assert_fails(&[&["bench", "--devices", "cpu", "--seconds", "0.01"], more].concat(), code, parts);
    };
    bench(&["--layers", "784,x"], 2, &["--layers 784,x", "784,30,10"]);
    bench(&["--layers", "784"], 2, &["784"]);
    bench(&["--layers", "784,0,10"], 2, &["0"]);
    bench(&["--batches", "0"], 2, &["--batches 0"]);
    bench(&["--batches", "18446744073709551615"], 2, &["--batches 18446744073709551615", "smaller"]);
    bench(&["--batches", "4294967295"], 2, &["--batches 4294967295", "smaller"]);
    bench(&["--layers", "20,5", "--layers", "7"], 2, &["7"]);
    assert_fails(&["bench", "--seconds", "-1"], 2, &["--seconds -1"]);
    assert_fails(&["bench", "--seconds", "NaN"], 2, &["--seconds NaN"]);
    assert_fails(&["bench", "--devices", "auto"], 2, &["--devices auto"]);
    assert_fails(&["bench", "--devices", "no such"], 2, &["no such", "cpu"]);
    assert_fails(&["bench", "--threads", "0"], 2, &["--threads 0"]);
    bench(&["--against", &folder.text("missing")], 1, &["missing"]);
    bench(&["--against", &folder.file("bad", b"{}\n")], 1, &["--against", "bad", "line 1"]);
}

trials! {
    once:
        without_an_adapter_auto_is_the_cpu_and_gpu_an_error,
        wrong_flags_are_named,
        wrong_flags_of_compare_are_named,
        wrong_files_are_named,
        a_model_that_cannot_be_written_is_refused_before_training,
        only_regular_files_are_replaced,
        bytes_and_floats_do_not_mix,
        bench_refuses_what_it_cannot_measure;
}
