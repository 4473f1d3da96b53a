//! The table of bad inputs: every kind of file, and all that can be wrong with it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::archive::zipped;
use crate::files::{gzip, idx, images_and_labels, npy};

/// There are at least so many cases.
pub const CASES_AT_LEAST: usize = 160;

/// One bad input.
pub struct Case {
    /// What is wrong; no two cases have the same.
    pub what: &'static str,
    /// The files; an argument `@name` is the path of a file.
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// What is typed.
    pub arguments: String,
    /// The exit code.
    pub code: i32,
    /// What the error must say.
    pub parts: Vec<&'static str>,
}

/// Files with which nothing is wrong: they are there for every case.
pub fn good_files() -> Vec<(&'static str, Vec<u8>)> {
    let (images, labels) = images_and_labels();
    vec![
        ("x.npy", npy("<f4", false, "(4, 2)", &[0; 32])),
        ("y.npy", npy("|u1", false, "(4,)", &[0, 1, 0, 1])),
        ("good.csv", b"a,b,c\n1,red,x\n3,blue,y\n".to_vec()),
        ("images", images),
        ("labels", labels),
    ]
}

/// All cases, in the order in which they are to be run.
pub fn cases() -> Vec<Case> {
    [tables(), regressions(), compressed_tables(), idx_files(), mnist_folders(), npy_files(), npz_files(), trained()]
        .into_iter()
        .flatten()
        .collect()
}

/// Trains on a file, which must fail with exit code 1 and leave no model.
fn training(what: &'static str, file: (&'static str, Vec<u8>), flags: &str, parts: &[&'static str]) -> Case {
    let arguments = format!("train @{} {flags} --batch 1 --epochs 1 --device cpu -o @out.safetensors", file.0);
    Case { what, parts: [&[file.0], parts].concat(), files: vec![file], arguments, code: 1 }
}

const TABLES: &[(&str, &[u8], &[&str])] = &[
    ("empty", b"", &["it is empty"]),
    ("only a BOM", b"\xef\xbb\xbf", &["it is empty"]),
    ("only newlines", b"\n\n\n", &["it is empty"]),
    ("no rows", b"a,b,c\n", &["no rows"]),
    ("ragged, short", b"a,b,c\n1,2,x\n1,2\n", &["row 2 (line 3)", "2 fields", "the header has 3"]),
    (
        "quote without its end",
        b"a,b,c\n\"1,2,x\n1,2,y\n",
        &["row 1", "1 field,", "the header has 3", "is its closing quote"],
    ),
    (
        "quote without its end in the last column",
        b"a,c\n1,x\n2,\"y\n3,x\n",
        &["line 3", "quote in the last field", "never closed"],
    ),
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
    ("a zipped table", b"PK\x03\x04\x14\0\0\0", &["ZIP"]),
    ("a column without values", b"a,c,\n1,x,\n2,y,\n", &["column `column 3`", "--missing", "--ignore"]),
    ("duplicated columns", b"a,b,a,c\n1,2,3,x\n4,5,6,y\n", &["columns 1 and 3 are both named `a`", "rename"]),
    ("no UTF-8", b"a,b,c\n1,caf\xe9,x\n3,tea,y\n", &["row 1 (line 2), column `b`", "UTF-8"]),
    ("no UTF-8 in the header", b"a,caf\xe9,c\n1,2,x\n3,4,y\n", &["UTF-8"]),
    ("UTF-16", b"\xff\xfea\0,\0b\0", &["UTF-16"]),
    ("binary", b"\x7fELF\x02\x01\x01\0\0\0", &["not a text table", "byte 8 is 0"]),
    ("only the class", b"c\nx\ny\n", &["no column is left"]),
    ("no values", b"a,b,c\n1,,x\n3,,y\n", &["row 1 (line 2), column `b`", "missing"]),
    ("a quote that continues", b"a,b,c\n1,\"2,x\n3,4,y\n", &["row 1 (line 2)", "2 fields"]),
    ("CRLF, ragged", b"a,b,c\r\n1,2,x\r\n1,2\r\n", &["row 2 (line 3)", "2 fields", "the header has 3"]),
    ("CRLF, missing", b"a,b,c\r\n1,2,x\r\n1,2,\r\n", &["row 2 (line 3), column `c`", "the class is missing"]),
    ("a BOM, not a number", b"\xef\xbb\xbfa,b,c\n1,2,x\nz,2,y\n", &["row 2 (line 3), column `a`", "`z`"]),
    (
        "lines within quotes",
        b"a,b,c\n1,\"2\n\",x\n\n\n1,\"2\n\",\n",
        &["row 2 (line 6), column `c`", "class is missing"],
    ),
    ("no end of the last line", b"a,b,c\n1,2,x\n1,2,", &["row 2 (line 3), column `c`", "class is missing"]),
    ("UTF-16, big-endian", b"\xfe\xff\0a\0,\0b", &["UTF-16"]),
    ("a zero in the middle", b"a,b,c\n1,2,x\n3,\0,y\n", &["byte 15 is 0"]),
];

