//! `sweep`: ranks, effects and messages.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::program::{Folder, assert_fails, json, run, stdout};
use crate::sweeps::{lines, sweep};

trials! {
    once: what_differs_is_shown, a_trial_counts_once, a_file_goes_before_lists_on_the_command_line, wrong_sweeps_are_explained, a_page_shows_ranks_curves_and_effects, outputs_are_compared_by_what_they_achieve, what_diverges_comes_last;
}

/// Default learning rates that differ are shown, and so is what was left out, also with -q.
fn what_differs_is_shown() {
    let flags = ["sweep", "--device", "cpu", "--epochs", "1", "-q", "--optimizer", "sgd,momentum,adam"];
    let report = json(&[&flags[..], &["--json"]].concat());
    let etas = report["ranking"].as_array().expect("ranks").iter().map(|of| {
        let choices = &of["choices"];
        format!("{} {}", choices["optimizer"].as_str().expect("a name"), choices["eta"].as_str().expect("a number"))
    });
    assert_eq!(etas.collect::<BTreeSet<_>>(), ["adam 0.001", "momentum 0.1", "sgd 3"].map(String::from).into());
    let text = stdout(&[&flags[..], &["--momentum", "0.8"]].concat());
    assert!(text.contains("left out: --optimizer sgd: --momentum is for"), "{text}");
}

/// Two processes may have trained the same trial.
fn a_trial_counts_once() {
    let folder = Folder::new();
    let out = folder.text("sweep");
    stdout(&sweep(&out, &["--eta", "1,2", "--seeds", "2"]));
    let page = stdout(&["report", &out, "-o", "-"]);
    let path = format!("{out}/trials.jsonl");
    let lines = fs::read_to_string(&path).expect("results");
    fs::write(format!("{out}/trials.1-of-2.jsonl"), lines.lines().next().expect("a line").to_string() + "\n")
        .expect("write");
    assert_eq!(stdout(&["report", &out, "-o", "-"]), page);
}

/// Flags of a file do not end up among the values of a flag on the command line.
fn a_file_goes_before_lists_on_the_command_line() {
    let folder = Folder::new();
    let config = folder.file("c.toml", b"data = \"tests/fixtures/iris.csv\"\ntarget = \"species\"\nepochs = 1\n");
    let report = json(&["sweep", "--config", &config, "--device", "cpu", "-q", "--json", "--hidden", "5", "6"]);
    assert_eq!(report["trials"], 2);
}

fn wrong_sweeps_are_explained() {
    let folder = Folder::new();
    let (file, run_folder) = (folder.file("file", b""), folder.text("run"));
    stdout(&["train", "--device", "cpu", "--epochs", "1", "--run", &run_folder, "-q"]);
    for (flags, code, parts) in [
        (&["-o", &file][..], 2, &["-o", "this is a file"][..]),
        (&["-o", &run_folder], 2, &["folder of a run"]),
        (&["--validation", "0"], 2, &["--validation 0", "--validation 0.1"]),
        (&["--seeds", "0"], 2, &["--seeds 0"]),
        (&["--random", "0"], 2, &["--random 0"]),
        (&["--eta", "1,x"], 2, &["--eta", "x"]),
        (&["--hidden", "10", "x.csv"], 2, &["--hidden", "x.csv", "DATA comes before"]),
        (&["--layers", "64,10", "64,,10"], 2, &["--layers", "numbers of neurons"]),
        (&["--part", "3/2"], 2, &["--part", "1/4"]),
        // Its results would be lost.
        (&["--part", "1/2"], 2, &["-o <DIR>"]),
        (&["--budget", "soon"], 2, &["--budget", "60s"]),
        (&["--seeds", "99999999999"], 2, &["99999999999 trials are more than 100000"]),
        (&["--budget", "9s", "--halving"], 2, &["--halving", "--budget"]),
        (&["--profile"], 2, &["--profile"]),
        (&["--eta", "0.1", "0.3"], 2, &["0.3: no such file", "--eta 0.1,0.3"]),
        (&["no-such-file.csv"], 1, &["no-such-file.csv"]),
    ] {
        assert_fails(&[&["sweep", "--device", "cpu", "--epochs", "1"], flags].concat(), code, parts);
    }
}

