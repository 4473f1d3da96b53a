//! The pages of a column, unpacked with an eye on what they claim. The reader of the `parquet` crate believes
//! them: a page of a few bytes makes it take gigabytes.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, anyhow, bail, ensure};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use parquet::basic::{Compression, Encoding};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{ChunkReader, RowGroupReader};
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;
use polars_parquet_format::thrift::protocol::TCompactInputProtocol;
use polars_parquet_format::{PageHeader, PageType};
use ruzstd::decoding::StreamingDecoder;

use super::delta;
use crate::data::unpacking;

/// Bytes that the header of a page may take.
const MAX_HEADER: usize = 16 << 20;

/// The window that every reader of Zstandard is to support (RFC 8878).
const ZSTD_WINDOW: u64 = 8 << 20;

/// Whether pages so compressed can be unpacked.
pub(super) fn is_readable(compression: Compression) -> bool {
    use Compression::*;
    matches!(compression, UNCOMPRESSED | SNAPPY | GZIP(_) | LZ4_RAW | ZSTD(_))
}

/// Rows that are stored together, whose columns are read as [`Pages`].
pub(super) struct RowGroup<'a> {
    pub(super) file: &'a Arc<File>,
    pub(super) metadata: &'a RowGroupMetaData,
    /// Bytes of the file.
    pub(super) stored: u64,
    /// Bytes that its pages so far unpacked to.
    pub(super) unpacked: &'a Arc<AtomicU64>,
}

impl RowGroupReader for RowGroup<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.metadata
    }

    fn num_columns(&self) -> usize {
        self.metadata.num_columns()
    }

    fn get_column_page_reader(&self, i: usize) -> ParquetResult<Box<dyn PageReader>> {
        Ok(Box::new(Pages::new(self, i).map_err(|error| of_parquet(&error))?))
    }

    fn get_column_bloom_filter(&self, _: usize) -> Option<&Sbbf> {
        None
    }

    fn get_row_iter(&self, projection: Option<Type>) -> ParquetResult<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

/// The pages of the part of a column that belongs to a row group.
struct Pages {
    file: Arc<File>,
    stored: u64,
    compression: Compression,
    /// Whether values may be missing: definition levels come before the values then.
    optional: bool,
    /// Where the next page begins, and where the pages end.
    at: u64,
    end: u64,
    /// Values that the pages to come may hold.
    left: u64,
    unpacked: Arc<AtomicU64>,
}

impl Pages {
    /// # Errors
    /// Pages that are not in the file.
    fn new(group: &RowGroup<'_>, column: usize) -> Result<Self> {
        let chunk = group.metadata.column(column);
        let offset = chunk.dictionary_page_offset().filter(|&offset| offset > 0).unwrap_or(chunk.data_page_offset());
        let (at, length) = (u64::try_from(offset)?, u64::try_from(chunk.compressed_size())?);
        let end = at.checked_add(length).filter(|&end| end <= group.stored);
        Ok(Pages {
            file: Arc::clone(group.file),
            stored: group.stored,
            compression: chunk.compression(),
            optional: chunk.column_descr().max_def_level() > 0,
            at,
            end: end.ok_or_else(|| anyhow!("a column ends after the file: it is truncated or damaged"))?,
            left: u64::try_from(group.metadata.num_rows())?,
            unpacked: Arc::clone(group.unpacked),
        })
    }

    /// Counts what is unpacked, or its values take.
    fn count(&self, bytes: u64) -> Result<()> {
        let before = self.unpacked.fetch_add(bytes, Ordering::Relaxed);
        unpacking::check(before.saturating_add(bytes), self.stored)
    }

    /// Reads the next page that holds values.
    fn read(&mut self) -> Result<Option<Page>> {
        while self.at < self.end {
            let mut header = Counted { reader: self.file.get_read(self.at)?.take(self.end - self.at), bytes: 0 };
            let page = PageHeader::read_from_in_protocol(&mut TCompactInputProtocol::new(&mut header, MAX_HEADER))
                .map_err(|error| anyhow!("the header of a page cannot be read: {error}"))?;
            let at = self.at + header.bytes;
            let packed = usize::try_from(page.compressed_page_size)?;
            ensure!(packed as u64 <= self.end - at, "a page is longer than its column");
            self.at = at + packed as u64;
            let values = match (&page.data_page_header, &page.data_page_header_v2) {
                (Some(header), _) if page.type_ == PageType::DATA_PAGE => header.num_values,
                (_, Some(header)) if page.type_ == PageType::DATA_PAGE_V2 => header.num_values,
                _ => 0,
            };
            // Others hold nothing to be read.
            if values == 0 && page.type_ != PageType::DICTIONARY_PAGE {
                continue;
            }
            let left = self.left.checked_sub(u64::try_from(values)?);
            self.left = left.ok_or_else(|| anyhow!("pages claim more values than there are rows"))?;
            return self.unpacked(&page, self.file.get_bytes(at, packed)?).map(Some);
        }
        Ok(None)
    }

