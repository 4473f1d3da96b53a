//! Random numbers.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// `len` numbers in -1..2: neither symmetric nor of one sign, so that a lost sign or a missing
/// term shows.
pub fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0..2.0)).collect()
}

/// `len` numbers in 0..n.
pub fn random_below(seed: u64, len: usize, n: u32) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(0..n)).collect()
}
