//! Tables in Parquet: `cargo test --features parquet --test data parquet`. Without the feature, the error that says
//! how to have it.

#[cfg(not(feature = "parquet"))]
#[test]
fn without_the_feature_it_is_said_how_to_have_it() {
    use crate::program::{Folder, assert_fails};

    let iris = ["train", "tests/fixtures/iris.parquet", "--target", "species"];
    assert_fails(&iris, 1, &["iris.parquet", "Parquet", "--features parquet"]);
    let folder = Folder::new();
    let renamed = folder.file("iris.csv", &std::fs::read("tests/fixtures/iris.parquet").expect("the file"));
    assert_fails(&["train", &renamed, "--target", "species"], 1, &["iris.csv", "Parquet", "--features parquet"]);
}

#[cfg(not(feature = "parquet"))]
#[test]
#[ignore = "tables in Parquet are read with --features parquet"]
fn reading() {
    panic!("build with --features parquet");
}

#[cfg(feature = "parquet")]
mod read {
    use gpu_backprop::data::preprocessing::Columns;
    use gpu_backprop::data::table::TableOptions;
    use gpu_backprop::data::{Inputs, Preprocessing, Scale, Source, Task, open};
    use proptest::prelude::*;
    use proptest::sample::Index;

    use crate::files::gzip;
    use crate::program::{Folder, assert_fails, json, stdout};

    const TYPES: &str = "tests/fixtures/types.parquet";

    fn source(path: &str, target: &str) -> Source {
        let table = TableOptions { targets: vec![target.into()], mean_for_missing: true, ..TableOptions::default() };
        Source { data: Some(path.into()), table, scale: Some(Scale::None), ..Source::default() }
    }

    #[test]
    fn it_is_a_table_like_any_other() {
        let folder = Folder::new();
        let model = folder.text("model.safetensors");
        let train = |path: &str| {
            let flags = ["--test", "0.2", "--epochs", "5", "--device", "cpu", "--json", "-o", &model];
            json(&[&["train", path, "--target", "species"], &flags[..]].concat())
        };
        let (csv, parquet) = (train("tests/fixtures/iris.csv"), train("tests/fixtures/iris.parquet"));
        for what in ["weights_sha256", "test_correct", "test_cost"] {
            assert_eq!(csv[what], parquet[what], "{what}");
        }
        let evaluate = |path: &str| json(&["evaluate", &model, path, "--device", "cpu", "--json"])["cost"].clone();
        assert_eq!(evaluate("tests/fixtures/iris.csv"), evaluate("tests/fixtures/iris.parquet"));
        let predict = |path: &str| stdout(&["predict", &model, path, "--device", "cpu"]);
        assert_eq!(predict("tests/fixtures/iris.csv"), predict("tests/fixtures/iris.parquet"));
    }

    #[test]
    fn types_nulls_and_row_groups_are_read() {
        let data = open(&source(TYPES, "class")).expect("a table");
        let Preprocessing::Columns(Columns { columns, .. }) = data.dataset.preprocessing() else { panic!("columns") };
        let names: Vec<_> = columns.iter().map(|column| column.title()).collect();
        assert_eq!(names, ["`count`", "`size`", "`single`", "`colour`", "`flag`"]);
        let Inputs::Floats(values) = data.dataset.inputs() else { panic!("floats") };
        // A missing number is the mean of the others; a missing text is none of blue, grün, red.
        let (count, size) = ((1.0 + 2.0 + 4.0 + 5.0 + 6.0) / 5.0, (0.1 - 300.0 + 1e-7 + 2.5 + 1.0) / 5.0);
        let expected: [[f64; 8]; 6] = [
            [1.0, 0.1, 0.1, 0.0, 0.0, 1.0, 0.0, 1.0],
            [2.0, size, 0.2, 1.0, 0.0, 0.0, 1.0, 0.0],
            [count, -300.0, 0.3, 0.0, 0.0, 1.0, 0.0, 1.0],
            [4.0, 1e-7, 0.4, 0.0, 0.0, 0.0, 0.0, 1.0],
            [5.0, 2.5, 0.5, 0.0, 1.0, 0.0, 1.0, 0.0],
            [6.0, 1.0, 0.6, 1.0, 0.0, 0.0, 1.0, 0.0],
        ];
        for (i, (&found, &expected)) in values.iter().zip(expected.as_flattened()).enumerate() {
            assert!((found - expected as f32).abs() <= 1e-5 * (expected as f32).abs(), "{i}: {found}, {expected}");
        }
        assert_eq!(values.len(), 48);
        assert_eq!(data.dataset.labels(), [1, 0, 1, 0, 1, 0]);
        let numbers = open(&Source { task: Task::Regression, ..source(TYPES, "single") }).expect("a table");
        assert_eq!(numbers.dataset.quantities().len(), 1);
    }

