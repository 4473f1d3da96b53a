//! Temporary files that become others, and that are deleted if a signal ends the program.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{file_operation, interruption};

/// Paths of the existing temporary files. A file is created, moved or deleted only while this is
/// locked.
static EXISTING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn existing() -> MutexGuard<'static, Vec<PathBuf>> {
    EXISTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prefix of the names of temporary files.
const PREFIX: &str = ".gpu-backprop-";

/// Deletes the temporary files that killed processes have left in a folder. Those of other running processes are locked.
///
/// # Errors
/// A folder that cannot be read, and a file that cannot be deleted.
pub fn delete_left(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.file_type()?.is_file()
            && let Ok(file) = File::options().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A temporary file in the folder of the file that it will become, locked until then. Dropped before that, it is
/// deleted.
#[derive(Debug)]
pub struct Temporary(Option<tempfile::NamedTempFile>);

impl Temporary {
    /// Creates a file `.gpu-backprop-RANDOM` in a folder, with the mode of any new file.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn in_folder(folder: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        #[cfg(unix)]
        {
            // The mode that the umask allows, not the private mode of temporary files.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        file_operation::begin()?;
        let mut existing = existing();
        let file = builder.tempfile_in(folder)?;
        // Without locks, in some network file systems, `delete_left` does not delete either.
        let _ = file.as_file().try_lock();
        existing.push(file.path().to_path_buf());
        Ok(Temporary(Some(file)))
    }

    /// The open file.
    pub fn file(&self) -> &File {
        self.named().as_file()
    }

    fn named(&self) -> &tempfile::NamedTempFile {
        self.0.as_ref().expect("only `become_file` and `drop` take it")
    }

    /// Moves the file to `path`, replacing a file there.
    ///
    /// # Errors
    /// A path that cannot be written.
    pub fn become_file(mut self, path: &Path) -> io::Result<()> {
        file_operation::begin()?;
        let mut existing = existing();
        let Some(file) = self.0.take() else { return Ok(()) };
        existing.retain(|known| known != file.path());
        file.persist(path).map(drop).map_err(|failed| failed.error)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut existing = existing();
        if let Some(file) = self.0.take() {
            existing.retain(|known| known != file.path());
        }
    }
}

/// Deletes all temporary files when a signal asks the program to end, before the signal takes its
/// default effect.
pub fn delete_when_interrupted() {
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
        let heeded = [SIGHUP, SIGINT, SIGTERM, SIGUSR1].into_iter().filter(|&signal| !is_ignored(signal));
        // Without a handler, the program still ends.
        let Ok(mut signals) = signal_hook::iterator::Signals::new(heeded) else { return };
        std::thread::spawn(move || {
            for signal in signals.forever() {
                if signal == SIGUSR1 {
                    interruption::note_checkpoint();
                    continue;
                }
                // After SIGHUP nobody may see the message that this prints; saving is what matters.
                if interruption::note(signal) {
                    continue;
                }
                // The lock is kept until the end, so that no other file is created.
                let _existing = delete_all();
                // For these signals this does not return.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        });
    }
    #[cfg(windows)]
    {
        // Without a handler, the program still ends.
        let _ = ctrlc::set_handler(|| {
            if interruption::note(interruption::CTRL_C) {
                return;
            }
            let _existing = delete_all();
            std::process::exit(130);
        });
    }
}

/// Deletes all existing temporary files. Returns the lock, which prevents others from being
/// created.
fn delete_all() -> MutexGuard<'static, Vec<PathBuf>> {
    let mut existing = existing();
    for path in existing.drain(..) {
        // Nothing more can be done.
        let _ = std::fs::remove_file(path);
    }
    existing
}

/// True if the parent process, such as `nohup`, has set a signal to be ignored; it stays ignored.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    #[allow(unsafe_code, reason = "no safe interface reads how a signal is handled")]
    // SAFETY: `sigaction` with a null pointer changes nothing, and writes to `found`, which is all
    // zeros before.
    unsafe {
        let mut found: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut found) == 0 && found.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_running_processes_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let used = Temporary::in_folder(folder.path()).expect("a file");
        let name = |name: &str| folder.path().join(format!("{PREFIX}{name}"));
        std::fs::write(name("left"), "").expect("a file");
        std::fs::create_dir(name("folder")).expect("a folder");
        delete_left(folder.path()).expect("it is deleted");
        assert_eq!([name("left").exists(), name("folder").exists()], [false, true]);
        used.become_file(&folder.path().join("file")).expect("it was not deleted");
    }
}
