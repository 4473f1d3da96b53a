//! Arrays of NumPy.

use crate::archive::zipped;
use crate::files::{images_and_labels, npy};
use crate::program::{Folder, json, run, stdout};
use gpu_backprop::data::{Data, Inputs, Scale, Source, open};

fn of(inputs: &str, labels: Option<&str>) -> Data {
    let (data, scale) = (Some(inputs.into()), Some(Scale::None));
    let source = Source { data, labels: labels.map(Into::into), scale, ..Source::default() };
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
    let bytes = Inputs::Bytes { values: (0..12).collect(), scale: 1.0 };
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
    let flags = ["--recipe", "book", "--epochs", "5", "--batch", "4", "--device", "cpu", "--json", "-o", &model];
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
