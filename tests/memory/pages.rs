//! Parquet pages that claim, or unpack to, more than they are.

use polars_parquet_format::thrift::protocol::{TCompactInputProtocol, TCompactOutputProtocol};
use polars_parquet_format::{
    CompressionCodec, DataPageHeader, DictionaryPageHeader, Encoding, FileMetaData, PageHeader, PageType,
    SchemaElement, Type,
};

use crate::files::gzip;
use crate::measured::{ALWAYS_ALLOWED, measured};
use crate::program::{Folder, program, stdout};

/// Rows of the first row group.
const ROWS: i32 = 4;

/// A file of PyArrow with another footer, which `change` makes; it is given what comes before it, too.
fn changed(change: impl FnOnce(&mut FileMetaData, &mut Vec<u8>)) -> Vec<u8> {
    let mut file = std::fs::read("tests/fixtures/types.parquet").expect("the file");
    let footer = file.split_off(file.len() - 8);
    let length = u32::from_le_bytes(footer[..4].try_into().expect("4 bytes")) as usize;
    let metadata = file.split_off(file.len() - length);
    let mut metadata = FileMetaData::read_from_in_protocol(&mut TCompactInputProtocol::new(&metadata[..], usize::MAX))
        .expect("a footer");
    change(&mut metadata, &mut file);
    let start = file.len();
    metadata.write_to_out_protocol(&mut TCompactOutputProtocol::new(&mut file)).expect("a footer");
    file.extend(u32::try_from(file.len() - start).expect("a short footer").to_le_bytes());
    file.extend(b"PAR1");
    file
}

