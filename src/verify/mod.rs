//! Is this device right? Gradients, steps in lockstep, strategies, and how far rounding explains a difference.

pub mod distance;
pub mod gradients;
pub mod lockstep;
pub mod rounding;
pub mod strategies;
