//! Tables: rows, and all that is done with them before training.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use gpu_backprop::data::table::TableOptions;
use gpu_backprop::data::{Source, Task, open};
use libfuzzer_sys::fuzz_target;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("gpu-backprop-fuzz-{}.csv", std::process::id())));

fuzz_target!(|bytes: &[u8]| {
    // The first byte says how the rest is to be read.
    let Some((&how, table)) = bytes.split_first() else { return };
    std::fs::write(&*FILE, table).expect("a file to read");
    let table = TableOptions {
        targets: vec![["c", "1", "2"][usize::from(how % 3)].into()],
        header: (how & 0x10 != 0).then_some(how & 0x20 != 0),
        delimiter: (how & 0x20 != 0).then_some(b';'),
        mean_for_missing: how & 0x40 != 0,
        categorical: if how & 0x80 != 0 { vec!["a".into()] } else { Vec::new() },
        ..TableOptions::default()
    };
    let task = if how & 8 != 0 { Task::Regression } else { Task::Classification };
    if let Ok(data) = open(&Source { data: Some(FILE.clone()), table, task, ..Source::default() }) {
        assert!((data.dataset.classes() > 1) == (task == Task::Classification));
        assert!(!data.split.training.is_empty());
    }
});
