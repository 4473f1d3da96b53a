use std::io::Write;

use super::*;
use crate::data::inputs::Inputs;
use crate::data::preprocessing::{Preprocessing, Scale};
use crate::data::{idx, npy};

const EXAMPLES: usize = 5;
const FEATURES: usize = 3;

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("write");
    file
}

/// An NPY file of entries that look random.
fn npy_file(descr: &str, size: usize) -> tempfile::NamedTempFile {
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({EXAMPLES}, {FEATURES}), }}");
    text.push('\n');
    let float = descr.contains('f');
    let entry = |i: usize| {
        let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        match (float, size) {
            (true, 4) => (mixed as f32).to_le_bytes().to_vec(),
            (true, _) => (-(mixed as f64) / 7.0).to_le_bytes().to_vec(),
            _ => mixed.to_le_bytes()[8 - size..].to_vec(),
        }
    };
    let entries: Vec<u8> = (0..EXAMPLES * FEATURES).flat_map(entry).collect();
    file(&[b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), &entries].concat())
}

/// Mapped as if there were little memory.
fn mapped(file: &tempfile::NamedTempFile, layout: &Layout) -> Inputs {
    let opened = File::open(file.path()).expect("open");
    let stored = opened.metadata().expect("a length").len();
    let mapped = open(file.path(), opened, stored, layout, 0).expect("it is mapped");
    Inputs::Mapped(mapped.expect("it is as long as it should be"))
}

/// The same array mapped and in memory.
fn both(file: &tempfile::NamedTempFile) -> [Inputs; 2] {
    let layout = npy::layout(&mut File::open(file.path()).expect("open")).expect("a header").expect("C order");
    let (_, in_memory, _) = npy::read(file.path()).expect("an array").into_images().expect("inputs");
    [mapped(file, &layout), in_memory]
}

fn picked(inputs: &Inputs, examples: &[u32]) -> Picked {
    let mut picked = Picked::default();
    inputs.pick(examples, FEATURES, &mut picked).expect("they are there");
    picked
}

fn assert_same(what: &str, [one, other]: &[Inputs; 2], examples: &[u32]) {
    assert_eq!((one.len(), one.byte_scale()), (other.len(), other.byte_scale()), "{what}");
    assert_eq!(picked(one, examples), picked(other, examples), "{what}");
}

