//! Well-known tables are learned as well as others learn them: docs/data.md says with what, and how well.
//! The least accuracy that is asked for is what chance could take away from the figures there: three
//! standard errors of the mean over these seeds, from the deviation of ten splits.

use crate::program::json;
use serde_json::Value;

/// The mean of what comes of the seeds 0 to 4, 20% of the examples kept for testing.
fn mean(table: &str, flags: &[&str], field: &str) -> f64 {
    let of = |seed: u64| -> f64 {
        let seed = seed.to_string();
        let common = ["--test", "0.2", "--seed", &seed, "--device", "cpu", "--json", "-q"];
        let report = json(&[&["train", table], flags, &common[..]].concat());
        report.get(field).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {field}: {report}"))
    };
    (0..5).map(of).sum::<f64>() / 5.0
}

/// 96.3% in docs/data.md, with a standard deviation of 2.8%.
#[test]
fn irises_are_told_apart() {
    let flags = ["--target", "species", "--recipe", "book", "--epochs", "100", "--eta", "1"];
    let accuracy = mean("tests/fixtures/iris.csv", &flags, "test_accuracy");
    assert!(accuracy >= 0.963 - 3.0 * 0.028 / 5f64.sqrt(), "{accuracy}");
}

/// 97.1% in docs/data.md, with a standard deviation of 0.9%.
#[test]
fn tumours_are_told_apart() {
    let flags = ["--target", "diagnosis", "--recipe", "book", "--epochs", "30", "--eta", "0.5"];
    let accuracy = mean("tests/fixtures/breast_cancer.csv", &flags, "test_accuracy");
    assert!(accuracy >= 0.971 - 3.0 * 0.009 / 5f64.sqrt(), "{accuracy}");
}

/// R² 0.460 in docs/data.md, with a standard deviation of 0.072.
#[test]
fn the_progression_of_diabetes_is_learned() {
    let flags = [
        "--target",
        "progression",
        "--task",
        "regression",
        "--recipe",
        "book",
        "--hidden",
        "10",
        "--epochs",
        "100",
        "--eta",
        "0.01",
    ];
    let r2 = mean("tests/fixtures/diabetes.csv", &flags, "test_r2");
    assert!(r2 >= 0.460 - 3.0 * 0.072 / 5f64.sqrt(), "{r2}");
}

/// 97.5% and R² 0.419 in docs/tables.md, with deviations of 1.3% and 0.08: the defaults of tables.
#[test]
fn the_defaults_learn_them_too() {
    let accuracy = mean("tests/fixtures/breast_cancer.csv", &["--target", "diagnosis"], "test_accuracy");
    assert!(accuracy >= 0.975 - 3.0 * 0.013 / 5f64.sqrt(), "{accuracy}");
    let flags = ["--target", "progression", "--task", "regression"];
    let r2 = mean("tests/fixtures/diabetes.csv", &flags, "test_r2");
    assert!(r2 >= 0.419 - 3.0 * 0.08 / 5f64.sqrt(), "{r2}");
}
