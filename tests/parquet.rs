//! Tables in Parquet: `cargo test --features parquet --test parquet`. Without the feature, what is said
//! of them.

mod common;

#[cfg(not(feature = "parquet"))]
#[test]
fn without_the_feature_it_is_said_how_to_have_it() {
    use common::program::{Folder, assert_fails};

    let iris = ["train", "tests/data/iris.parquet", "--target", "species"];
    assert_fails(&iris, 1, &["iris.parquet", "Parquet", "--features parquet"]);
    let folder = Folder::new();
    let renamed = folder.file("iris.csv", &std::fs::read("tests/data/iris.parquet").expect("the file"));
    assert_fails(&["train", &renamed, "--target", "species"], 1, &["iris.csv", "Parquet", "--features parquet"]);
}

#[cfg(feature = "parquet")]
mod read {
    use gpu_backprop::data::preprocessing::Columns;
    use gpu_backprop::data::table::TableOptions;
    use gpu_backprop::data::{Inputs, Preprocessing, Scale, Source, Task, open};
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::common::program::{Folder, assert_fails, gzip, json, stdout};

    const TYPES: &str = "tests/data/types.parquet";

    fn source(path: &str, target: &str) -> Source {
        let table = TableOptions { targets: vec![target.into()], mean_for_missing: true, ..TableOptions::default() };
        Source { data: Some(path.into()), table, scale: Some(Scale::None), ..Source::default() }
    }

    #[test]
    fn it_is_a_table_like_any_other() {
        let folder = Folder::new();
        let model = folder.text("model.safetensors");
        let train = |path: &str| {
            let flags = ["--test", "0.2", "--epochs", "5", "--device", "cpu", "--json", "-o", &model];
            json(&[&["train", path, "--target", "species"], &flags[..]].concat())
        };
        let (csv, parquet) = (train("tests/data/iris.csv"), train("tests/data/iris.parquet"));
        for what in ["weights_sha256", "test_correct", "test_cost"] {
            assert_eq!(csv[what], parquet[what], "{what}");
        }
        let evaluate = |path: &str| json(&["evaluate", &model, path, "--device", "cpu", "--json"])["cost"].clone();
        assert_eq!(evaluate("tests/data/iris.csv"), evaluate("tests/data/iris.parquet"));
        let predict = |path: &str| stdout(&["predict", &model, path, "--device", "cpu"]);
        assert_eq!(predict("tests/data/iris.csv"), predict("tests/data/iris.parquet"));
    }

    #[test]
    fn types_nulls_and_row_groups_are_read() {
        let data = open(&source(TYPES, "class")).expect("a table");
        let Preprocessing::Columns(Columns { columns, .. }) = data.dataset.preprocessing() else { panic!("columns") };
        let names: Vec<_> = columns.iter().map(|column| column.title()).collect();
        assert_eq!(names, ["`count`", "`size`", "`single`", "`colour`", "`flag`"]);
        let Inputs::Floats(values) = data.dataset.inputs() else { panic!("floats") };
        // A missing number is the mean of the others; a missing text is none of blue, grün, red.
        let (count, size) = ((1.0 + 2.0 + 4.0 + 5.0 + 6.0) / 5.0, (0.1 - 300.0 + 1e-7 + 2.5 + 1.0) / 5.0);
        let expected: [[f64; 8]; 6] = [
            [1.0, 0.1, 0.1, 0.0, 0.0, 1.0, 0.0, 1.0],
            [2.0, size, 0.2, 1.0, 0.0, 0.0, 1.0, 0.0],
            [count, -300.0, 0.3, 0.0, 0.0, 1.0, 0.0, 1.0],
            [4.0, 1e-7, 0.4, 0.0, 0.0, 0.0, 0.0, 1.0],
            [5.0, 2.5, 0.5, 0.0, 1.0, 0.0, 1.0, 0.0],
            [6.0, 1.0, 0.6, 1.0, 0.0, 0.0, 1.0, 0.0],
        ];
        for (i, (&found, &expected)) in values.iter().zip(expected.as_flattened()).enumerate() {
            assert!((found - expected as f32).abs() <= 1e-5 * (expected as f32).abs(), "{i}: {found}, {expected}");
        }
        assert_eq!(values.len(), 48);
        assert_eq!(data.dataset.labels(), [1, 0, 1, 0, 1, 0]);
        let numbers = open(&Source { task: Task::Regression, ..source(TYPES, "single") }).expect("a table");
        assert_eq!(numbers.dataset.quantities().len(), 1);
    }

