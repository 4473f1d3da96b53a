//! Random numbers: one seed for a run and an independent stream for each use, so that a change of
//! one, such as another split, leaves the others as they are.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// A stream of random numbers, one for each use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// The initial weights and biases.
    Initialization,
    /// Choice of the test examples.
    TestSplit,
    /// Choice of the validation examples.
    ValidationSplit,
    /// Choice of the examples that `--limit` keeps.
    Limit,
    /// Choice of the training examples that are watched.
    Watched,
    /// Choice of the combinations of a sweep.
    Sweep,
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
        Stream::Watched => 4,
        Stream::Sweep => 5,
        // Lower stream numbers are reserved for future uses.
        Stream::Shuffle { epoch } => (1 << 32) + epoch as u64,
    });
    rng
}
