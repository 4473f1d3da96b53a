//! Files that are larger than a device, or than memory: they are streamed, and come to the same weights.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::process::{Command, Output};

use crate::archive::zipped;
use crate::files::{gzip, idx, npy};
use crate::numbers::{random, random_below};
use crate::program::{Folder, assert_fails, json, stdout};

/// Inputs of an example, enough for files that are large with few examples.
const WIDE: usize = 2000;

/// A file of bytes and one of floats of more than 16 MB each, which stay where they are; and the same
/// compressed, which are read into memory.
fn large_files(folder: &Folder) -> [[String; 2]; 2] {
    let images = 9000;
    let bytes: Vec<u8> = random_below(5, images * WIDE, 256).into_iter().map(|byte| byte as u8).collect();
    let plain = idx(&[images as u32, 20, 100], &bytes);
    let classes: Vec<u8> = random_below(6, images, 5).into_iter().map(|class| class as u8).collect();
    folder.file("y.idx", &idx(&[images as u32], &classes));
    let bytes = [folder.file("x.idx", &plain), folder.file("x.idx.gz", &gzip(&plain))];
    let rows = 2250;
    let floats: Vec<f32> = random(7, rows * WIDE);
    let x = npy("<f4", false, &format!("({rows}, {WIDE})"), bytemuck::cast_slice(&floats));
    let y = npy("|u1", false, &format!("({rows},)"), &classes[..rows]);
    folder.file("y.npy", &y);
    [bytes, [folder.file("x.npy", &x), folder.file("x.npz", &zipped(&[("x.npy", &x), ("y.npy", &y)]))]]
}

#[test]
fn a_large_file_is_the_same_as_one_in_memory() {
    let folder = Folder::new();
    let [bytes, floats] = large_files(&folder);
    let (idx_labels, npy_labels) = (folder.text("y.idx"), folder.text("y.npy"));
    let parts = ["--validation", "0.1", "--test", "0.1", "--layers", "2000,12,5", "--epochs", "2", "--batch", "50"];
    let parts = [&parts[..], &["--recipe", "book"]].concat();
    let limited = ["--scale", "zscore", "--limit", "1000"];
    // Memory for the network and for a chunk of as many examples as are measured at a time, but not for all;
    // those that are limited are too few for that.
    for ([mapped, in_memory], labels, memory, more) in [
        (&bytes, &idx_labels, "13", &[][..]),
        (&bytes, &idx_labels, "9", &limited[..]),
        (&bytes, &idx_labels, "30", &["--scale", "zscore"]),
        (&floats, &npy_labels, "16", &[][..]),
        (&floats, &npy_labels, "16", &["--scale", "unit"]),
        (&floats, &npy_labels, "9", &limited[..]),
    ] {
        let train = |data: &str, memory: &[&str]| {
            let labels = if data.ends_with(".npz") { vec![] } else { vec!["--labels", labels] };
            let flags = [&parts[..], more, &["--device", "cpu", "--json"], memory].concat();
            let mut report = json(&[&["train", data], &labels[..], &flags[..]].concat());
            let took =
                ["wall_seconds", "training_seconds", "samples_per_second", "steps_per_second", "seconds_to_first_step"];
            took.iter().for_each(|field| report[*field] = 0.into());
            for epoch in report["epochs"].as_array_mut().expect("epochs") {
                (epoch["seconds"], epoch["samples_per_second"]) = (0.into(), 0.into());
            }
            let streamed = report["choices"].to_string().contains("streamed in chunks of");
            report["choices"] = 0.into();
            (report, streamed)
        };
        let (expected, streamed) = train(in_memory, &[]);
        assert!(!streamed, "{in_memory} {more:?}");
        // Scaled bytes take four times as much as their file: too much to hold, if they need not be.
        let streams = more == ["--scale", "zscore"];
        for (data, memory, streams) in [
            (mapped, &[][..], streams),
            (mapped, &["--device-memory", memory], true),
            (in_memory, &["--device-memory", memory], true),
        ] {
            let (found, streamed) = train(data, memory);
            assert_eq!(streamed, streams, "{data} {more:?} {memory:?}");
            assert_eq!(found["weights_sha256"], expected["weights_sha256"], "{data} {more:?} {memory:?}");
            if more != limited || !streamed {
                assert_eq!(found, expected, "{data} {more:?} {memory:?}");
            }
        }
    }
}

