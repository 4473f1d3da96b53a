//! Text from files and arguments, for messages and results.

use indicatif::HumanCount;

/// A text as shown in a message, shortened.
pub fn shown(text: &str) -> String {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        None => text.escape_debug().to_string(),
        Some((end, _)) => format!("{}...", text[..end].escape_debug()),
    }
}

/// Names for a message; only as many as are readable.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 12;
    let mut names = names.into_iter();
    let mut list: Vec<String> = names.by_ref().take(MOST).map(|name| format!("`{}`", shown(name))).collect();
    let more = names.count();
    if more > 0 {
        list.push(format!("and {more} more"));
    }
    list.join(", ")
}

/// A number of things with their name in singular or plural: `1 example`, `2,000 examples`.
pub fn counted(count: u64, name: &str) -> String {
    format!("{} {name}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}

/// A number of bytes: `30.6 KB`, `4.2 MB`.
pub fn size(bytes: u64) -> String {
    if bytes < 100_000 { format!("{:.1} KB", bytes as f64 / 1e3) } else { format!("{:.1} MB", bytes as f64 / 1e6) }
}

/// A number of epochs in words.
pub fn epochs_of(count: usize) -> String {
    format!("{count} epoch{}", if count == 1 { "" } else { "s" })
}

/// Names with "or" before the last: `tanh, relu or linear`.
pub fn either(names: &[&str]) -> String {
    match names {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => names.concat(),
    }
}

/// Text made safe for a terminal. Names from files may contain control characters, which would
/// control the terminal, and marks of text direction, which would disguise the text. These are
/// escaped, except line ends and tabs.
pub fn printable(text: &str) -> String {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) || turns(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// The standard error of a fraction of `count` independent examples; `None` if there are none.
pub fn standard_error(fraction: f64, count: usize) -> Option<f64> {
    (count > 0).then(|| (fraction * (1.0 - fraction) / count as f64).sqrt())
}

/// A fraction of `count` examples as a percentage with its standard error: `95.33% ± 0.21`.
pub fn percentage(fraction: f64, count: usize) -> String {
    let error = standard_error(fraction, count).map_or(String::new(), |error| format!(" ± {:.2}", 100.0 * error));
    format!("{:.2}%{error}", 100.0 * fraction)
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path as an argument that is not taken for a flag.
pub fn not_a_flag(path: String) -> String {
    if path.len() > 1 && path.starts_with('-') { format!("./{path}") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_several_names_follows_or() {
        let all = ["tanh", "relu", "linear"];
        assert_eq!(
            [0, 1, 2, 3].map(|count| either(&all[..count])),
            ["", "tanh", "tanh or relu", "tanh, relu or linear"]
        );
    }

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{7}\r\n\tc\u{202e}d é"), "a\\u{1b}[2Jb\\u{7}\\r\n\tc\\u{202e}d é");
        assert_eq!(shown("a\nb\u{1b}"), "a\\nb\\u{1b}");
    }
}
