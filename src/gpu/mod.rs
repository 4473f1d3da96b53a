//! The GPU executor: runs a plan as compute dispatches. No other module uses wgpu.
//!
//! Every matrix is one storage buffer that stays on the device, every step one bind group made
//! when the plan is loaded. What changes from one mini-batch to the next is a
//! [`MiniBatch`](crate::kernel::MiniBatch) in a uniform buffer, picked by a dynamic offset, so that many
//! mini-batches go to the device in one submission and nothing comes back.
//!
//! Any method may also fail with the device.
//!
//! | part | files, bottom to top |
//! |---|---|
//! | adapters | `exclusive`, `capabilities`, `adapter` |
//! | the open device | `injection`, `faults`, `context`, `probe`, `limits` |
//! | matrices | `memory` |
//! | loaded plans | `pipeline_cache`, `pipeline`, `parts`, `schedule`, `workgroup_loop`, `dispatcher`, `submission`, `loaded` |
//! | tuning | `options`, `choices`, `measuring`, `agreement`, `chooser` |
//! | all of it | `profiling`, `ceilings`, `executor` |

mod adapter;
mod agreement;
mod capabilities;
mod ceilings;
mod choices;
mod chooser;
mod context;
mod dispatcher;
mod enumeration;
mod exclusive;
mod executor;
mod faults;
mod injection;
mod limits;
mod loaded;
mod measuring;
mod memory;
mod options;
mod parts;
mod pipeline;
mod pipeline_cache;
mod probe;
mod profiling;
mod schedule;
mod side_by_side;
mod submission;
mod workgroup_loop;

pub use adapter::Adapter;
pub use enumeration::{adapters, check_environment, failures_of_drivers};
pub use executor::Gpu;
pub use injection::{Fault, Injection};
pub use options::{GpuOptions, Tuning};
pub use probe::LOOP_ITERATIONS_ALWAYS_RIGHT;
pub use workgroup_loop::LoopCandidate;
