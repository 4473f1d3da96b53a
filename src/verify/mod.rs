//! Checks of a device: gradients, steps in lockstep, strategies; the distance between results, and
//! the rounding errors that explain it.

pub mod distance;
pub mod gradcheck;
pub mod gradients;
pub mod lockstep;
pub mod rounding;
pub mod strategies;
pub mod worked;
