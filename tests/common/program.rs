//! Running the built binary, and making files for it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

/// The program, with a cache of its own: tests leave the user's alone.
pub fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_gpu-backprop"));
    program.env("GPU_BACKPROP_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    program
}

pub fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("the program starts")
}

/// Runs a command that must succeed; its stdout.
pub fn stdout(arguments: &[&str]) -> String {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

pub fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(arguments)).expect("JSON")
}

/// Runs a command that must fail with an exit code and one line that says each of `parts`.
pub fn assert_fails(arguments: &[&str], code: i32, parts: &[&str]) {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{arguments:?} printed a result");
    let last = stderr.lines().filter(|line| line.starts_with("gpu-backprop: ")).collect::<Vec<_>>();
    // clap explains wrong flags over several lines, in its own well-known form.
    let message = if last.is_empty() && code == 2 { stderr.clone() } else { last.join("\n") };
    assert!(!message.is_empty() && last.len() <= 1, "{arguments:?}: not one line of error: {stderr}");
    for part in parts {
        assert!(message.contains(part), "{arguments:?}: \"{part}\" is not in: {message}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

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

/// A compressed archive of files.
pub fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).expect("zip");
        writer.write_all(bytes).expect("zip");
    }
    writer.finish().expect("zip").into_inner()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("gzip");
    encoder.finish().expect("gzip")
}

/// A folder of files for one test.
pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        text(&self.path(name))
    }

    /// Writes a file; its path as text.
    pub fn file(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).expect("write");
        self.text(name)
    }
}

pub fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_string()
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
