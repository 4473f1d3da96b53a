//! Commands: one file each, with the same name as in [`cli`](crate::cli), without flags and without
//! printing.

pub mod bench;
pub mod book;
pub mod compare;
pub mod diagnose;
pub mod evaluate;
pub mod export;
pub mod gradcheck;
pub mod inspect;
pub mod predict;
pub mod report;
pub mod sweep;
pub mod train;
