//! Numbers packed as differences: what they claim about themselves. The lengths of texts are stored so, and the
//! reader of the `parquet` crate takes memory for as many as are claimed.

use anyhow::{Result, anyhow, ensure};
use parquet::basic::Encoding;
use parquet::column::page::Page;

/// Bytes that the texts of a page take, of which there are at most so many. Each is made of as many bytes of the
/// text before, and of as many more, as these lists say; without a list of the former, of its own bytes alone.
///
/// # Errors
/// More lengths than texts, negative ones, and lengths that end after the page.
pub(super) fn bytes_of_texts(values: &[u8], encoding: Encoding, most: usize) -> Result<u64> {
    let lists = if encoding == Encoding::DELTA_BYTE_ARRAY { 2 } else { 1 };
    let (mut rest, mut bytes) = (values, 0u64);
    for _ in 0..lists {
        let list = packed_numbers(rest, most)?;
        rest = &rest[list.length..];
        bytes = bytes.saturating_add(list.sum);
    }
    Ok(bytes)
}

/// Bytes before the values, in a column of single values.
pub(super) fn levels(page: &Page, optional: bool) -> Result<usize> {
    Ok(match page {
        Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. } => {
            *def_levels_byte_len as usize + *rep_levels_byte_len as usize
        }
        Page::DataPage { buf, def_level_encoding: Encoding::RLE, .. } if optional => {
            let length = buf.first_chunk().ok_or_else(ends)?;
            4 + u32::from_le_bytes(*length) as usize
        }
        Page::DataPage { num_values, .. } if optional => num_values.div_ceil(8) as usize,
        _ => 0,
    })
}

/// A list of numbers in the encoding DELTA_BINARY_PACKED.
struct Packed {
    /// Bytes that it takes.
    length: usize,
    sum: u64,
}

/// Goes through a list: a header of block size, miniblocks in a block, count and first number; then blocks of a
/// smallest difference, the widths of the miniblocks in bits and the miniblocks.
fn packed_numbers(bytes: &[u8], most: usize) -> Result<Packed> {
    let mut at = 0;
    let block = number(bytes, &mut at)?;
    let miniblocks = number(bytes, &mut at)?;
    let count = number(bytes, &mut at)?;
    ensure!(count <= most, "a page of {most} values claims to have the lengths of {count}");
    let mut value = signed(bytes, &mut at)?;
    ensure!(miniblocks > 0 && block > 0 && block.is_multiple_of(miniblocks), "the lengths of a page are damaged");
    let of_miniblock = block / miniblocks;
    let mut sum = if count > 0 { length_of(value)? } else { 0 };
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let least = signed(bytes, &mut at)?;
        let widths = at..at.checked_add(miniblocks).ok_or_else(ends)?;
        at = widths.end;
        for &width in bytes.get(widths).ok_or_else(ends)? {
            if left == 0 {
                break;
            }
            ensure!(width <= 32, "the lengths of a page are damaged");
            let size = of_miniblock.checked_mul(width.into()).ok_or_else(ends)? / 8;
            let end = at.checked_add(size).ok_or_else(ends)?;
            let packed = bytes.get(at..end).ok_or_else(ends)?;
            for i in 0..left.min(of_miniblock) {
                // Lengths have 32 bits, and are added up in them.
                value = value.wrapping_add(least).wrapping_add(bits(packed, i, width) as i32);
                sum = sum.saturating_add(length_of(value)?);
            }
            at = end;
            left = left.saturating_sub(of_miniblock);
        }
    }
    Ok(Packed { length: at, sum })
}

/// The `i`th number of `width` bits, the lowest first.
fn bits(packed: &[u8], i: usize, width: u8) -> u64 {
    let first = i * usize::from(width);
    let byte = |k: usize| packed.get(first / 8 + k).map_or(0, |&byte| u64::from(byte) << (8 * k));
    let bits = (0..5).map(byte).sum::<u64>() >> (first % 8);
    bits & ((1 << width) - 1)
}

fn length_of(value: i32) -> Result<u64> {
    u64::try_from(value).map_err(|_| anyhow!("a text in a page has {value} bytes"))
}

/// A number with a sign: 0, -1, 1, -2 and so on.
fn signed(bytes: &[u8], at: &mut usize) -> Result<i32> {
    let number = number(bytes, at)? as u64;
    let signed = (number >> 1) as i64 ^ -((number & 1) as i64);
    i32::try_from(signed).map_err(|_| anyhow!("the lengths of a page are damaged"))
}

/// A number of seven bits a byte, the lowest first.
fn number(bytes: &[u8], at: &mut usize) -> Result<usize> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or_else(ends)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(usize::try_from(number)?);
        }
    }
    Err(anyhow!("a number in a page is too long"))
}

fn ends() -> anyhow::Error {
    anyhow!("a page ends before its values")
}

#[cfg(test)]
mod tests {
    use super::{Packed, packed_numbers};

    /// Blocks of 128 in 4 miniblocks of 32: count 34, first number 7, smallest difference 0, widths 1, 3, 9, 9.
    fn list() -> Vec<u8> {
        let mut list = vec![0x80, 0x01, 4, 34, 14, 0, 1, 3, 9, 9];
        list.extend([0xff; 4 + 12]);
        list
    }

    #[test]
    fn lists_are_gone_through_to_their_end() {
        let list = list();
        let Packed { length, sum } = packed_numbers(&list, 34).expect("a list");
        // 7; 32 numbers each 1 more than the one before; one 7 more.
        assert_eq!((length, sum), (list.len(), 7 + (8..40).sum::<u64>() + 46));
        // With 33 numbers, the first of which is in the header, the second miniblock has none.
        let shorter = [&list[..3], &[33], &list[4..14]].concat();
        let Packed { length, sum } = packed_numbers(&shorter, 33).expect("a list");
        assert_eq!((length, sum), (shorter.len(), 7 + (8..40).sum::<u64>()));
        // One number is in the header.
        let Packed { length, sum } = packed_numbers(&[0x80, 0x01, 4, 1, 14, 99], 1).expect("a list");
        assert_eq!((length, sum), (5, 7));
    }

    #[test]
    fn what_a_list_claims_is_not_believed() {
        let list = list();
        let refused = |bytes: &[u8], most| assert!(packed_numbers(bytes, most).is_err(), "{bytes:?}");
        refused(&list, 33); // more than the values of the page
        refused(&list[..list.len() - 1], 34); // ends too early
        let huge = [0xff; 9];
        refused(&huge, usize::MAX);
        refused(&[&huge[..], &[1, 4, 34, 14, 0]].concat(), usize::MAX);
        refused(&[0x80, 0x01, 0, 1, 14], 1); // no miniblocks
        refused(&[0x80, 0x01, 4, 2, 0, 1, 0, 0, 0, 0], 2); // 0 and -1
    }
}
