//! Fields of tables, and how messages show them.

pub(crate) use crate::system::text::{listed, shown};

/// The default words for a missing value, in any case. An empty field is always missing.
pub const MISSING_WORDS: [&str; 10] = ["?", "na", "n/a", "#na", "#n/a", "<na>", "nan", "nat", "null", "none"];

/// True if the value of a field is missing: it is empty, or one of `words`, exactly or as the same number; without
/// `words`, one of [`MISSING_WORDS`].
pub(crate) fn is_missing(field: &str, words: Option<&[String]>) -> bool {
    field.is_empty()
        || match words {
            Some(words) => words.iter().any(|word| {
                // -999 and -999.0.
                word == field || number(word).is_some_and(|word| Some(word) == number(field))
            }),
            None => field.len() <= 4 && MISSING_WORDS.iter().any(|word| field.eq_ignore_ascii_case(word)),
        }
}

/// The number in a field; `None` if it is not a finite number.
pub(crate) fn number(field: &str) -> Option<f64> {
    field.parse().ok().filter(|number: &f64| number.is_finite())
}

/// True if a field would be a number with a decimal point instead of its comma, or without its
/// commas.
pub(crate) fn is_number_with_comma(field: &str) -> bool {
    field.contains(',') && [".", ""].iter().any(|point| number(&field.replace(',', point)).is_some())
}

/// The meaning of a comma in a field that is a number apart from it.
pub(crate) fn comma_in_number(field: &str) -> Option<&'static str> {
    let is_number = |without: &str| number(without).is_some();
    let mut groups = field.split(',').skip(1);
    let of_thousands = |group: &str| group.split('.').next().is_some_and(|digits| digits.len() == 3);
    if !field.contains(',') {
        None
    } else if groups.all(of_thousands) && is_number(&field.replace(',', "")) {
        Some(
            "commas between thousands, or a decimal comma: numbers without separators and with decimal points are needed",
        )
    } else {
        is_number(&field.replace(',', ".")).then_some("a decimal comma: decimal points are needed")
    }
}

/// A whole number in its shortest form, so that 1 and 1.0 are one class; `None` for other text,
/// such as 007 or 1e1, which may be a name.
pub(crate) fn whole_number(field: &str) -> Option<&str> {
    let (whole, fraction) = field.split_once('.').unwrap_or((field, ""));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let short = digits == "0" && whole == digits || !digits.starts_with('0');
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_whole = !digits.is_empty() && short && are_digits(digits) && fraction.bytes().all(|byte| byte == b'0');
    is_whole.then_some(whole)
}

/// True for a number with something around it, such as `$5`, `12%`, `1,234`, `5 kg` or
/// `2024-01-01`.
pub(crate) fn is_decorated_number(field: &str) -> bool {
    let symbol =
        |c: char| c.is_whitespace() || matches!(c, '$' | '€' | '£' | '¥' | '%' | '+' | '-' | '~' | '<' | '>' | '=');
    let unit = |c: char| symbol(c) || c.is_alphabetic() || matches!(c, '/' | '°' | '²' | '³' | 'µ');
    let bare = field.trim_start_matches(symbol).trim_end_matches(unit);
    let separators = |c: char| matches!(c, ',' | '.' | '-' | '/' | ':' | ' ' | '\'' | '_' | 'T');
    let digits = bare.bytes().filter(u8::is_ascii_digit).count();
    number(field).is_none() && digits > 0 && bare.chars().all(|c| c.is_ascii_digit() || separators(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_and_the_same_with_zeros_behind_the_point_are_one_class() {
        for (field, expected) in
            [("7", "7"), ("7.0", "7"), ("-1", "-1"), ("-1.00", "-1"), ("0", "0"), ("0.0", "0"), ("10.", "10")]
        {
            assert_eq!(whole_number(field), Some(expected), "{field}");
        }
        for field in ["007", "1e1", "00", "-0", "+7", "7.5", ".0", "", "-", "a", "0x1", "1_000"] {
            assert_eq!(whole_number(field), None, "{field}");
        }
    }

    #[test]
    fn numbers_with_signs_and_units_are_told_from_text() {
        for field in
            ["$5", "12%", "1,234,567", "5 kg", "2024-01-01", "€ 1.5", "3:20", "01/02/2024", "1 000", "2024-01-01T10:00"]
        {
            assert!(is_decorated_number(field), "{field}");
        }
        for field in ["5", "1e3", "a", "B52", "x1", "", "-", "kg", "7 dwarfs and 1 princess"] {
            assert!(!is_decorated_number(field), "{field}");
        }
    }
}