#[test]
fn every_type_is_decoded_as_in_memory() {
    for (kind, sizes) in [("u", &[1, 2, 4, 8][..]), ("i", &[1, 2, 4, 8]), ("f", &[4, 8]), ("b", &[1])] {
        for (size, order) in sizes.iter().flat_map(|&size| [(size, "<"), (size, ">")]) {
            let descr = format!("{order}{kind}{size}");
            let file = npy_file(&descr, size);
            let inputs = both(&file);
            if inputs[1].check_finite(FEATURES).is_err() {
                // Swapped bytes of a float may not be a finite number.
                assert!(inputs[0].check_finite(FEATURES).is_err(), "{descr}");
                continue;
            }
            assert_same(&descr, &inputs, &[4, 0, 3, 3, 1]);
            for scale in [None, Some(Scale::Unit), Some(Scale::Zscore), Some(Scale::None)] {
                let [one, other] = inputs.each_ref().map(|inputs| {
                    Preprocessing::fit(inputs, FEATURES, &[0, 1, 3], scale).map_err(|error| error.to_string())
                });
                assert_eq!(one, other, "{descr}");
                if let Ok(preprocessing) = one {
                    let applied = inputs.clone().map(|inputs| preprocessing.apply(inputs, FEATURES));
                    match applied {
                        [Ok(one), Ok(other)] => assert_same(&format!("{descr}, {scale:?}"), &[one, other], &[2, 4, 0]),
                        // 64-bit numbers may be too large without scaling.
                        [Err(one), Err(other)] => assert_eq!(one.to_string(), other.to_string(), "{descr}, {scale:?}"),
                        [one, other] => panic!("{descr}, {scale:?}: {one:?}, but {other:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_of_64_bits_are_scaled_as_they_are() {
    let header = b"\x93NUMPY\x01\x00\x3a\x00{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3)}\n";
    let values = [0, 1i64 << 40, 5, 3, (1 << 40) + 1, 5];
    let file = file(&[&header[..], &values.map(i64::to_le_bytes).concat()].concat());
    for inputs in both(&file) {
        let preprocessing = Preprocessing::fit(&inputs, FEATURES, &[0, 1], Some(Scale::Unit)).expect("it fits");
        let scaled = preprocessing.apply(inputs, FEATURES).expect("it fits");
        assert_eq!(picked(&scaled, &[1, 0]), Picked::Floats(vec![1.0, 1.0, 0.0, 0.0, 0.0, 0.0]));
    }
    // Appended to others in memory, before they are scaled.
    let [mut mapped, in_memory] = both(&file);
    mapped.append(in_memory, FEATURES).expect("the same type");
    let preprocessing = Preprocessing::fit(&mapped, FEATURES, &[2, 3], Some(Scale::Unit)).expect("it fits");
    let scaled = preprocessing.apply(mapped, FEATURES).expect("it fits");
    assert_eq!(picked(&scaled, &[3, 1]), Picked::Floats([1.0, 1.0, 0.0].repeat(2)));
}

#[test]
fn idx_is_decoded_as_in_memory() {
    for (code, size) in [(8, 1), (9, 1), (11, 2), (12, 4), (13, 4), (14, 8)] {
        let entries: Vec<u8> = (0..EXAMPLES * FEATURES * size).map(|i| (i * 29 % 127) as u8).collect();
        let header = [0, 0, code, 2, 0, 0, 0, EXAMPLES as u8, 0, 0, 0, FEATURES as u8];
        let file = file(&[&header[..], &entries].concat());
        let layout = idx::layout(&mut File::open(file.path()).expect("open")).expect("a header");
        let (_, in_memory, _) = idx::read(file.path()).expect("an array").into_images().expect("images");
        assert_same(&format!("code {code}"), &[mapped(&file, &layout), in_memory], &[1, 4, 4, 0]);
    }
}

#[test]
fn examples_are_kept_and_added_as_in_memory() {
    for (descr, size) in [("|u1", 1), ("<i4", 4)] {
        let file = npy_file(descr, size);
        let [mut one, mut other] = both(&file);
        let [more_mapped, more] = both(&file);
        one.append(more, FEATURES).expect("the same type");
        other.append(both(&file)[1].clone(), FEATURES).expect("the same type");
        let [mut both_mapped, _] = both(&file);
        both_mapped.append(more_mapped, FEATURES).expect("the same type");
        let all: Vec<u32> = (0..2 * EXAMPLES as u32).rev().collect();
        assert_same(descr, &[one.clone(), other.clone()], &all);
        assert_same(descr, &[both_mapped, other.clone()], &all);
        for kept in [&[1, 3, 6, 7, 9][..], &[0, 2, 4]] {
            one.keep(kept, FEATURES);
            other.keep(kept, FEATURES);
            assert_same(descr, &[one.clone(), other.clone()], &(0..kept.len() as u32).collect::<Vec<_>>());
        }
    }
    let [mut bytes, _] = both(&npy_file("|u1", 1));
    let [_, floats] = both(&npy_file("<i4", 4));
    assert!(bytes.append(floats, FEATURES).expect_err("floats").to_string().contains("a different type"));
}

#[test]
fn a_file_that_becomes_shorter_is_an_error() {
    let file = npy_file("<f4", 4);
    let [inputs, _] = both(&file);
    file.as_file().set_len(100).expect("it is cut short");
    let error = inputs.pick(&[0], FEATURES, &mut Picked::default()).expect_err("it is too short");
    assert!(error.to_string().contains("truncated while it was in use"), "{error:#}");
}
