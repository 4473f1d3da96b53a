//! Bad input: one line that names the file, the row and the column, and neither a panic nor memory for
//! what a file only claims to be.

mod common;

use std::io::Write;

use common::program::{Folder, assert_fails, gzip, idx, program};
use common::random_below;
use flate2::Compression;
use flate2::write::GzEncoder;
use gpu_backprop::data::table::{Format, Rows, TableOptions};
use gpu_backprop::data::{Source, idx as idx_format, npy as npy_format, open};
use proptest::prelude::*;

/// What is wrong, the table, and what the error must say.
const TABLES: &[(&str, &[u8], &[&str])] = &[
    ("empty", b"", &["it is empty"]),
    ("only a BOM", b"\xef\xbb\xbf", &["it is empty"]),
    ("only newlines", b"\n\n\n", &["it is empty"]),
    ("no rows", b"a,b,c\n", &["no rows"]),
    ("ragged, short", b"a,b,c\n1,2,x\n1,2\n", &["row 2 (line 3)", "2 fields", "the header has 3"]),
    ("ragged, long", b"a,b,c\n1,2,x\n1,2,3,y\n", &["row 2 (line 3)", "4 fields", "the header has 3"]),
    ("truncated", b"a,b,c\n1,2,x\n3,", &["row 2 (line 3)", "2 fields"]),
    ("not a number", b"a,b,c\n1,2,x\n3,abc,y\n", &["row 2 (line 3), column `b`", "`abc` is not a number", "row 1"]),
    ("a number in text", b"a,b,c\n1,abc,x\n3,5,y\n", &["row 2 (line 3), column `b`", "`5`", "`abc`", "--categorical"]),
    ("NaN", b"a,b,c\n1,2,x\nNaN,3,y\n", &["row 2 (line 3), column `a`", "missing", "--missing mean"]),
    ("missing", b"a,b,c\n1,2,x\n1,,y\n", &["row 2 (line 3), column `b`", "missing", "--missing mean"]),
    ("infinite", b"a,b,c\n1,2,x\n-inf,3,y\n", &["row 2 (line 3), column `a`", "`-inf`"]),
    ("infinite first", b"a,b,c\ninf,2,x\n1,3,y\n", &["row 1 (line 2), column `a`", "`inf`", "finite"]),
    ("beyond every float", b"a,b,c\n1e999,2,x\n1,3,y\n", &["row 1 (line 2), column `a`", "`1e999`", "finite"]),
    ("too far apart", b"a,b,c\n1e308,2,x\n-1e308,3,y\n", &["column `a`", "too far apart"]),
    ("decimal commas", b"a;b;c\n1,5;2;x\n1,6;3;y\n", &["row 1 (line 2), column `a`", "decimal comma"]),
    ("missing class", b"a,b,c\n1,2,x\n1,2,\n", &["row 2 (line 3), column `c`", "the class is missing"]),
    ("one class", b"a,b,c\n1,2,x\n3,4,x\n", &["column `c`", "every row has the class `x`"]),
    ("class with a fraction", b"a,b,c\n1,2,0\n3,4,0.5\n", &["row 2 (line 3), column `c`", "`0.5`", "fraction"]),
    ("duplicated columns", b"a,b,a,c\n1,2,3,x\n4,5,6,y\n", &["columns 1 and 3 are both named `a`"]),
    ("no UTF-8", b"a,b,c\n1,caf\xe9,x\n3,tea,y\n", &["row 1 (line 2), column `b`", "UTF-8"]),
    ("no UTF-8 in the header", b"a,caf\xe9,c\n1,2,x\n3,4,y\n", &["UTF-8"]),
    ("UTF-16", b"\xff\xfea\0,\0b\0", &["UTF-16"]),
    ("binary", b"\x7fELF\x02\x01\x01\0\0\0", &["no table of text", "byte 8 is 0"]),
    ("only the class", b"c\nx\ny\n", &["no column is left"]),
    ("no values", b"a,b,c\n1,,x\n3,,y\n", &["row 1 (line 2), column `b`", "missing"]),
    ("a quote that goes on", b"a,b,c\n1,\"2,x\n3,4,y\n", &["row 1 (line 2)", "2 fields"]),
];

