//! Writes FHIR answers as bytes, splicing the text of resources in untouched.

use std::borrow::Cow;

use serde::Serialize;

/// One entry of a Bundle page.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'w> {
    pub(crate) kind: &'w str,
    pub(crate) id: &'w str,
    pub(crate) text: Cow<'w, [u8]>,
    pub(crate) mode: Mode,
}

/// Why an entry is on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Match,
    Include,
    /// It is not said.
    Unsaid,
}

impl Mode {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Match => Some("match"),
            Self::Include => Some("include"),
            Self::Unsaid => None,
        }
    }
}

/// The links and the count of a searchset.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) total: Option<usize>,
    /// Relation and URL, in order.
    pub(crate) links: Vec<(&'static str, String)>,
}

/// Bytes that an entry takes besides its resource, generously.
const ENTRY_OVERHEAD: usize = 160;

/// A searchset Bundle. `after` is put behind the entries as it is: more elements of the array, or nothing.
pub(crate) fn searchset(base: &str, head: &Head, entries: &[Entry<'_>], after: &[&str], empty_array: bool) -> Vec<u8> {
    let size: usize = entries.iter().map(|entry| entry.text.len() + base.len() + ENTRY_OVERHEAD).sum();
    let links: usize = head.links.iter().map(|(_, url)| url.len() + 40).sum();
    let mut out = Vec::with_capacity(size + links + 200);
    begin(&mut out, head);
    if !entries.is_empty() || !after.is_empty() || empty_array {
        out.extend_from_slice(b",\"entry\":[");
        let mut first = true;
        for entry in entries {
            separate(&mut out, &mut first);
            write_entry(&mut out, base, entry);
        }
        for element in after {
            separate(&mut out, &mut first);
            out.extend_from_slice(element.as_bytes());
        }
        out.push(b']');
    }
    out.push(b'}');
    out
}

fn separate(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

/// Everything of a searchset up to, and without, its entries.
fn begin(out: &mut Vec<u8>, head: &Head) {
    out.extend_from_slice(br#"{"resourceType":"Bundle","type":"searchset""#);
    if let Some(total) = head.total {
        out.extend_from_slice(format!(",\"total\":{total}").as_bytes());
    }
    out.extend_from_slice(b",\"link\":[");
    for (number, (relation, url)) in head.links.iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        out.extend_from_slice(format!("{comma}{{\"relation\":\"{relation}\",\"url\":{}}}", quoted(url)).as_bytes());
    }
    out.push(b']');
}

/// One entry with its full URL, its resource as it is and its search mode.
fn write_entry(out: &mut Vec<u8>, base: &str, entry: &Entry<'_>) {
    out.extend_from_slice(b"{\"fullUrl\":\"");
    for part in [base, "/", entry.kind, "/", entry.id] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b"\",\"resource\":");
    out.extend_from_slice(&entry.text);
    match entry.mode.code() {
        Some(code) => {
            out.extend_from_slice(b",\"search\":{\"mode\":\"");
            out.extend_from_slice(code.as_bytes());
            out.extend_from_slice(b"\"}}");
        }
        None => out.push(b'}'),
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OperationOutcome<'a> {
    resource_type: &'static str,
    issue: [Issue<'a>; 1],
}

#[derive(Serialize)]
struct Issue<'a> {
    severity: &'static str,
    code: &'a str,
    diagnostics: &'a str,
}

/// An OperationOutcome with one issue.
pub(crate) fn outcome(severity: &'static str, code: &str, diagnostics: &str) -> Vec<u8> {
    let outcome =
        OperationOutcome { resource_type: "OperationOutcome", issue: [Issue { severity, code, diagnostics }] };
    serde_json::to_vec(&outcome).unwrap_or_default()
}