    #[test]
    fn every_compression_and_encoding_is_read_alike() {
        let weights = |file: &str| {
            let folder = Folder::new();
            let flags = ["--missing", "mean", "--batch", "3", "--device", "cpu", "--json", "-o"];
            let model = folder.text("model.safetensors");
            let run = json(&[&["train", file, "--target", "class"], &flags[..], &[&model]].concat());
            run["weights_sha256"].clone()
        };
        let expected = weights(TYPES);
        for file in ["zstd", "lz4", "delta"] {
            assert_eq!(weights(&format!("tests/fixtures/{file}.parquet")), expected, "{file}");
        }
    }

    /// Pages that some programs write, or wrote (tests/fixtures/README.md).
    #[test]
    fn unusual_pages_are_read() {
        let folder = Folder::new();
        let model = folder.text("model.safetensors");
        let train = ["train", TYPES, "--target", "class", "--missing", "mean", "--batch", "3"];
        stdout(&[&train[..], &["--quiet", "-o", &model, "--device", "cpu"]].concat());
        let predict = |file: &str| stdout(&["predict", &model, file, "--probabilities", "--device", "cpu"]);
        let of = |name: &str| predict(&format!("tests/fixtures/{name}.parquet"));
        let (usual, missing) = (predict(TYPES), of("all_missing"));
        assert_eq!(of("untold_sizes"), usual);
        assert_ne!(missing, usual);
        assert_eq!(of("two_frames"), missing);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = Folder::new();
        let train = |path: &str, flags: &[&str], code, parts: &[&str]| {
            let train = ["train", path, "--target", "class", "--device", "cpu"];
            assert_fails(&[&train, flags].concat(), code, parts);
        };
        train(TYPES, &[], 1, &["types.parquet", "row 2, column `size`", "missing", "--missing mean"]);
        train(TYPES, &["--no-header"], 2, &["types.parquet", "--no-header"]);
        train(TYPES, &["--delimiter", ";"], 2, &["types.parquet", "--delimiter"]);
        train("tests/fixtures/brotli.parquet", &[], 1, &["brotli.parquet", "column `count`", "BROTLI", "snappy"]);
        train("tests/fixtures/lists.parquet", &[], 1, &["lists.parquet", "column `x`", "lists"]);
        let bytes = std::fs::read(TYPES).expect("the file");
        train(&folder.file("cut", &bytes[..bytes.len() / 2]), &[], 1, &["cut", "Parquet"]);
        train(&folder.file("short", b"PAR1"), &[], 1, &["short", "Parquet"]);
        train(&folder.file("packed.csv.gz", &gzip(&bytes)), &[], 1, &["packed.csv.gz", "Parquet", "compressed"]);
        let mut claims = bytes.clone();
        let at = claims.len() - 8;
        claims[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        train(&folder.file("claims", &claims), &[], 1, &["claims", "Parquet"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        /// A changed file is data or an error, and a panic of the reader is an error too.
        #[test]
        fn a_changed_file_is_data_or_an_error(
            changes in prop::collection::vec(any::<(Index, u8)>(), 1..6),
            cut in any::<Option<Index>>(),
        ) {
            let mut bytes = std::fs::read(TYPES).expect("the file");
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let folder = Folder::new();
            let _ = open(&source(&folder.file("changed.parquet", &bytes), "class"));
        }
    }
}
