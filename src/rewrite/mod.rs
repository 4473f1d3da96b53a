//! Rewriting of plans for speed: fused kernels, and whole mini-batches in one work group.

pub mod fuse;
pub mod training_loop;