fn a_page_shows_ranks_curves_and_effects() {
    let folder = Folder::new();
    let (out, page) = (folder.text("sweep"), folder.text("page.html"));
    let report = json(&sweep(&out, &["--eta", "1,2.5", "--lambda", "0,5", "--seeds", "2", "--json"]));
    assert_eq!(stdout(&["report", &out, "-o", &page]), format!("report  {page}\n"));
    let text = fs::read_to_string(&page).expect("a page");
    let hash = report["best"]["command"].as_str().expect("a command");
    let accuracy = report["ranking"][0]["validation_accuracy"]["mean"].as_f64().expect("a mean");
    for part in
        ["--eta", "2.5", "--lambda", "Ranked by validation cost", "validation cost of the best", "8 trials of 4", hash]
    {
        assert!(text.contains(part), "{part} is not on the page");
    }
    assert!(text.contains(&format!("{:.2}%", 100.0 * accuracy)) && text.contains("<svg"), "{text}");
    assert!(!text.contains("NaN") && !text.contains("Combinations with more trials"), "{text}");
    // The last combination, with one seed more.
    let choice = |flag: &str| report["ranking"][3]["choices"][flag].as_str().expect("a choice");
    json(&sweep(&out, &["--eta", choice("eta"), "--lambda", choice("lambda"), "--seeds", "3", "--json"]));
    stdout(&["report", &out, "-o", &page]);
    let text = fs::read_to_string(&page).expect("a page");
    let (_, ranks) = text.split_once("Ranked by").expect("ranks");
    let first = ranks.split("<tr>").find(|row| row.contains("<td")).expect("a row");
    assert!(ranks.contains("Combinations with more trials") && first.contains(">3</td>"), "{first}");
    assert_fails(&["report", &out, "digits", "-o", &page], 2, &["a sweep has its own data"]);
    let empty = folder.text("empty");
    fs::create_dir(&empty).expect("a folder");
    fs::write(format!("{empty}/trials.jsonl"), "").expect("write");
    assert_fails(&["report", &empty, "-o", &page], 2, &["no trial of this sweep has ended"]);
}

/// Their desired outputs are scaled in several ways, and so are their costs.
fn outputs_are_compared_by_what_they_achieve() {
    let folder = Folder::new();
    let out = folder.text("sweep");
    let data = ["sweep", "tests/fixtures/diabetes.csv", "--task", "regression", "--target", "progression"];
    let flags = ["--output", "linear,sigmoid", "--epochs", "2", "--device", "cpu", "-q", "-o", &out];
    let report = json(&[&data[..], &flags, &["--json"]].concat());
    assert_eq!(report["ranked_by"], "validation_r2");
    let r2 = |rank: usize| report["ranking"][rank]["validation_r2"]["mean"].as_f64().expect("R²");
    assert!(r2(0) >= r2(1));
    // Each has its own data, and goes on with it.
    let text = stdout(&[&data[..], &flags, &["--seeds", "2"]].concat());
    assert!(text.contains("validation R²") && !text.contains("diverged"), "{text}");
    assert_eq!(lines(&out, "trials.jsonl").len(), 4);
    assert_fails(&[&data[..], &flags, &["--limit", "200"]].concat(), 2, &["other data"]);
}

fn what_diverges_comes_last() {
    let folder = Folder::new();
    let out = folder.text("sweep");
    let flags = ["--activation", "relu", "--output", "linear", "--eta", "1e30,0.01", "--seeds", "2"];
    let report = json(&sweep(&out, &[&flags[..], &["--json"]].concat()));
    let last = &report["ranking"][1];
    assert_eq!((&last["choices"]["eta"], &last["diverged"]), (&"1e30".into(), &2.into()), "{report}");
    assert_eq!(last["validation_cost"], Value::Null);
    let diverged =
        lines(&out, "trials.jsonl").into_iter().find(|line| line["flags"]["eta"] != "0.01").expect("it is kept");
    assert!(diverged["diverged"].as_str().is_some_and(|why| why.contains("training diverged")), "{diverged}");
    let text = stdout(&sweep(&out, &flags));
    assert!(text.contains("(2 diverged)"), "{text}");
    let all = ["--activation", "relu", "--output", "linear", "--eta", "1e30,1e31"];
    let output = run(&sweep(&folder.text("all"), &all));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(4) && stderr.contains("every trial diverged"), "{stderr}");
}
