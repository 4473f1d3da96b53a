//! Programs whose memory is measured.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// 64 MB, in kilobytes: what a file may take beside twice its size.
pub const ALWAYS_ALLOWED: u64 = 64_000;

/// Runs a command to its end: how it ended, what it wrote to stderr, and the most memory it had (kilobytes).
pub fn measured(mut command: Command, stderr: &Path) -> (ExitStatus, String, u64) {
    let file = File::create(stderr).expect("a file");
    #[allow(clippy::zombie_processes, reason = "wait4 waits for it")]
    let child = command.stdout(Stdio::null()).stderr(file).spawn().expect("the program starts");
    let mut status = 0;
    // SAFETY: zeros are a valid `rusage`; both pointers are to this frame, and the child has not been waited for.
    #[allow(unsafe_code, reason = "the standard library does not tell the memory of a child")]
    let (waited, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut usage), usage)
    };
    assert_eq!(waited, child.id() as libc::pid_t, "{}", std::io::Error::last_os_error());
    let stderr = std::fs::read_to_string(stderr).expect("UTF-8");
    (ExitStatus::from_raw(status), stderr, usage.ru_maxrss as u64)
}
