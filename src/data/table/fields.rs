//! Fields of tables, and their texts in messages.

/// Returns whether the value of a field is missing.
pub(crate) fn is_missing(field: &str) -> bool {
    matches!(field, "" | "?") || ["na", "n/a", "nan", "null"].iter().any(|word| field.eq_ignore_ascii_case(word))
}

/// The number that a field is, if it is one; infinity is none.
pub(crate) fn number(field: &str) -> Option<f64> {
    field.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A whole number as it is written for short, so that 1 and 1.0 are one class; `None` for other text.
pub(crate) fn whole_number(field: &str) -> Option<String> {
    // Past this, neighbours are no longer told apart.
    let whole = number(field).filter(|number| number.fract() == 0.0 && number.abs() < 1e15)?;
    Some(format!("{:.0}", whole + 0.0))
}

/// A text as it is shown in a message, shortened.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        None => text.escape_debug().to_string(),
        Some((end, _)) => format!("{}...", text[..end].escape_debug()),
    }
}

/// Names for a message, as many as are readable.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 12;
    let mut names = names.into_iter();
    let mut list: Vec<String> = names.by_ref().take(MOST).map(shown).collect();
    let more = names.count();
    if more > 0 {
        list.push(format!("and {more} more"));
    }
    list.join(", ")
}
