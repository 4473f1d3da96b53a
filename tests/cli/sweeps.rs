//! `sweep`: every trial is a training of `train`, and what is done stays done.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{AdapterUnderTest, Ignored};
use crate::program::{Folder, assert_fails, json, program, run, stdout};

trials! {
    once: every_trial_is_a_training_of_its_own, streamed_data_gives_the_same_bits, a_sweep_goes_on_and_grows, parts_make_the_whole, slurm_numbers_the_parts,
        a_budget_goes_on_with_its_epochs,
        halving_gives_the_better_half_more_epochs, a_budget_chooses_a_grid_and_ends, the_best_is_the_model_of_its_command,
        what_cannot_be_trained_is_left_out, a_file_of_flags_has_lists, random_combinations_are_some_of_all,
        numbers_are_learned_too;
    with unix: an_interrupted_sweep_keeps_what_is_done, a_folder_that_is_deleted_is_an_error;
    on_each_adapter: trials_on_a_gpu_end_with_the_bits_of_train;
}

fn unix() -> Result<(), Ignored> {
    if cfg!(unix) { Ok(()) } else { Err(Ignored("signals of Unix".into())) }
}

/// The results in a folder.
pub fn lines(folder: &str, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(format!("{folder}/{file}")).expect("there are results");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Trains what a result is of, by `train`.
fn trained(result: &Value, more: &[&str]) -> Value {
    let flags = result["flags"].as_object().expect("flags").iter();
    let words = flags.flat_map(|(flag, value)| [format!("--{flag}"), value.as_str().expect("text").to_string()]);
    let seed = result["seed"].to_string();
    let words: Vec<String> =
        ["train", "--json", "-q", "--seed", &seed].map(String::from).into_iter().chain(words).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
    json(&words)
}

fn assert_same(result: &Value, trained: &Value) {
    for figure in ["weights_sha256", "validation_cost", "validation_accuracy", "kept_epoch"] {
        assert_eq!(result[figure], trained[figure], "{figure} of {result}");
    }
    assert!(result["weights_sha256"].is_string());
}

fn every_trial_is_a_training_of_its_own() {
    let folder = Folder::new();
    let out = folder.text("sweep");
    let flags = ["--device", "cpu", "--epochs", "2", "--seeds", "2", "--seed", "3", "-o", &out, "--json"];
    // The book's rows, and those of practitioners with dropout and early stopping.
    let of_book = ["--eta", "1,3", "--hidden", "12", "9,7"];
    let modern = ["--recipe", "modern", "--optimizer", "adam,momentum", "--dropout", "0,0.2", "--patience", "1"];
    for more in [&of_book[..], &modern] {
        let _ = fs::remove_dir_all(&out);
        let report = json(&[&["sweep"], &flags[..], more].concat());
        let results = lines(&out, "trials.jsonl");
        assert_eq!((results.len(), &report["trials"], &report["missing"]), (8, &8.into(), &0.into()));
        let seeds: BTreeSet<u64> = results.iter().filter_map(|result| result["seed"].as_u64()).collect();
        assert_eq!(seeds.into_iter().collect::<Vec<_>>(), [3, 4]);
        let hashes: BTreeSet<String> = results.iter().map(|result| result["weights_sha256"].to_string()).collect();
        assert_eq!(hashes.len(), 8, "trials differ");
        for result in &results {
            assert_same(result, &trained(result, &["--device", "cpu"]));
        }
        let mean = |choices: &Value| {
            let is_of = |result: &&Value| {
                let all = choices.as_object().expect("choices");
                all.iter().all(|(flag, value)| result["flags"].get(flag).unwrap_or(&"0".into()) == value)
            };
            let costs: Vec<f64> =
                results.iter().filter(is_of).filter_map(|result| result["validation_cost"].as_f64()).collect();
            assert_eq!(costs.len(), 2, "two seeds of {choices}");
            costs.iter().sum::<f64>() / 2.0
        };
        let ranking = report["ranking"].as_array().expect("a ranking");
        let means: Vec<f64> = ranking.iter().map(|ranked| mean(&ranked["choices"])).collect();
        assert!(means.is_sorted() && means.len() == 4, "{means:?}");
        for (ranked, mean) in ranking.iter().zip(means) {
            assert!((ranked["validation_cost"]["mean"].as_f64().expect("a mean") - mean).abs() < 1e-12);
        }
    }
}

/// Side by side, where the network is small, and one after the other.
fn trials_on_a_gpu_end_with_the_bits_of_train(adapter: &AdapterUnderTest) {
    let folder = Folder::new();
    let (out, device) = (folder.text("sweep"), ["--device", &adapter.number, "--tune", "off"]);
    let of_book = ["--hidden", "12", "--eta", "1,3", "--seeds", "2", "--epochs", "2"];
    // A last mini-batch of fewer examples, early stopping, decay, dropout, a schedule, and networks of two shapes.
    let modern =
        [&["--recipe", "modern", "--hidden", "9,7", "10"][..], &["--dropout", "0.2", "--lambda", "5,40", "--eta"]];
    let modern = [&modern.concat()[..], &["0.003,0.01", "--batch", "7", "--epochs", "3", "--patience", "1"]].concat();
    for (more, trials) in [(&of_book[..], 4), (&modern, 8)] {
        let _ = fs::remove_dir_all(&out);
        stdout(&[&["sweep", "--limit", "300", "-q", "-o", &out], &device[..], more].concat());
        let results = lines(&out, "trials.jsonl");
        assert_eq!(results.len(), trials);
        for result in &results {
            assert_same(result, &trained(result, &[&device[..], &["--limit", "300"]].concat()));
        }
    }
}

/// Less memory than the data takes: it is streamed, to the same bits.
fn streamed_data_gives_the_same_bits() {
    let folder = Folder::new();
    let hashes = |name: &str, more: &[&str]| {
        let out = folder.text(name);
        let flags = ["sweep", "--device", "cpu", "--epochs", "2", "--hidden", "10", "--eta", "1,3", "-q", "-o", &out];
        stdout(&[&flags[..], more].concat());
        let results = lines(&out, "trials.jsonl");
        results.iter().map(|result| result["weights_sha256"].to_string()).collect::<BTreeSet<_>>()
    };
    let (whole, streamed) = (hashes("whole", &[]), hashes("streamed", &["--device-memory", "0.12", "--threads", "2"]));
    assert_eq!((whole.len(), whole), (2, streamed));
}

/// The arguments of a sweep of short trainings.
pub fn sweep<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["sweep", "--device", "cpu", "--epochs", "2", "--hidden", "10", "-q", "-o", out], more].concat()
}

