//! Numbers packed as differences: what they claim about themselves. The lengths of texts are stored so, and the
//! reader of the `parquet` crate takes memory for as many as are claimed.

use anyhow::{Result, anyhow, ensure};
use parquet::basic::Encoding;
use parquet::column::page::Page;

/// Refuses a page whose texts claim to be more than its values.
///
/// # Errors
/// As described, and lengths that end after the page.
pub(super) fn check(page: &Page, optional: bool) -> Result<()> {
    let lists = match page.encoding() {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
        // The lengths of what is taken from the text before, and of what is added.
        Encoding::DELTA_BYTE_ARRAY => 2,
        _ => return Ok(()),
    };
    let most = page.num_values() as usize;
    let mut bytes = page.buffer().get(levels(page, optional)?..).ok_or_else(ends)?;
    for _ in 0..lists {
        let length = packed_length(bytes, most)?;
        bytes = &bytes[length..];
    }
    Ok(())
}

/// Bytes before the values, in a column of single values.
fn levels(page: &Page, optional: bool) -> Result<usize> {
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

/// Bytes of a list of numbers in the encoding DELTA_BINARY_PACKED: a header of block size, miniblocks in a
/// block, count and first number; then blocks of a smallest difference, the widths of the miniblocks in bits and
/// the miniblocks.
fn packed_length(bytes: &[u8], most: usize) -> Result<usize> {
    let mut at = 0;
    let block = number(bytes, &mut at)?;
    let miniblocks = number(bytes, &mut at)?;
    let count = number(bytes, &mut at)?;
    ensure!(count <= most, "a page of {most} values claims to have the lengths of {count}");
    number(bytes, &mut at)?;
    ensure!(miniblocks > 0 && block > 0 && block.is_multiple_of(miniblocks), "the lengths of a page are damaged");
    let of_miniblock = block / miniblocks;
    let mut left = count.saturating_sub(1);
    while left > 0 {
        number(bytes, &mut at)?;
        let widths = at..at.checked_add(miniblocks).ok_or_else(ends)?;
        at = widths.end;
        for &width in bytes.get(widths).ok_or_else(ends)? {
            if left > 0 {
                let bits = of_miniblock.checked_mul(width.into()).ok_or_else(ends)?;
                at = at.checked_add(bits / 8).ok_or_else(ends)?;
            }
            left = left.saturating_sub(of_miniblock);
        }
    }
    ensure!(at <= bytes.len(), ends());
    Ok(at)
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
    use super::packed_length;

    /// Blocks of 128 in 4 miniblocks of 32: count 34, first number 7, smallest difference 0, widths 1, 3, 9, 9.
    fn list() -> Vec<u8> {
        let mut list = vec![0x80, 0x01, 4, 34, 14, 0, 1, 3, 9, 9];
        list.extend([0xff; 4 + 12]);
        list
    }

    #[test]
    fn the_length_of_a_list_is_that_of_its_miniblocks_with_numbers() {
        let list = list();
        assert_eq!(packed_length(&list, 34).expect("a list"), list.len());
        // With 33 numbers, the first of which is in the header, the second miniblock has none.
        let shorter = [&list[..3], &[33], &list[4..14]].concat();
        assert_eq!(packed_length(&shorter, 33).expect("a list"), shorter.len());
        // One number is in the header.
        assert_eq!(packed_length(&[0x80, 0x01, 4, 1, 14, 99], 1).expect("a list"), 5);
    }

    #[test]
    fn what_a_list_claims_is_not_believed() {
        let list = list();
        assert!(packed_length(&list, 33).is_err(), "more than the values of the page");
        assert!(packed_length(&list[..list.len() - 1], 34).is_err(), "ends too early");
        let (huge, none) = ([0xff; 9], [0x80, 0x01, 0, 1, 14]);
        assert!(packed_length(&huge, usize::MAX).is_err());
        assert!(packed_length(&[&huge[..], &[1, 4, 34, 14, 0]].concat(), usize::MAX).is_err());
        assert!(packed_length(&none, 1).is_err(), "no miniblocks");
    }
}
