//! The built binary, run in folders of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The program, with a cache of its own: tests leave the user's alone. `GPU_BACKPROP` is its path where the tests run on
/// another machine than they were built on.
pub fn program() -> Command {
    let (path, temporary) = match std::env::var_os("GPU_BACKPROP") {
        Some(path) => (PathBuf::from(path), std::env::temp_dir().join("gpu-backprop-tests")),
        None => (PathBuf::from(env!("CARGO_BIN_EXE_gpu-backprop")), PathBuf::from(env!("CARGO_TARGET_TMPDIR"))),
    };
    let mut program = Command::new(path);
    program.env("GPU_BACKPROP_CACHE_DIR", temporary.join("cache"));
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

/// Runs the program, which must fail with an exit code and one line that says each of `parts`.
pub fn assert_fails(arguments: &[&str], code: i32, parts: &[&str]) {
    assert_command_fails(program().args(arguments), code, parts);
}

/// Runs a command that must fail, as [`assert_fails`]; what it says on stderr.
pub fn assert_command_fails(command: &mut Command, code: i32, parts: &[&str]) -> String {
    let output = command.output().expect("the program starts");
    let arguments: Vec<_> = command.get_args().collect();
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
    stderr
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