    /// A page, from its header and what follows it.
    fn unpacked(&self, page: &PageHeader, packed: Bytes) -> Result<Page> {
        let size = usize::try_from(page.uncompressed_page_size)?;
        self.count(size as u64)?;
        match page.type_ {
            PageType::DICTIONARY_PAGE => {
                let header = page.dictionary_page_header.as_ref().ok_or_else(no_header)?;
                let buf = unpack(self.compression, packed, size)?;
                let num_values = u32::try_from(header.num_values)?;
                ensure!(num_values as usize <= buf.len(), "a dictionary claims more values than it has bytes");
                // What its values take when they are unpacked, too.
                self.count(u64::from(num_values) * size_of::<ByteArray>() as u64)?;
                let (encoding, is_sorted) = (encoding(header.encoding.0)?, header.is_sorted.unwrap_or(false));
                Ok(Page::DictionaryPage { buf, num_values, encoding, is_sorted })
            }
            PageType::DATA_PAGE => {
                let header = page.data_page_header.as_ref().ok_or_else(no_header)?;
                self.checked(Page::DataPage {
                    buf: unpack(self.compression, packed, size)?,
                    num_values: u32::try_from(header.num_values)?,
                    encoding: encoding(header.encoding.0)?,
                    def_level_encoding: encoding(header.definition_level_encoding.0)?,
                    rep_level_encoding: encoding(header.repetition_level_encoding.0)?,
                    statistics: None,
                })
            }
            PageType::DATA_PAGE_V2 => {
                let header = page.data_page_header_v2.as_ref().ok_or_else(no_header)?;
                let def_levels_byte_len = u32::try_from(header.definition_levels_byte_length)?;
                let rep_levels_byte_len = u32::try_from(header.repetition_levels_byte_length)?;
                let levels = def_levels_byte_len as usize + rep_levels_byte_len as usize;
                ensure!(levels <= packed.len() && levels <= size, "the levels of a page are longer than the page");
                let is_compressed = header.is_compressed.unwrap_or(true);
                let compression = if is_compressed { self.compression } else { Compression::UNCOMPRESSED };
                // The levels are never compressed.
                let values = unpack(compression, packed.slice(levels..), size - levels)?;
                self.checked(Page::DataPageV2 {
                    buf: [&packed[..levels], &values].concat().into(),
                    num_values: u32::try_from(header.num_values)?,
                    encoding: encoding(header.encoding.0)?,
                    num_nulls: u32::try_from(header.num_nulls)?,
                    num_rows: u32::try_from(header.num_rows)?,
                    def_levels_byte_len,
                    rep_levels_byte_len,
                    is_compressed,
                    statistics: None,
                })
            }
            PageType(other) => bail!("a page is of the unknown type {other}"),
        }
    }

    /// A page of values that the reader of the `parquet` crate can be trusted with.
    fn checked(&self, mut page: Page) -> Result<Page> {
        let (encoding, most) = (page.encoding(), page.num_values() as usize);
        let at = delta::levels(&page, self.optional)?;
        if let Page::DataPage { buf, .. } | Page::DataPageV2 { buf, .. } = &mut page {
            let values = buf.get(at..).ok_or_else(|| anyhow!("the levels of a page are longer than the page"))?;
            match encoding {
                Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY => {
                    self.count(delta::bytes_of_texts(values, encoding, most)?)?;
                }
                // Some writers leave out the width of the numbers where all values are missing.
                Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY if values.is_empty() => {
                    *buf = [&buf[..], &[0]].concat().into();
                }
                _ => {}
            }
        }
        Ok(page)
    }
}

impl Iterator for Pages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        self.read().map_err(|error| of_parquet(&error))
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        Err(ParquetError::NYI("pages are read one after the other".into()))
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.get_next_page().map(|_| ())
    }

    /// Every value of a column of single values is a record.
    fn at_record_boundary(&mut self) -> ParquetResult<bool> {
        Ok(true)
    }
}

/// Counts the bytes that are read.
struct Counted<R> {
    reader: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(bytes)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// Unpacks to `size` bytes, with no more memory than `packed` can fill.
fn unpack(compression: Compression, packed: Bytes, size: usize) -> Result<Bytes> {
    // A page without values.
    if size == 0 {
        return Ok(Bytes::new());
    }
    let unpacked: Bytes = match compression {
        Compression::UNCOMPRESSED => packed,
        Compression::SNAPPY => {
            // Three bytes of Snappy stand for 64 at most.
            ensure!(size / 22 <= packed.len() && snap::raw::decompress_len(&packed)? == size, wrong_size());
            snap::raw::Decoder::new().decompress_vec(&packed)?.into()
        }
        Compression::LZ4_RAW => {
            // A byte of LZ4 stands for 255 at most.
            ensure!(size / 255 <= packed.len(), wrong_size());
            lz4_flex::block::decompress(&packed, size)?.into()
        }
        Compression::GZIP(_) => {
            let mut bytes = Vec::new();
            MultiGzDecoder::new(&packed[..]).take(size as u64 + 1).read_to_end(&mut bytes)?;
            bytes.into()
        }
        Compression::ZSTD(_) => {
            let window = ZSTD_WINDOW.max(size as u64);
            let (mut frames, mut bytes) = (&packed[..], Vec::new());
            while !frames.is_empty() && bytes.len() <= size {
                let frame = StreamingDecoder::new_with_max_window_size(&mut frames, window)?;
                frame.take((size + 1 - bytes.len()) as u64).read_to_end(&mut bytes)?;
            }
            bytes.into()
        }
        other => bail!("a page is compressed with {other}"),
    };
    ensure!(unpacked.len() == size, wrong_size());
    Ok(unpacked)
}

/// The encoding that a number stands for in a header.
fn encoding(number: i32) -> Result<Encoding> {
    Ok(match number {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        #[expect(deprecated, reason = "old files have it")]
        4 => Encoding::BIT_PACKED,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        other => bail!("a page has the unknown encoding {other}"),
    })
}

fn wrong_size() -> &'static str {
    "a page does not unpack to the size that it claims"
}

fn no_header() -> anyhow::Error {
    anyhow!("the header of a page lacks what belongs to its type")
}

fn of_parquet(error: &anyhow::Error) -> ParquetError {
    ParquetError::General(format!("{error:#}"))
}