#[test]
fn every_bad_table_is_named() {
    let folder = Folder::new();
    for (what, table, parts) in TABLES {
        let name = format!("{}.csv", what.replace([' ', ','], "-"));
        let path = folder.file(&name, table);
        // By its name, or the only column's.
        let parts = [&[name.as_str()], *parts].concat();
        assert_fails(&["train", &path, "--target", "c", "--batch", "1", "--device", "cpu"], 1, &parts);
    }
}

#[test]
fn what_is_asked_of_a_table_must_be_there() {
    let folder = Folder::new();
    let path = folder.file("table.csv", b"a,b,c\n1,2,x\n3,4,y\n");
    let train = |flags: &[&str], code, parts: &[&str]| {
        assert_fails(&[&["train", &path, "--batch", "1", "--device", "cpu"], flags].concat(), code, parts);
    };
    train(&[], 2, &["table.csv", "--target COLUMN is needed", "a, b, c"]);
    train(&["--target", "d"], 2, &["--target d: no such column", "a, b, c"]);
    train(&["--target", "3", "--no-header"], 1, &["table.csv", "row 2 (line 2), column 1", "`1`", "`a`"]);
    train(&["--target", "9", "--no-header"], 2, &["--target 9", "from 1 to 3"]);
    train(&["--target", "c", "--ignore", "e"], 2, &["--ignore e: no such column"]);
    train(&["--target", "c", "--categorical", "e"], 2, &["--categorical e: no such column"]);
    train(&["--target", "c", "--ignore", "a,b"], 1, &["no column is left"]);
    train(&["--target", "c", "--delimiter", ";;"], 2, &["--delimiter", "one ASCII character"]);
    train(&["--target", "c", "--limit", "0"], 2, &["--limit 0"]);
    train(&["--target", "c", "--scale", "log"], 2, &["zscore"]);
    train(&["--target", "c", "--test", &folder.text("no.csv")], 1, &["--test", "no.csv", "no such file"]);
    let test = folder.file("test.csv", b"a,c\n1,x\n");
    train(&["--target", "c", "--test", &test], 1, &["--test", "test.csv", "column `b` is missing"]);
    let test = folder.file("test.csv", b"b,c,a\n1,z,2\n");
    train(&["--target", "c", "--test", &test], 1, &["--test", "test.csv", "row 1 (line 2), column `c`", "`z`", "x, y"]);
    assert_fails(&["train", "--target", "c"], 2, &["--target goes with a table"]);
    assert_fails(&["train", "--missing", "mean"], 2, &["--missing goes with a table"]);
    let packed = folder.file("table.csv.gz", &gzip(b"a,b\n1,2\n"));
    assert_fails(&["train", &packed, "--target", "b"], 1, &["table.csv.gz", "unpack it"]);
}

#[test]
fn too_many_categories_are_refused() {
    let folder = Folder::new();
    let rows: String = (0..1001).map(|i| format!("name {i},{}\n", i % 2)).collect();
    let path = folder.file("names.csv", format!("name,c\n{rows}").as_bytes());
    assert_fails(
        &["train", &path, "--target", "c", "--device", "cpu"],
        1,
        &["names.csv", "row 1001 (line 1002), column `name`", "at most 1000", "--ignore"],
    );
}

fn bomb(claimed: u32, real: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&idx(&[claimed, 1000], &[])).expect("gzip");
    let block = vec![0; 1_000_000];
    (0..real / block.len()).for_each(|_| encoder.write_all(&block).expect("gzip"));
    encoder.finish().expect("gzip")
}

