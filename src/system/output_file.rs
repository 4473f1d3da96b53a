//! Output files, written atomically and durably: a path holds the old file or the complete new one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use same_file::Handle;

use super::error::WrongUsage;
use super::file_operation;
use super::temporary::Temporary;
use super::text::size;

/// Checks, before hours of training, that a file of `bytes` bytes can be written at `path`. Leaves
/// the path as it is.
///
/// # Errors
/// As [`OutputFile::new`], or too little space.
pub fn check_writable(path: &Path, inputs: &[PathBuf], bytes: u64) -> Result<()> {
    // A model in a pipe or a device would be lost.
    target_of("-o", path)?;
    let file = OutputFile::new(path, inputs)?;
    // If the free space is unknown, writing will show.
    let free = fs4::available_space(folder_of(&file.target)).unwrap_or(u64::MAX);
    ensure!(
        bytes <= free,
        "{}: it takes {}, but {} are free in its folder",
        cannot_write(path),
        size(bytes),
        size(free)
    );
    Ok(())
}

/// An output file, which appears at its path only when it is complete. Dropped before that, it
/// leaves nothing behind.
#[derive(Debug)]
pub struct OutputFile {
    /// The name in messages.
    named: String,
    target: PathBuf,
    temporary: Temporary,
    /// The device or pipe that the complete file is copied to instead.
    stream: Option<File>,
}

impl OutputFile {
    /// Creates a temporary file for `path`, the value of `-o`.
    ///
    /// # Errors
    /// As [`OutputFile::of_flag`].
    pub fn new(path: &Path, inputs: &[PathBuf]) -> Result<Self> {
        Self::of_flag("-o", path, inputs)
    }

    /// Creates a temporary file for `path`, the value of a flag. A symbolic link stays a link; the
    /// file it leads to is replaced and keeps its mode. A pipe or a device is written to once the file is
    /// complete.
    ///
    /// # Errors
    /// A folder that does not exist or cannot be written to, a path that is a folder, the file that
    /// stdout or stderr is redirected to, or one of `inputs`, the files that the command reads.
    pub fn of_flag(flag: &str, path: &Path, inputs: &[PathBuf]) -> Result<Self> {
        let shown = path.display();
        let is_stdout = path == Path::new("-");
        ensure!(!is_stdout, WrongUsage::new(format!("{flag} -: stdout is used for something else; name a file")));
        if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let context = || format!("cannot write {flag} {shown}");
            let stream = File::options().write(true).open(path).with_context(context)?;
            let temporary = Temporary::in_folder(&std::env::temp_dir()).with_context(context)?;
            let (named, target) = (format!("{flag} {shown}"), path.to_path_buf());
            return Ok(OutputFile { named, target, temporary, stream: Some(stream) });
        }
        let target = target_of(flag, path)?;
        if let Ok(found) = Handle::from_path(&target) {
            for (stream, handle) in [("stdout", Handle::stdout()), ("stderr", Handle::stderr())] {
                let same = handle.is_ok_and(|handle| handle == found);
                ensure!(
                    !same,
                    WrongUsage::new(format!(
                        "{flag} {shown}: {stream} goes to this file, which would be replaced; name another"
                    ))
                );
            }
            let same = |input: &&PathBuf| Handle::from_path(input).is_ok_and(|input| input == found);
            if let Some(input) = inputs.iter().find(same) {
                let input = input.display();
                bail!(WrongUsage::new(format!("{flag} {shown}: this is {input}, which is read; name another file")));
            }
        }
        let folder = folder_of(&target);
        ensure!(folder.exists(), "cannot write {flag} {shown}: there is no folder {}", folder.display());
        let temporary = Temporary::in_folder(&folder);
        let temporary = temporary.with_context(|| format!("cannot write {flag} {shown} in {}", folder.display()))?;
        if let Ok(replaced) = fs::metadata(&target) {
            // If the system does not allow it, the file keeps the mode of a new one.
            let _ = temporary.file().set_permissions(replaced.permissions());
        }
        Ok(OutputFile { named: format!("{flag} {shown}"), target, temporary, stream: None })
    }

    /// Creates a temporary file for the file `name` in the folder of a run or a sweep.
    ///
    /// # Errors
    /// A folder that does not exist or cannot be written to.
    pub fn of_folder(folder: &Path, name: &str) -> Result<Self> {
        let target = folder.join(name);
        let named = target.display().to_string();
        let temporary = Temporary::in_folder(folder).with_context(|| format!("cannot write {named}"))?;
        Ok(OutputFile { named, target, temporary, stream: None })
    }

    /// The temporary file.
    pub fn file(&self) -> &File {
        self.temporary.file()
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_all(&self, bytes: &[u8]) -> Result<()> {
        let write = || {
            file_operation::begin()?;
            self.file().write_all(bytes)
        };
        write().with_context(|| format!("cannot write {}", self.named))
    }

    /// Moves the complete file to its path, and syncs it to disk.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn finish(self) -> Result<()> {
        self.finish_after(|| Ok(()))
    }

    /// As [`OutputFile::finish`], but moves the file that was at the path before to `previous`.
    ///
    /// # Errors
    /// A file that cannot be written. If there was a file before, a complete one is then at one of
    /// the two paths.
    pub fn finish_keeping(self, previous: &Path) -> Result<()> {
        let current = self.target.clone();
        self.finish_after(|| {
            file_operation::begin()?;
            match fs::rename(&current, previous) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        })
    }

    fn finish_after(self, make_way: impl FnOnce() -> io::Result<()>) -> Result<()> {
        let OutputFile { named, target, temporary, stream } = self;
        let finish = || {
            file_operation::begin()?;
            if let Some(mut stream) = stream {
                let mut file = temporary.file();
                file.rewind()?;
                return io::copy(&mut file, &mut stream).map(|_| ());
            }
            temporary.file().sync_all()?;
            make_way()?;
            temporary.become_file(&target)?;
            file_operation::begin()?;
            sync_folder(&folder_of(&target))
        };
        finish().with_context(|| format!("cannot write {named}"))
    }
}

