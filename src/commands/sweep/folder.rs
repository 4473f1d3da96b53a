//! The folder of a sweep: `-o DIR`.
//!
//! | file | |
//! |---|---|
//! | `trials.jsonl` | the result of each trial, a line each; of a part, `trials.1-of-4.jsonl` |
//! | `best.safetensors` | the best network |
//! | `best.json` | its flags, its command and its results |

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::Part;
use super::result::TrialResult;
use crate::system::error::{bail_usage, ensure_usage};
use crate::system::kept_files::{BEST, BEST_MODEL, METRICS, has_results, is_of_results};
use crate::system::output_file::{OutputFile, append_whole, create_folder};

const TRIALS: &str = "trials";

/// The beginning of a result.
const BEGINNING: &[u8] = b"{\"trial\":";

/// The folder of a sweep, with the results so far.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The file that results are appended to, locked.
    file: File,
    name: PathBuf,
}

/// True where a folder is that of a sweep.
pub fn is_sweep(folder: &Path) -> bool {
    has_results(folder)
}

/// The files of results in a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_of_results(&name) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The results in a folder, of all parts.
///
/// # Errors
/// A file that cannot be read, or a line that is no result.
pub fn results(folder: &Path) -> Result<Vec<TrialResult>> {
    let mut results = Vec::new();
    for path in files(folder)? {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            // The end of a file that is being written, or of a process that was killed.
            if !line.ends_with('\n') || line.trim().is_empty() {
                continue;
            }
            let result = serde_json::from_str(line);
            results.push(result.with_context(|| format!("{}, line {number}: no result of a trial", path.display()))?);
        }
    }
    Ok(results)
}

impl Folder {
    /// Opens a folder, which is made where there is none, for the results of a sweep or of its part.
    ///
    /// # Errors
    /// A folder that cannot be made or written to, or to whose file another process writes; a folder of something else.
    pub fn open(path: &Path, part: Option<Part>) -> Result<Self> {
        let context = || format!("-o {}", path.display());
        ensure_usage!(
            !path.exists() || path.is_dir(),
            "{}: this is a file, and a sweep needs a folder for its results; name another",
            context()
        );
        if path.join(METRICS).exists() {
            bail_usage!("{}: this is the folder of a run (train --run); name another for the sweep", context());
        }
        if !is_sweep(path)
            && let Some(name) = [BEST_MODEL, BEST].into_iter().find(|name| path.join(name).exists())
        {
            bail_usage!("{}: its {name} is of no sweep, and would be replaced; name another folder", context());
        }
        create_folder(path).with_context(context)?;
        let name = match part {
            Some(part) => format!("{TRIALS}.{}-of-{}.jsonl", part.number, part.of),
            None => format!("{TRIALS}.jsonl"),
        };
        let name = path.join(name);
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(&name).with_context(context)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("{}: another process writes here; wait for its end, or name another folder", name.display())
            }
            Err(TryLockError::Error(error)) => return Err(anyhow!(error).context(context())),
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).with_context(context)?;
        // Of a process that was killed while it wrote: the trial is done again.
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let first = text[..whole].split_inclusive(|&byte| byte == b'\n').next();
        ensure_usage!(
            first.is_some() || text.starts_with(BEGINNING) || BEGINNING.starts_with(&text),
            "{}: {} is of no sweep, and would be replaced; name another folder",
            context(),
            name.display()
        );
        // What is no result is reported later, and stays.
        if first.is_none_or(|line| serde_json::from_slice::<TrialResult>(line).is_ok()) {
            file.set_len(whole as u64).with_context(context)?;
        }
        file.seek(SeekFrom::End(0)).with_context(context)?;
        Ok(Folder { path: path.to_path_buf(), file, name })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the result of a trial, and waits until it is on disk.
    ///
    /// # Errors
    /// A file that cannot be written, or that somebody deleted or replaced: then nobody would find the results.
    pub fn append(&mut self, result: &TrialResult) -> Result<()> {
        let line = serde_json::to_string(result)? + "\n";
        let is_there = same_file::Handle::from_path(&self.name)
            .and_then(|found| Ok(found == same_file::Handle::from_file(self.file.try_clone()?)?));
        ensure!(
            is_there.unwrap_or(false),
            "{}: the file was deleted or replaced while trials ran; the same command trains again what is missing",
            self.name.display()
        );
        append_whole(&mut self.file, line.as_bytes())
            .and_then(|()| self.file.sync_data())
            .with_context(|| format!("cannot write {}", self.name.display()))
    }

    /// Writes the results of the best trial.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_best(&self, text: &str) -> Result<()> {
        let file = OutputFile::of_folder(&self.path, BEST)?;
        file.write_all(text.as_bytes())?;
        file.finish()
    }

    /// The results of the best trial of before, where its network is there, too.
    pub fn best(&self) -> Option<String> {
        let text = fs::read_to_string(self.path.join(BEST)).ok()?;
        self.path.join(BEST_MODEL).exists().then_some(text)
    }
}
