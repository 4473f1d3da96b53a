//! Arrays of NumPy.

use std::io::Write;

use crate::archive::zipped;
use crate::files::{images_and_labels, npy};
use crate::program::{Folder, assert_fails, json, run, stdout};
use gpu_backprop::data::{Data, Inputs, Scale, Source, open};

fn of(inputs: &str, labels: Option<&str>) -> Data {
    let source = Source { data: Some(inputs.into()), labels: labels.map(Into::into), ..Source::default() };
    open(&source).unwrap_or_else(|error| panic!("{inputs}: {error:#}"))
}

/// The entries 0, 1, ..., 11 of an array of shape (2, 3, 2), as bytes of a type.
fn entries<const N: usize>(bytes: impl Fn(u8) -> [u8; N]) -> Vec<u8> {
    (0..12).flat_map(bytes).collect()
}

#[test]
fn every_type_and_order_is_the_same_array() {
    let folder = Folder::new();
    let labels = folder.file("y.npy", &npy("<i8", false, "(2,)", &[0i64, 1].map(i64::to_le_bytes).concat()));
    let floats: Vec<f32> = (0..12u8).map(f32::from).collect();
    for (descr, bytes) in [
        ("|i1", entries(|x| [x])),
        ("<i2", entries(|x| i16::from(x).to_le_bytes())),
        (">i2", entries(|x| i16::from(x).to_be_bytes())),
        ("<u2", entries(|x| u16::from(x).to_le_bytes())),
        ("<i4", entries(|x| i32::from(x).to_le_bytes())),
        ("<u4", entries(|x| u32::from(x).to_le_bytes())),
        (">i8", entries(|x| i64::from(x).to_be_bytes())),
        ("<u8", entries(|x| u64::from(x).to_le_bytes())),
        ("<f4", entries(|x| f32::from(x).to_le_bytes())),
        (">f4", entries(|x| f32::from(x).to_be_bytes())),
        ("<f8", entries(|x| f64::from(x).to_le_bytes())),
        (">f8", entries(|x| f64::from(x).to_be_bytes())),
    ] {
        let file = folder.file("x.npy", &npy(descr, false, "(2, 3, 2)", &bytes));
        let data = of(&file, Some(&labels));
        assert_eq!(data.dataset.inputs(), &Inputs::Floats(floats.clone()), "{descr}");
        assert_eq!((data.dataset.features(), data.dataset.labels()), (6, &[0, 1][..]));
    }
    let file = folder.file("x.npy", &npy("|u1", false, "(2, 3, 2)", &entries(|x| [x])));
    let bytes = Inputs::Bytes { values: (0..12).collect(), scale: 1.0 / 255.0 };
    assert_eq!(of(&file, Some(&labels)).dataset.inputs(), &bytes);

    // In Fortran order the first dimension is the fastest: entry (i, j, k) is at i + 2 (j + 3 k).
    let mut fortran = [0; 12];
    for (i, j, k) in (0..12).map(|n| (n / 6, n / 2 % 3, n % 2)) {
        fortran[i + 2 * (j + 3 * k)] = (6 * i + 2 * j + k) as u8;
    }
    let file = folder.file("x.npy", &npy("|u1", true, "(2, 3, 2)", &fortran));
    assert_eq!(of(&file, Some(&labels)).dataset.inputs(), &bytes);
}

