//! Pages about runs and about models.

use std::fmt::Write;

use crate::program::{Folder, assert_fails, run, stdout};

trials! {
    once: a_run_has_a_page, a_model_with_data_has_a_page, learned_examples_are_said_to_be_learned, numbers_have_a_page,
        a_comparison_has_a_page, what_is_no_subject_is_refused;
}

/// The text of a file.
fn read(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.path(name)).expect("a file")
}

fn succeeds(arguments: &[&str]) {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Checks what every page must be: whole, without scripts, and in need of nothing from elsewhere.
fn assert_stands_alone(page: &str) {
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"), "{page}");
    assert!(!page.contains("<script") && !page.contains("<link") && !page.contains("src=\"http"), "it needs something");
    assert!(!page.contains("NaN"));
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
    let count = |part: &str| page.matches(part).count();
    assert_eq!(
        count("href="),
        count("<a href=\"http://neuralnetworksanddeeplearning.com/chap"),
        "links lead to the book"
    );
    assert_eq!(count("<svg xmlns"), count("<figure><svg xmlns"));
    // Each chart has its numbers as a table.
    assert_eq!(count("<figure><svg xmlns"), count("</svg>\n<details><summary>the numbers"), "charts without numbers");
    for element in ["figure", "table", "div", "svg", "details", "tr"] {
        assert_eq!(
            count(&format!("<{element}>")) + count(&format!("<{element} ")),
            count(&format!("</{element}>")),
            "{element}"
        );
    }
}

fn a_run_has_a_page() {
    let folder = Folder::new();
    let path = |name: &str| folder.path(name).display().to_string();
    let (run_folder, one, other) = (path("run"), path("one.html"), path("other.html"));
    succeeds(&[
        "train",
        "--run",
        &run_folder,
        "--validation",
        "0.2",
        "--epochs",
        "8",
        "--seed",
        "3",
        "--device",
        "cpu",
        "--quiet",
    ]);
    // As a run with --profile on a GPU leaves it.
    let profile = r#"{"clock": "gpu", "kernels": [{"plan": "one step", "kernel": "dense_forward", "formula": "a2", "calls": 7,
        "seconds": 0.5, "operations": 2e9}], "gaps_seconds": null}"#;
    std::fs::write(folder.path("run").join("profile.json"), profile).expect("write");
    for page in [&one, &other] {
        assert_eq!(stdout(&["report", &run_folder, "-o", page]), format!("report  {page}\n"));
    }
    let page = read(&folder, "one.html");
    assert_eq!(page, read(&folder, "other.html"), "the same run, the same bytes");
    assert_stands_alone(&page);
    for part in [
        "64-30-10 on built-in handwritten digits",
        "Nothing wrong was found",
        "359 examples of the test split",
        "speed of learning of each layer",
        "change of the weights by one step",
        "Most confused",
        "reliability",
        "Examples with the highest cost",
        "weights of neuron 30",
        "Layer 3, sigmoid",
        "gpu-backprop train --config run.toml",
        "seed = 3",
        "SHA-256 of the data",
        "GFLOP/s",
        "<td>dense_forward</td><td>7</td><td>500.00</td><td>100.0</td><td>4.00</td>",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    assert!(!page.contains(&run_folder), "another training is another run");
    // Red, white and blue pictures of 30 neurons, and those of examples.
    assert!(page.matches("data:image/png;base64,").count() > 30 + 24);
    // A fault is told on the page.
    let bad = path("bad");
    succeeds(&["train", "--run", &bad, "--eta", "100", "--epochs", "5", "--device", "cpu", "--quiet"]);
    succeeds(&["report", &bad, "-o", &one]);
    assert!(read(&folder, "one.html").contains("<strong>eta-too-large</strong>"));
}

fn a_model_with_data_has_a_page() {
    let folder = Folder::new();
    let path = |name: &str| folder.path(name).display().to_string();
    let mut table = "size,<b>colour</b>,kind\n".to_string();
    for i in 0..90 {
        let kind = ["a<b", "c&d", "e"][i % 3];
        writeln!(table, "{},{},{kind}", i % 3 * 10 + i % 4, ["red", "blue"][i % 2]).expect("memory");
    }
    let (data, model, page) = (folder.file("t.csv", table.as_bytes()), path("m.safetensors"), path("p.html"));
    let flags = ["--target", "kind", "--epochs", "30", "--device", "cpu", "--quiet"];
    succeeds(&[&["train", &data, "-o", &model], &flags[..]].concat());
    succeeds(&["report", &model, &data, "-o", &page]);
    let told = read(&folder, "p.html");
    assert_stands_alone(&told);
    // Names are text, not HTML.
    assert!(
        told.contains("a&lt;b") && told.contains("c&amp;d") && told.contains("&lt;b&gt;colour&lt;/b&gt; = red"),
        "{told}"
    );
    assert!(!told.contains("<b>colour") && told.contains("90 examples") && told.contains("its largest weights"));
    let same = path("q.html");
    succeeds(&["evaluate", &model, &data, "--report", &same]);
    assert_eq!(told, read(&folder, "q.html"));
    // An input is never overwritten.
    assert_fails(&["report", &model, &data, "-o", &data], 2, &["t.csv"]);
}