fn a_sweep_goes_on_and_grows() {
    let folder = Folder::new();
    let out = folder.text("sweep");
    let path = format!("{out}/trials.jsonl");
    let whole = json(&sweep(&out, &["--eta", "1,2,3", "--json"]));
    let first = fs::read_to_string(&path).expect("results");
    let again = json(&sweep(&out, &["--eta", "1,2,3", "--json"]));
    assert_eq!((&whole["ranking"], &whole["best"]), (&again["ranking"], &again["best"]));
    assert_eq!(fs::read_to_string(&path).expect("results"), first, "nothing was trained again");
    // A model that is damaged is made again.
    let model = format!("{out}/best.safetensors");
    let bytes = fs::read(&model).expect("the model");
    fs::write(&model, &bytes[..bytes.len() - 4]).expect("write");
    assert_eq!(json(&sweep(&out, &["--eta", "1,2,3", "--json"]))["best"], whole["best"]);
    assert!(fs::read(&model).expect("the model") == bytes, "it is whole again");
    // A line that was changed is no trial of this program.
    let changed = first.replace("\"weights_sha256\":\"", "\"weights_sha256\":\"0");
    fs::write(&path, changed).expect("write");
    assert_fails(&sweep(&out, &["--eta", "1,2,3"]), 1, &["other weights", "delete its line"]);
    assert!(!fs::exists(&model).expect("a folder"), "no model is left that might be taken for it");
    fs::write(&path, &first).expect("write");
    // A process that is killed while it writes leaves half a line.
    let half = first.len() - 30;
    fs::write(&path, &first[..half]).expect("write");
    let mended = json(&sweep(&out, &["--eta", "1,2,3", "--json"]));
    assert_eq!(whole["best"], mended["best"]);
    let hashes =
        || lines(&out, "trials.jsonl").iter().map(|line| line["weights_sha256"].to_string()).collect::<BTreeSet<_>>();
    let three = hashes();
    assert_eq!((three.len(), lines(&out, "trials.jsonl").len()), (3, 3));
    let wider = json(&sweep(&out, &["--eta", "1,2,3,4", "--seeds", "2", "--json"]));
    assert_eq!(wider["trials"], 8);
    assert!(hashes().is_superset(&three) && lines(&out, "trials.jsonl").len() == 8);
    // A narrower one ranks its own.
    let narrower = json(&sweep(&out, &["--eta", "2,4", "--json"]));
    assert_eq!((&narrower["trials"], narrower["ranking"].as_array().map(Vec::len)), (&2.into(), Some(2)));
    assert_fails(&sweep(&out, &["--eta", "2,4", "--limit", "500"]), 2, &["other data", "name another folder"]);
    fs::write(&path, "{}\n").expect("write");
    assert_fails(&sweep(&out, &["--eta", "2,4"]), 1, &["trials.jsonl, line 1", "no result of a trial"]);
}