fn tables() -> Vec<Case> {
    let of = |&(what, table, parts): &(&'static str, &'static [u8], &'static [&'static str])| {
        training(what, ("table.csv", table.to_vec()), "--target c", parts)
    };
    let mut cases: Vec<Case> = TABLES.iter().map(of).collect();
    let classes: String = (0..70_000).map(|i| format!("{i},n{i}\n")).collect();
    cases.push(training(
        "more classes than there can be",
        ("table.csv", format!("a,c\n{classes}").into_bytes()),
        "--target c",
        &["row 65537 (line 65538), column `c`", "more than 65536 classes"],
    ));
    let target = training(
        "no such target",
        ("table.csv", b"a,b\n1,2\n".to_vec()),
        "--target c",
        &["no such column", "`a`, `b`"],
    );
    cases.push(Case { code: 2, parts: vec!["--target c", "no such column", "`a`, `b`"], ..target });
    let target =
        training("no target named", ("table.csv", b"a,b\n1,2\n".to_vec()), "--missing mean", &["--target", "`a`, `b`"]);
    cases.push(Case { code: 2, ..target });
    cases.push(training(
        "a target that is missing in a test file",
        ("test.csv", b"a,b\n1,red\n".to_vec()),
        "",
        &["--test", "--target c: no such column", "`a`, `b`"],
    ));
    let last = cases.last_mut().expect("a case");
    last.arguments = "train @good.csv --target c --batch 1 --device cpu --test @test.csv -o @out.safetensors".into();
    last.code = 2;
    cases
}

/// Numbers to learn.
fn regressions() -> Vec<Case> {
    let table = |what, bytes: &'static [u8], parts: &[&'static str]| {
        training(what, ("table.csv", bytes.to_vec()), "--target c --task regression", parts)
    };
    let labels = |what, bytes: Vec<u8>, parts: &[&'static str]| {
        let arguments = "train @x.npy --labels @bad.npy --task regression --device cpu -o @out.safetensors".into();
        Case { what, files: vec![("bad.npy", bytes)], arguments, code: 1, parts: [&["bad.npy"], parts].concat() }
    };
    let four = |x: f64| x.to_le_bytes().repeat(4);
    vec![
        table("regression, text", b"a,b,c\n1,2,3.5\n3,4,x\n", &["row 2 (line 3), column `c`", "`x` is not a number"]),
        table("regression, missing", b"a,b,c\n1,2,3.5\n3,4,\n", &["row 2 (line 3), column `c`", "missing"]),
        table(
            "regression, infinite",
            b"a,b,c\n1,2,3.5\n3,4,inf\n",
            &["row 2 (line 3), column `c`", "`inf` is not a number"],
        ),
        table("regression, all the same", b"a,b,c\n1,2,3.5\n3,4,3.5\n", &["`c`", "all the same"]),
        labels("regression, text in NPY", npy("|S1", false, "(4,)", b"abcd"), &["text", "--task regression"]),
        labels("regression, NaN in NPY", npy("<f8", false, "(4,)", &four(f64::NAN)), &["target 1 of example 1 is NaN"]),
        labels("regression, three dimensions", npy("<f8", false, "(2, 2, 1)", &four(1.0)), &["3 dimensions", "1 or 2"]),
    ]
}