/// Appends a line to a file by a single write, so that no reader sees half of it. On failure, the
/// file is as it was: the next line does not join half of this one.
///
/// # Errors
/// A file that cannot be written.
pub fn append_whole(file: &mut File, line: &[u8]) -> io::Result<()> {
    or_as_before(file, |file| {
        file_operation::begin()?;
        file.write_all(line)
    })
}

/// Appends to a file by `write`; if that fails, cuts off what it has written.
fn or_as_before(file: &mut File, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let len = file.metadata()?.len();
    write(file).inspect_err(|_| {
        // If this fails too, the line is at least not ended.
        let _ = file.set_len(len).and_then(|()| file.seek(SeekFrom::End(0)));
    })
}

/// Makes new names in a folder durable. Only Unix can, and not on every file system.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(folder)?.sync_all() {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

pub(crate) fn cannot_write(path: &Path) -> String {
    format!("cannot write -o {}", path.display())
}

/// Creates a folder for output files, unless it exists.
///
/// # Errors
/// A file or a dangling link at the path, or a folder that cannot be created.
pub fn create_folder(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok() && !path.is_dir() {
        bail!("this is not a folder: name another, or one that does not exist yet");
    }
    Ok(fs::create_dir_all(path)?)
}

/// The regular file that `path` is or leads to, or that it would become.
fn target_of(flag: &str, path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    let named = path.file_name().is_some() && !path.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
    if path.is_dir() || !named {
        bail!("{flag} {shown}: this is a folder, but a file name is needed");
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path.to_path_buf()),
        // For example, a name that no file can have.
        Err(error) => Err(anyhow!(error).context(format!("cannot write {flag} {shown}"))),
        Ok(found) if found.is_symlink() => {
            let target =
                fs::canonicalize(path).with_context(|| format!("{flag} {shown}: a link that leads nowhere"))?;
            ensure!(target.is_file(), "{flag} {shown}: it leads to {}, which is not a regular file", target.display());
            Ok(target)
        }
        Ok(found) => {
            ensure!(found.is_file(), "{flag} {shown}: not a regular file");
            Ok(path.to_path_buf())
        }
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_could_not_be_written_leaves_no_part() {
        let path = std::env::temp_dir().join(format!("gpu-backprop-append-{}", std::process::id()));
        let mut file = File::options().create(true).truncate(true).write(true).open(&path).expect("a file");
        append_whole(&mut file, b"one\n").expect("the first line");
        // A disk that is full may take half of a line.
        let half = |file: &mut File| file.write_all(b"tw").and(Err(io::Error::other("no space")));
        or_as_before(&mut file, half).expect_err("it fails");
        append_whole(&mut file, b"three\n").expect("the next line");
        assert_eq!(fs::read(&path).expect("the file"), b"one\nthree\n");
        fs::remove_file(&path).expect("delete");
    }
}
