//! Output files, written atomically and durably: at a path is the old file or the complete new one.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// Checks that a file can be written at `path`, before hours of training, and leaves the path as it is.
///
/// # Errors
/// A folder that does not exist or cannot be written to, or a path that names no regular file.
pub fn check_writable(path: &Path) -> Result<()> {
    let target = target_of(path)?;
    temporary_beside(&target)?;
    if !target.exists() {
        // The name itself may be one that no file can have.
        let created = OpenOptions::new().write(true).create_new(true).open(&target);
        created.and_then(|_| fs::remove_file(&target)).with_context(|| cannot_write(path))?;
    }
    Ok(())
}

/// An output file, which is not at its path before it is complete; dropped before that, it leaves nothing.
#[derive(Debug)]
pub struct OutputFile {
    /// Path as it was given.
    named: PathBuf,
    target: PathBuf,
    temporary: tempfile::NamedTempFile,
}

impl OutputFile {
    /// Creates a temporary file for `path`. A link stays a link; the file it leads to is to be replaced.
    ///
    /// # Errors
    /// As [`check_writable`].
    pub fn new(path: &Path) -> Result<Self> {
        let target = target_of(path)?;
        let temporary = temporary_beside(&target)?;
        Ok(OutputFile { named: path.to_path_buf(), target, temporary })
    }

    /// Path of the temporary file.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// The temporary file.
    pub fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// Moves the complete file to its path, and syncs it to disk.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn finish(self) -> Result<()> {
        let context = || cannot_write(&self.named);
        self.temporary.as_file().sync_all().with_context(context)?;
        self.temporary.persist(&self.target).map_err(|failed| failed.error).with_context(context)?;
        // The new name lasts only once the folder is on disk; only Unix can ask for that.
        #[cfg(unix)]
        File::open(folder_of(&self.target)).and_then(|folder| folder.sync_all()).with_context(context)?;
        Ok(())
    }
}

pub(crate) fn cannot_write(path: &Path) -> String {
    format!("cannot write -o {}", path.display())
}

/// The regular file that `path` is or leads to, or the one it is to become.
fn target_of(path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    let named = path.file_name().is_some() && !path.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
    if path.is_dir() || !named {
        bail!("-o {shown}: this is a folder, a file name is needed");
    }
    match fs::symlink_metadata(path) {
        Err(_) => Ok(path.to_path_buf()),
        Ok(found) if found.is_symlink() => {
            let target = fs::canonicalize(path).with_context(|| format!("-o {shown}: a link that leads nowhere"))?;
            ensure!(target.is_file(), "-o {shown}: it leads to {}, which is no regular file", target.display());
            Ok(target)
        }
        Ok(found) => {
            ensure!(found.is_file(), "-o {shown}: not a regular file");
            Ok(path.to_path_buf())
        }
    }
}

fn temporary_beside(target: &Path) -> Result<tempfile::NamedTempFile> {
    let folder = folder_of(target);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".gpu-backprop-");
    #[cfg(unix)]
    {
        // As any new file: what the umask allows, not the private mode of temporary files.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(&folder).with_context(|| format!("{} in {}", cannot_write(target), folder.display()))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}
