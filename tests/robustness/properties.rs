//! Properties of every reader: whatever the bytes, there is data or an error, never a panic; and what is
//! written comes back.

use std::io::Cursor;

use crate::archive::zipped;
use crate::files::{gzip, idx, npy};
use crate::program::Folder;
use gpu_backprop::data::labels::Labels;
use gpu_backprop::data::npy::Array;
use gpu_backprop::data::npz::{Archive, OwnPart};
use gpu_backprop::data::table::{Dialect, TableOptions};
use gpu_backprop::data::{Inputs, Scale, Source, Targets, Task, idx as idx_format, npy as npy_format, open, text};
use gpu_backprop::model;
use proptest::prelude::*;
use proptest::sample::Index;

fn table_source(path: &str, target: &str, mean: bool) -> Source {
    let table = TableOptions { targets: vec![target.into()], mean_for_missing: mean, ..TableOptions::default() };
    Source { data: Some(path.into()), table, ..Source::default() }
}

/// Bytes with some of them changed, and perhaps an end that is cut.
fn mutated(mut bytes: Vec<u8>, changes: &[(Index, u8)], cut: Option<Index>) -> Vec<u8> {
    for (at, byte) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

/// Up to four changed bytes, and in half of the cases a cut.
fn changes() -> impl Strategy<Value = (Vec<(Index, u8)>, Option<Index>)> {
    (prop::collection::vec(any::<(Index, u8)>(), 1..5), any::<Option<Index>>())
}

fn read_idx(bytes: &[u8]) {
    if let Ok(array) = idx_format::decode(bytes, Some(bytes.len() as u64)) {
        let _ = (array.clone().into_labels(), array.clone().into_numbers());
        let _ = array.into_images();
    }
}

fn read_npy(bytes: &[u8]) {
    let _ = npy_format::decode(bytes, bytes.len() as u64).and_then(Array::into_images);
    for task in [Task::Classification, Task::Regression] {
        let _ = npy_format::decode_labels(bytes, bytes.len() as u64, task);
    }
}

fn read_npz(bytes: &[u8]) {
    if let Ok(mut archive) = Archive::new(Cursor::new(bytes)) {
        for part in [OwnPart::Training, OwnPart::Test] {
            let _ = archive.inputs(part).and_then(Array::into_images);
            let _ = archive.labels(part, Task::Classification);
        }
    }
}

/// The parameters of a small network, written as a model.
fn model_bytes() -> Vec<u8> {
    let folder = Folder::new();
    let path = folder.text("model.safetensors");
    let train = ["train", "tests/fixtures/iris.csv", "--target", "species", "--hidden", "2", "--epochs", "0"];
    assert!(crate::program::run(&[&train[..], &["--device", "cpu", "-q", "-o", &path]].concat()).status.success());
    std::fs::read(path).expect("the model")
}

static MODEL: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(model_bytes);

/// Floats of two examples or more, and a class for each.
fn examples() -> impl Strategy<Value = (Vec<[f32; 3]>, Vec<u8>)> {
    let float = any::<f32>().prop_filter("finite", |x| x.is_finite());
    prop::collection::vec(([float.clone(), float.clone(), float], any::<u8>()), 2..20)
        .prop_map(|rows| rows.into_iter().unzip())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    /// Whatever the bytes: rows or an error, never a panic.
    #[test]
    fn any_bytes_are_a_table_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(mut rows) = text::rows(&bytes[..], &Dialect::default()) {
            while let Ok(Some(row)) = rows.next_row() {
                let _ = row.field(0);
            }
        }
    }

    /// Nearly right tables, with every separator, quote and odd number in any place.
    #[test]
    fn any_text_is_data_or_an_error(text in "(a,b,c\n)?([0-9.,;\"\nxye\u{e9}NaN+-]|inf|1e300){0,60}", mean in any::<bool>()) {
        let folder = Folder::new();
        let path = folder.file("any.csv", text.as_bytes());
        for target in ["c", "1", "3"] {
            if let Ok(data) = open(&table_source(&path, target, mean)) {
                prop_assert!(data.dataset.classes() > 1);
            }
            let _ = open(&Source { task: Task::Regression, ..table_source(&path, target, mean) });
        }
    }

    /// What is written as a table comes back, whatever the text in it.
    #[test]
    fn a_table_comes_back(rows in prop::collection::vec((any::<f32>(), "[ -~\u{e9}\n]{1,8}"), 2..20)) {
        prop_assume!(rows.iter().all(|(number, _)| number.is_finite()));
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["x", "c"]).expect("csv");
        for (i, (number, text)) in rows.iter().enumerate() {
            // No number, nothing missing, and two classes at least.
            writer.write_record([number.to_string(), format!("_{text}_{}", i.min(1))]).expect("csv");
        }
        let folder = Folder::new();
        let path = folder.file("table.csv", &writer.into_inner().expect("csv"));
        let mut source = table_source(&path, "c", false);
        source.scale = Some(Scale::None);
        // A delimiter within quotes is none, but a first row without any needs to be told.
        source.table.delimiter = Some(b',');
        let data = open(&source).expect("a table");
        let Inputs::Floats(found) = data.dataset.inputs() else { panic!("floats") };
        let expected: Vec<f32> = rows.iter().map(|(number, _)| *number).collect();
        prop_assert_eq!(found, &expected);
        for (i, (_, text)) in rows.iter().enumerate() {
            let class = format!("_{text}_{}", i.min(1));
            prop_assert_eq!(data.dataset.class_name(data.dataset.labels()[i] as usize), class.trim());
        }
    }

    /// A table that is cut or changed, plain and compressed.
    #[test]
    fn a_changed_table_is_data_or_an_error((changes, cut) in changes(), compressed in any::<bool>(), mean in any::<bool>()) {
        let good = b"a,b,c\n1,red,\"x\"\n2.5,blue,y\n-3e2,red,x\n,red,y\n".to_vec();
        let good = if compressed { gzip(&good) } else { good };
        let folder = Folder::new();
        let path = folder.file("any.csv.gz", &mutated(good, &changes, cut));
        let _ = open(&table_source(&path, "c", mean));
    }

    #[test]
    fn any_bytes_are_idx_or_an_error(start in 0u8..2, rest in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut bytes = if start == 0 { vec![0, 0, 8, 2, 0, 0, 0, 3] } else { Vec::new() };
        bytes.extend(rest);
        read_idx(&gzip(&bytes));
        read_idx(&bytes);
    }

    #[test]
    fn changed_idx_is_data_or_an_error((changes, cut) in changes(), compressed in any::<bool>(), code in 0x08u8..0x0f) {
        let mut good = idx(&[2, 3, 4], &[7; 2 * 3 * 4 * 8]);
        good[2] = code;
        let good = if compressed { gzip(&good) } else { good };
        read_idx(&mutated(good, &changes, cut));
    }

    /// Bytes come back as they are, plain and compressed; so do labels.
    #[test]
    fn idx_comes_back(entries in prop::collection::vec(any::<u8>(), 1..60), compressed in any::<bool>()) {
        let pack = |bytes: Vec<u8>| if compressed { gzip(&bytes) } else { bytes };
        let images = pack(idx(&[entries.len() as u32, 1], &entries));
        let (features, inputs, examples) =
            idx_format::decode(&images[..], Some(images.len() as u64)).and_then(|idx| idx.into_images()).expect("images");
        prop_assert_eq!((features, examples), (1, entries.len()));
        prop_assert_eq!(inputs, Inputs::Bytes { values: entries.clone(), scale: 1.0 / 255.0 });
        let labels = pack(idx(&[entries.len() as u32], &entries));
        let labels = idx_format::decode(&labels[..], Some(labels.len() as u64)).and_then(|idx| idx.into_labels());
        let expected = Labels::Known(Targets::Classes(entries.into_iter().map(u32::from).collect()));
        prop_assert_eq!(labels.expect("labels"), expected);
    }

    #[test]
    fn any_bytes_are_npy_or_an_error(
        header in "[{]?('descr': '[<>|O][iufUS][1248]', ?|'fortran_order': (True|False), |'shape': \\([0-9, -]{0,9}\\)){0,4}[}]?",
        rest in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let length = (header.len() as u16).to_le_bytes();
        read_npy(&[b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &rest[..]].concat());
    }

    #[test]
    fn changed_npy_is_data_or_an_error((changes, cut) in changes(), kind in 0usize..4) {
        let descr = ["<f8", "|S8", "<U2", ">u8"][kind];
        read_npy(&mutated(npy(descr, kind == 3, "(3, 1)", b"one\0\0\0\0\0two\0\0\0\0\0three\0\0\0"), &changes, cut));
    }

    /// Floats, in either order and endianness.
    #[test]
    fn npy_comes_back((rows, _) in examples(), fortran in any::<bool>(), big in any::<bool>()) {
        let entries: Vec<f32> = if fortran {
            (0..3).flat_map(|column| rows.iter().map(move |row| row[column])).collect()
        } else {
            rows.concat()
        };
        let bytes: Vec<u8> =
            entries.iter().flat_map(|x| if big { x.to_be_bytes() } else { x.to_le_bytes() }).collect();
        let bytes = npy(if big { ">f4" } else { "<f4" }, fortran, &format!("({}, 3)", rows.len()), &bytes);
        let array = npy_format::decode(&bytes[..], bytes.len() as u64).and_then(Array::into_images);
        prop_assert_eq!(array.expect("an array"), (3, Inputs::Floats(rows.concat()), rows.len()));
    }

    /// Names of classes, in UTF-32 and in UTF-8.
    #[test]
    fn text_labels_come_back(texts in prop::collection::vec("[a-z\u{e9}\u{1f600}]{1,5}_", 1..20), wide in any::<bool>()) {
        let entry = |text: &String| -> Vec<u8> {
            let mut bytes: Vec<u8> =
                if wide { text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect() } else { text.clone().into() };
            bytes.resize(24, 0);
            bytes
        };
        let entries: Vec<u8> = texts.iter().flat_map(entry).collect();
        let bytes = npy(if wide { "<U6" } else { "|S24" }, false, &format!("({},)", texts.len()), &entries);
        let labels = npy_format::decode_labels(&bytes[..], bytes.len() as u64, Task::Classification).expect("labels");
        let Labels::Names { labels, names } = labels else { panic!("names") };
        let found: Vec<&String> = labels.iter().map(|&label| &names[label as usize]).collect();
        prop_assert_eq!(found, texts.iter().collect::<Vec<_>>());
        prop_assert!(names.is_sorted());
    }

    #[test]
    fn a_changed_archive_is_data_or_an_error((changes, cut) in changes(), divided in any::<bool>()) {
        let x = npy("<f4", false, "(2, 2)", &[7; 16]);
        let y = npy("<U1", false, "(2,)", b"a\0\0\0b\0\0\0");
        let names = if divided { ["x_train.npy", "y_train.npy"] } else { ["x.npy", "y.npy"] };
        read_npz(&mutated(zipped(&[(names[0], &x), (names[1], &y)]), &changes, cut));
    }

    #[test]
    fn any_bytes_are_an_archive_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_npz(&bytes);
        read_npz(&[b"PK\x03\x04", &bytes[..]].concat());
    }

    #[test]
    fn an_archive_comes_back((rows, labels) in examples()) {
        let x = npy("<f4", false, &format!("({}, 3)", rows.len()), bytemuck::cast_slice(&rows));
        let y = npy("|u1", false, &format!("({},)", labels.len()), &labels);
        let mut archive = Archive::new(Cursor::new(zipped(&[("y.npy", &y), ("x.npy", &x)]))).expect("an archive");
        let inputs = archive.inputs(OwnPart::Training).and_then(Array::into_images).expect("inputs");
        prop_assert_eq!(inputs, (3, Inputs::Floats(rows.concat()), rows.len()));
        let found = match archive.labels(OwnPart::Test, Task::Classification).expect("labels") {
            Labels::Known(targets) => targets.labels().iter().map(ToString::to_string).collect::<Vec<_>>(),
            Labels::Names { labels, names } => labels.iter().map(|&label| names[label as usize].clone()).collect(),
        };
        prop_assert_eq!(found, labels.iter().map(ToString::to_string).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_are_a_model_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\",:a-z_0-9]{0,60}") {
        let _ = model::decode(&bytes[..], bytes.len() as u64);
        let framed = [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &bytes].concat();
        let _ = model::decode(&framed[..], framed.len() as u64);
    }

    /// A changed model is an error, or a model that can be written and read again.
    #[test]
    fn a_changed_model_is_a_model_or_an_error((changes, cut) in changes()) {
        let bytes = mutated(MODEL.clone(), &changes, cut);
        if let Ok(model) = model::decode(&bytes[..], bytes.len() as u64) {
            let folder = Folder::new();
            model::save(folder.path("model"), &model).expect("it is saved");
            prop_assert_eq!(model::load(folder.path("model")).expect("it is loaded"), model);
        }
    }
}