fn parts_make_the_whole() {
    let folder = Folder::new();
    let [whole, parts, joined] = ["whole", "parts", "joined"].map(|name| folder.text(name));
    let lists = ["--eta", "1,2,3", "--seeds", "2", "--json"];
    let expected = json(&sweep(&whole, &lists));
    let mut text = String::new();
    for part in ["1/2", "2/2"] {
        let report = json(&sweep(&parts, &[&lists[..], &["--part", part]].concat()));
        assert_eq!(report["best"], Value::Null, "a part has no winner");
        assert!(!report.to_string().contains("\"trials\":0"), "what has no trials is left out: {report}");
        text += &fs::read_to_string(format!("{parts}/trials.{}.jsonl", part.replace('/', "-of-"))).expect("results");
    }
    fs::create_dir(&joined).expect("a folder");
    fs::write(format!("{joined}/trials.jsonl"), &text).expect("write");
    for folder in [&parts, &joined] {
        let found = json(&sweep(folder, &lists));
        assert_eq!(found["ranking"], expected["ranking"]);
        assert_eq!(found["best"]["weights_sha256"], expected["best"]["weights_sha256"]);
    }
    assert_eq!(lines(&parts, "trials.jsonl").len(), 0, "nothing was left to train");
}

fn slurm_numbers_the_parts() {
    let folder = Folder::new();
    let out = folder.text("sweep");
    let task = |id: &str, first: Option<&str>| {
        let mut program = program();
        program.args(sweep(&out, &["--eta", "1,2,3", "--json"])).env("SLURM_ARRAY_TASK_ID", id);
        program.env("SLURM_ARRAY_TASK_COUNT", "3");
        if let Some(first) = first {
            program.env("SLURM_ARRAY_TASK_MIN", first);
        }
        program.output().expect("it starts")
    };
    for (id, first, file) in
        [("0", Some("0"), "1-of-3"), ("5", Some("4"), "2-of-3"), ("3", None, "3-of-3"), ("3", Some("1"), "3-of-3")]
    {
        let output = task(id, first);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(lines(&out, &format!("trials.{file}.jsonl")).len(), 1);
    }
    let mut lost = program();
    lost.args(["sweep", "--eta", "1,2"]).envs([("SLURM_ARRAY_TASK_ID", "1"), ("SLURM_ARRAY_TASK_COUNT", "2")]);
    let lost = lost.output().expect("it starts");
    assert!(lost.status.code() == Some(2) && String::from_utf8_lossy(&lost.stderr).contains("use -o DIR"));
    let mut halving = program();
    halving.args(sweep(&out, &["--eta", "1,2", "--halving"])).env("SLURM_ARRAY_TASK_ID", "1");
    let halving = halving.env("SLURM_ARRAY_TASK_COUNT", "3").output().expect("it starts");
    assert!(halving.status.code() == Some(2) && String::from_utf8_lossy(&halving.stderr).contains("job array"));
    let wrong = task("9", Some("1"));
    let stderr = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(2) && stderr.contains("SLURM_ARRAY_TASK_ID=9"), "{stderr}");
}

