//! Labels in an array of NumPy: numbers, or text as `<U7` (UTF-32 of 7 characters) or `|S7` (7 bytes).

use std::io::Read;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::header::{Start, check_end, check_stored};
use crate::data::exact::zeros;
use crate::data::labels::{Classes, Labels};
use crate::data::shape::{check_labels, size_of_entries};
use crate::system::text::shown;

/// Encoding of the text of an entry, padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Text {
    /// UTF-8 of this many bytes.
    Bytes(usize),
    /// UTF-32 of this many characters.
    Utf32 { characters: usize, big_endian: bool },
}

impl Text {
    /// The encoding that a `descr` such as `<U7` names; `None` for types other than text.
    pub fn of(descr: &str) -> Result<Option<Self>> {
        let shown = shown(descr);
        let (order, kind) = match descr.split_at_checked(1) {
            // Without a byte order: that of this machine.
            Some(("U" | "S", _)) => ("<", descr),
            Some(both) => both,
            None => return Ok(None),
        };
        let (Some("U" | "S"), Some(length)) = (kind.get(..1), kind.get(1..)) else { return Ok(None) };
        let length = length.parse().ok().filter(|_| length.bytes().all(|digit| digit.is_ascii_digit()));
        let length: usize =
            length.with_context(|| format!("its entries are of type `{shown}`, text without a length"))?;
        match (kind.as_bytes()[0], order) {
            (b'S', "|" | "<" | ">" | "=") => Ok(Some(Text::Bytes(length))),
            (b'U', "<" | "=") => Ok(Some(Text::Utf32 { characters: length, big_endian: false })),
            (b'U', ">") => Ok(Some(Text::Utf32 { characters: length, big_endian: true })),
            _ => bail!("its entries are of type `{shown}`, in an unknown byte order"),
        }
    }

    /// Bytes of an entry.
    fn size(self) -> Option<usize> {
        match self {
            Text::Bytes(bytes) => Some(bytes),
            Text::Utf32 { characters, .. } => characters.checked_mul(4),
        }
    }

    pub fn labels(self, start: &Start, mut reader: impl Read, stored: u64) -> Result<Labels> {
        check_labels(&start.shape)?;
        let entry = self.size().with_context(|| format!("type `{}` is too long", shown(&start.descr)))?;
        let size = size_of_entries(&start.shape, entry)?;
        check_stored(start.length + size as u64, stored, &start.shape)?;
        let shown = shown(&start.descr);
        ensure!(entry > 0 || start.shape[0] == 0, "its entries are of type `{shown}`, text of length 0");
        let mut classes = Classes::default();
        let mut bytes = zeros(if start.shape[0] == 0 { 0 } else { entry })?;
        for example in 1..=start.shape[0] {
            let wrong = |what: &str| anyhow!("the label of example {example}: {what}");
            reader.read_exact(&mut bytes).map_err(|error| anyhow!("truncated or damaged: {error}"))?;
            let text = self.decode(&bytes).map_err(|error| wrong(&format!("{error:#}")))?;
            classes.add(text.trim(), wrong)?;
        }
        check_end(reader)?;
        let (labels, names) = classes.finish();
        Ok(Labels::Names { labels, names })
    }

    /// The text of an entry, without its padding.
    fn decode(self, bytes: &[u8]) -> Result<String> {
        let mut text = match self {
            Text::Bytes(_) => {
                let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
                let text = std::str::from_utf8(&bytes[..end]);
                text.map_err(|_| anyhow!("`{}` is not UTF-8 text", bytes[..end].escape_ascii()))?.to_string()
            }
            Text::Utf32 { big_endian, .. } => {
                let character = |(i, four): (usize, &[u8; 4])| {
                    let code = if big_endian { u32::from_be_bytes(*four) } else { u32::from_le_bytes(*four) };
                    char::from_u32(code)
                        .with_context(|| format!("{code:#x}, its character {}, is not a Unicode character", i + 1))
                };
                bytes.as_chunks().0.iter().enumerate().map(character).collect::<Result<String>>()?
            }
        };
        text.truncate(text.trim_end_matches('\0').len());
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_text_are_told_from_others() {
        let of = |descr| Text::of(descr).map_err(|error| error.to_string());
        assert_eq!(of("<U7"), Ok(Some(Text::Utf32 { characters: 7, big_endian: false })));
        assert_eq!(of(">U12"), Ok(Some(Text::Utf32 { characters: 12, big_endian: true })));
        assert_eq!([of("|S7"), of("S7")], [Ok(Some(Text::Bytes(7))), Ok(Some(Text::Bytes(7)))]);
        assert_eq!(of("U7"), of("<U7"));
        assert_eq!(
            [of("<f4"), of(""), of("|O"), of("\u{e9}U3")].map(|text| text.is_ok_and(|text| text.is_none())),
            [true; 4]
        );
        for wrong in ["|U7", "!S7", "<U", "<U-7", "<U+7", "|S1x", "<U99999999999999999999"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
