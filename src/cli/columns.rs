//! The columns of a table, as `train --verbose` shows them.

use std::fmt::Write;

use indicatif::HumanCount;

use crate::data::table::{ColumnSummary, MOST_DISTINCT};

/// The most columns that are shown.
const MOST_COLUMNS: usize = 100;

/// The longest name that is shown in full, in characters.
const LONGEST: usize = 32;

/// A description of each column of a table, one per line; `None` if the data is not a table.
pub(super) fn described(columns: &[ColumnSummary]) -> Option<String> {
    if columns.is_empty() {
        return None;
    }
    let shown = &columns[..columns.len().min(MOST_COLUMNS)];
    let titles: Vec<String> = shown.iter().map(|column| cut(&column.title)).collect();
    let width = titles.iter().map(|title| title.chars().count()).max().unwrap_or(0).max(6);
    let mut text =
        format!("  {:<width$}  {:<10}  {:>6}  {:>7}  {:>8}", "column", "read as", "inputs", "missing", "distinct");
    for (title, column) in titles.iter().zip(shown) {
        let distinct = column.distinct.map_or(format!("> {MOST_DISTINCT}"), |distinct| distinct.to_string());
        let [inputs, missing] = [column.inputs as u64, column.missing].map(|count| HumanCount(count).to_string());
        let role = column.role.name();
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {title:<width$}  {role:<10}  {inputs:>6}  {missing:>7}  {distinct:>8}");
    }
    if columns.len() > shown.len() {
        let _ = write!(text, "\n  and {} more columns", HumanCount((columns.len() - shown.len()) as u64));
    }
    Some(text)
}

/// A title, shortened if it is too long.
fn cut(title: &str) -> String {
    match title.chars().count() {
        short if short <= LONGEST => title.to_string(),
        _ => title.chars().take(LONGEST - 3).chain("...".chars()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::table::ColumnRole;

    fn column(title: &str, role: ColumnRole, inputs: usize, missing: u64, distinct: Option<usize>) -> ColumnSummary {
        ColumnSummary { title: title.to_string(), role, inputs, missing, distinct }
    }

    #[test]
    fn each_column_has_a_line() {
        let columns = [
            column("`größe`", ColumnRole::Numbers, 1, 1234, None),
            column(&"x".repeat(40), ColumnRole::LeftOut, 0, 0, Some(3)),
        ];
        let expected = "  column                            read as     inputs  missing  distinct\n  \
                        `größe`                           numbers          1    1,234     > 100\n  \
                        xxxxxxxxxxxxxxxxxxxxxxxxxxxxx...  left out         0        0         3";
        assert_eq!(described(&columns).as_deref(), Some(expected));
        assert_eq!(described(&[]), None);
        let many = vec![columns[0].clone(); MOST_COLUMNS + 2];
        let text = described(&many).expect("columns");
        assert!(text.ends_with("\n  and 2 more columns") && text.lines().count() == MOST_COLUMNS + 2, "{text}");
    }
}
