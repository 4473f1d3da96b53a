//! Bytes of files in the formats that the program reads.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// An IDX file of bytes.
pub fn idx(dimensions: &[u32], entries: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    dimensions.iter().for_each(|dimension| bytes.extend(dimension.to_be_bytes()));
    bytes.extend(entries);
    bytes
}

/// An NPY file, with a header as NumPy writes it.
pub fn npy(descr: &str, fortran_order: bool, shape: &str, entries: &[u8]) -> Vec<u8> {
    let order = if fortran_order { "True" } else { "False" };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), entries].concat()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("gzip");
    encoder.finish().expect("gzip")
}

/// 40 images of 2x3 whose class (of 3) is the brightest column.
pub fn images_and_labels() -> (Vec<u8>, Vec<u8>) {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for i in 0..40u8 {
        let class = i % 3;
        for pixel in 0..6 {
            images.push(if pixel % 3 == class { 200 + i } else { i });
        }
        labels.push(class);
    }
    (idx(&[40, 2, 3], &images), idx(&[40], &labels))
}
