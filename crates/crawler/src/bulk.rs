//! The documents of a Bulk Data export (HL7 FHIR Bulk Data Access, section "Bulk Data Export Operation"): its manifest,
//! read as servers write it, and the lines of its files.

use bytes::{Bytes, BytesMut};
use fhirvest_fhir::{
    bundle::{Entry, EntryFault},
    resource,
};
use serde_json::Value;

/// Lines that are committed together at most: what a kill may cost in repeated work.
const LINES: usize = 1_000;

/// Bytes that are committed together at most, give or take a line.
const BYTES: usize = 8 << 20;

/// One file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) resource_type: String,
    /// As written: it may be relative to the manifest.
    pub(crate) url: String,
    pub(crate) count: Option<u64>,
}

/// What an export came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) outputs: Vec<Output>,
    /// Files that hold what went wrong.
    pub(crate) errors: Vec<Output>,
    /// The files want no token.
    pub(crate) anonymous: bool,
    /// Files of deletions: of interest to who asked for changes only.
    pub(crate) deleted: usize,
}

/// Reads a manifest. Times are not looked at, since servers write them in their own ways, and a list may be a single
/// object. Nothing where the body is no manifest.
pub(crate) fn manifest(body: &[u8]) -> Option<Manifest> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let files = |key: &str| -> Vec<Output> {
        let list = match body.get(key) {
            Some(Value::Array(list)) => list.clone(),
            Some(one @ Value::Object(_)) => vec![one.clone()],
            _ => Vec::new(),
        };
        let read = |file: &Value| {
            let url = file.get("url")?.as_str()?.trim().to_owned();
            let resource_type = file.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
            (!url.is_empty()).then(|| Output { resource_type, url, count: file.get("count").and_then(Value::as_u64) })
        };
        list.iter().filter_map(read).collect()
    };
    body.get("output")?;
    Some(Manifest {
        outputs: files("output"),
        errors: files("error"),
        anonymous: body.get("requiresAccessToken") == Some(&Value::Bool(false)),
        deleted: files("deleted").len(),
    })
}

/// Lines that came whole, ready to be committed.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) body: BytesMut,
    pub(crate) entries: Vec<Entry>,
    /// Lines, the empty ones and those passed over included.
    pub(crate) lines: u64,
}

/// Cuts a body into lines, whatever the pieces it comes in.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: BytesMut,
    /// Lines still to be passed over: they were committed before.
    skip: u64,
}

impl Lines {
    pub(crate) fn after(skip: u64) -> Self {
        Self { skip, ..Self::default() }
    }

    /// Takes a piece, and adds the lines that it completes. Returns the bytes that wait for the end of their line.
    pub(crate) fn push(&mut self, piece: &Bytes, batch: &mut Batch) -> usize {
        let mut piece = &piece[..];
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(&piece[..end]);
            let line = self.rest.split();
            self.line(&line, batch);
            piece = &piece[end + 1..];
        }
        self.rest.extend_from_slice(piece);
        self.rest.len()
    }

    /// Adds the last line, which needs no line break.
    pub(crate) fn finish(&mut self, batch: &mut Batch) {
        let line = self.rest.split();
        if !line.is_empty() {
            self.line(&line, batch);
        }
    }

    fn line(&mut self, line: &[u8], batch: &mut Batch) {
        batch.lines += 1;
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
        if line.is_empty() {
            return;
        }
        let start = batch.body.len();
        batch.body.extend_from_slice(line);
        batch.entries.push(entry(line, start));
    }
}

impl Batch {
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= LINES || self.body.len() >= BYTES
    }
}

fn entry(line: &[u8], start: usize) -> Entry {
    let range = start..start + line.len();
    let faulty = |fault| Entry {
        range: range.clone(),
        resource_type: Box::default(),
        id: None,
        last_updated: None,
        mode: None,
        fault: Some(fault),
    };
    let Ok(text) = std::str::from_utf8(line) else { return faulty(EntryFault::NotUtf8) };
    let Ok(head) = resource::head(text) else { return faulty(EntryFault::NotAnObject) };
    let fault = match (head.resource_type.is_empty(), &head.id) {
        (true, _) => Some(EntryFault::NoType),
        (false, None) => Some(EntryFault::NoId),
        (false, Some(_)) => None,
    };
    Entry {
        resource_type: head.resource_type.into(),
        id: head.id.map(Into::into),
        last_updated: head.last_updated.map(Into::into),
        fault,
        ..faulty(EntryFault::NoId)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn manifests_are_read_as_servers_write_them() {
        let output = |name: &str, url: &str, count| Output { resource_type: name.into(), url: url.into(), count };
        for (body, wanted) in [
            (
                r#"{"transactionTime":"2021-01-01T00:00:00Z","requiresAccessToken":true,"output":[{"type":"Location","url":"https://a/1","count":3}],"error":[]}"#,
                Some(Manifest { outputs: vec![output("Location", "https://a/1", Some(3))], ..Manifest::default() }),
            ),
            (
                r#"{"transactionTime":"05/09/2022 23:01","requiresAccessToken":false,"output":[{"type":"X","url":" f/1 "}],"error":{},"deleted":[{"type":"Bundle","url":"d"}]}"#,
                Some(Manifest {
                    outputs: vec![output("X", "f/1", None)],
                    anonymous: true,
                    deleted: 1,
                    ..Manifest::default()
                }),
            ),
            (
                r#"{"output":[],"error":{"type":"OperationOutcome","url":"e"}}"#,
                Some(Manifest { errors: vec![output("OperationOutcome", "e", None)], ..Manifest::default() }),
            ),
            (r#"{"resourceType":"OperationOutcome"}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(manifest(body.as_bytes()), wanted, "{body}");
        }
    }

    #[test]
    fn lines_are_cut_whatever_the_pieces() {
        let text = "{\"resourceType\":\"X\",\"id\":\"a\"}\r\n\n{\"resourceType\":\"X\"}\nnonsense\n{\"resourceType\":\"X\",\"id\":\"b\"}";
        for size in [1, 2, 7, 1000] {
            for skip in [0, 1, 4] {
                let (mut lines, mut batch) = (Lines::after(skip), Batch::default());
                for piece in text.as_bytes().chunks(size) {
                    lines.push(&Bytes::copy_from_slice(piece), &mut batch);
                }
                lines.finish(&mut batch);
                assert_eq!(batch.lines, 5);
                let told: Vec<_> = batch.entries.iter().map(|entry| (entry.id.as_deref(), entry.fault)).collect();
                let all = [
                    (Some("a"), None),
                    (None, Some(EntryFault::NoId)),
                    (None, Some(EntryFault::NotAnObject)),
                    (Some("b"), None),
                ];
                let passed = match skip {
                    0 => 0,
                    1 => 1,
                    _ => 3,
                };
                assert_eq!(told, all[passed..], "pieces of {size}, after {skip}");
                let last = batch.entries.last().unwrap().range.clone();
                assert_eq!(&batch.body[last], br#"{"resourceType":"X","id":"b"}"#);
            }
        }
    }
}