fn halving_gives_the_better_half_more_epochs() {
    let folder = Folder::new();
    let out = folder.text("sweep");
    let flags = ["sweep", "--device", "cpu", "--hidden", "10", "-q", "-o", &out, "--json", "--halving"];
    let report = json(&[&flags[..], &["--eta", "0.1,1,2,3,4", "--epochs", "9"]].concat());
    let epochs = lines(&out, "trials.jsonl").iter().filter_map(|line| line["epochs"].as_u64()).collect::<Vec<_>>();
    // Five for 9/4 epochs, three for 9/2, two for 9.
    assert_eq!(epochs.iter().map(|epochs| epochs.to_string()).collect::<String>(), "2222244499");
    let ranks: Vec<u64> =
        report["ranking"].as_array().expect("ranks").iter().filter_map(|ranked| ranked["epochs"].as_u64()).collect();
    assert_eq!(ranks, [9, 9, 4, 2, 2]);
    assert_eq!(report["best"]["flags"]["epochs"], "9");
    assert_same(
        lines(&out, "trials.jsonl").iter().find(|line| line["trial"] == report["best"]["trial"]).expect("it is there"),
        &trained(&report["best"], &["--device", "cpu"]),
    );
    // A full sweep in the same folder adds trials of seeds that the rounds have, too: none counts twice.
    let whole = flags.iter().copied().filter(|flag| *flag != "--halving").collect::<Vec<_>>();
    json(&[&whole[..], &["--eta", "0.1,1,2,3,4", "--epochs", "9"]].concat());
    let page = stdout(&["report", &out, "-o", "-"]);
    assert!(page.contains("5 combinations") && page.matches(" ± ").count() <= 1, "{page}");
    // The page ranks by rounds, too, and takes effects from the first one, which all were in.
    let page = stdout(&["report", &out, "-o", "-"]);
    let means = report["effects"][0]["values"].as_array().expect("values").len();
    assert!(page.contains("5 combinations") && !page.contains("10 combinations"), "{page:.600}");
    assert_eq!(means, 5);
    assert_fails(&[&flags[..], &["--epochs", "2,4"]].concat(), 2, &["--halving", "--epochs"]);
}

fn a_budget_chooses_a_grid_and_ends() {
    let report = json(&["sweep", "--device", "cpu", "--budget", "1ms", "-q", "--json", "--threads", "1"]);
    assert!(report["trials"].as_u64() >= Some(1) && report["missing"].as_u64() > Some(0), "{report}");
    let choices = report["ranking"][0]["choices"].as_object().expect("choices");
    assert_eq!(choices.keys().map(String::as_str).collect::<Vec<_>>(), ["eta", "hidden", "lambda"]);
    assert!(report["best"]["test_accuracy"].as_f64() > Some(0.2), "{report}");
    // One trial of the defaults, and no other to be better.
    assert_eq!((&report["keeps_defaults"], &report["best"]["choices"]["hidden"]), (&true.into(), &"30".into()));
    let given = json(&["sweep", "--device", "cpu", "--budget", "1h", "-q", "--json", "--epochs", "1", "--eta", "1,3"]);
    // Five splits of few examples each.
    assert_eq!(
        (&given["trials"], &given["missing"], &given["ranking"][0]["trials"]),
        (&10.into(), &0.into(), &5.into())
    );
}

