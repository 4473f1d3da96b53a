//! Checks of a device: gradients, steps in lockstep, strategies; and the distance between results, with the rounding
//! that explains it.

pub mod distance;
pub mod gradcheck;
pub mod gradients;
pub mod lockstep;
pub mod rounding;
pub mod strategies;
pub mod worked;