/// Each of these would take more memory than is allowed, were it believed.
#[cfg(target_os = "linux")]
#[test]
fn no_memory_for_what_is_only_claimed() {
    let folder = Folder::new();
    let labels = folder.file("labels", &idx(&[2], &[0, 1]));
    let mut endless = b"a,b,c\n1,\"".to_vec();
    endless.resize(40_000_000, b'x');
    // A file that is compressed less than 100 times and ends too early.
    let noise: Vec<u8> = random_below(1, 2_000_000, 256).into_iter().map(|byte| byte as u8).collect();
    let mut early = GzEncoder::new(Vec::new(), Compression::fast());
    early.write_all(&idx(&[150_000, 1000], &noise)).expect("gzip");
    (0..140).for_each(|_| early.write_all(&[0; 1_000_000]).expect("gzip"));
    for (name, bytes, parts) in [
        ("bomb.gz", bomb(400_000, 400_000_000), "100 times"),
        ("claims.gz", bomb(4_000_000, 0), "100 times"),
        ("early.gz", early.finish().expect("gzip"), "truncated"),
        ("claims", idx(&[4_000_000, 1000], &[0; 100]), "truncated"),
        ("endless.csv", endless, "16 MB"),
    ] {
        let path = folder.file(name, &bytes);
        // 64 MB and twice the file, beside the program itself with its libraries and its threads' stacks.
        let own = 250_000;
        let kilobytes = own + 64_000 + 2 * bytes.len() / 1000;
        let flags: &[&str] = if name.ends_with("csv") { &["--target", "c"] } else { &["--labels", labels.as_str()] };
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("ulimit -v {kilobytes}; exec \"$0\" \"$@\"")])
            .arg(program().get_program())
            .args(["train", &path, "--batch", "1", "--device", "cpu", "--threads", "1"])
            .args(flags)
            .output()
            .expect("sh");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {stderr}");
        assert!(stderr.contains(name) && stderr.contains(parts) && stderr.lines().count() == 1, "{name}: {stderr}");
    }
}

fn table_source(path: &str, target: &str, mean: bool) -> Source {
    let table = TableOptions { targets: vec![target.into()], mean_for_missing: mean, ..TableOptions::default() };
    Source { data: Some(path.into()), table, ..Source::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the bytes: rows or an error, never a panic.
    #[test]
    fn any_bytes_are_a_table_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(mut rows) = Rows::new(&bytes[..], &Format::default()) {
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
        source.scale = Some(gpu_backprop::data::Scale::None);
        // A delimiter within quotes is none, but a first row without any needs to be told.
        source.table.delimiter = Some(b',');
        let data = open(&source).expect("a table");
        let gpu_backprop::data::Inputs::Floats(found) = data.dataset.inputs() else { panic!("floats") };
        let expected: Vec<f32> = rows.iter().map(|(number, _)| *number).collect();
        prop_assert_eq!(found, &expected);
        for (i, (_, text)) in rows.iter().enumerate() {
            let class = format!("_{text}_{}", i.min(1));
            prop_assert_eq!(data.dataset.class_name(data.dataset.labels()[i] as usize), class.trim());
        }
    }

    #[test]
    fn any_bytes_are_idx_or_an_error(start in 0u8..2, rest in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut bytes = if start == 0 { vec![0, 0, 8, 2, 0, 0, 0, 3] } else { Vec::new() };
        bytes.extend(rest);
        for bytes in [gzip(&bytes), bytes] {
            let length = bytes.len() as u64;
            if let Ok(idx) = idx_format::decode(&bytes[..], Some(length)) {
                let _ = idx.into_images();
            }
        }
    }

    #[test]
    fn any_bytes_are_npy_or_an_error(
        header in "[{]?('descr': '[<>|O][iuf][1248]', ?|'fortran_order': (True|False), |'shape': \\([0-9, -]{0,9}\\)){0,4}[}]?",
        rest in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let length = (header.len() as u16).to_le_bytes();
        let bytes = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &rest[..]].concat();
        let _ = npy_format::decode(&bytes[..], bytes.len() as u64);
    }
}
