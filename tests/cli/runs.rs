//! `train --run DIR`: whatever ends the program, the same command goes on, and nothing is lost but what came after the last checkpoint.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::Ignored;
use crate::program::{Folder, assert_fails, json, program, stdout};

trials! {
    once: a_run_is_refused_in_other_circumstances, data_are_compared_by_their_contents, a_folder_of_something_else_is_left_alone,
        the_configuration_of_a_run_is_a_config_file, a_diverged_run_keeps_the_last_good_weights,
        the_place_of_a_divergence_is_found, a_refit_that_diverges_keeps_the_weights_before_it,
        a_refit_lowers_eta_where_a_plateau_did, schedules_stay_when_a_run_is_extended, files_of_others_stay;
    with unix: a_signal_ends_other_commands_that_train, killed_runs_go_on, signals_end_a_run_with_what_it_has_learned, a_signal_asks_for_a_checkpoint,
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

/// Waits until a file holds something.
fn wait_for(path: &Path) {
    let start = Instant::now();
    while std::fs::metadata(path).map_or(true, |found| found.len() == 0) {
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
        // The end of an epoch.
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
    refused(&["--epochs", "2", "--limit", "500"], &["--limit: not given then, 500 now"]);
    refused(
        &["--epochs", "2", "tests/fixtures/iris.csv", "--target", "species"],
        &["DATA: not given then, \"tests/fixtures/iris.csv\" now"],
    );
    // None of these changes the result.
    let free = ["--epochs", "2", "--threads", "1", "-q", "--checkpoint", "5", "--tune", "off"];
    stdout(&flags(&run, &free));
    // Nor do defaults that are said, as long as the data are the same.
    stdout(&flags(&run, &["--epochs", "2", "--monitor", "all", "--test-seed", "0"]));
    assert_fails(&flags(&run, &["--checkpoint", "-1"]), 2, &["--checkpoint -1", "seconds"]);
}

fn data_are_compared_by_their_contents() {
    let folder = Folder::new();
    let (run, iris) = (folder.text("run"), std::fs::read("tests/fixtures/iris.csv").expect("it is there"));
    let (one, other) = (folder.file("one.csv", &iris), folder.file("other.csv", &iris));
    let test = folder.file("test.csv", &iris);
    let train = |data: &str| {
        let fixed = ["--target", "species", "--epochs", "3", "--device", "cpu", "--run", &run, "--json"];
        let output = program().args(["train", data, "--test", &test]).args(fixed).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["weights_sha256"].clone()
    };
    assert_eq!(train(&one), train(&other));
    let changed = String::from_utf8(iris).expect("UTF-8").replacen("5.1", "5.2", 1);
    let changed = folder.file("changed.csv", changed.as_bytes());
    let fixed = ["--target", "species", "--epochs", "3", "--device", "cpu", "--run", &run];
    let changed = [&["train", &changed, "--test", &test][..], &fixed].concat();
    assert_fails(&changed, 2, &["the run was started differently: contents of the data"]);
    // The built-in data have no file.
    let digits = folder.text("digits");
    stdout(&["train", "digits", "--epochs", "1", "--device", "cpu", "-q", "--run", &digits]);
    stdout(&["report", &digits, "-o", "-"]);
    // From another folder a relative path leads elsewhere.
    let mut relative = program();
    relative.current_dir(folder.0.path()).args(["train", "one.csv", "--target", "species", "--epochs", "1"]);
    assert!(relative.args(["--device", "cpu", "--run", "relative"]).output().expect("it runs").status.success());
    assert_fails(&["report", &folder.text("relative")], 2, &["one.csv", "in the folder where training was started"]);
}

fn a_folder_of_something_else_is_left_alone() {
    let folder = Folder::new();
    let config = folder.file("config.toml", b"eta = 3\n");
    assert_fails(&flags(&folder.text("."), &[]), 2, &["config.toml", "no checkpoint", "new folder"]);
    assert_eq!(std::fs::read(config).expect("it is there"), b"eta = 3\n");
    let file = folder.file("file", b"");
    assert_fails(&flags(&file, &[]), 1, &["--run", "file", "not a folder"]);
    // A run that does not begin leaves no folder.
    assert_fails(&flags(&folder.text("new"), &["--batch", "5000"]), 2, &["--batch 5000"]);
    assert!(!folder.path("new").exists());
}

fn the_configuration_of_a_run_is_a_config_file() {
    let folder = Folder::new();
    // The validation split of a recipe is picked again by the fraction that the file has.
    for recipe in ["book", "modern"] {
        let run = folder.text(recipe);
        let first = json(&flags(&run, &["--recipe", recipe, "--epochs", "2", "--json"]));
        let config = Path::new(&run).join("config.toml");
        let flags = std::fs::read_to_string(&config).expect("it is there");
        let of_this_run =
            |line: &&str| ["run", "json", "quiet", "verbose"].contains(&line.split(' ').next().unwrap_or(""));
        assert_eq!(flags.lines().find(of_this_run), None, "another run is to print and keep what it likes");
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
    // Later, though within a second: the model of the last epoch, or of the best one, and a run that can be reported.
    // As JSON, with its complete epochs.
    let output = program().args([&train[..], &["--json", "-q"]].concat()).output().expect("it starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["stopped"], report["epochs"].as_array().map(Vec::len)), (&"diverged".into(), Some(0)));
    assert!(
        report["error"].as_str().is_some_and(|error| error.contains("mini-batch")) && output.status.code() == Some(4)
    );
    let late = ["train", "--device", "cpu", "--warmup", "25", "--eta", "20", "--activation", "relu", "--hidden", "50"];
    let late =
        [&late[..], &["--output", "linear", "--optimizer", "sgd", "--epochs", "30", "--recipe", "book"]].concat();
    let mut models = Vec::new();
    for keep in ["last", "best"] {
        let (model, run) = (folder.text(&format!("{keep}.safetensors")), folder.text(keep));
        let train = [&late[..], &["--keep", keep, "-o", &model, "--run", &run]].concat();
        assert_fails(&train, 4, &["training diverged", "epoch 4"]);
        let epochs = std::fs::read_to_string(Path::new(&run).join("metrics.jsonl")).expect("it is there");
        let epochs: Vec<Value> = epochs.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let mut costs = epochs.iter().map(|epoch| epoch["train_cost"].as_f64().expect("a cost"));
        let expected = if keep == "best" { costs.reduce(f64::min) } else { costs.next_back() }.expect("epochs");
        // The cost of the model on the data that it has learned.
        let same = ["train", "--from", &model, "--epochs", "0", "--device", "cpu", "--recipe", "book", "--json"];
        let cost = json(&same)["train_cost"].as_f64().expect("a cost");
        assert!((cost / expected - 1.0).abs() < 1e-5, "--keep {keep}: {cost} instead of {expected}");
        let page = stdout(&["report", &run, "-o", "-"]);
        assert!(page.starts_with("<!DOCTYPE html>") && page.contains("training diverged"), "{page:.300}");
        // It diverges again at the same place.
        assert_fails(&train, 4, &["training diverged"]);
        models.push(std::fs::read(&model).expect("it is there"));
    }
    assert!(models[0] != models[1]);
}

/// Whether or not statistics are recorded at the last whole mini-batch of an epoch, here the first of two.
fn the_place_of_a_divergence_is_found() {
    let flags = ["train", "--epochs", "4", "--batch", "800", "--output", "linear", "--device", "cpu", "-q"];
    for (eta, place) in [("1e16", "after epoch 1;"), ("1e19", "after mini-batch 2 of epoch 1;")] {
        for more in [&[][..], &["--watch"]] {
            assert_fails(&[&flags[..], &["--eta", eta], more].concat(), 4, &["training diverged", place]);
        }
    }
}

fn a_signal_ends_other_commands_that_train((): ()) {
    let folder = Folder::new();
    let table: String = (0..20_000).map(|i| format!("{},{},{}\n", i % 7, i % 11, ["a", "b"][i % 2])).collect();
    let table = folder.file("table.csv", table.as_bytes());
    let long = ["--target", "3", "--hidden", "100", "--epochs", "100000", "--device", "cpu", "--recipe", "book"];
    for arguments in [[&["diagnose", &table][..], &long].concat(), vec!["book", "network", "--device", "cpu"]] {
        let child = start(&arguments);
        std::thread::sleep(Duration::from_millis(if arguments[0] == "book" { 50 } else { 1500 }));
        send("-INT", &child);
        let output = child.wait_with_output().expect("it ends");
        // The short experiment may have ended by itself.
        let ended = arguments[0] == "book" && output.status.success();
        assert!(ended || output.status.code() == Some(130), "{arguments:?}: {}", told(&output));
        assert!(ended || output.stdout.is_empty() && told(&output).contains("interrupted after epoch"));
    }
}

fn a_refit_that_diverges_keeps_the_weights_before_it() {
    let folder = Folder::new();
    let [kept, expected] = ["kept", "expected"].map(|name| folder.text(name));
    let flags = ["train", "--device", "cpu", "-q", "--limit", "900", "--validation", "0.6667", "--test", "0"];
    let flags = [&flags[..], &["--activation", "linear", "--output", "linear", "--batch", "300"]].concat();
    // One step of 300 examples stays finite; three of 900 do not.
    let flags = [&flags[..], &["--eta", "1e6", "--epochs", "1", "--keep", "last"]].concat();
    assert_fails(&[&flags[..], &["--refit", "yes", "-o", &kept]].concat(), 4, &["training diverged"]);
    stdout(&[&flags[..], &["--refit", "no", "-o", &expected]].concat());
    assert!(std::fs::read(&kept).expect("a model") == std::fs::read(&expected).expect("a model"));
}

fn a_refit_lowers_eta_where_a_plateau_did() {
    let folder = Folder::new();
    let flags = ["train", "--device", "cpu", "-q", "--limit", "600", "--activation", "relu", "--eta", "1"];
    let flags = [&flags[..], &["--validation", "0.3", "--refit", "yes", "--epochs", "8", "--json"]].concat();
    let plateau = [&flags[..], &["--schedule", "plateau", "--schedule-every", "1"]].concat();
    let whole = json(&plateau);
    let eta = |report: &Value| report["epochs"].as_array().and_then(|epochs| epochs.last()?["eta"].as_f64());
    assert!(eta(&whole) < Some(1.0), "{whole}");
    assert_ne!(whole["weights_sha256"], json(&flags)["weights_sha256"]);
    // The same bits, however often it was interrupted.
    let run = folder.text("run");
    let mut again = 0;
    while !json_of_interrupted(&[&plateau[..], &["--run", &run, "--checkpoint", "0"]].concat()) {
        again += 1;
        assert!(again < 100, "it comes to no end");
    }
    assert_eq!(whole["weights_sha256"], json(&[&plateau[..], &["--run", &run]].concat())["weights_sha256"]);
}

/// Kills a command after a while; true if it ended before.
fn json_of_interrupted(arguments: &[&str]) -> bool {
    let mut child = start(arguments);
    std::thread::sleep(Duration::from_millis(30));
    let done = child.try_wait().expect("a process").is_some();
    child.kill().expect("it is killed, or has ended");
    child.wait().expect("it ends");
    done
}

/// The defaults of schedules depend on the number of epochs; those of the run stay.
fn schedules_stay_when_a_run_is_extended() {
    let folder = Folder::new();
    for (schedule, own) in [("step", ["--schedule-every", "2"]), ("exponential", ["--schedule-factor", "0.4641589"])] {
        let (run, whole) = (folder.text(schedule), folder.text("whole"));
        let train = ["train", "--device", "cpu", "-q", "--limit", "300", "--schedule", schedule];
        for epochs in ["6", "9"] {
            stdout(&[&train[..], &["--run", &run, "--epochs", epochs]].concat());
        }
        stdout(&[&train[..], &["--epochs", "9", "-o", &whole], &own].concat());
        let last = std::fs::read(Path::new(&run).join("last.safetensors")).expect("a model");
        assert!(last == std::fs::read(&whole).expect("a model"), "{schedule}");
    }
}

fn files_of_others_stay() {
    let folder = Folder::new();
    for name in ["profile.json", "diverged.txt"] {
        let own = folder.text(name.split('.').next().expect("a name"));
        std::fs::create_dir(&own).expect("a folder");
        std::fs::write(Path::new(&own).join(name), "mine").expect("a file");
        assert_fails(&["train", "--run", &own, "--epochs", "1", "-q"], 2, &[name, "name a new folder"]);
        assert_eq!(std::fs::read_to_string(Path::new(&own).join(name)).expect("it is there"), "mine");
    }
    let of_no_sweep = "trials.jsonl is of no sweep";
    let no_result = "trials.jsonl, line 1: no result of a trial";
    for (text, code, message) in [("{\"a\":1}", 2, of_no_sweep), ("x\ny", 1, no_result), ("x\n", 1, no_result)] {
        let own = folder.text("sweep");
        std::fs::create_dir_all(&own).expect("a folder");
        std::fs::write(Path::new(&own).join("trials.jsonl"), text).expect("a file");
        assert_fails(&["sweep", "--eta", "1", "--epochs", "1", "-q", "-o", &own], code, &[message]);
        assert_eq!(std::fs::read_to_string(Path::new(&own).join("trials.jsonl")).expect("it is there"), text);
    }
}
