//! Files that are kept: outputs replace nothing that is read, are durable, and leave nothing behind.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::Ignored;
use crate::program::{Folder, assert_fails, program, run};

trials! {
    once: no_input_is_overwritten, no_file_of_a_run_or_a_sweep_is_overwritten, a_model_that_cannot_be_saved_is_refused_before_training,
        a_pipe_is_a_table_and_has_an_end, a_whole_number_is_an_index, an_unknown_backend_is_named,
        what_is_no_file_is_not_waited_for;
    with unix: a_model_is_synced_and_keeps_its_mode, an_interrupted_run_leaves_no_file,
        where_saving_fails_the_results_are_printed;
}

fn unix() -> Result<(), Ignored> {
    if cfg!(unix) { Ok(()) } else { Err(Ignored("signals and modes of Unix".into())) }
}

const TABLE: &str = "x,c\n1,a\n2,b\n3,a\n4,b\n5,a\n6,b\n7,a\n8,b\n9,a\n10,b\n";

/// A folder with a table and a model that was trained on it.
fn trained() -> (Folder, String, String) {
    let folder = Folder::new();
    let (table, model) = (folder.file("t.csv", TABLE.as_bytes()), folder.text("m.safetensors"));
    let output = run(&["train", &table, "--target", "c", "--epochs", "1", "--device", "cpu", "-o", &model]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (folder, table, model)
}

fn no_file_of_a_run_or_a_sweep_is_overwritten() {
    let (folder, table, model) = trained();
    let (run_folder, sweep) = (folder.text("run"), folder.text("sweep"));
    let train = ["train", &table, "--target", "c", "--epochs", "1", "--device", "cpu"];
    // The folder of the run is made before a file in it is looked for.
    let own = folder.text("run/model.safetensors");
    let output = run(&[&train[..], &["--run", &run_folder, "-o", &own]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(folder.path("run/model.safetensors").exists());
    let output = run(&["sweep", &table, "--target", "c", "--epochs", "1,2", "--device", "cpu", "-o", &sweep]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let config =
        folder.file("c.toml", format!("data = {table:?}\ntarget = \"c\"\nepochs = 1\ndevice = \"cpu\"\n").as_bytes());
    let kept = |folder: &Folder| -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let inside = ["run", "sweep"].map(|name| std::fs::read_dir(folder.path(name)).expect("a folder"));
        let mut files: Vec<_> = inside.into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect();
        files.extend([&table, &config, &model].map(Into::into));
        files.sort();
        files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect()
    };
    let before = kept(&folder);
    for name in ["config.toml", "metrics.jsonl", "checkpoint.safetensors", "last.safetensors", "lock"] {
        let path = format!("{run_folder}/{name}");
        for command in [
            &["report", &run_folder, "-o", &path][..],
            &["predict", &model, &table, "-o", &path],
            &["evaluate", &model, &table, "--report", &path],
            &["export", &model, "--to", "onnx", "-o", &path],
            &["book", "network", "--svg", &path],
            &[&train[..], &["-o", &path]].concat(),
        ] {
            assert_fails(command, 2, &[name, "a file of the run in", "another"]);
        }
    }
    for name in ["trials.jsonl", "best.json", "best.safetensors"] {
        assert_fails(&["report", &sweep, "-o", &format!("{sweep}/{name}")], 2, &[name, "a file of the sweep in"]);
    }
    // A folder that is only made by the command.
    let (new, own) = (folder.text("new"), folder.text("new/checkpoint.safetensors"));
    assert_fails(&[&train[..], &["--run", &new, "-o", &own]].concat(), 2, &["-o", "a file of the run in"]);
    // The data of a run, and the file that flags came from.
    assert_fails(&["report", &run_folder, "-o", &table], 2, &["t.csv", "is read"]);
    assert_fails(&["train", "--config", &config, "-o", &config], 2, &["c.toml", "is read"]);
    let compare = ["compare", "--config", &config, "--devices", "cpu,cpu:primitive", "--report", &config];
    assert_fails(&compare, 2, &["c.toml", "is read"]);
    assert_eq!(kept(&folder), before);
    // What a sweep would replace without having written it.
    std::fs::create_dir(folder.path("other")).expect("a folder");
    let other = folder.file("other/best.safetensors", b"precious");
    let sweep = ["sweep", &table, "--target", "c", "--epochs", "1,2", "--device", "cpu", "-o", &folder.text("other")];
    assert_fails(&sweep, 2, &["best.safetensors", "of no sweep", "another folder"]);
    assert_eq!(folder_text(&other), "precious");
}

fn no_input_is_overwritten() {
    let (folder, table, model) = trained();
    let before = [std::fs::read(&table).expect("a table"), std::fs::read(&model).expect("a model")];
    let train = ["train", &table, "--target", "c", "--epochs", "0", "--device", "cpu", "-o"];
    let other = folder.file("v.csv", TABLE.as_bytes());
    assert_fails(&[&train[..], &[&table]].concat(), 2, &["-o", "t.csv", "is read", "another"]);
    for flag in ["--validation", "--test"] {
        assert_fails(&[&train[..], &[&other, flag, &other]].concat(), 2, &["v.csv", "is read"]);
    }
    assert_fails(&["predict", &model, &table, "-o", &table], 2, &["t.csv", "is read"]);
    assert_fails(&["predict", &model, &table, "-o", &model], 2, &["m.safetensors", "is read"]);
    assert_fails(&["export", &model, "--to", "onnx", "-o", &model], 2, &["m.safetensors", "is read"]);
    #[cfg(unix)]
    {
        let link = folder.text("link");
        std::os::unix::fs::symlink(&table, &link).expect("a link");
        let hard = folder.text("hard.csv");
        std::fs::hard_link(&table, &hard).expect("a link");
        for output in [&link, &hard] {
            assert_fails(&["predict", &model, &table, "-o", output], 2, &["is read"]);
        }
        // The log that stdout is appended to.
        let log = folder.file("log", b"before\n");
        let stdout = std::fs::OpenOptions::new().append(true).open(&log).expect("the log");
        let output = program().args(["predict", &model, &table, "-o", "/dev/stdout"]).stdout(stdout).output();
        assert_eq!(output.expect("it runs").status.code(), Some(2));
        assert_eq!(folder_text(&log), "before\n");
    }
    assert_eq!(before, [std::fs::read(&table).expect("a table"), std::fs::read(&model).expect("a model")]);
}

fn folder_text(path: &str) -> String {
    std::fs::read_to_string(path).expect("a file of text")
}

fn a_model_that_cannot_be_saved_is_refused_before_training() {
    let folder = Folder::new();
    let model = folder.text("m.safetensors");
    let layers = ["64".to_string(), vec!["2"; 1000].join(","), "10".to_string()].join(",");
    let train = ["train", "--epochs", "1", "--device", "cpu", "-o", &model, "--layers", &layers];
    assert_fails(&train, 1, &["cannot write", "1002 layers", "room for 1000"]);
    // 400,000 columns, which take 35 MB to describe.
    let row = |field: &str, class: &str| format!("{}{class}\n", format!("{field},").repeat(400_000));
    let header: String = (0..400_000).map(|i| format!("x{i},")).collect();
    let table = folder.file("t.csv", format!("{header}c\n{}{}", row("1", "a"), row("2", "b")).as_bytes());
    assert_fails(
        &["train", &table, "--target", "c", "--device", "cpu", "-o", &model],
        1,
        &["names of columns", "room for"],
    );
    let name = "n".repeat(300);
    assert_fails(&["train", "--device", "cpu", "-o", &folder.text(&name)], 1, &["cannot write", "name too long"]);
    assert_fails(&["train", "--device", "cpu", "-o", "-"], 2, &["stdout", "name a file"]);
    assert!(std::fs::read_dir(folder.0.path()).expect("the folder").count() == 1, "only the table is there");
}

fn a_pipe_is_a_table_and_has_an_end() {
    let piped = |input: &[u8], arguments: &[&str]| {
        let mut child = program();
        let child = child.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().expect("it starts");
        // It may refuse before it has read all.
        let _ = child.stdin.take().expect("piped").write_all(input);
        child.wait_with_output().expect("it ends")
    };
    let train = ["train", "-", "--target", "c", "--recipe", "book", "--epochs", "1", "--device", "cpu"];
    let output = piped(TABLE.as_bytes(), &train);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && stderr.contains("stdin: 10 training"), "{stderr}");
    // What is read more than once: a sweep, and the report of a run.
    let sweep = ["sweep", "-", "--target", "c", "--eta", "0.1,0.2", "--epochs", "1", "--device", "cpu", "-q"];
    let output = piped(TABLE.as_bytes(), &sweep);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = Folder::new();
    let run = folder.text("run");
    assert!(piped(TABLE.as_bytes(), &[&train[..], &["--run", &run]].concat()).status.success());
    let output = piped(TABLE.as_bytes(), &["report", &run, "-o", "-"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = piped(TABLE.as_bytes(), &[&train[..], &["--test", "-"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && stderr.contains("- appears twice"), "{stderr}");
    let output = piped(&[0; 1 << 20], &train);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && stderr.contains("stdin") && stderr.contains("byte 1 is 0"), "{stderr}");
    #[cfg(unix)]
    {
        assert_fails(&["train", "/dev/zero", "--target", "c"], 1, &["/dev/zero", "byte 1 is 0"]);
        let mut lost = program();
        lost.env("TMPDIR", "/nowhere/at/all").args(train).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = lost.spawn().expect("it starts");
        let _ = child.stdin.take().expect("piped").write_all(TABLE.as_bytes());
        let stderr = child.wait_with_output().expect("it ends").stderr;
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(stderr.contains("/nowhere/at/all") && stderr.contains("temporary files"), "{stderr}");
    }
}

fn a_whole_number_is_an_index() {
    assert_fails(&["train", "--device", "4090"], 2, &["--device 4090", "no such device"]);
    assert_fails(&["train", "--device", "256"], 2, &["--device 256", "no such device"]);
}

fn an_unknown_backend_is_named() {
    for command in [&["train", "--epochs", "1"][..], &["devices"]] {
        let output = program().env("WGPU_BACKEND", "vulkna").args(command).output().expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("WGPU_BACKEND=vulkna") && stderr.contains("vulkan, metal, dx12 and gl"), "{stderr}");
    }
}

fn what_is_no_file_is_not_waited_for() {
    #[cfg(unix)]
    {
        let (folder, table, _) = trained();
        let pipe = folder.text("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let start = Instant::now();
        assert_fails(&["predict", &pipe, &table], 1, &["pipe", "not a regular file"]);
        assert!(start.elapsed() < Duration::from_secs(30));
        // A lock that is never given back.
        let cache = Folder::new();
        let lock = std::fs::File::create(cache.path("tuning.json.lock")).expect("a lock");
        lock.lock().expect("locked");
        let lock = std::fs::File::create(cache.path("speeds.json.lock")).expect("a lock");
        lock.lock().expect("locked");
        let mut train = program();
        train.env("GPU_BACKPROP_CACHE_DIR", cache.0.path()).args(["train", "--epochs", "40", "--device", "cpu"]);
        assert!(train.output().expect("it starts").status.success());
    }
}

fn a_model_is_synced_and_keeps_its_mode((): ()) -> Result<(), Ignored> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let (folder, table, model) = trained();
        let mode = |path: &str| std::fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        let plain = folder.file("plain", b"");
        assert_eq!(mode(&model), mode(&plain), "as any new file");
        std::fs::set_permissions(&model, std::fs::Permissions::from_mode(0o640)).expect("a mode");
        let train = ["train", &table, "--target", "c", "--epochs", "1", "--device", "cpu", "-o", &model];
        assert!(run(&train).status.success());
        assert_eq!(mode(&model), 0o640, "that of the file that was replaced");
        // What is synced must be what is renamed.
        let trace = folder.text("trace");
        let program = program();
        let mut traced = Command::new("strace");
        traced.args(["-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o", &trace]);
        let Ok(output) = traced.arg(program.get_program()).args(train).output() else {
            return Err(Ignored("the order of system calls: strace is not installed".into()));
        };
        if !output.status.success() {
            return Err(Ignored("the order of system calls: strace cannot trace here".into()));
        }
        let text = folder_text(&trace);
        let calls: Vec<&str> =
            text.lines().filter(|line| line.contains("fsync(") || line.contains("m.safetensors")).collect();
        let place = |found: &dyn Fn(&str) -> bool| {
            calls.iter().position(|line| found(line)).unwrap_or_else(|| panic!("{text}"))
        };
        let synced =
            place(&|line| line.contains("fsync(") && line.contains("/.gpu-backprop-") && !line.contains("deleted"));
        let renamed = place(&|line| line.contains("rename") && line.contains("m.safetensors"));
        let folder_synced = calls.iter().rposition(|line| line.contains("fsync(")).expect("a sync");
        assert!(synced < renamed && renamed < folder_synced, "{text}");
        assert_eq!(calls.iter().filter(|line| line.contains("rename")).count(), 1, "{text}");
    }
    Ok(())
}

/// Interrupts each command at many moments.
fn an_interrupted_run_leaves_no_file((): ()) {
    #[cfg(unix)]
    {
        let (folder, _, model) = trained();
        let rows: String = (0..200_000).map(|i| format!("{i},{}\n", ["a", "b"][i % 2])).collect();
        let table = folder.file("long.csv", format!("x,c\n{rows}").as_bytes());
        let files = || std::fs::read_dir(folder.0.path()).expect("the folder").count();
        let before = files();
        let out = folder.text("out");
        let commands: [&[&str]; 3] = [
            &["predict", &model, &table, "--device", "cpu", "-o", &out],
            &["train", &table, "--target", "c", "--epochs", "1", "--device", "cpu", "-q", "-o", &out],
            &["export", &model, "--to", "onnx", "-o", &out],
        ];
        for (i, signal) in ["-INT", "-TERM", "-HUP"].into_iter().cycle().take(36).enumerate() {
            let mut child = program();
            let child = child.args(commands[i % commands.len()]).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = child.spawn().expect("it starts");
            std::thread::sleep(Duration::from_millis(3 * i as u64 % 90));
            Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
            child.wait().expect("it ends");
            let _ = std::fs::remove_file(&out);
            let left: Vec<_> =
                std::fs::read_dir(folder.0.path()).expect("the folder").flatten().map(|entry| entry.path()).collect();
            assert_eq!(left.len(), before, "{signal} after {} ms: {left:?}", 3 * i % 90);
        }
    }
}

fn where_saving_fails_the_results_are_printed((): ()) -> Result<(), Ignored> {
    #[cfg(unix)]
    {
        let (folder, table, _) = trained();
        let out = folder.path("gone");
        std::fs::create_dir(&out).expect("a folder");
        let model = out.join("m.safetensors");
        let mut child = program();
        child
            .args(["train", &table, "--target", "c", "--epochs", "60000", "--device", "cpu", "-q", "--json", "-o"])
            .arg(&model);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(300));
        if child.try_wait().expect("a child").is_some() {
            return Err(Ignored("training was over before the folder could be deleted".into()));
        }
        std::fs::remove_dir_all(&out).expect("the folder is deleted");
        let output = child.wait_with_output().expect("it ends");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let report: serde_json::Value = serde_json::from_str(&stdout).expect("the results");
        assert!(report["weights_sha256"].is_string() && stderr.contains("cannot write -o"), "{stderr}");
    }
    Ok(())
}