#[test]
fn a_model_is_applied_to_a_large_file_as_to_one_in_memory() {
    let folder = Folder::new();
    let [_, [mapped, in_memory]] = large_files(&folder);
    let (labels, model) = (folder.text("y.npy"), folder.text("model.safetensors"));
    let train = ["train", &mapped, "--labels", &labels, "--scale", "zscore", "--epochs", "1", "--batch", "50"];
    stdout(&[&train[..], &["--device", "cpu", "-o", &model, "--json"]].concat());
    let mut reports = [(&mapped, &["--labels", &labels][..]), (&in_memory, &[])]
        .map(|(data, labels)| json(&[&["evaluate", &model, data, "--device", "cpu", "--json"], labels].concat()));
    reports.iter_mut().for_each(|report| report["data"] = 0.into());
    assert_eq!(reports[0], reports[1]);
    let predict = |data: &str| stdout(&["predict", &model, data, "--device", "cpu", "--probabilities"]);
    assert_eq!(predict(&mapped), predict(&in_memory));

    // The files of other parts are added to those of training, wherever they are.
    let parts = |data: &str, other: &str| {
        let flags = ["--test", other, "--test-labels", &labels, "--epochs", "1", "--batch", "50", "--device", "cpu"];
        json(&[&["train", data, "--labels", &labels, "--json"], &flags[..]].concat())["test_cost"].clone()
    };
    let small =
        folder.file("small.npy", &npy("<f4", false, "(2250, 2000)", bytemuck::cast_slice(&random(7, 2250 * WIDE))));
    assert_eq!(parts(&mapped, &small), parts(&small, &mapped));
}

#[test]
fn what_is_wrong_with_a_large_file_is_named() {
    let folder = Folder::new();
    let [_, [file, _]] = large_files(&folder);
    let (labels, mut bytes) = (folder.text("y.npy"), std::fs::read(&file).expect("read"));
    let train = |bytes: &[u8], parts: &[&str]| {
        let x = folder.file("wrong.npy", bytes);
        assert_fails(&["train", &x, "--labels", &labels, "--device", "cpu"], 1, &[&["wrong.npy"], parts].concat());
    };
    train(&bytes[..bytes.len() - 1], &["truncated", "its header claims 18000128 bytes", "it has 18000127"]);
    train(&[&bytes[..], &[0]].concat(), &["it continues after the [2250, 2000] entries"]);
    let at = 128 + 4 * (2000 * 2248 + 6);
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    train(&bytes, &["input 7 of example 2249 is NaN"]);
}

#[test]
fn too_little_memory_for_a_mini_batch_is_wrong_usage() {
    let train = ["train", "digits", "--device", "cpu", "--device-memory"];
    assert_fails(&[&train[..], &["0"]].concat(), 2, &["--device-memory 0", "above 0"]);
    assert_fails(&[&train[..], &["nan"]].concat(), 2, &["--device-memory NaN", "above 0"]);
    assert_fails(&[&train[..], &["0.01"]].concat(), 2, &["mini-batches of 10 examples take", "--device-memory"]);
    let enough = json(&[&train[..], &["0.2", "--epochs", "1", "--json"]].concat());
    assert!(enough["choices"].to_string().contains("streamed"), "{enough}");
    let whole = json(&["train", "digits", "--device", "cpu", "--epochs", "1", "--json"]);
    assert_eq!(enough["weights_sha256"], whole["weights_sha256"]);
}

