//! `train --run DIR`: whatever ends the program, the same command goes on, and nothing is lost but what came after the last checkpoint.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::Ignored;
use crate::program::{Folder, assert_fails, json, program, stdout};

trials! {
    once: a_run_is_refused_in_other_circumstances, a_folder_of_something_else_is_left_alone,
        the_configuration_of_a_run_is_a_config_file, a_diverged_run_keeps_the_last_good_weights;
    with unix: killed_runs_go_on, signals_end_a_run_with_what_it_has_learned, a_signal_asks_for_a_checkpoint,
        a_folder_that_is_deleted_is_an_error;
}

fn unix() -> Result<(), Ignored> {
    if cfg!(unix) { Ok(()) } else { Err(Ignored("signals of Unix".into())) }
}

/// A number that a longer check sets, or the usual one.
fn number_from(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Flags of a run of about a second, in a folder.
fn flags<'a>(folder: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let flags =
        ["train", "--device", "cpu", "--hidden", "20", "--optimizer", "adam", "--dropout", "0.1", "--run", folder];
    [&flags[..], more].concat()
}

fn start(arguments: &[&str]) -> std::process::Child {
    let mut program = program();
    program.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

fn send(signal: &str, child: &std::process::Child) {
    Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
}

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "{} never came", path.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Kills a run again and again.
fn killed_runs_go_on((): ()) {
    let kills = number_from("GPU_BACKPROP_KILLS", 15);
    let folder = Folder::new();
    let (whole, killed) = (folder.text("whole"), folder.text("killed"));
    let more = ["--epochs", "250", "--json"];
    let expected = json(&flags(&whole, &more));
    let mut count = 0;
    let mut runs = 0;
    while count < kills {
        let run = folder.text(&format!("{killed}{runs}"));
        let arguments = flags(&run, &[&more[..], &["--checkpoint", "0", "-q"]].concat());
        let mut ended = false;
        while !ended {
            let mut child = start(&arguments);
            // Moments that are spread over start, training and writing.
            std::thread::sleep(Duration::from_micros((7_919 * (count + 1) % 90_000 + 500) as u64));
            if count < kills && child.try_wait().expect("a child").is_none() {
                child.kill().expect("it is killed");
                child.wait().expect("it ends");
                count += 1;
                continue;
            }
            let output = child.wait_with_output().expect("it ends");
            assert_eq!(output.status.code(), Some(0), "{}", told(&output));
            let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(report["weights_sha256"], expected["weights_sha256"], "after {count} kills");
            let costs = |report: &Value| {
                let epochs = report["epochs"].as_array().expect("epochs").iter();
                epochs.map(|epoch| epoch["train_cost"].clone()).collect::<Vec<_>>()
            };
            assert_eq!(costs(&report), costs(&expected));
            ended = true;
        }
        let left = std::fs::read_dir(&run).expect("the folder").flatten().map(|entry| entry.file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(".gpu-backprop")).collect();
        assert!(left.is_empty(), "{left:?}");
        runs += 1;
    }
    println!("{count} kills of {runs} runs");
}

fn signals_end_a_run_with_what_it_has_learned((): ()) {
    let folder = Folder::new();
    let whole = folder.text("whole");
    let expected = json(&flags(&whole, &["--epochs", "250", "--json"]));
    let signals = number_from("GPU_BACKPROP_SIGNALS", 6);
    for (i, (signal, code)) in [("-INT", 130), ("-TERM", 143)].into_iter().cycle().take(signals).enumerate() {
        let (run, model) = (folder.text(&format!("run {i}")), folder.text(&format!("{i}.safetensors")));
        let arguments = flags(&run, &["--epochs", "250", "--json", "-o", &model]);
        let child = start(&arguments);
        wait_for(&Path::new(&run).join("metrics.jsonl"));
        std::thread::sleep(Duration::from_millis(20 + 30 * i as u64 % 400));
        send(signal, &child);
        let sent = Instant::now();
        let output = child.wait_with_output().expect("it ends");
        let stderr = told(&output);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(sent.elapsed() < Duration::from_secs(5), "it took {:?}", sent.elapsed());
        assert!(stderr.contains("interrupted after epoch") && stderr.contains("to continue: "), "{stderr}");
        assert!(stderr.contains(&format!("'{run}'")), "the name is quoted: {stderr}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["stopped"], "interrupted");
        stdout(&["evaluate", &model, "digits", "--device", "cpu"]);
        let files = std::fs::read_dir(&run).expect("the folder").flatten().map(|entry| entry.file_name());
        let mut files: Vec<String> = files.map(|name| name.to_string_lossy().into_owned()).collect();
        files.sort_unstable();
        let all = "best.safetensors checkpoint.previous.safetensors checkpoint.safetensors config.toml last.safetensors lock \
                   metrics.jsonl";
        assert_eq!(files.join(" "), all);
        let report = json(&arguments);
        assert_eq!(report["weights_sha256"], expected["weights_sha256"]);
    }
}

fn a_signal_asks_for_a_checkpoint((): ()) {
    let folder = Folder::new();
    let run = folder.text("run");
    let arguments = flags(&run, &["--epochs", "400", "--checkpoint", "3600"]);
    let child = start(&arguments);
    let last = Path::new(&run).join("last.safetensors");
    wait_for(&Path::new(&run).join("metrics.jsonl"));
    std::thread::sleep(Duration::from_millis(50));
    assert!(!last.exists(), "a checkpoint after 50 ms of an hour");
    send("-USR1", &child);
    wait_for(&last);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && told(&output).contains("SIGUSR1: a checkpoint is written"), "{}", told(&output));
    let child = start(&["train", "--device", "cpu", "--epochs", "300"]);
    std::thread::sleep(Duration::from_millis(100));
    send("-USR1", &child);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", told(&output));
}

fn a_folder_that_is_deleted_is_an_error((): ()) {
    let folder = Folder::new();
    let run = folder.text("run");
    let child = start(&flags(&run, &["--epochs", "250", "--checkpoint", "0.01", "--json"]));
    wait_for(&Path::new(&run).join("metrics.jsonl"));
    std::thread::sleep(Duration::from_millis(50));
    // A checkpoint may be written meanwhile.
    while std::fs::remove_dir_all(&run).is_err() {}
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("the results are printed all the same");
    assert_eq!(report["epochs"].as_array().map(Vec::len), Some(250));
    assert!(told(&output).contains("gpu-backprop: cannot write") && told(&output).contains("training continues"));
}

fn a_run_is_refused_in_other_circumstances() {
    let folder = Folder::new();
    let run = folder.text("run");
    stdout(&flags(&run, &["--epochs", "2"]));
    let refused = |more: &[&str], parts: &[&str]| {
        let all = [parts, &["--run", "the run was started differently"]].concat();
        assert_fails(&flags(&run, more), 2, &all);
    };
    refused(&["--epochs", "2", "--eta", "0.5"], &["--eta: 0.001 then, 0.5 now"]);
    refused(&["--epochs", "1"], &["--epochs: 2 then, 1 (a run can only be lengthened) now"]);
    refused(&["--epochs", "2", "--seed", "3", "--batch", "7"], &["--seed: 0 then, 3 now", "--batch: 10 then, 7 now"]);
    refused(&["--epochs", "2", "--limit", "500"], &["--limit: not given then, 500 now", "contents of the data"]);
    // None of these changes the result.
    let free = ["--epochs", "2", "--threads", "1", "-q", "--checkpoint", "5", "--tune", "off"];
    stdout(&flags(&run, &free));
    assert_fails(&flags(&run, &["--checkpoint", "-1"]), 2, &["--checkpoint -1", "seconds"]);
}

fn a_folder_of_something_else_is_left_alone() {
    let folder = Folder::new();
    let config = folder.file("config.toml", b"eta = 3\n");
    assert_fails(&flags(&folder.text("."), &[]), 2, &["config.toml", "no checkpoint", "new folder"]);
    assert_eq!(std::fs::read(config).expect("it is there"), b"eta = 3\n");
    let file = folder.file("file", b"");
    assert_fails(&flags(&file, &[]), 1, &["--run", "file"]);
}

fn the_configuration_of_a_run_is_a_config_file() {
    let folder = Folder::new();
    // The validation split of a recipe is picked again by the fraction that the file has.
    for recipe in ["book", "modern"] {
        let run = folder.text(recipe);
        let first = json(&flags(&run, &["--recipe", recipe, "--epochs", "2", "--json"]));
        let config = Path::new(&run).join("config.toml");
        let config = config.to_str().expect("UTF-8");
        let again = json(&["train", "--config", config, "--run", &folder.text(&format!("{recipe} again")), "--json"]);
        assert_eq!(first["weights_sha256"], again["weights_sha256"]);
        // The same command, from the file.
        let same = json(&["train", "--config", config, "--json"]);
        assert_eq!(first["weights_sha256"], same["weights_sha256"]);
        for model in ["best.safetensors", "last.safetensors"] {
            let model = Path::new(&run).join(model);
            stdout(&["evaluate", model.to_str().expect("UTF-8"), "digits", "--device", "cpu"]);
        }
    }
}

fn a_diverged_run_keeps_the_last_good_weights() {
    let folder = Folder::new();
    let model = folder.text("m.safetensors");
    let diverges = ["--cost", "quadratic", "--activation", "relu", "--output", "linear", "--eta", "1e30"];
    let train = [&["train", "--device", "cpu", "--optimizer", "sgd", "-o", &model][..], &diverges].concat();
    assert_fails(&train, 4, &["training diverged", "epoch 1", "mini-batch", "layer", "--eta"]);
    assert!(!Path::new(&model).exists(), "nothing was learned before");
}