/// The file, but its column `colour`, of texts, has these pages for all of its first row group.
fn with_pages(codec: CompressionCodec, pages: &[(PageHeader, &[u8])]) -> Vec<u8> {
    changed(|metadata, file| {
        let start = file.len();
        for (page, packed) in pages {
            page.write_to_out_protocol(&mut TCompactOutputProtocol::new(&mut *file)).expect("a header");
            file.extend(*packed);
        }
        let mut columns = metadata.row_groups[0].columns.iter_mut().filter_map(|column| column.meta_data.as_mut());
        let column = columns.find(|column| column.path_in_schema == ["colour"]).expect("the column");
        column.codec = codec;
        column.dictionary_page_offset = None;
        column.data_page_offset = start as i64;
        column.total_compressed_size = (file.len() - start) as i64;
        column.total_uncompressed_size = 1000;
    })
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

/// A page of `ROWS` values.
fn data(unpacked: i32, packed: &[u8], encoding: Encoding) -> PageHeader {
    data_of(ROWS, unpacked, packed, encoding)
}

fn data_of(num_values: i32, unpacked: i32, packed: &[u8], encoding: Encoding) -> PageHeader {
    let header = header(PageType::DATA_PAGE, unpacked, packed);
    let data = DataPageHeader {
        num_values,
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
    let (of_length, of_prefix) = (Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY);
    let few: &[u8] = &[0; 100];
    // 60 million as Snappy writes it.
    let snappy_claim: &[u8] = &[0x80, 0x8e, 0xce, 0x1c, 0, 0];
    let gzip_bomb = gzip(&vec![0; 300_000_000]);
    let texts = gzip(&vec![0; 40_000_000]);
    let zeros = zstandard(3000);
    // Levels of values that are all there; blocks of 128 in 4 miniblocks.
    let lengths = |count: &[u8], rest: &[u8]| [&[2, 0, 0, 0, 12, 1, 0x80, 0x01, 4], count, rest].concat();
    let more = lengths(&[0x80, 0x80, 0x80, 0x80, 2], &[14, 0, 0, 0, 0, 0]);
    let most = lengths(&[0xff, 0xff, 0xff, 0xff, 7], &[0, 0, 0, 0, 0, 0]);
    // No bytes of the text before, and then 400 million; no bytes of its own.
    let [prefixes, suffixes] = [[0x80, 0xc0, 0xba, 0xfd, 0x02], [0; 5]];
    let long = lengths(&[2], &[&[0], &prefixes[..], &[0, 0, 0, 0, 0x80, 0x01, 4, 2, 0], &suffixes[..]].concat());
    let size = |bytes: &[u8]| bytes.len() as i32;
    let whole = |encoding, bytes: &[u8]| with_pages(none, &[(data(size(bytes), bytes, encoding), bytes)]);
    let page = |codec, page: PageHeader, packed: &[u8]| with_pages(codec, &[(page, packed)]);
    let nested = |metadata: &mut FileMetaData, _: &mut Vec<u8>| {
        let group = SchemaElement { num_children: Some(1), type_: None, ..metadata.schema[1].clone() };
        metadata.schema[0].num_children = Some(1);
        metadata.schema.splice(1.., vec![group; 100_000]);
    };
    let wide = |metadata: &mut FileMetaData, _: &mut Vec<u8>| {
        metadata.schema[1].type_ = Some(Type::FIXED_LEN_BYTE_ARRAY);
        metadata.schema[1].type_length = Some(i32::MAX);
    };
    vec![
        ("page", page(snappy, data(i32::MAX, few, plain), few), "100 times"),
        ("negative", page(snappy, data(-1, few, plain), few), "Parquet"),
        ("values", page(none, data_of(i32::MAX, 100, few, plain), few), "more values than there are rows"),
        ("snappy", page(snappy, data(60_000_000, snappy_claim, plain), snappy_claim), "size"),
        ("lz4", page(lz4, data(60_000_000, few, plain), few), "size"),
        ("gzip", page(gz, data(1000, &gzip_bomb, plain), &gzip_bomb), "size"),
        ("zstd", page(zstd, data(1000, &zeros, plain), &zeros), "size"),
        ("plain", page(none, data(1000, few, plain), few), "size"),
        ("dictionary", page(none, dictionary(100, few, i32::MAX), few), "dictionary"),
        ("texts", page(gz, dictionary(40_000_000, &texts, 10_000_000), &texts), "100 times"),
        ("lengths", whole(of_length, &more), "lengths of 536870912"),
        ("prefixes", whole(of_prefix, &most), "lengths of 2147483647"),
        ("long", whole(of_prefix, &long), "unpack to 399"),
        ("children", changed(|metadata, _| metadata.schema[0].num_children = Some(i32::MAX)), "claims 2147483647"),
        ("nested", changed(nested), "lists or groups"),
        ("wide", changed(wide), "100 times"),
        ("decimal", changed(|metadata, _| metadata.schema[1].scale = Some(i32::MAX)), "digits after the point"),
    ]
}

/// What some programs write, or wrote.
#[test]
fn unusual_pages_are_read() {
    let folder = Folder::new();
    let colours = |file: &[u8]| {
        let path = folder.file("file.parquet", file);
        stdout(&["predict", &folder.text("model.safetensors"), &path, "--probabilities", "--device", "cpu"])
    };
    let train = ["train", "tests/fixtures/types.parquet", "--target", "class", "--missing", "mean", "--batch", "3"];
    stdout(&[&train[..], &["--quiet", "-o", &folder.text("model.safetensors"), "--device", "cpu"]].concat());
    let usual = colours(&changed(|_, _| ()));
    // Sizes that are not told.
    let untold = changed(|metadata, _| {
        let columns = metadata.row_groups.iter_mut().flat_map(|group| &mut group.columns);
        columns.filter_map(|column| column.meta_data.as_mut()).for_each(|column| column.total_uncompressed_size = 0);
    });
    assert_eq!(colours(&untold), usual);

    // All values missing: as a plain page; with a dictionary and no width after the levels; with an empty page before.
    let levels: &[u8] = &[2, 0, 0, 0, 2 * ROWS as u8, 0];
    let size = levels.len() as i32;
    let none = CompressionCodec::UNCOMPRESSED;
    let missing = colours(&with_pages(none, &[(data(size, levels, Encoding::PLAIN), levels)]));
    assert_ne!(missing, usual);
    let word: &[u8] = b"\x03\0\0\0red";
    let pages = [(dictionary(7, word, 1), word), (data(size, levels, Encoding::RLE_DICTIONARY), levels)];
    assert_eq!(colours(&with_pages(none, &pages)), missing);
    let pages = [(data_of(0, 0, &[], Encoding::PLAIN), &[][..]), (data(size, levels, Encoding::PLAIN), levels)];
    assert_eq!(colours(&with_pages(none, &pages)), missing);

    // Two Zstandard frames, each of one block as it is.
    let raw = |bytes: &[u8]| {
        let block = (1 | (bytes.len() as u32) << 3).to_le_bytes();
        [&[0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3], &block[..3], bytes].concat()
    };
    let frames = [raw(&levels[..2]), raw(&levels[2..])].concat();
    let page = with_pages(CompressionCodec::ZSTD, &[(data(size, &frames, Encoding::PLAIN), &frames)]);
    assert_eq!(colours(&page), missing);
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
    let (status, stderr, own) = run("tests/fixtures/types.parquet");
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
