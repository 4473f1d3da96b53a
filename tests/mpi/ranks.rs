//! Ranks: the same bits in any number, told and ended together.

use std::collections::HashMap;
use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{AdapterUnderTest, Ignored};
use crate::program::{Folder, json, program as alone};

trials! {
    once: any_number_of_ranks_has_the_same_bits, data_that_is_streamed_has_the_same_bits, a_run_goes_on_with_more_ranks, a_rank_with_other_data_is_found,
        a_rank_with_other_flags_is_found, wrong_use_is_told_once, trials_of_a_sweep_are_shared, without_a_launcher_nothing_changes;
    with processes_of_linux: a_killed_rank_ends_the_others_and_leaves_a_checkpoint, a_signal_to_any_rank_saves_and_ends_all,
        ctrl_c_leaves_a_checkpoint,
        a_killed_rank_leaves_the_trials_that_are_done;
    on_each_adapter: ranks_on_a_gpu_have_the_bits_of_one;
}

fn processes_of_linux() -> Result<(), Ignored> {
    if cfg!(target_os = "linux") { Ok(()) } else { Err(Ignored("/proc of Linux, where ranks are found".into())) }
}

/// The launcher with so many ranks of a program.
fn launcher(ranks: usize) -> Command {
    let name = std::env::var("GPU_BACKPROP_MPIRUN").unwrap_or("mpirun".to_string());
    let mut launcher = Command::new(&name);
    // Machines of tests have fewer cores than ranks, and often one user.
    let version = Command::new(&name).arg("--version").output().expect("a launcher of MPI is installed");
    if String::from_utf8_lossy(&version.stdout).contains("Open MPI") {
        launcher.args(["--oversubscribe", "--bind-to", "none"]);
        launcher.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    }
    let program = alone();
    launcher.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    launcher.args(["-n", &ranks.to_string()]);
    launcher
}

fn ranks(count: usize, arguments: &[&str]) -> Command {
    let mut launcher = launcher(count);
    launcher.arg(alone().get_program()).args(arguments);
    launcher
}

/// Two ranks, of which the second has other arguments.
fn second_otherwise(arguments: &[&str], of_second: &[&str]) -> Command {
    let mut launcher = launcher(1);
    launcher.arg(alone().get_program()).args(arguments);
    launcher.args([":", "-n", "1"]).arg(alone().get_program()).args(of_second);
    launcher
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the launcher starts")
}