fn compressed_tables() -> Vec<Case> {
    let table = |what, name, bytes: Vec<u8>, parts: &[&'static str]| training(what, (name, bytes), "--target c", parts);
    let packed = gzip(b"a,b,c\n1,2,x\n3,4,y\n5,6,x\n");
    let mut damaged = packed.clone();
    let at = damaged.len() - 8;
    damaged[at] ^= 1;
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(b"a,c\n").expect("gzip");
    for _ in 0..100 {
        bomb.write_all(&b"1,x\n".repeat(250_000)).expect("gzip");
    }
    vec![
        table("compressed, ragged", "table.csv.gz", gzip(b"a,b,c\n1,2,x\n1,2\n"), &["row 2 (line 3)", "2 fields"]),
        table("compressed, cut", "table.csv.gz", packed[..packed.len() - 9].to_vec(), &["truncated"]),
        table("compressed, cut in its header", "table.csv.gz", packed[..5].to_vec(), &["truncated"]),
        table("compressed, wrong checksum", "table.csv.gz", damaged, &["damaged"]),
        table(
            "compressed, followed by something else",
            "table.csv.gz",
            [&packed[..], b"more than that"].concat(),
            &["damaged"],
        ),
        table("compressed nothing", "table.csv.gz", gzip(b""), &["it is empty"]),
        table("compressed bomb of a table", "bomb.csv.gz", bomb.finish().expect("gzip"), &["100 times as much"]),
        table("compressed images as a table", "table.csv.gz", gzip(&idx(&[2, 1], &[0, 1])), &["byte 1 is 0"]),
    ]
}

fn idx_files() -> Vec<Case> {
    let (images, labels) = images_and_labels();
    let with_images = |what, name, bytes: &[u8], parts: &[&'static str]| {
        training(what, (name, bytes.to_vec()), "--labels @labels", parts)
    };
    let with_labels = |what, bytes: &[u8], parts: &[&'static str]| {
        let arguments = "train @images --labels @bad --batch 1 --device cpu -o @out.safetensors".into();
        let parts = [&["bad"], parts].concat();
        Case { what, files: vec![("bad", bytes.to_vec())], arguments, code: 1, parts }
    };
    let typed = |code: u8, dimensions: &[u32], entries: &[u8]| {
        let mut bytes = idx(dimensions, entries);
        bytes[2] = code;
        bytes
    };
    let compressed = gzip(&images);
    let mut nan: Vec<u8> = [0.5f32; 40].iter().flat_map(|x| x.to_be_bytes()).collect();
    nan[64..68].copy_from_slice(&f32::NAN.to_be_bytes());
    let mut infinite = nan.clone();
    infinite[64..68].copy_from_slice(&f32::INFINITY.to_be_bytes());
    let mut little = images.clone();
    little[4..16].chunks_exact_mut(4).for_each(|dimension| dimension.reverse());
    let mut cases = vec![
        with_images("IDX, cut", "cut", &images[..100], &["truncated", "256 bytes", "100"]),
        with_images("IDX, cut in its header", "cut", &images[..9], &["truncated", "dimensions"]),
        with_images("IDX, empty", "empty", &[], &["truncated", "header"]),
        with_images("IDX that continues", "long", &[&images[..], &[0]].concat(), &["continues after"]),
        with_images("IDX, compressed and cut before", "cut.gz", &gzip(&images[..100]), &["truncated"]),
        with_images("IDX, compressed and cut after", "cut.gz", &compressed[..compressed.len() / 2], &["truncated"]),
        with_images("IDX, wrong magic", "magic", &[&[1, 0], &images[2..]].concat(), &["not an IDX file", "01, 00"]),
        with_images("IDX of an unknown type", "type", &[0, 0, 7, 1, 0, 0, 0, 0], &["not an IDX file"]),
        with_images("IDX that is text", "text", b"label,p0,p1\n1,2,3\n", &["not an IDX file"]),
        with_images("IDX with little-endian dimensions", "little", &little, &["claims"]),
        with_images("IDX of gigantic dimensions", "huge", &idx(&[u32::MAX; 3], &[]), &["more than memory"]),
        with_images("IDX that claims 4 GB", "claims", &idx(&[4_000_000, 1000], &[0; 9]), &["truncated"]),
        with_images("IDX of 255 dimensions", "deep", &[0, 0, 8, 255, 0, 0], &["truncated", "dimensions"]),
        with_images("IDX bomb by its header", "bomb.gz", &gzip(&idx(&[u32::MAX; 3], &[])), &["more than memory"]),
        with_images("IDX bomb", "bomb.gz", &gzip(&idx(&[200_000, 1000], &[])), &["100 times"]),
        with_images("IDX without inputs", "points", &idx(&[40, 0], &[]), &["without inputs"]),
        with_images("IDX of labels as images", "flat", &labels, &["1 dimension", "images need at least 2"]),
        with_images("IDX with NaN", "nan", &typed(0x0d, &[40, 1], &nan), &["input 1 of example 17 is NaN"]),
        with_images("IDX with infinity", "inf", &typed(0x0d, &[40, 1], &infinite), &["input 1 of example 17 is inf"]),
        with_labels("IDX of images as labels", &images, &["3 dimensions", "labels have 1"]),
        with_labels("IDX with too few labels", &idx(&[39], &[0; 39]), &["40 examples", "39 labels"]),
        with_labels("IDX with too many labels", &idx(&[41], &[0; 41]), &["40 examples", "41 labels"]),
        with_labels("IDX labels of two dimensions", &idx(&[20, 2], &[0; 40]), &["2 dimensions", "np.argmax"]),
        with_labels("IDX labels of one class", &idx(&[40], &[0; 40]), &["only the class 0"]),
        with_labels("IDX labels, cut", &labels[..20], &["truncated"]),
    ];
    let arguments = "train @none --labels @no-labels --device cpu -o @out.safetensors".into();
    let files = vec![("none", idx(&[0, 2, 3], &[])), ("no-labels", idx(&[0], &[]))];
    cases.push(Case { what: "IDX of 0 images", files, arguments, code: 1, parts: vec!["none", "no examples"] });
    let arguments = "train @images --device cpu -o @out.safetensors".into();
    cases.push(Case {
        what: "IDX without labels",
        files: vec![],
        arguments,
        code: 2,
        parts: vec!["images", "--labels FILE"],
    });
    cases
}

fn mnist_folders() -> Vec<Case> {
    let (images, labels) = images_and_labels();
    let [train_images, train_labels] = ["bad-mnist/train-images-idx3-ubyte", "bad-mnist/train-labels-idx1-ubyte"];
    let folder = |what, files: Vec<(&'static str, Vec<u8>)>, parts: &[&'static str]| {
        let arguments = "train @bad-mnist --device cpu -o @out.safetensors".to_string();
        Case { what, files, arguments, code: 1, parts: parts.to_vec() }
    };
    // Each leaves its files to the next.
    vec![
        folder(
            "MNIST, no training images",
            vec![(train_labels, labels.clone())],
            &["train-images-idx3-ubyte", "is missing"],
        ),
        folder("MNIST, training images cut", vec![(train_images, images[..90].to_vec())], &[train_images, "truncated"]),
        folder(
            "MNIST, no test images",
            vec![(train_images, images.clone())],
            &["t10k-images-idx3-ubyte", "is missing"],
        ),
        folder(
            "MNIST, test labels of another set",
            vec![
                ("bad-mnist/t10k-images.idx3-ubyte.gz", gzip(&images)),
                ("bad-mnist/t10k-labels.idx1-ubyte", idx(&[1], &[0])),
            ],
            &["t10k-images.idx3-ubyte.gz", "40 examples", "t10k-labels.idx1-ubyte", "1 labels"],
        ),
        folder(
            "MNIST, test images of another size",
            vec![("bad-mnist/t10k-images.idx3-ubyte.gz", gzip(&idx(&[1, 5], &[0; 5])))],
            &["bad-mnist", "5 inputs", "6"],
        ),
    ]
}

fn npy_files() -> Vec<Case> {
    let inputs =
        |what, bytes: Vec<u8>, parts: &[&'static str]| training(what, ("bad.npy", bytes), "--labels @y.npy", parts);
    let labels = |what, bytes: Vec<u8>, parts: &[&'static str]| {
        let arguments = "train @x.npy --labels @bad.npy --batch 1 --device cpu -o @out.safetensors".into();
        Case { what, files: vec![("bad.npy", bytes)], arguments, code: 1, parts: [&["bad.npy"], parts].concat() }
    };
    let good = npy("<f4", false, "(4, 2)", &[0; 32]);
    let header = |text: &str| [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat();
    let mut nan = good.clone();
    let at = nan.len() - 12;
    nan[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let wide: Vec<u8> =
        [1e300f64, 0.0, -1e300, 0.0, 1e300, 0.0, 1e300, 0.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let text = |text: &str| text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect::<Vec<u8>>();
    vec![
        labels(
            "NPY, no labels of long text",
            npy("<S1000000000000000000", false, "(0,)", &[]),
            &["0 labels", "4 examples"],
        ),
        inputs("NPY, cut", good[..good.len() - 1].to_vec(), &["truncated", "160 bytes", "159"]),
        inputs("NPY, cut in its header", good[..20].to_vec(), &["truncated", "header"]),
        inputs("NPY, empty", Vec::new(), &["truncated", "header"]),
        inputs("NPY that continues", [&good[..], &[0]].concat(), &["continues after"]),
        inputs("NPY, wrong magic", b"\x93NUMPX\x01\0\0\0".to_vec(), &["not an NPY file"]),
        inputs("NPY that is text", b"a,b\n1,2\n3,4\n".to_vec(), &["not an NPY file"]),
        inputs("NPY of a later version", b"\x93NUMPY\x09\0\0\0".to_vec(), &["version 9"]),
        inputs("NPY, a header of 4 GB", b"\x93NUMPY\x02\0\xff\xff\xff\xff".to_vec(), &["4294967295 bytes"]),
        inputs("NPY, a header that is not text", b"\x93NUMPY\x01\0\x02\0\xff\xff".to_vec(), &["not text"]),
        inputs("NPY, a header that is no dictionary", header("[1, 2]"), &["its header cannot be read: [1, 2]"]),
        inputs("NPY, no shape", header("{'descr': '<f4', 'fortran_order': False}"), &["no shape"]),
        inputs("NPY, code in its header", header("{'descr': exit(), 'shape': (1,)}"), &["its header cannot be read"]),
        inputs(
            "NPY of objects",
            npy("|O", false, "(4, 2)", &[0; 32]),
            &["Python objects (pickles), which are never read"],
        ),
        inputs(
            "NPY of records",
            header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}"),
            &["several types"],
        ),
        inputs("NPY of halves", npy("<f2", false, "(4, 2)", &[0; 16]), &["`<f2`", "float32"]),
        inputs("NPY of complex numbers", npy("<c8", false, "(4, 2)", &[0; 64]), &["`<c8`"]),
        inputs("NPY of text as inputs", npy("<U1", false, "(4, 2)", &[0; 32]), &["`<U1`"]),
        inputs("NPY, unknown byte order", npy("!f4", false, "(4, 2)", &[0; 32]), &["unknown byte order"]),
        inputs("NPY, a negative dimension", npy("<f4", false, "(-4, 2)", &[0; 32]), &["`-4` in the shape"]),
        inputs(
            "NPY of gigantic dimensions",
            npy("<f4", false, "(4294967296, 4294967296, 9)", &[]),
            &["more than memory can hold"],
        ),
        inputs(
            "NPY, a dimension beyond 64 bits",
            npy("<f4", false, "(99999999999999999999, 2)", &[]),
            &["in the shape"],
        ),
        inputs("NPY that claims 4 TB", npy("<f4", false, "(1000000000000, 1)", &[]), &["truncated"]),
        inputs("NPY of 0 rows", npy("<f4", false, "(0, 2)", &[]), &["0 examples", "4 labels"]),
        inputs("NPY without inputs", npy("<f4", false, "(4, 0)", &[]), &["without inputs"]),
        inputs("NPY of one dimension", npy("<f4", false, "(8,)", &[0; 32]), &["1 dimension", "are these labels?"]),
        inputs("NPY with NaN", nan, &["input 2 of example 3 is NaN"]),
        inputs("NPY too far apart", npy("<f8", false, "(4, 2)", &wide), &["input 1", "too far apart to be scaled"]),
        labels("NPY labels beyond 2^53", npy("<f8", false, "(4,)", &wide[..32]), &["example 1", "up to 2^53"]),
        labels(
            "NPY labels with a fraction",
            npy("<f4", false, "(4,)", &0.5f32.to_le_bytes().repeat(4)),
            &["example 1 is 0.5"],
        ),
        labels(
            "NPY labels that are NaN",
            npy("<f4", false, "(4,)", &f32::NAN.to_le_bytes().repeat(4)),
            &["example 1 is NaN"],
        ),
        labels("NPY, too few labels", npy("|u1", false, "(3,)", &[0; 3]), &["4 examples", "3 labels"]),
        labels("NPY labels of one class", npy("|u1", false, "(4,)", &[0; 4]), &["only the class 0"]),
        labels("NPY, one-hot labels", npy("<f8", false, "(4, 4)", &[0; 128]), &["4 x 4", "np.argmax(y, axis=1)"]),
        labels(
            "NPY labels that are infinite",
            npy("<f8", false, "(4,)", &f64::INFINITY.to_le_bytes().repeat(4)),
            &["example 1 is inf", "whole numbers"],
        ),
        inputs(
            "NPY, an escape in its shape",
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (\u{1b}[2J,)}"),
            &["`\\u{1b}[2J` in the shape"],
        ),
        labels("NPY labels of two dimensions", npy("|u1", false, "(2, 2)", &[0; 4]), &["2 dimensions"]),
        labels("NPY text, one class", npy("<U1", false, "(4,)", &text("aaaa")), &["only the class a", "at least 2"]),
        labels(
            "NPY text, a missing label",
            npy("<U1", false, "(4,)", &text("ab\0b")),
            &["example 3", "class is missing"],
        ),
        labels("NPY text of the other endianness", npy(">U1", false, "(4,)", &text("abab")), &["example 1", "Unicode"]),
        labels(
            "NPY text without a byte order",
            npy("|U1", false, "(4,)", &text("abab")),
            &["`|U1`", "unknown byte order"],
        ),
        labels("NPY text of length 0", npy("|S0", false, "(4,)", &[]), &["`|S0`", "length 0"]),
        labels("NPY text that is not UTF-8", npy("|S1", false, "(4,)", b"ab\xff\xff"), &["example 3", "UTF-8"]),
        labels("NPY text, cut", npy("|S2", false, "(4,)", b"abcd"), &["truncated"]),
        labels("NPY text of gigantic length", npy("<U9999999999999999999", false, "(4,)", &[]), &["too long"]),
    ]
}

fn npz_files() -> Vec<Case> {
    let archive = |what, bytes: Vec<u8>, parts: &[&'static str]| training(what, ("bad.npz", bytes), "", parts);
    let x = npy("<f4", false, "(4, 2)", &[7; 32]);
    let y = npy("|u1", false, "(4,)", &[0, 1, 0, 1]);
    let mut damaged = zipped(&[("x.npy", &x), ("y.npy", &y)]);
    damaged[60] ^= 1;
    let bomb = {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        writer.start_file("x.npy", zip::write::SimpleFileOptions::default()).expect("zip");
        writer.write_all(&npy("|u1", false, "(200000000,)", &[])).expect("zip");
        (0..200).for_each(|_| writer.write_all(&[0; 1_000_000]).expect("zip"));
        writer.finish().expect("zip").into_inner()
    };
    vec![
        archive("NPZ that is none", b"PK\x03\x04 and no more".to_vec(), &["archive"]),
        archive("NPZ, empty", Vec::new(), &["archive"]),
        archive("NPZ, cut", zipped(&[("x.npy", &x), ("y.npy", &y)])[..150].to_vec(), &["archive"]),
        archive("NPZ, damaged", damaged, &["x.npy"]),
        archive("NPZ without inputs", zipped(&[("a.npy", &x), ("b.npy", &y)]), &["no array `x`", "`a`, `b`"]),
        archive("NPZ without labels", zipped(&[("x.npy", &x)]), &["no array `y`"]),
        archive("NPZ, labels cut", zipped(&[("x.npy", &x), ("y.npy", &y[..100])]), &["y.npy", "truncated"]),
        archive("NPZ of objects", zipped(&[("x.npy", &npy("|O", false, "(1,)", b"x"))]), &["x.npy", "never read"]),
        archive("NPZ, unclear which inputs", zipped(&[("x.npy", &x), ("X.npy", &x)]), &["`x` and `X`", "unclear"]),
        archive(
            "NPZ, unclear whether divided",
            zipped(&[("x.npy", &x), ("y.npy", &y), ("x_train.npy", &x)]),
            &["`x` and `x_train`", "unclear"],
        ),
        archive("NPZ, no training labels", zipped(&[("x_train.npy", &x)]), &["no array `y_train`"]),
        archive(
            "NPZ, no test labels",
            zipped(&[("x_train.npy", &x), ("y_train.npy", &y), ("x_test.npy", &x)]),
            &["no array `y_test`"],
        ),
        archive("NPZ bomb", bomb, &["x.npy", "100 times as much"]),
    ]
}

/// What is given to a network that has been trained.
fn trained() -> Vec<Case> {
    let evaluate = |what, file: (&'static str, &[u8]), flags: &str, code, parts: &[&'static str]| {
        let arguments = format!("evaluate @good.csv.safetensors @{} {flags} --device cpu", file.0);
        Case { what, files: vec![(file.0, file.1.to_vec())], arguments, code, parts: [&[file.0], parts].concat() }
    };
    let predict = |what, model: &str, file: (&'static str, &[u8]), parts: &[&'static str]| {
        let arguments = format!("predict @{model} @{} --device cpu -o @out.csv", file.0);
        Case { what, files: vec![(file.0, file.1.to_vec())], arguments, code: 1, parts: [&[file.0], parts].concat() }
    };
    let [table, images] = ["good.csv.safetensors", "images.safetensors"];
    let column = &["row 2 (line 3), column `a`"];
    let with_class = |what, bytes: &'static [u8], parts: &[&'static str]| {
        let arguments = "predict @model.safetensors @good.csv --device cpu -o @out.csv".to_string();
        let parts = [&["model.safetensors"], parts].concat();
        Case { what, files: vec![("model.safetensors", bytes.to_vec())], arguments, code: 1, parts }
    };
    vec![
        evaluate(
            "to evaluate: an unknown class",
            ("bad.csv", b"a,b,c\n1,red,z\n"),
            "",
            1,
            &["row 1 (line 2), column `c`", "`z`", "`x`, `y`"],
        ),
        evaluate("to evaluate: no classes", ("bad.csv", b"a,b\n1,red\n"), "", 2, &["`c` of the classes is missing"]),
        evaluate(
            "to evaluate: a missing class",
            ("bad.csv", b"a,b,c\n1,red,\n"),
            "",
            1,
            &["row 1 (line 2), column `c`"],
        ),
        evaluate("to evaluate: 0 rows", ("bad.csv", b"a,b,c\n"), "", 1, &["no rows"]),
        evaluate(
            "to evaluate: labels of a table",
            ("bad.csv", b"a,b,c\n1,red,x\n"),
            "--labels @labels",
            2,
            &["bad.csv is a table", "--target"],
        ),
        predict("to predict: 0 bytes", table, ("bad.csv", b""), &["it is empty"]),
        predict(
            "to predict: a missing column",
            table,
            ("bad.csv", b"b,c\nred,x\n"),
            &["column `a` is missing", "`b`, `c`"],
        ),
        predict("to predict: a missing value", table, ("bad.csv", b"a,b\n1,red\n,red\n"), &[column[0], "missing"]),
        predict(
            "to predict: no number",
            table,
            ("bad.csv", b"a,b\n1,red\nx,red\n"),
            &[column[0], "`x` is not a number"],
        ),
        predict(
            "to predict: too large a number",
            table,
            ("bad.csv", b"a,b\n1,red\n1e300,red\n"),
            &[column[0], "too large"],
        ),
        predict("to predict: ragged", table, ("bad.csv", b"a,b\n1,red\n1\n"), &["row 2 (line 3)", "1 field,"]),
        predict("to predict: duplicated columns", table, ("bad.csv", b"a,b,a\n1,red,1\n"), &["columns 1 and 3", "`a`"]),
        predict("to predict: an array for a table", table, ("bad.idx", &idx(&[1, 2], &[0; 2])), &["text"]),
        predict("to predict: images of another size", images, ("bad.idx", &idx(&[1, 5], &[0; 5])), &["5 inputs", "6"]),
        predict("to predict: 0 images", images, ("bad.idx", &idx(&[0, 6], &[])), &["no examples"]),
        predict("to predict: nothing for images", images, ("bad.csv", b""), &["it is empty"]),
        with_class("a model of 0 bytes", b"", &["not a model"]),
        with_class("a model that is a table", b"a,b,c\n1,2,x\n3,4,y\n", &["not a model"]),
        with_class(
            "a model that claims too much",
            b"\xff\xff\xff\xff\xff\xff\xff\x7f{}",
            &["not a model of this program", "truncated"],
        ),
        with_class("a model of another program", b"\x02\0\0\0\0\0\0\0{}", &["not a model of this program"]),
    ]
}