#[test]
fn streamed_data_is_compared_and_run_in_lockstep() {
    let compare = |more: &[&str]| {
        let devices = ["compare", "digits", "--devices", "cpu,cpu:primitive", "--epochs", "2", "--json"];
        json(&[&devices[..], more].concat())
    };
    let streamed = compare(&["--device-memory", "0.2", "--lockstep", "4"]);
    let resident = compare(&["--lockstep", "4"]);
    assert_eq!(streamed["within_tolerance"], true);
    assert_eq!(streamed["lockstep"], resident["lockstep"]);
    for device in [0, 1] {
        let sha256 = |report: &serde_json::Value| report["devices"][device]["weights_sha256"].clone();
        assert_eq!(sha256(&streamed), sha256(&resident));
    }
    let too_many =
        ["compare", "--json", "--devices", "cpu,cpu:primitive", "--device-memory", "0.2", "--lockstep", "145"];
    assert_fails(&too_many, 2, &["--lockstep 145", "an epoch has 144"]);
}

/// Bytes of the files of the tests of memory: most of them are holes, which take no disk.
const LARGE: u64 = 1 << 30;

/// Kilobytes that a program may take for itself, files that are mapped aside.
const ALLOWED: u64 = 300_000;

/// Runs the program with as much memory for itself as `ALLOWED` says.
fn run_in_little_memory(arguments: &[&str]) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -d {ALLOWED} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_gpu-backprop")]);
    shell.args(arguments).output().expect("the shell starts")
}

/// A file of zeros after a header, but for the first input of each of the first examples.
fn sparse(folder: &Folder, name: &str, header: &[u8], row: usize, one: &[u8]) -> String {
    let mut file = File::create(folder.path(name)).expect("a file");
    file.write_all(header).expect("write");
    for example in 0..100 {
        file.seek(SeekFrom::Start(header.len() as u64 + example * 2 * row as u64)).expect("seek");
        file.write_all(one).expect("write");
    }
    file.set_len(header.len() as u64 + LARGE).expect("the length");
    folder.text(name)
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux limits the memory that a program takes for itself")]
fn large_data_takes_little_memory() {
    let folder = Folder::new();
    let (row, size) = (16_384, LARGE as usize);
    let examples = size / row;
    let labels: Vec<u8> = (0..examples).map(|i| u8::from(i % 2 == 0 && i < 200)).collect();
    let labels = folder.file("labels", &idx(&[examples as u32], &labels));
    let bytes = idx(&[examples as u32, 128, 128], &[]);
    let bytes = sparse(&folder, "x.idx", &bytes, row, &[255]);
    let shape = format!("({examples}, {})", row / 4);
    let floats = sparse(&folder, "x.npy", &npy("<f4", false, &shape, &[]), row, &1f32.to_le_bytes());
    let model = folder.text("model.safetensors");
    let flags = ["--labels", &labels, "--hidden", "2", "--epochs", "1", "--batch", "1000", "--device", "cpu"];
    let succeeds = |arguments: &[&str]| {
        let output = run_in_little_memory(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    for data in [&bytes, &floats] {
        let memory = ["--device-memory", "220", "--test", "0.1", "--json", "-o", &model];
        let report = succeeds(&[&["train", data], &flags[..], &memory].concat());
        assert!(report.contains("streamed in chunks of"), "{report}");
        let report = succeeds(&["evaluate", &model, data, "--labels", &labels, "--device", "cpu", "--json"]);
        assert!(report.contains(&format!("\"examples\":{examples}")), "{report}");
        let rows = succeeds(&["predict", &model, data, "--device", "cpu"]);
        assert_eq!(rows.lines().count(), examples + 1);
    }
    // Without a word about memory: all of it at once is tried, and fails.
    let report = succeeds(&[&["train", &bytes], &flags[..], &["--limit", "60000", "--json"]].concat());
    assert!(report.contains("streamed in chunks of"), "{report}");
    // The limit bites: what is to be put in order is read into memory, and does not fit.
    let fortran = sparse(&folder, "f.npy", &npy("<f4", true, &shape, &[]), row, &[0]);
    let output = run_in_little_memory(&[&["train", &fortran], &flags[..]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("more than memory can hold"), "{stderr}");
}
