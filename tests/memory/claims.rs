//! No memory for what a file only claims to be: beside what the program itself takes, at most twice the
//! file and 64 MB.

#[cfg(not(target_os = "linux"))]
#[test]
#[ignore = "the memory of a child process is measured on Linux only"]
fn no_memory_for_what_is_only_claimed() {
    panic!("it can only run on Linux");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io::Write;
    use std::path::Path;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use crate::files::{idx, npy};
    use crate::measured::{ALWAYS_ALLOWED, measured};
    use crate::numbers::random_below;
    use crate::program::{Folder, program};

    /// A million bytes.
    const BLOCK: usize = 1_000_000;

    /// Blocks of zeros that claim to be IDX of these dimensions, compressed.
    fn compressed(path: &Path, head: &[u8], blocks: usize, block: &[u8]) {
        let mut encoder = GzEncoder::new(File::create(path).expect("a file"), Compression::fast());
        encoder.write_all(head).expect("gzip");
        (0..blocks).for_each(|_| encoder.write_all(block).expect("gzip"));
        encoder.finish().expect("gzip");
    }

    fn archive(path: &Path, array: &[u8], blocks: usize) {
        let mut writer = zip::ZipWriter::new(File::create(path).expect("a file"));
        writer.start_file("x.npy", zip::write::SimpleFileOptions::default()).expect("zip");
        writer.write_all(array).expect("zip");
        (0..blocks).for_each(|_| writer.write_all(&[0; BLOCK]).expect("zip"));
        writer.finish().expect("zip");
    }

    /// Each of these would take more memory than is allowed, were it believed.
    fn claims(folder: &Folder) -> Vec<(&'static str, &'static str)> {
        let path = |name| folder.path(name);
        let zeros = [0; BLOCK];
        compressed(&path("bomb.gz"), &idx(&[400_000, 1000], &[]), 400, &zeros);
        compressed(&path("claims.gz"), &idx(&[4_000_000, 1000], &[]), 0, &zeros);
        // Compressed less than 100 times, but it ends too early.
        let noise: Vec<u8> = random_below(1, 2 * BLOCK, 256).into_iter().map(|byte| byte as u8).collect();
        compressed(&path("early.gz"), &idx(&[150_000, 1000], &noise), 140, &zeros);
        drop(noise);
        compressed(&path("bomb.csv.gz"), b"a,c\n", 400, &b"1,x\n".repeat(BLOCK / 4));
        compressed(&path("line.csv.gz"), b"a,c\n1,", 400, &[b'x'; BLOCK]);
        archive(&path("bomb.npz"), &npy("|u1", false, "(400000000, 1)", &[]), 400);
        archive(&path("claims.npz"), &npy("<f8", false, "(4000000000, 10)", &[]), 0);
        let files = [
            ("claims", idx(&[4_000_000, 1000], &[0; 100])),
            ("claims.npy", npy("<f8", false, "(1000000000, 10)", &[0; 80])),
            ("text.npy", npy("<U1000000000", false, "(1,)", &[0; 80])),
            ("huge", idx(&[u32::MAX; 3], &[])),
            ("huge.npy", npy("<f8", false, "(18446744073709551615, 3)", &[])),
            ("header.npy", b"\x93NUMPY\x02\0\xff\xff\xff\x7f".to_vec()),
            ("model.safetensors", b"\0\0\0\0\x01\0\0\0{".to_vec()),
        ];
        files.iter().for_each(|(name, bytes)| drop(folder.file(name, bytes)));
        let mut endless = File::create(path("endless.csv")).expect("a file");
        endless.write_all(b"a,b,c\n1,\"").expect("written");
        (0..40).for_each(|_| endless.write_all(&[b'x'; BLOCK]).expect("written"));
        vec![
            ("train @bomb.gz --labels @labels", "100 times"),
            ("train @claims.gz --labels @labels", "100 times"),
            ("train @early.gz --labels @labels", "truncated"),
            ("train @bomb.csv.gz --target c", "100 times"),
            ("train @line.csv.gz --target c", "16 MB"),
            ("train @bomb.npz", "100 times"),
            ("train @claims.npz", "x.npy"),
            ("train @claims --labels @labels", "truncated"),
            ("train @claims.npy --labels @labels", "truncated"),
            ("train @labels.npy --labels @text.npy", "truncated"),
            ("train @huge --labels @labels", "more than memory"),
            ("train @huge.npy --labels @labels", "more than memory"),
            ("train @header.npy --labels @labels", "bytes"),
            ("evaluate @model.safetensors digits", "not a model"),
            ("train @endless.csv --target c", "16 MB"),
        ]
    }

    #[test]
    fn no_memory_for_what_is_only_claimed() {
        let folder = Folder::new();
        folder.file("labels", &idx(&[2], &[0, 1]));
        folder.file("labels.npy", &npy("|u1", false, "(2, 1)", &[0, 1]));
        let run = |arguments: &str| {
            let mut command = program();
            command.args(arguments.split_whitespace().map(|word| match word.strip_prefix('@') {
                Some(name) => folder.text(name),
                None => word.to_string(),
            }));
            command.args(["--device", "cpu", "--threads", "1"]);
            measured(command, &folder.path("stderr"))
        };
        let claims = claims(&folder);
        let (status, stderr, own) = run("train @labels --labels @labels");
        assert_eq!(status.code(), Some(1), "{stderr}");
        // The first pages of a child are those of this process: they must not hide what it takes itself.
        assert!(own < 150_000, "the program takes {own} kB to fail");
        for (arguments, part) in claims {
            let name =
                arguments.split(['@', ' ']).find(|word| word.contains('.') || *word == "claims" || *word == "huge");
            let name = name.expect("a file");
            let stored = std::fs::metadata(folder.path(name)).expect("the file").len() / 1000;
            let (status, stderr, memory) = run(arguments);
            assert_eq!(status.code(), Some(1), "{arguments}: {stderr}");
            assert!(stderr.contains(part) && stderr.lines().count() == 1, "{arguments}: {stderr}");
            let allowed = own + ALWAYS_ALLOWED + 2 * stored;
            assert!(memory <= allowed, "{arguments}: {memory} kB for a file of {stored}, where {own} are its own");
            println!("{arguments}: {memory} kB, its own {own}, file {stored}");
        }
    }
}