fn the_best_is_the_model_of_its_command() {
    let folder = Folder::new();
    let out = folder.text("a sweep");
    // Small data: the recipe lets the finished network learn the validation split, too.
    for more in [&["--recipe", "modern", "--limit", "200"][..], &["--recipe", "book"]] {
        let _ = fs::remove_dir_all(&out);
        let report = json(&sweep(&out, &[&["--eta", "0.001,0.01", "--json"], more].concat()));
        let best = &report["best"];
        let model = fs::read(format!("{out}/best.safetensors")).expect("the model");
        let words = shlex::split(best["command"].as_str().expect("a command")).expect("words");
        assert_eq!(words[..2], ["gpu-backprop", "train"]);
        let mut words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        words.extend(["--json", "-q"]);
        let trained = json(&words);
        assert_eq!(trained["weights_sha256"], best["weights_sha256"], "{best}");
        assert_eq!(trained["test_accuracy"], best["test_accuracy"]);
        assert!(best["test_accuracy"].is_number() && best["test_examples"].as_u64() > Some(0));
        assert!(
            fs::read(format!("{out}/best.safetensors")).expect("the model") == model,
            "the command writes it again"
        );
        assert_eq!(trained["refit_epochs"].is_number(), more[1] == "modern", "{trained}");
        let file: Value =
            serde_json::from_str(&fs::read_to_string(format!("{out}/best.json")).expect("JSON")).expect("JSON");
        assert_eq!(&file, best);
    }
}

fn what_cannot_be_trained_is_left_out() {
    let flags = ["sweep", "--device", "cpu", "--epochs", "1", "--hidden", "10", "--json"];
    let report =
        json(&[&flags[..], &["-q", "--output", "sigmoid,softmax", "--cost", "quadratic,cross-entropy"]].concat());
    // Of softmax with quadratic cost.
    let left_out = report["left_out"].as_array().expect("a list");
    assert_eq!(left_out.len(), 1, "{report}");
    assert!(
        left_out[0]["flags"].as_str().is_some_and(|flags| flags.contains("softmax") && flags.contains("quadratic"))
    );
    assert!(left_out[0]["reason"].as_str().is_some_and(|reason| reason.contains("softmax")), "{report}");
    assert_eq!((&report["trials"], &report["ranked_by"]), (&3.into(), &"validation_accuracy".into()));
    assert_fails(&[&flags[..], &["--output", "softmax", "--cost", "quadratic"]].concat(), 2, &["softmax"]);
    // The same twice is one.
    let report = json(&[&flags[..], &["-q", "--eta", "3,3.0"]].concat());
    assert_eq!(report["trials"], 1);
}

