//! Random numbers: one seed for a whole run, an independent stream for each use, so that changing
//! one (another split, say) leaves the others as they were.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// What random numbers are used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// The first weights and biases.
    Initialization,
    /// Which examples are kept for testing.
    TestSplit,
    /// Which examples are kept for validation.
    ValidationSplit,
    /// Which examples `--limit` keeps.
    Limit,
    /// The order of the examples in an epoch, counted from 0.
    Shuffle {
        /// The epoch.
        epoch: usize,
    },
}

/// The generator of one stream; ChaCha8, the same numbers on every machine.
pub fn rng(seed: u64, stream: Stream) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(match stream {
        Stream::Initialization => 0,
        Stream::TestSplit => 1,
        Stream::ValidationSplit => 2,
        Stream::Limit => 3,
        // The first numbers are kept for uses to come.
        Stream::Shuffle { epoch } => (1 << 32) + epoch as u64,
    });
    rng
}
