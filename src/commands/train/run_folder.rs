//! The folder of a run: `--run DIR`.
//!
//! | file | |
//! |---|---|
//! | `config.toml` | all flags that the run uses, for `--config` |
//! | `metrics.jsonl` | the report of each epoch, one per line |
//! | `checkpoint.safetensors` | what the run continues from; `checkpoint.previous.safetensors` is the one before |
//! | `best.safetensors`, `last.safetensors` | the models at the time of the checkpoint |
//! | `profile.json` | the time of each kernel, with `--profile` |
//! | `diverged.txt` | why training ended, if it diverged |
//! | `lock` | locked by the process that trains here |

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::EpochReport;
use super::circumstances::Circumstances;
use super::metrics::Metrics;
use super::state::{Found, State};
use super::writer::Writer;
use crate::model::{self, Description, checkpoint};
use crate::network::optimizer::Optimizer;
use crate::network::{Parameters, Topology};
use crate::plan::executor::DeviceDescription;
use crate::system::error::WrongUsage;
use crate::system::interruption;
use crate::system::kept_files::{
    BEST_MODEL, CHECKPOINT, CONFIG, DAMAGED, DIVERGED, LAST_MODEL, LOCK, METRICS, PREVIOUS, PROFILE,
};
use crate::system::output_file::{OutputFile, create_folder};
use crate::system::temporary;

/// Files that only a run writes.
const OF_RUNS: [&str; 6] = [CONFIG, METRICS, BEST_MODEL, LAST_MODEL, DIVERGED, PROFILE];

/// The folder of a run, locked.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Held until the folder is dropped.
    _lock: File,
    is_new: bool,
}

impl RunFolder {
    /// Opens a folder, creating it if it does not exist.
    ///
    /// # Errors
    /// A folder that cannot be created or written to, or in which another process is training.
    pub fn open(path: &Path) -> Result<Self> {
        let context = || format!("--run {}", path.display());
        let is_new = !path.exists();
        create_folder(path).with_context(context)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK));
        let lock = lock.with_context(context)?;
        match lock.try_lock() {
            Ok(()) => {
                // Left by killed processes: nobody else writes here.
                temporary::delete_left(path).with_context(context)?;
                Ok(RunFolder { path: path.to_path_buf(), _lock: lock, is_new })
            }
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "{}: another process is training in this folder; wait until it ends, or name another folder",
                    context()
                )
            }
            Err(TryLockError::Error(error)) => Err(anyhow!(error).context(context())),
        }
    }

    /// The last intact checkpoint, and a note if it is not the last that was written.
    ///
    /// # Errors
    /// No intact checkpoint, or a folder with files of something else.
    pub fn checkpoint(&self) -> Result<Option<(Found, Option<String>)>> {
        let read = |name: &str| {
            let path = self.path.join(name);
            let exists = fs::exists(&path)?;
            let found = || Found::new(checkpoint::read(&path)?);
            exists.then(found).transpose().with_context(|| path.display().to_string())
        };
        match (read(CHECKPOINT), read(PREVIOUS)) {
            (Ok(Some(found)), _) => Ok(Some((found, None))),
            (Ok(None), Ok(None)) => match OF_RUNS.iter().find(|name| self.path.join(name).exists()) {
                None => Ok(None),
                Some(name) => Err(WrongUsage::new(format!(
                    "--run {}: there is a {name}, but no checkpoint of a run; name a new folder",
                    self.path.display()
                ))
                .into()),
            },
            (Ok(None), Ok(Some(found))) => Ok(Some((
                found,
                Some("the last checkpoint is missing; the run continues from the one before".to_string()),
            ))),
            (Err(error), Ok(Some(found))) => {
                // The next one is not to replace the intact one by it.
                fs::rename(self.path.join(CHECKPOINT), self.path.join(DAMAGED))?;
                let kept = format!("{error:#}; it is {DAMAGED} now, and the run continues from the checkpoint before");
                Ok(Some((found, Some(kept))))
            }
            (Ok(None) | Err(_), Err(error)) | (Err(error), Ok(None)) => {
                Err(error.context("no intact checkpoint is left; name another folder, or delete this one"))
            }
        }
    }

    /// Writes the configuration, and the reports of the epochs so far.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn begin(&self, config: &str, reports: &[EpochReport]) -> Result<Metrics> {
        self.write(CONFIG, config.as_bytes())?;
        Metrics::begin(&self.path, reports)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let file = OutputFile::of_folder(&self.path, name)?;
        file.write_all(bytes)?;
        file.finish()
    }
}