#[test]
fn an_archive_has_both_and_trains_like_idx() {
    let folder = Folder::new();
    let (images, labels) = images_and_labels();
    let [idx_images, idx_labels] = [folder.file("images", &images), folder.file("labels", &labels)];
    let x = npy("|u1", false, "(40, 2, 3)", &images[16..]);
    let y = npy("|u1", false, "(40,)", &labels[8..]);
    let archive = folder.file("data.npz", &zipped(&[("y.npy", &y), ("x.npy", &x)]));
    let model = folder.text("model.safetensors");
    let flags = ["--epochs", "5", "--batch", "4", "--device", "cpu", "--json", "-o", &model];
    let expected = json(&[&["train", &idx_images, "--labels", &idx_labels], &flags[..]].concat());
    let report = json(&[&["train", &archive], &flags[..]].concat());
    assert_eq!(report["weights_sha256"], expected["weights_sha256"]);
    let [x, y] = [folder.file("x.npy", &x), folder.file("y.npy", &y)];
    assert_eq!(
        json(&[&["train", &x, "--labels", &y], &flags[..]].concat())["weights_sha256"],
        expected["weights_sha256"]
    );

    let evaluate =
        |data: &[&str]| json(&[&["evaluate", &model, "--device", "cpu", "--json"], data].concat())["cost"].clone();
    let cost = evaluate(&[&idx_images, "--labels", &idx_labels]);
    assert_eq!([evaluate(&[&archive]), evaluate(&[&x, "--labels", &y])], [cost.clone(), cost]);
    let predict = |data: &str| stdout(&["predict", &model, data, "--device", "cpu"]);
    assert_eq!([predict(&archive), predict(&x)], [predict(&idx_images), predict(&idx_images)]);
}

#[test]
fn floats_are_scaled_if_asked_for_and_again_by_the_model() {
    let folder = Folder::new();
    let values: Vec<f32> = (0..80u16).map(|i| f32::from(i * 37 % 80) * 100.0 - 3000.0).collect();
    let x = npy("<f4", false, "(40, 2)", bytemuck::cast_slice(&values));
    let classes: Vec<u8> = values.chunks(2).map(|row| u8::from(row[0] > row[1])).collect();
    let [x, y] = [folder.file("x.npy", &x), folder.file("y.npy", &npy("|u1", false, "(40,)", &classes))];
    let source =
        Source { data: Some((&x).into()), labels: Some((&y).into()), scale: Some(Scale::Unit), ..Source::default() };
    let Inputs::Floats(scaled) = open(&source).expect("data").dataset.inputs().clone() else { panic!("floats") };
    let [least, largest] = [scaled.iter().copied().fold(1.0, f32::min), scaled.iter().copied().fold(0.0, f32::max)];
    assert_eq!([least, largest], [0.0, 1.0]);
    let model = folder.text("model.safetensors");
    let report = json(&[
        "train", &x, "--labels", &y, "--scale", "zscore", "--epochs", "40", "--batch", "4", "--device", "cpu",
        "--json", "-o", &model,
    ]);
    assert!(report["train_accuracy"].as_f64().expect("an accuracy") >= 0.9, "{report}");
    let again = json(&["evaluate", &model, &x, "--labels", &y, "--device", "cpu", "--json"]);
    assert_eq!(again["accuracy"], report["train_accuracy"]);
    assert!(run(&["predict", &model, &x, "--device", "cpu"]).status.success());
}

