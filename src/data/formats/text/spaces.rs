//! Rows whose fields are separated by runs of spaces, converted to rows with single spaces.

use std::io::{self, Read};

/// A reader that replaces every run of spaces and tabs outside quotes by one space, and removes
/// those at the ends of a line.
pub(super) struct Joined<R> {
    source: R,
    state: State,
}

/// The state after the characters read so far.
#[derive(Clone, Copy, Debug)]
struct State {
    quoted: bool,
    /// At the beginning of a line, where spaces are dropped.
    line_begins: bool,
    /// True after a run of spaces, which becomes one space unless the line ends here.
    space: bool,
}

const BEGINNING: State = State { quoted: false, line_begins: true, space: false };

impl<R> Joined<R> {
    pub fn new(source: R) -> Self {
        Joined { source, state: BEGINNING }
    }
}

impl State {
    /// Appends the bytes that a byte becomes.
    fn push(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            b' ' | b'\t' if !self.quoted => self.space = !self.line_begins,
            b'\n' | b'\r' if !self.quoted => {
                out.push(byte);
                *self = BEGINNING;
            }
            _ => {
                self.quoted ^= byte == b'"';
                if std::mem::take(&mut self.space) {
                    out.push(b' ');
                }
                self.line_begins = false;
                out.push(byte);
            }
        }
    }
}

/// The same for text in memory.
pub(super) fn joined(text: &[u8]) -> Vec<u8> {
    let (mut state, mut out) = (BEGINNING, Vec::with_capacity(text.len()));
    text.iter().for_each(|&byte| state.push(byte, &mut out));
    out
}

impl<R: Read> Read for Joined<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut out = Vec::new();
        // A byte becomes two at most: itself and the space before it.
        let most = (buffer.len() / 2).max(1);
        while out.is_empty() {
            let read = self.source.read(&mut buffer[..most])?;
            if read == 0 {
                return Ok(0);
            }
            buffer[..read].iter().for_each(|&byte| self.state.push(byte, &mut out));
            if out.len() > buffer.len() {
                return Err(io::Error::other("a buffer of one byte cannot hold a space and what follows it"));
            }
        }
        buffer[..out.len()].copy_from_slice(&out);
        Ok(out.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_spaces_become_one() {
        let text = b"  a   b\t c  \n\n 1 \"x  y\"  3\r\n";
        let expected = b"a b c\n\n1 \"x  y\" 3\r\n";
        assert_eq!(joined(text), expected);
        for size in [2, 3, 64] {
            let (mut reader, mut out, mut buffer) = (Joined::new(&text[..]), Vec::new(), vec![0; size]);
            loop {
                match reader.read(&mut buffer).expect("memory can be read") {
                    0 => break,
                    read => out.extend_from_slice(&buffer[..read]),
                }
            }
            assert_eq!(out, expected, "{size}");
        }
    }
}