/// A refit learns the validation split, which then says little.
fn learned_examples_are_said_to_be_learned() {
    let folder = Folder::new();
    let path = |name: &str| folder.path(name).display().to_string();
    let train = ["train", "tests/fixtures/iris.csv", "--target", "species", "--device", "cpu", "-q", "--epochs", "30"];
    for (refit, learned) in [("yes", true), ("no", false)] {
        let run = path(refit);
        succeeds(&[&train[..], &["--refit", refit, "--run", &run]].concat());
        let page = stdout(&["report", &run, "-o", "-"]);
        assert!(
            page.contains("examples of the validation split")
                && page.contains("which the final network has learned, too") == learned
        );
    }
}

fn numbers_have_a_page() {
    let folder = Folder::new();
    let path = |name: &str| folder.path(name).display().to_string();
    let table = (0..120).map(|i| format!("{i},{},{}\n", i * 7 % 13, 2 * i + i * 7 % 13)).collect::<String>();
    let (data, run_folder) = (folder.file("t.csv", format!("x,y,z\n{table}").as_bytes()), path("run"));
    let flags = ["--target", "z", "--task", "regression", "--epochs", "40", "--device", "cpu", "--quiet"];
    succeeds(&[&["train", &data, "--run", &run_folder], &flags[..]].concat());
    succeeds(&["report", &run_folder, "-o", &path("p.html")]);
    let page = read(&folder, "p.html");
    assert_stands_alone(&page);
    for part in ["R² of z", "predicted against true", "predicted minus true", "learning rate"] {
        assert!(page.contains(part), "no {part}");
    }
    assert!(!page.contains("Most confused"));

    // A row whose target is missing stops a command, or is left out.
    let (model, gaps) = (path("m.safetensors"), folder.file("gaps.csv", b"x,y,z\n1,2,\n2,3,7\n3,4,10\n"));
    succeeds(&[&["train", &data, "-o", &model], &flags[..]].concat());
    let page = path("gaps.html");
    for command in [&["report", &model, &gaps, "-o", &page][..], &["inspect", &model, &gaps, "--example", "2"]] {
        assert_fails(command, 1, &["the target is missing", "--drop-missing-target"]);
        succeeds(&[command, &["--drop-missing-target"]].concat());
    }
    assert!(read(&folder, "gaps.html").contains("R² of z"));
}

fn a_comparison_has_a_page() {
    let folder = Folder::new();
    let page = folder.path("p.html").display().to_string();
    let flags = ["--devices", "cpu,cpu:primitive", "--epochs", "3", "--hidden", "8", "--quiet"];
    succeeds(&[&["compare", "--report", &page], &flags[..]].concat());
    let told = read(&folder, "p.html");
    assert_stands_alone(&told);
    for part in ["64-8-10 on two devices", "agree within rounding", "largest difference of the weights"] {
        assert!(told.contains(part), "no {part}");
    }
}

fn what_is_no_subject_is_refused() {
    let folder = Folder::new();
    let empty = folder.path(".").display().to_string();
    assert_fails(&["report", &empty], 2, &["contains neither a run"]);
    assert_fails(&["report", "nothing.safetensors"], 1, &["nothing.safetensors"]);
    let model = folder.path("m.safetensors").display().to_string();
    succeeds(&["train", "--epochs", "0", "-o", &model, "--device", "cpu", "--quiet"]);
    assert_fails(&["report", &model, "-o", "no/such/folder.html"], 1, &["-o no/such"]);
    assert_fails(&["evaluate", &model, "digits", "--report", "no/such/folder.html"], 1, &["--report no/such"]);
    let comparison = ["compare", "--devices", "cpu,cpu:primitive", "--epochs", "1", "--report", "no/such/folder.html"];
    assert_fails(&comparison, 1, &["--report no/such"]);
    let table = folder.file("t.csv", b"a,b\n1,2\n");
    assert_fails(&["report", &model, &table], 1, &["t.csv"]);
}