#[test]
fn wrong_arrays_are_named() {
    let folder = Folder::new();
    let good_x = npy("<f4", false, "(4, 2)", &[0; 32]);
    let good_y = npy("|u1", false, "(4,)", &[0, 1, 0, 1]);
    let y = folder.file("y.npy", &good_y);
    let train = |x: &[u8], parts: &[&str]| {
        let x = folder.file("x.npy", x);
        assert_fails(
            &["train", &x, "--labels", &y, "--batch", "2", "--device", "cpu"],
            1,
            &[&["x.npy"], parts].concat(),
        );
    };
    train(&good_x[..good_x.len() - 1], &["truncated", "160 bytes", "159"]);
    train(&good_x[..20], &["truncated", "header"]);
    train(&[], &["truncated", "header"]);
    train(&[&good_x[..], &[0]].concat(), &["goes on after"]);
    train(b"\x93NUMPX\x01\x00\x00\x00", &["not an NPY file"]);
    train(b"a,b\n1,2\n3,4\n", &["not an NPY file"]);
    train(b"\x93NUMPY\x09\x00\x00\x00", &["version 9"]);
    train(b"\x93NUMPY\x02\x00\xff\xff\xff\xff", &["4294967295 bytes"]);
    train(&npy("|O", false, "(4, 2)", &[0; 32]), &["Python objects (pickles), which are never read"]);
    train(&npy("<f2", false, "(4, 2)", &[0; 16]), &["`<f2`", "float32"]);
    train(&npy("<U10", false, "(4, 2)", &[0; 320]), &["`<U10`"]);
    train(&npy("!f4", false, "(4, 2)", &[0; 32]), &["unknown order of bytes"]);
    train(&npy("<f4", false, "(-4, 2)", &[0; 32]), &["`-4` in the shape"]);
    train(&npy("<f4", false, "(4294967296, 4294967296, 4294967296)", &[]), &["more than memory can hold"]);
    train(&npy("<f4", false, "(1000000000000, 1)", &[]), &["truncated"]);
    train(&npy("<f4", false, "(0, 2)", &[]), &["0 images", "4 labels"]);
    train(&npy("<f4", false, "(4, 0)", &[]), &["without inputs"]);
    train(&npy("<f4", false, "(8,)", &[0; 32]), &["1 dimension", "are these labels?"]);
    let nan = npy("<f4", false, "(4, 2)", &[[0; 20].as_slice(), &f32::NAN.to_le_bytes(), &[0; 8]].concat());
    train(&nan, &["input 2 of example 3 is NaN"]);

    let x = folder.file("x.npy", &good_x);
    let labels = |y: &[u8], parts: &[&str]| {
        let y = folder.file("bad.npy", y);
        assert_fails(&["train", &x, "--labels", &y, "--batch", "2", "--device", "cpu"], 1, parts);
    };
    labels(&npy("|i1", false, "(4,)", &[0, 1, 255, 0]), &["bad.npy", "example 3 is -1"]);
    labels(
        &npy("<u4", false, "(4,)", &[0, 0, 0, 0].map(|_: u8| 70_000u32.to_le_bytes()).concat()),
        &["70000", "65536 classes"],
    );
    labels(&npy("<f4", false, "(4,)", &[0.5f32; 4].map(f32::to_le_bytes).concat()), &["example 1 is 0.5"]);
    labels(&npy("|u1", false, "(3,)", &[0; 3]), &["4 images", "3 labels"]);
    labels(&npy("|u1", false, "(4,)", &[0; 4]), &["only the class 0"]);

    let archive = |bytes: &[u8], parts: &[&str]| {
        let data = folder.file("data.npz", bytes);
        assert_fails(&["train", &data, "--batch", "2", "--device", "cpu"], 1, &[&["data.npz"], parts].concat());
    };
    archive(&zipped(&[("a.npy", &good_x), ("b.npy", &good_y)]), &["no array `x`", "a, b"]);
    archive(&zipped(&[("x.npy", &good_x)]), &["no array `y`"]);
    archive(&zipped(&[("x.npy", &good_x), ("y.npy", &good_y[..100])]), &["y.npy", "truncated"]);
    archive(b"PK\x03\x04 and no more", &["data.npz"]);
    let mut damaged = zipped(&[("x.npy", &npy("<f4", false, "(4, 2)", &[7; 32])), ("y.npy", &good_y)]);
    let at = damaged.windows(8).position(|bytes| bytes == [7; 8]).unwrap_or(60);
    damaged[at] ^= 1;
    archive(&damaged, &["x.npy"]);
    // 400 MB of zeros in 400 kB.
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let header = npy("|u1", false, "(400000000,)", &[]);
    writer.start_file("x.npy", zip::write::SimpleFileOptions::default()).expect("zip");
    writer.write_all(&header).expect("zip");
    for _ in 0..400 {
        writer.write_all(&[0; 1_000_000]).expect("zip");
    }
    archive(&writer.finish().expect("zip").into_inner(), &["x.npy", "100 times as much"]);
}
