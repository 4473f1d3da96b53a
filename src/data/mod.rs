//! Data sets: the examples a network learns from and is measured on.

mod beginning;
mod dataset;
mod exact;
mod examples;
mod fingerprint;
mod formats;
mod inputs;
pub mod labels;
mod mapped;
mod numbers;
mod open;
mod picked;
mod plausible;
pub mod preprocessing;
mod reader;
mod shape;
mod source;
mod split;
pub mod table;
mod targets;
mod unpacking;
mod weights;
mod whole_labels;

pub use dataset::{Dataset, MAX_CLASSES};
pub(crate) use formats::is_built_in;
pub use formats::{digits, idx, npy, npz, text};
pub use inputs::{Images, Inputs};
pub use mapped::Mapped;
pub use open::{Data, open, open_as};
pub use picked::Picked;
pub use preprocessing::{Column, Preprocessing, Scale, Values};
pub use reader::{Chunk, ExampleFile, ExampleReader, Interface, dropped_rows, unknown_categories};
pub use source::{Part, Source, is_of_the_book};
pub use split::{Split, stratified_limit, stratified_part};
pub(crate) use table::stored::STDIN;
pub use targets::{Outputs, Quantity, Targets, Task, balanced_weights};