/// The result of ranks that succeed.
fn result(count: usize, arguments: &[&str]) -> Value {
    let output = output(&mut ranks(count, arguments));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{count} ranks, {arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{count} ranks: {error}: {output:?}"))
}

/// Runs ranks that must fail, with one line that says each of `parts`.
fn assert_fails(command: &mut Command, code: i32, parts: &[&str]) {
    let output = output(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {stderr}");
    let lines: Vec<&str> =
        stderr.lines().filter(|line| line.starts_with("gpu-backprop: ") || line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{command:?}: {stderr}");
    for part in parts {
        assert!(lines[0].contains(part), "{command:?}: \"{part}\" is not in: {}", lines[0]);
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// The last mini-batch of an epoch has fewer examples than shards.
const TRAINING: [&str; 12] =
    ["train", "--epochs", "2", "--limit", "604", "--batch", "16", "--device", "cpu", "--threads", "1", "-q"];

const MODERN: [&str; 10] =
    ["--recipe", "modern", "--dropout", "0.2", "--lambda", "1", "--validation", "0.2", "--patience", "3"];

fn any_number_of_ranks_has_the_same_bits() {
    for more in [&[][..], &MODERN] {
        let arguments = [&TRAINING, more, &["--json", "--shards", "8"]].concat();
        let expected = json(&arguments);
        for count in [1, 2, 4, 8] {
            let found = result(count, &arguments);
            for figure in ["weights_sha256", "test_cost", "train_cost", "validation_cost", "kept_epoch"] {
                assert_eq!(found[figure], expected[figure], "{figure} of {count} ranks, {more:?}");
            }
        }
    }
    let arguments = [&TRAINING[..], &["--json"]].concat();
    let two = [&arguments[..], &["--shards", "2"]].concat();
    assert_eq!(result(2, &arguments)["weights_sha256"], json(&two)["weights_sha256"], "a shard for each rank");
}

fn data_that_is_streamed_has_the_same_bits() {
    let arguments = [&TRAINING[..], &["--json", "--shards", "4"]].concat();
    let streamed = [&arguments[..], &["--device-memory", "0.2"]].concat();
    assert_eq!(result(4, &streamed)["weights_sha256"], json(&arguments)["weights_sha256"]);
}

fn a_run_goes_on_with_more_ranks() {
    let folder = Folder::new();
    let run = folder.text("run");
    let of = |epochs: &'static str| {
        [
            "train", "--limit", "600", "--batch", "16", "--device", "cpu", "--shards", "4", "--json", "-q", "--epochs",
            epochs,
        ]
    };
    let in_run = |epochs| [&of(epochs)[..], &["--run", &run]].concat();
    result(2, &in_run("2"));
    json(&in_run("3"));
    let found = result(4, &in_run("5"));
    assert_eq!(found["weights_sha256"], json(&of("5"))["weights_sha256"]);
    assert_eq!(found["epochs"].as_array().map(Vec::len), Some(5));
    assert_eq!(fs::read_to_string(format!("{run}/metrics.jsonl")).expect("metrics").lines().count(), 5);
}

fn a_rank_with_other_data_is_found() {
    let folder = Folder::new();
    let table = |name: &str, last: &str| {
        let rows: String =
            (0..60).map(|i| format!("{},{},{}\n", i % 7, i % 5, if i % 7 > 3 { "a" } else { "b" })).collect();
        folder.file(name, format!("x,y,class\n{rows}{last}\n").as_bytes())
    };
    let (one, other) = (table("one.csv", "1,2,a"), table("other.csv", "1,3,a"));
    let train = |path| ["train", path, "--target", "class", "--epochs", "1"];
    assert_fails(
        &mut second_otherwise(&train(&one), &train(&other)),
        1,
        &["rank 1 does not have the same data as rank 0"],
    );
}

fn a_rank_with_other_flags_is_found() {
    let train = ["train", "--epochs", "1"];
    let other = |more: &[&'static str]| second_otherwise(&train, &[&train, more].concat());
    assert_fails(&mut other(&["--eta", "2"]), 1, &["rank 1 does not have the same flags as rank 0"]);
    assert_fails(&mut other(&["--eta", "-1"]), 2, &["rank 1: --eta -1"]);
    assert_fails(&mut other(&["--nonsense"]), 2, &["--nonsense"]);
    assert_fails(&mut other(&["-o", "/nowhere/model.safetensors", "--shards", "3"]), 2, &["rank 1: --shards 3"]);
}

fn wrong_use_is_told_once() {
    let train = |more: &[&'static str]| [&["train", "--epochs", "1"], more].concat();
    assert_fails(&mut ranks(2, &train(&["--eta", "-1"])), 2, &["--eta -1"]);
    assert_fails(&mut ranks(3, &train(&[])), 2, &["3 processes train together", "power of two"]);
    assert_fails(&mut ranks(4, &train(&["--shards", "2"])), 2, &["--shards 2", "4 processes"]);
    assert_fails(&mut ranks(2, &train(&["--shards", "16"])), 2, &["--shards 16", "10 examples"]);
    assert_fails(&mut ranks(2, &train(&["-o", "/nowhere/model.safetensors"])), 1, &["/nowhere"]);
    assert_fails(&mut ranks(2, &["devices"]), 2, &["devices", "`train` and `sweep`"]);
    assert_fails(&mut ranks(2, &["train", "none.csv", "--target", "a"]), 1, &["none.csv"]);
}

/// The ranks of a launcher: its children, or those of its proxies.
fn processes(launcher: &Child) -> Vec<u32> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc").expect("processes").flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_string()));
        if let (Some(name), Some(parent)) = (field("Name:"), field("PPid:").and_then(|id| id.parse::<u32>().ok())) {
            parents.insert(id, (parent, name));
        }
    }
    let is_within = |mut id: u32| loop {
        match parents.get(&id) {
            Some((parent, _)) if *parent == launcher.id() => break true,
            Some((parent, _)) => id = *parent,
            None => break false,
        }
    };
    let ranks = parents.iter().filter(|(id, (_, name))| name.starts_with("gpu-backprop") && is_within(**id));
    ranks.map(|(id, _)| *id).collect()
}

/// False for a process that has ended, whether its parent knows or not.
fn is_alive(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

fn wait_for_lines(file: &str, lines: usize) {
    let begun = Instant::now();
    while fs::read_to_string(file).map_or(0, |text| text.lines().count()) < lines {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was written");
        sleep(Duration::from_millis(5));
    }
}

/// Starts ranks, and sends one of them a signal when a file has so many lines. Returns what came of them, and the time from the
/// signal to the end.
fn signalled(mut command: Command, rank: usize, signal: &str, (file, lines): (&str, usize)) -> (Output, Duration) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the launcher starts");
    wait_for_lines(file, lines);
    let mut processes = processes(&child);
    processes.sort_unstable();
    let id = processes[rank].to_string();
    Command::new("kill").args([signal, &id]).status().expect("kill");
    let sent = Instant::now();
    let output = child.wait_with_output().expect("it ends");
    (output, sent.elapsed())
}

const LONG: [&str; 10] = ["train", "--epochs", "100000", "--batch", "16", "--device", "cpu", "--shards", "2", "--json"];

fn a_killed_rank_ends_the_others_and_leaves_a_checkpoint((): ()) {
    for rank in 0..2 {
        let folder = Folder::new();
        let run = folder.text("run");
        let arguments = [&LONG[..], &["--run", &run, "--checkpoint", "0.05"]].concat();
        let metrics = format!("{run}/metrics.jsonl");
        let (output, time) = signalled(ranks(2, &arguments), rank, "-KILL", (&metrics, 20));
        assert!(!output.status.success(), "{output:?}");
        assert!(time < Duration::from_secs(20), "{time:?} after rank {rank} was killed");
        // The checkpoint is whole: the run goes on, to the bits of one that nobody killed.
        let more = [&arguments[..], &["-q"]].concat();
        let (output, _) = signalled(ranks(2, &more), 0, "-TERM", (&metrics, 40));
        let epochs = fs::read_to_string(&metrics).expect("metrics").lines().count();
        assert!(output.status.code() == Some(143) && epochs >= 40, "{output:?}");
        let last: Value = serde_json::from_slice(&output.stdout).expect("the report of what was learned");
        if last["further_steps"] == 0 {
            let epochs = epochs.to_string();
            let whole = [&LONG[..2], &[&epochs], &LONG[3..]].concat();
            assert_eq!(last["weights_sha256"], json(&whole)["weights_sha256"]);
        }
    }
}

fn a_signal_to_any_rank_saves_and_ends_all((): ()) {
    for rank in 0..2 {
        let folder = Folder::new();
        let run = folder.text("run");
        let arguments = [&LONG[..], &["-q", "--run", &run]].concat();
        let (output, _) = signalled(ranks(2, &arguments), rank, "-TERM", (&format!("{run}/metrics.jsonl"), 5));
        assert_eq!(output.status.code(), Some(143), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("the report of what was learned");
        assert!(report["epochs"].as_array().is_some_and(|epochs| epochs.len() >= 5), "{report}");
        assert!(fs::exists(format!("{run}/checkpoint.safetensors")).expect("the folder is there"));
    }
}

/// Ctrl-C reaches the launcher, which passes it on and waits little. What it tells and how it ends is its own matter: that of Open MPI 4
/// sometimes never does, in a library of its own.
fn ctrl_c_leaves_a_checkpoint((): ()) {
    let folder = Folder::new();
    let run = folder.text("run");
    let arguments = [&LONG[..], &["-q", "--run", &run]].concat();
    let metrics = format!("{run}/metrics.jsonl");
    let mut command = ranks(2, &arguments);
    let mut launcher = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the launcher starts");
    wait_for_lines(&metrics, 10);
    Command::new("kill").args(["-INT", &launcher.id().to_string()]).status().expect("kill");
    let sent = Instant::now();
    while processes(&launcher).into_iter().any(is_alive) {
        assert!(sent.elapsed() < Duration::from_secs(20), "the ranks go on");
        sleep(Duration::from_millis(5));
    }
    // An error of a launcher that has ended.
    let _ = launcher.kill();
    launcher.wait().expect("it ends");
    let epochs = fs::read_to_string(&metrics).expect("metrics").lines().count();
    // One is written each minute, and at the end.
    let arguments = [&LONG[..], &["--run", &run]].concat();
    let (output, _) = signalled(ranks(2, &arguments), 0, "-TERM", (&metrics, epochs + 20));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(143) && stderr.contains("continues      after"), "{stderr}");
}

const SWEEP: [&str; 14] = [
    "sweep", "--eta", "1,3", "--hidden", "9", "7,5", "--seeds", "3", "--epochs", "2", "--limit", "600", "--json", "-q",
];

fn results(folder: &str) -> Vec<(u64, String)> {
    let text = fs::read_to_string(format!("{folder}/trials.jsonl")).expect("results");
    let results = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut results: Vec<_> = results
        .map(|result| (result["trial"].as_u64().expect("a number"), result["weights_sha256"].to_string()))
        .collect();
    results.sort();
    results
}

fn trials_of_a_sweep_are_shared() {
    let folder = Folder::new();
    let (one, several) = (folder.text("one"), folder.text("several"));
    let expected = json(&[&SWEEP[..], &["-o", &one, "--device", "cpu"]].concat());
    let found = result(3, &[&SWEEP[..], &["-o", &several]].concat());
    assert_eq!(results(&several), results(&one));
    assert_eq!(found["ranking"], expected["ranking"]);
    assert_eq!(found["best"]["weights_sha256"], expected["best"]["weights_sha256"]);
    // By halves: the ranks agree about who goes on.
    let halving = [
        "sweep",
        "--eta",
        "0.3,1,3,10",
        "--halving",
        "--epochs",
        "4",
        "--limit",
        "600",
        "--json",
        "-q",
        "--device",
        "cpu",
    ];
    assert_eq!(result(2, &halving)["ranking"], json(&halving)["ranking"]);
}

fn a_killed_rank_leaves_the_trials_that_are_done((): ()) {
    let folder = Folder::new();
    let out = folder.text("sweep");
    let long = ["sweep", "--eta", "0.5,1,3", "--seeds", "8", "--epochs", "20", "--json", "-q", "-o", &out];
    let (output, _) = signalled(ranks(2, &long), 1, "-KILL", (&format!("{out}/trials.jsonl"), 3));
    assert!(!output.status.success(), "{output:?}");
    let done = results(&out);
    assert!((3..24).contains(&done.len()), "{} trials", done.len());
    assert_eq!(result(2, &long)["trials"], 24);
    assert!(done.iter().all(|before| results(&out).contains(before)), "what was done is not done again");
}

fn without_a_launcher_nothing_changes() {
    let arguments = [&TRAINING[..], &["--json"]].concat();
    let one = [&arguments[..], &["--shards", "1"]].concat();
    assert_eq!(json(&arguments)["weights_sha256"], json(&one)["weights_sha256"]);
    assert_eq!(result(1, &arguments)["weights_sha256"], json(&one)["weights_sha256"]);
}

fn ranks_on_a_gpu_have_the_bits_of_one(adapter: &AdapterUnderTest) {
    let arguments =
        ["train", "--epochs", "1", "--limit", "100", "--shards", "2", "--json", "-q", "--device", &adapter.number];
    assert_eq!(result(2, &arguments)["weights_sha256"], json(&arguments)["weights_sha256"], "{}", adapter.number);
}
