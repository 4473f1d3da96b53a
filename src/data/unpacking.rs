//! Guards against files whose unpacked size, claimed or real, is out of proportion to their own
//! size.

use std::io::{self, BufRead, BufReader, Chain, Cursor, ErrorKind, Read};

use anyhow::{Result, ensure};
use flate2::bufread::GzDecoder;

/// The first bytes of a gzip file.
pub(super) const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Bytes that any file may unpack to, whatever its own size.
const ALWAYS_ALLOWED: u64 = 64 << 20;

/// Bytes that a stream may unpack to, however little of it has been read.
const ALWAYS_STREAMED: u64 = 16 << 20;

/// Largest ratio of unpacked to stored size beyond the sizes that are always allowed.
const MAX_RATIO: u64 = 100;

/// Rejects a compressed file of `stored` bytes that claims to unpack to far more.
///
/// # Errors
/// A claim of more than [`ALWAYS_ALLOWED`] and [`MAX_RATIO`] times `stored`.
pub(super) fn check(claimed: u64, stored: u64) -> Result<()> {
    ensure!(
        claimed <= ALWAYS_ALLOWED || claimed <= stored.saturating_mul(MAX_RATIO),
        "its {stored} bytes claim to unpack to {claimed}, more than {MAX_RATIO} times as much: unpack it first, if \
         that is intended"
    );
    Ok(())
}

/// True if a claim is so large that the bytes must be counted before any of them is kept in memory.
pub(super) fn is_to_be_counted(claimed: u64, stored: u64) -> bool {
    claimed > ALWAYS_ALLOWED / 2 + stored
}

/// Counts the bytes up to the end, but reads no further than one byte past `claimed`.
///
/// # Errors
/// Errors of reading.
pub(super) fn count(reader: impl Read, claimed: u64) -> io::Result<u64> {
    io::copy(&mut reader.take(claimed + 1), &mut io::sink())
}

/// The bytes of `source`, unpacked while reading if they are gzip. Memory use does not grow with
/// the size, and reading fails as soon as the unpacked size is out of proportion.
///
/// # Errors
/// Errors of reading.
pub(super) fn unpacked<'a>(mut source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::with_capacity(GZIP.len());
    source.by_ref().take(GZIP.len() as u64).read_to_end(&mut head)?;
    let gzip = head == GZIP;
    let source = Cursor::new(head).chain(source);
    if !gzip {
        return Ok(Box::new(source));
    }
    let counted = Counted { source, bytes: 0 };
    Ok(Box::new(Unpacking { member: Some(GzDecoder::new(BufReader::new(counted))), bytes: 0 }))
}

/// A reader that counts the bytes read.
struct Counted<R> {
    source: Chain<Cursor<Vec<u8>>, R>,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// A reader that unpacks a stream, and fails if the unpacked size is out of proportion.
struct Unpacking<R> {
    /// `None` after the last member.
    member: Option<GzDecoder<BufReader<Counted<R>>>>,
    bytes: u64,
}

impl<R: Read> Unpacking<R> {
    /// Reads from the members of the gzip file, one after the other.
    fn read_members(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.member = self.member.take().map(|ended| next_member(ended.into_inner())).transpose()?.flatten();
        }
        Ok(0)
    }
}

/// The gzip member that begins here; `None` at the end, which may be padded with zeros, as on
/// tapes.
fn next_member<R: BufRead>(mut reader: R) -> io::Result<Option<GzDecoder<R>>> {
    let mut padded = false;
    loop {
        let bytes = reader.fill_buf()?;
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        match bytes.get(zeros) {
            None if bytes.is_empty() => return Ok(None),
            None => {}
            Some(&first) if first == GZIP[0] && zeros == 0 && !padded => return Ok(Some(GzDecoder::new(reader))),
            Some(_) => {
                let message = "something else follows the end of its compressed data: is it damaged, or were two files \
                               joined?";
                return Err(io::Error::other(message));
            }
        }
        padded = true;
        reader.consume(zeros);
    }
}

impl<R: Read> Read for Unpacking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.read_members(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => io::Error::new(ErrorKind::UnexpectedEof, "its compressed data is truncated"),
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                io::Error::new(ErrorKind::InvalidData, format!("its compressed data is damaged: {error}"))
            }
            _ => error,
        })?;
        self.bytes += read as u64;
        // After the last member, everything has been checked before.
        let Some(member) = &self.member else { return Ok(read) };
        let stored = member.get_ref().get_ref().bytes;
        if self.bytes > ALWAYS_STREAMED + stored.saturating_mul(MAX_RATIO) {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                format!(
                    "its first {stored} bytes unpack to more than {MAX_RATIO} times as much: unpack it first, if that \
                     is intended"
                ),
            ));
        }
        Ok(read)
    }
}