    #[test]
    fn every_compression_and_encoding_is_read_alike() {
        let weights = |file: &str| {
            let folder = Folder::new();
            let flags = ["--missing", "mean", "--batch", "3", "--device", "cpu", "--json", "-o"];
            let model = folder.text("model.safetensors");
            let run = json(&[&["train", file, "--target", "class"], &flags[..], &[&model]].concat());
            run["weights_sha256"].clone()
        };
        let expected = weights(TYPES);
        for file in ["zstd", "lz4", "delta"] {
            assert_eq!(weights(&format!("tests/data/{file}.parquet")), expected, "{file}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = Folder::new();
        let train = |path: &str, flags: &[&str], code, parts: &[&str]| {
            let train = ["train", path, "--target", "class", "--device", "cpu"];
            assert_fails(&[&train, flags].concat(), code, parts);
        };
        train(TYPES, &[], 1, &["types.parquet", "row 2, column `size`", "missing", "--missing mean"]);
        train(TYPES, &["--no-header"], 2, &["types.parquet", "--no-header"]);
        train(TYPES, &["--delimiter", ";"], 2, &["types.parquet", "--delimiter"]);
        train("tests/data/brotli.parquet", &[], 1, &["brotli.parquet", "column `count`", "BROTLI", "snappy"]);
        train("tests/data/lists.parquet", &[], 1, &["lists.parquet", "column `x`", "lists"]);
        let bytes = std::fs::read(TYPES).expect("the file");
        train(&folder.file("cut", &bytes[..bytes.len() / 2]), &[], 1, &["cut", "Parquet"]);
        train(&folder.file("short", b"PAR1"), &[], 1, &["short", "Parquet"]);
        train(&folder.file("packed.csv.gz", &gzip(&bytes)), &[], 1, &["packed.csv.gz", "Parquet", "compressed"]);
        let mut claims = bytes.clone();
        let at = claims.len() - 8;
        claims[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        train(&folder.file("claims", &claims), &[], 1, &["claims", "Parquet"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        /// A changed file is data or an error, and a panic of the reader is an error too.
        #[test]
        fn a_changed_file_is_data_or_an_error(
            changes in prop::collection::vec(any::<(Index, u8)>(), 1..6),
            cut in any::<Option<Index>>(),
        ) {
            let mut bytes = std::fs::read(TYPES).expect("the file");
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let folder = Folder::new();
            let _ = open(&source(&folder.file("changed.parquet", &bytes), "class"));
        }
    }
}

/// Pages that claim, or unpack to, more than they are.
#[cfg(all(feature = "parquet", target_os = "linux"))]
mod pages {
    use polars_parquet_format::thrift::protocol::{TCompactInputProtocol, TCompactOutputProtocol};
    use polars_parquet_format::{
        CompressionCodec, DataPageHeader, DictionaryPageHeader, Encoding, FileMetaData, PageHeader, PageType,
    };

    use super::common::measured::{ALWAYS_ALLOWED, measured};
    use super::common::program::{Folder, gzip, program};

    /// A file of PyArrow whose column `colour`, of texts, has this page for all of its first row group.
    fn with_page(codec: CompressionCodec, claimed: i64, page: &PageHeader, packed: &[u8]) -> Vec<u8> {
        let file = std::fs::read("tests/data/types.parquet").expect("the file");
        let (rest, footer) = file.split_at(file.len() - 8);
        let length = u32::from_le_bytes(footer[..4].try_into().expect("4 bytes")) as usize;
        let (body, metadata) = rest.split_at(rest.len() - length);
        let mut metadata = FileMetaData::read_from_in_protocol(&mut TCompactInputProtocol::new(metadata, usize::MAX))
            .expect("a footer");

        let mut file = body.to_vec();
        page.write_to_out_protocol(&mut TCompactOutputProtocol::new(&mut file)).expect("a header");
        file.extend(packed);
        let mut columns = metadata.row_groups[0].columns.iter_mut().filter_map(|column| column.meta_data.as_mut());
        let column = columns.find(|column| column.path_in_schema == ["colour"]).expect("the column");
        column.codec = codec;
        column.dictionary_page_offset = None;
        column.data_page_offset = body.len() as i64;
        column.total_compressed_size = (file.len() - body.len()) as i64;
        column.total_uncompressed_size = claimed;
        let start = file.len();
        metadata.write_to_out_protocol(&mut TCompactOutputProtocol::new(&mut file)).expect("a footer");
        file.extend(u32::try_from(file.len() - start).expect("a short footer").to_le_bytes());
        file.extend(b"PAR1");
        file
    }

    fn header(type_: PageType, unpacked: i32, packed: &[u8]) -> PageHeader {
        PageHeader {
            type_,
            uncompressed_page_size: unpacked,
            compressed_page_size: packed.len() as i32,
            crc: None,
            data_page_header: None,
            index_page_header: None,
            dictionary_page_header: None,
            data_page_header_v2: None,
        }
    }

    /// A page of six values.
    fn data(unpacked: i32, packed: &[u8], encoding: Encoding) -> PageHeader {
        let header = header(PageType::DATA_PAGE, unpacked, packed);
        let data = DataPageHeader {
            num_values: 6,
            encoding,
            definition_level_encoding: Encoding::RLE,
            repetition_level_encoding: Encoding::RLE,
            statistics: None,
        };
        PageHeader { data_page_header: Some(data), ..header }
    }

    fn dictionary(unpacked: i32, packed: &[u8], num_values: i32) -> PageHeader {
        let header = header(PageType::DICTIONARY_PAGE, unpacked, packed);
        let dictionary = DictionaryPageHeader { num_values, encoding: Encoding::PLAIN, is_sorted: None };
        PageHeader { dictionary_page_header: Some(dictionary), ..header }
    }

    /// A Zstandard frame of `blocks` blocks of 128 kB, each of which is one byte, repeated.
    fn zstandard(blocks: usize) -> Vec<u8> {
        // The magic number, no checksum or size, a window of 128 kB.
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
        for i in 0..blocks {
            let block = u32::from(i + 1 == blocks) | 1 << 1 | (128 << 10) << 3;
            frame.extend(&block.to_le_bytes()[..3]);
            frame.push(0);
        }
        frame
    }

    /// Every file with a part of what is said of it.
    fn cases() -> Vec<(&'static str, Vec<u8>, &'static str)> {
        let none = CompressionCodec::UNCOMPRESSED;
        let (snappy, gz, zstd) = (CompressionCodec::SNAPPY, CompressionCodec::GZIP, CompressionCodec::ZSTD);
        let lz4 = CompressionCodec::LZ4_RAW;
        let plain = Encoding::PLAIN;
        let few = [0; 100];
        // 60 million as Snappy writes it.
        let snappy_claim = [0x80, 0x8e, 0xce, 0x1c, 0, 0];
        let gzip_bomb = gzip(&vec![0; 300_000_000]);
        let texts = gzip(&vec![0; 40_000_000]);
        let lengths = |count: &[u8]| [&[2, 0, 0, 0, 12, 1, 0x80, 0x01, 4], count, &[14, 0, 0, 0, 0, 0]].concat();
        let (many, more) = (lengths(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x20]), lengths(&[0x80, 0x80, 0x80, 0x80, 2]));
        let size = |bytes: &[u8]| bytes.len() as i32;
        vec![
            ("page", with_page(snappy, 60_000_000, &data(i32::MAX, &few, plain), &few), "more than their column"),
            ("negative", with_page(snappy, 60_000_000, &data(-1, &few, plain), &few), "Parquet"),
            ("snappy", with_page(snappy, 60_000_000, &data(60_000_000, &snappy_claim, plain), &snappy_claim), "size"),
            ("lz4", with_page(lz4, 60_000_000, &data(60_000_000, &few, plain), &few), "size"),
            ("gzip", with_page(gz, 60_000_000, &data(1000, &gzip_bomb, plain), &gzip_bomb), "size"),
            ("zstd", with_page(zstd, 60_000_000, &data(1000, &zstandard(3000), plain), &zstandard(3000)), "size"),
            ("plain", with_page(none, 60_000_000, &data(1000, &few, plain), &few), "size"),
            ("dictionary", with_page(none, 1000, &dictionary(100, &few, i32::MAX), &few), "dictionary"),
            ("texts", with_page(gz, 60_000_000, &dictionary(40_000_000, &texts, 10_000_000), &texts), "100 times"),
            (
                "lengths",
                with_page(none, 1000, &data(size(&more), &more, Encoding::DELTA_LENGTH_BYTE_ARRAY), &more),
                "lengths of 536870912",
            ),
            (
                "prefixes",
                with_page(none, 1000, &data(size(&many), &many, Encoding::DELTA_BYTE_ARRAY), &many),
                "lengths of 1099511627776",
            ),
        ]
    }

    #[test]
    fn no_memory_for_what_is_only_claimed() {
        let folder = Folder::new();
        let run = |path: &str| {
            let mut command = program();
            command.args(["train", path, "--target", "class", "--missing", "mean", "--batch", "3"]);
            command.args(["--device", "cpu", "--threads", "1", "-o", &folder.text("model.safetensors")]);
            measured(command, &folder.path("stderr"))
        };
        let (status, stderr, own) = run("tests/data/types.parquet");
        assert_eq!(status.code(), Some(0), "{stderr}");
        assert!(own < 150_000, "the program takes {own} kB");
        for (name, bytes, part) in cases() {
            let (status, stderr, memory) = run(&folder.file(name, &bytes));
            assert_eq!(status.code(), Some(1), "{name}: {stderr}");
            assert!(stderr.contains(part) && stderr.lines().count() == 1, "{name}: {stderr}");
            let allowed = own + ALWAYS_ALLOWED + 2 * bytes.len() as u64 / 1000;
            assert!(memory <= allowed, "{name}: {memory} kB, where {own} are the program's own");
            println!("{name}: {memory} kB, its own {own}, file {}: {stderr}", bytes.len() / 1000);
        }
    }
}
