//! The beginning of a training: the folder of the run, the data and the network.

use std::path::PathBuf;

use anyhow::Result;

use super::circumstances::{self, Circumstances};
use super::job::Job;
use super::run_folder::{CheckpointWriter, Keeping, RunFolder};
use super::state::{Found, State};
use super::{Observer, Options, Prepared, Setup, prepare};
use crate::data::Data;
use crate::kernel::product::Precision;
use crate::model;
use crate::network::{Parameters, Topology};
use crate::system::error::{WrongUsage, ensure_usage};
use crate::system::kept_files::check_output;
use crate::system::output_file::check_writable;

/// Extensions of files that a model is not.
const OF_OTHERS: [&str; 9] = ["onnx", "json", "html", "csv", "txt", "pt", "pth", "h5", "pkl"];

/// A training with everything settled except the device.
#[derive(Debug)]
pub struct Begun {
    /// The folder of the run.
    pub folder: Option<RunFolder>,
    /// Its checkpoint, and a note about it.
    pub found: Option<(Found, Option<String>)>,
    /// The data.
    pub data: Data,
    /// The network.
    pub topology: Topology,
    /// All other settings.
    pub setup: Setup,
    /// The initial weights and biases.
    pub initial: Parameters,
}

impl Begun {
    /// Opens the files of a training and settles its options.
    ///
    /// # Errors
    /// Wrong options, and files that cannot be read or written.
    pub fn new(options: &Options) -> Result<Self> {
        ensure_usage!(
            !options.fall_back_to_cpu || options.gpu.precision == Precision::Full,
            "--fallback cpu: --precision mixed is for GPUs; leave one of them out"
        );
        let folder = options.run.as_ref().map(|run| RunFolder::open(&run.folder)).transpose()?;
        let inputs: Vec<PathBuf> = options.source.files().into_iter().chain(options.from.clone()).collect();
        if let Some(path) = &options.output {
            if folder.is_some() {
                check_output(path.clone()).map_err(|wrong| WrongUsage::new(format!("-o {wrong}")))?;
            }
            check_writable(path, &inputs, 0)?;
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            ensure_usage!(
                !OF_OTHERS.contains(&extension.to_lowercase().as_str()),
                "-o {}: a model is written as .safetensors; `gpu-backprop export MODEL --to onnx -o FILE` converts it",
                path.display()
            );
        }
        let found = folder.as_ref().map(RunFolder::checkpoint).transpose()?.flatten();
        let mut resumed = options.clone();
        if let Some((found, _)) = &found {
            circumstances::keep_schedule(&mut resumed.requested, &found.circumstances)?;
        }
        let prepared = prepare(&resumed)?;
        let initial = prepared.initial()?;
        let Prepared { data, topology, setup, .. } = prepared;
        if let Some(path) = &options.output {
            let dataset = &data.dataset;
            model::check_savable(path, &topology, dataset.preprocessing(), &dataset.outputs(), &inputs)?;
        }
        Ok(Begun { folder, found, data, topology, setup, initial })
    }
}

impl Job<'_> {
    /// The state that a training starts or continues from, and the keeper that writes its checkpoints.
    ///
    /// # Errors
    /// A run that was started with other options, and files that cannot be written.
    pub fn keep(
        &self,
        folder: Option<RunFolder>,
        found: Option<(Found, Option<String>)>,
        circumstances: Option<Circumstances>,
        data: &Data,
        observer: &mut dyn Observer,
    ) -> Result<(State, Option<CheckpointWriter>)> {
        let mut state = State::before(self.initial.clone());
        let (Some(folder), Some(run), Some(circumstances)) = (folder, &self.options.run, circumstances) else {
            return Ok((state, None));
        };
        let optimizer = self.setup.hyperparameters.optimizer;
        if let Some((found, note)) = found {
            circumstances::check(&run.folder, self.options.fall_back_to_cpu, &found.circumstances, &circumstances)?;
            for text in note.into_iter().chain(circumstances::differences(&found.circumstances, &circumstances)) {
                observer.warn(&text);
            }
            state = found.state(self.topology, optimizer)?;
            self.check_length(&state)?;
        }
        let description = model::Description::new(self.topology, data.dataset.preprocessing(), &data.dataset.outputs());
        let keeping = Keeping { circumstances, topology: self.topology.clone(), optimizer, description };
        let keeper = CheckpointWriter::begin(folder, run.interval, keeping, &state)?;
        Ok((state, Some(keeper)))
    }
}