impl Drop for RunFolder {
    /// Deletes a folder that was created for a run that did not begin, if it has no other files.
    fn drop(&mut self) {
        if self.is_new && !self.path.join(CHECKPOINT).exists() {
            let _ = fs::remove_file(self.path.join(LOCK));
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// What the files of a run need besides the state of its training.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// The circumstances of the run.
    pub circumstances: Circumstances,
    /// The network.
    pub topology: Topology,
    /// The optimizer.
    pub optimizer: &'static Optimizer,
    /// The description of its models.
    pub description: Description,
}

/// Writes checkpoints of a run while it trains.
#[derive(Debug)]
pub struct CheckpointWriter {
    folder: RunFolder,
    metrics: Metrics,
    keeping: Arc<Keeping>,
    interval: Duration,
    saved: Instant,
    writer: Writer,
    /// The last error, unless a later write succeeded.
    failed: Option<anyhow::Error>,
}

impl CheckpointWriter {
    /// A keeper of a run that starts or continues with a state.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn begin(folder: RunFolder, interval: Duration, keeping: Keeping, state: &State) -> Result<Self> {
        // A run has no other files without a checkpoint.
        if !folder.path.join(CHECKPOINT).exists() {
            write_checkpoint(&folder.path, state, &keeping)?;
        }
        let metrics = folder.begin(&keeping.circumstances.config, &state.reports)?;
        // Most runs have none.
        let _ = fs::remove_file(folder.path.join(DIVERGED));
        let keeping = Arc::new(keeping);
        let writer = Writer::start()?;
        Ok(CheckpointWriter { folder, metrics, keeping, interval, saved: Instant::now(), writer, failed: None })
    }

    /// True if a checkpoint should be written as soon as training can pause.
    pub fn is_due(&self) -> bool {
        !self.writer.is_busy() && (self.saved.elapsed() >= self.interval || interruption::is_checkpoint_wanted())
    }

    /// Adds the report of an epoch; an error is also reported when the run ends.
    pub fn note(&mut self, report: &EpochReport) -> Option<String> {
        let error = self.metrics.add(report).err()?;
        self.note_failure(error)
    }

    /// Starts to write a checkpoint of a state; returns a message if the last one failed.
    pub fn save(&mut self, state: &State) -> Option<String> {
        let failed = self.wait();
        interruption::checkpoint_follows();
        self.saved = Instant::now();
        let (path, state, keeping) = (self.folder.path.clone(), state.clone(), Arc::clone(&self.keeping));
        self.writer.begin(move || write_state(&path, &state, &keeping));
        failed
    }

    /// Waits for the checkpoint that is being written; returns a message if it failed.
    pub fn wait(&mut self) -> Option<String> {
        match self.writer.finish()? {
            Ok(()) => {
                self.failed = None;
                None
            }
            Err(error) => self.note_failure(error),
        }
    }

    /// Records a failure; returns a message to report. A failure that repeats, such as a full disk, is reported once.
    fn note_failure(&mut self, error: anyhow::Error) -> Option<String> {
        let text = format!("{error:#}; training continues");
        // Temporary files have a different name each time.
        let kind = |error: &anyhow::Error| {
            let cause = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
            (error.to_string(), cause.map(std::io::Error::kind))
        };
        let said = self.failed.as_ref().is_some_and(|last| kind(last) == kind(&error));
        self.failed = Some(error);
        (!said).then_some(text)
    }

    /// Ends the run, with its last checkpoint on disk.
    ///
    /// # Errors
    /// The last failure to write.
    pub fn finish(&mut self) -> Result<()> {
        self.wait();
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Continues from a state on another device; anything written about later epochs is discarded.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn go_on(&mut self, state: &State, device: &DeviceDescription) -> Result<()> {
        self.wait();
        let circumstances = self.keeping.circumstances.clone().on(device);
        self.metrics = self.folder.begin(&circumstances.config, &state.reports)?;
        self.keeping = Arc::new(Keeping { circumstances, ..Keeping::clone(&self.keeping) });
        Ok(())
    }
}

/// Writes a state to the folder of its run.
fn write_state(folder: &Path, state: &State, keeping: &Keeping) -> Result<()> {
    write_checkpoint(folder, state, keeping)?;
    let write = |name: &str, parameters: &Parameters| {
        let file = OutputFile::of_folder(folder, name)?;
        file.write_all(&model::encode(&keeping.topology, parameters, &keeping.description)?)?;
        file.finish()
    };
    if state.position != Default::default() || state.refit.is_some() {
        write(LAST_MODEL, &state.snapshot.parameters)?;
    }
    if let Some(best) = &state.best {
        write(BEST_MODEL, best)?;
    }
    Ok(())
}

fn write_checkpoint(folder: &Path, state: &State, keeping: &Keeping) -> Result<()> {
    let bytes = state.encode(&keeping.circumstances, keeping.optimizer)?;
    let file = OutputFile::of_folder(folder, CHECKPOINT)?;
    file.write_all(&bytes)?;
    file.finish_keeping(&folder.join(PREVIOUS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Outputs, Preprocessing};
    use crate::network::Initialization;
    use crate::network::activation::SIGMOID;
    use crate::network::cost::QUADRATIC;
    use crate::network::optimizer::SGD;
    use crate::system::file_operation::tests::failing;
    use crate::training::Position;

    /// The files, and the state after this many epochs.
    fn run(epochs: usize) -> (Keeping, State) {
        let topology = Topology::new(&[3, 4, 2], &SIGMOID, &QUADRATIC).expect("a network");
        let parameters = Parameters::random(&topology, Initialization::Scaled, epochs as u64).expect("memory");
        let circumstances = Circumstances {
            program_version: String::new(),
            config: String::new(),
            data_sha256: String::new(),
            device: "cpu".to_string(),
            adapter: None,
            backend: None,
            driver: None,
        };
        let outputs = Outputs::Classes(vec!["a".to_string(), "b".to_string()]);
        let description = Description::new(&topology, &Preprocessing::Floats {}, &outputs);
        let report = EpochReport {
            epoch: 1,
            eta: 0.1,
            train_cost: Some(0.1 + 0.2),
            train_accuracy: Some(0.7),
            train_r2: None,
            validation_cost: None,
            validation_accuracy: None,
            validation_r2: None,
            seconds: 1e-5,
            samples_per_second: 1.0 / 3.0,
            layers: None,
        };
        let state = State {
            position: Position { epoch: epochs, step: 3 },
            reports: vec![report; epochs],
            ..State::before(parameters)
        };
        (Keeping { circumstances, topology, optimizer: &SGD, description }, state)
    }

    fn read(folder: &RunFolder, keeping: &Keeping) -> State {
        let (found, _) = folder.checkpoint().expect("one is whole").expect("one is there");
        found.state(&keeping.topology, keeping.optimizer).expect("it is of this network")
    }

    /// Whichever operation fails, either the previous or the new state is there, and the failure is reported.
    #[test]
    fn a_checkpoint_whose_writing_fails_leaves_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = RunFolder::open(folder.path()).expect("a new folder");
        let ((keeping, mut old), mut failures) = (run(1), 0);
        write_state(&folder.path, &old, &keeping).expect("it is written");
        for count in 0.. {
            let (_, new) = run(count + 2);
            let (written, failed) = failing(count, || write_state(&folder.path, &new, &keeping));
            let found = read(&folder, &keeping);
            assert_eq!(written.is_err(), failed, "operation {count}");
            let same = |state: &State| {
                found.snapshot == state.snapshot && found.position == state.position && found.reports == state.reports
            };
            assert!(same(&new) || (failed && same(&old)), "operation {count}: {found:?}");
            let left = fs::read_dir(&folder.path).expect("it is there").flatten().map(|entry| entry.file_name());
            assert!(
                !left.into_iter().any(|name| name.to_string_lossy().starts_with(".gpu-backprop")),
                "operation {count}"
            );
            if !failed {
                break;
            }
            failures += 1;
            old = found;
        }
        // Creating, writing, syncing and renaming a file, and syncing its folder; a checkpoint is renamed twice; then a
        // model.
        assert_eq!(failures, 11);
    }

    #[test]
    fn the_same_failure_is_told_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run");
        let ((keeping, state), opened) = (run(1), RunFolder::open(&path).expect("a new folder"));
        let mut keeper = CheckpointWriter::begin(opened, Duration::ZERO, keeping, &state).expect("it begins");
        assert_eq!((keeper.save(&state), keeper.wait()), (None, None));
        fs::remove_dir_all(&path).expect("it is deleted");
        assert_eq!(keeper.save(&state), None, "it is being written");
        let told = keeper.save(&state).expect("it failed");
        assert!(told.ends_with("training continues"), "{told}");
        assert_eq!(keeper.save(&state), None, "it has been told");
        assert!(keeper.finish().is_err());
    }
}
