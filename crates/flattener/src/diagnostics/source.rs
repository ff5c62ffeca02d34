//! From a JSON pointer to a place in the text.

use std::{collections::BTreeMap, ops::Range};

use serde_json::value::RawValue;

use super::Region;

/// The JSON text of the value at a pointer, as written.
pub(crate) fn value_at<'t>(text: &'t str, pointer: &str) -> Option<&'t str> {
    let mut value: &RawValue = serde_json::from_str(text).ok()?;
    for step in pointer.split('/').skip(1) {
        value = child(value, step)?;
    }
    Some(value.get())
}

fn child<'t>(value: &'t RawValue, step: &str) -> Option<&'t RawValue> {
    if value.get().starts_with('[') {
        let list: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
        return list.get(step.parse::<usize>().ok()?).copied();
    }
    let map: BTreeMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
    map.get(&step.replace("~1", "/").replace("~0", "~")).copied()
}

/// The place of a value, or of a part of the text in it; that of the nearest value around it, where there is none.
pub(super) fn region(text: &str, pointer: &str, span: Option<Range<usize>>) -> Option<Region> {
    let mut pointer = pointer;
    let value = loop {
        match value_at(text, pointer) {
            Some(value) => break value,
            None => pointer = &pointer[..pointer.rfind('/')?],
        }
    };
    let start = value.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let within = span.filter(|_| value.starts_with('"')).map(|span| within_string(value, &span));
    let within =
        within.unwrap_or_else(|| if value.len() > 1 && value.starts_with(['{', '[']) { 0..1 } else { 0..value.len() });
    let (line, column) = line_column(text, start + within.start)?;
    // What is missing at the end of a path is shown at the quote that follows.
    let (end_line, end_column) = line_column(text, start + within.end.max(within.start + 1))?;
    Some(Region { line, column, end_line, end_column })
}

/// The place in a JSON string, quotes and escapes included, of a part of its text.
fn within_string(literal: &str, span: &Range<usize>) -> Range<usize> {
    let (mut read, mut start, mut end) = (0, None, None);
    let mut at = 1;
    while at + 1 < literal.len() {
        if read >= span.start {
            start = start.or(Some(at));
        }
        if read >= span.end {
            end = end.or(Some(at));
        }
        let rest = &literal[at..];
        let length = match rest.as_bytes() {
            [b'\\', b'u', ..] => 6,
            [b'\\', ..] => 2,
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        let piece = rest.get(..length).unwrap_or(rest);
        let decoded = serde_json::from_str::<String>(&format!("\"{piece}\"")).map_or(piece.len(), |text| text.len());
        read += decoded;
        at += piece.len();
    }
    let start = start.unwrap_or(at);
    start..end.unwrap_or(at).max(start)
}

fn line_column(text: &str, at: usize) -> Option<(usize, usize)> {
    let before = text.get(..at)?;
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before[before.rfind('\n').map_or(0, |place| place + 1)..].chars().count() + 1;
    Some((line, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_text() {
        let text = "{\n  \"a/b\": [1, {\"p\": \"é\\u0041\\\"x\"}]\n}";
        let place = |pointer: &str, span: Option<Range<usize>>| {
            region(text, pointer, span).map(|one| (one.line, one.column, one.end_line, one.end_column))
        };
        assert_eq!(place("", None), Some((1, 1, 1, 2)));
        assert_eq!(place("/a~1b/0", None), Some((2, 11, 2, 12)));
        assert_eq!(place("/a~1b/1/p", None), Some((2, 20, 2, 32)));
        // Of é A " x the last.
        assert_eq!(place("/a~1b/1/p", Some(4..5)), Some((2, 30, 2, 31)));
        assert_eq!(place("/a~1b/1/p", Some(2..3)), Some((2, 22, 2, 28)));
        // What is missing is where it should be.
        assert_eq!(place("/a~1b/1/name", None), Some((2, 14, 2, 15)));
        assert_eq!(region("{", "/a", None), None);
    }
}