fn a_file_of_flags_has_lists() {
    let folder = Folder::new();
    let networks = |hidden: &str| {
        let text = format!("hidden = {hidden}\neta = [1, 3]\nepochs = 1\ndevice = 'cpu'\nquiet = true\n");
        let file = folder.file("sweep.toml", text.as_bytes());
        let report = json(&["sweep", "--config", &file, "--json"]);
        let ranking = report["ranking"].as_array().expect("ranks");
        let hidden = ranking.iter().filter_map(|ranked| ranked["choices"]["hidden"].as_str()).map(String::from);
        (ranking.len(), hidden.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(networks("[10, 8]"), (2, String::new()));
    assert_eq!(networks("['10', '10,8']"), (4, "10 10,8".to_string()));
}

fn random_combinations_are_some_of_all() {
    let flags =
        ["sweep", "--device", "cpu", "--epochs", "1", "--json", "-q", "--random", "3", "--hidden", "8", "9", "8,8"];
    let chosen = |seed: &str| {
        let report = json(&[&flags[..], &["--eta", "1,2,3", "--batch", "10,20", "--seed", seed]].concat());
        let ranking = report["ranking"].as_array().expect("ranks").clone();
        ranking.iter().map(|ranked| ranked["choices"].to_string()).collect::<BTreeSet<_>>()
    };
    let one = chosen("1");
    assert_eq!(one.len(), 3);
    assert_eq!(one, chosen("1"));
    assert_ne!(one, chosen("2"));
}

fn numbers_are_learned_too() {
    let folder = Folder::new();
    let rows: String = (0..200).map(|i| format!("{},{}\n", i % 17, (i % 17) * 3 + i % 2)).collect();
    let table = folder.file("t.csv", format!("x,y\n{rows}").as_bytes());
    let flags = ["--target", "y", "--task", "regression", "--test", "0.2"];
    let out = folder.text("sweep");
    let report = json(
        &[&["sweep", &table], &flags[..], &["--epochs", "3", "--eta", "0.01,0.03", "-q", "-o", &out, "--json"]]
            .concat(),
    );
    assert!(report["ranking"][0]["validation_r2"]["mean"].is_number(), "{report}");
    assert!(report["best"]["test_r2"].is_number(), "{report}");
    for result in lines(&out, "trials.jsonl") {
        let found = trained(&result, &[&["--device", "cpu"], &flags[..], &[&table]].concat());
        assert_eq!(found["weights_sha256"], result["weights_sha256"]);
        assert_eq!(found["validation_r2"], result["validation_r2"]);
    }
}

/// The epochs that a budget allows are measured, and are not measured again.
fn a_budget_goes_on_with_its_epochs() {
    let folder = Folder::new();
    let out = folder.text("sweep");
    let flags = ["sweep", "tests/fixtures/iris.csv", "--target", "species", "--device", "cpu", "--budget", "1s", "-q"];
    for _ in 0..2 {
        stdout(&[&flags[..], &["--seeds", "1", "-o", &out]].concat());
    }
    let epochs =
        lines(&out, "trials.jsonl").iter().map(|line| line["flags"]["epochs"].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(epochs.len(), 1, "{epochs:?}");
}

fn a_folder_that_is_deleted_is_an_error((): ()) {
    let folder = Folder::new();
    let out = folder.text("sweep");
    let flags = ["sweep", "--device", "cpu", "--epochs", "30", "--eta", "1,2,3", "--seeds", "20", "-q", "-o", &out];
    let mut program = program();
    let child = program.args(flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let start = Instant::now();
    while fs::read_to_string(format!("{out}/trials.jsonl")).map_or(true, |text| text.is_empty()) {
        assert!(start.elapsed() < Duration::from_secs(60), "no trial ended");
        std::thread::sleep(Duration::from_millis(1));
    }
    fs::remove_dir_all(&out).expect("it is deleted");
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && stderr.contains("deleted or replaced"), "{stderr}");
}

/// Trials that are done when a signal comes are kept, and the same command goes on.
fn an_interrupted_sweep_keeps_what_is_done((): ()) {
    let folder = Folder::new();
    let (out, expected) = (folder.text("sweep"), folder.text("expected"));
    let lists = ["--eta", "1,2,3,4", "--seeds", "4", "--json"];
    let flags = |out| [&["sweep", "--device", "cpu", "--epochs", "40", "-q", "-o", out], &lists[..]].concat();
    let mut child = {
        let mut program = program();
        program.args(flags(&out)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let start = Instant::now();
    while fs::read_to_string(format!("{out}/trials.jsonl")).map_or(0, |text| text.lines().count()) < 2 {
        assert!(
            start.elapsed() < Duration::from_secs(60) && child.try_wait().expect("a child").is_none(),
            "no trial ended"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let kept = lines(&out, "trials.jsonl");
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains(&format!("{} of 16 trials are done", kept.len())), "{stderr}");
    assert!((2..16).contains(&kept.len()) && output.stdout.is_empty());
    let (went_on, whole) = (json(&flags(&out)), json(&flags(&expected)));
    assert_eq!((&went_on["ranking"], went_on["trials"].as_u64()), (&whole["ranking"], Some(16)));
    assert_eq!(lines(&out, "trials.jsonl")[..kept.len()], kept[..]);
    let hash = |report: &Value| report["best"]["weights_sha256"].clone();
    assert_eq!(hash(&went_on), hash(&whole));
    let empty = run(&["sweep", "--device", "cpu", "--epochs", "1", "-q"]);
    assert!(empty.status.success(), "without lists and a folder there is one trial");
}
