//! Parquet, as a table to learn from. The crate that reads it is not instrumented.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use gpu_backprop::data::table::TableOptions;
use gpu_backprop::data::{Source, open};
use libfuzzer_sys::fuzz_target;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("gpu-backprop-fuzz-{}.parquet", std::process::id())));

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&*FILE, bytes).expect("a file to read");
    let table = TableOptions { targets: vec!["class".into()], mean_for_missing: true, ..TableOptions::default() };
    if let Ok(data) = open(&Source { data: Some(FILE.clone()), table, ..Source::default() }) {
        assert!(data.dataset.classes() > 1);
    }
});
