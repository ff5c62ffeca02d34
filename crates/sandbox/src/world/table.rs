//! All resources of one type of one mount: their text in large chunks and 32 bytes of index each.
//!
//! One million PractitionerRoles are one and a half gigabytes of text; a `String` and a map node per resource would
//! add half of that again. Text goes into chunks of [`CHUNK`] bytes, ids are slices of that text, and look-ups by id
//! go through one sorted permutation.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::SandboxError;
use crate::search::index::TermIndex;
use crate::search::instant;
use crate::search::parameters::{self, Parameter};

/// Size of one chunk of text: large enough that a million resources need few allocations, small enough that the
/// unused tail of the last chunk does not matter.
const CHUNK: usize = 4 << 20;

/// Row numbers are `u32`: four billion resources of one type are beyond any sandbox.
const MAX_ROWS: u32 = u32::MAX;

/// `lastUpdated` of a resource without one.
pub(crate) const NEVER: i64 = i64::MIN;

#[derive(Debug, Clone, Copy)]
struct Row {
    chunk: u32,
    start: u32,
    len: u32,
    id_start: u32,
    id_len: u32,
    updated: i64,
}

/// The resources of one type, immutable once built.
#[derive(Debug)]
pub(crate) struct ResourceTable {
    name: String,
    chunks: Vec<String>,
    rows: Vec<Row>,
    by_id: Arc<[u32]>,
    by_updated: OnceLock<Arc<[u32]>>,
    indexes: Vec<(&'static Parameter, OnceLock<TermIndex>)>,
}

impl ResourceTable {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The text of a row, exactly as it was put in.
    pub(crate) fn text(&self, row: u32) -> &str {
        let Some(row) = self.rows.get(row as usize) else { return "" };
        self.slice(row, row.start, row.len)
    }

    pub(crate) fn id(&self, row: u32) -> &str {
        let Some(row) = self.rows.get(row as usize) else { return "" };
        self.slice(row, row.start + row.id_start, row.id_len)
    }

    fn slice(&self, row: &Row, start: u32, len: u32) -> &str {
        let start = start as usize;
        self.chunks.get(row.chunk as usize).and_then(|chunk| chunk.get(start..start + len as usize)).unwrap_or("")
    }

    /// `meta.lastUpdated` in nanoseconds since 1970, or [`NEVER`].
    pub(crate) fn updated(&self, row: u32) -> i64 {
        self.rows.get(row as usize).map_or(NEVER, |row| row.updated)
    }

    /// The row that holds this id.
    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        let at = self.by_id.binary_search_by(|&row| self.id(row).cmp(id)).ok()?;
        self.by_id.get(at).copied()
    }

    /// All rows in the order of their ids (bytewise).
    pub(crate) fn by_id(&self) -> Arc<[u32]> {
        Arc::clone(&self.by_id)
    }

    /// All rows in the order of `lastUpdated`, then of their ids.
    pub(crate) fn by_updated(&self) -> Arc<[u32]> {
        let rows = self.by_updated.get_or_init(|| {
            let mut rows = self.by_id.to_vec();
            rows.sort_by_key(|&row| self.updated(row));
            rows.into()
        });
        Arc::clone(rows)
    }

    /// The index over the terms of a token or reference parameter, built at its first use.
    pub(crate) fn index(&self, parameter: &Parameter) -> Option<&TermIndex> {
        let (parameter, cell) = self.indexes.iter().find(|(known, _)| known.name == parameter.name)?;
        Some(cell.get_or_init(|| TermIndex::build(self, parameter)))
    }
}

/// Collects resources of one type.
#[derive(Debug)]
pub(crate) struct TableBuilder {
    name: String,
    chunks: Vec<String>,
    rows: Vec<Row>,
}

/// The head of a resource: all that the table itself needs to know of it.
#[derive(Deserialize)]
pub(crate) struct Head<'a> {
    #[serde(rename = "resourceType", borrow)]
    pub(crate) resource_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(rename = "lastUpdated", borrow)]
    last_updated: Option<&'a RawValue>,
}

impl<'a> Head<'a> {
    /// Reads the head of a resource; the error is the JSON error with its column.
    pub(crate) fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The id as it stands between its quotes.
    pub(crate) fn id(&self) -> Option<&'a str> {
        string_body(self.id?)
    }

    fn updated(&self) -> i64 {
        self.meta
            .as_ref()
            .and_then(|meta| string_body(meta.last_updated?))
            .and_then(instant::parse_instant)
            .unwrap_or(NEVER)
    }
}

/// The inside of a JSON string that is not empty, unescaped only in the sense that it is cut out.
fn string_body(raw: &RawValue) -> Option<&str> {
    raw.get().strip_prefix('"')?.strip_suffix('"').filter(|body| !body.is_empty())
}

impl TableBuilder {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), chunks: Vec::new(), rows: Vec::new() }
    }

    /// Adds a resource whose head was read from the same text.
    pub(crate) fn push(&mut self, text: &str, head: &Head<'_>, id: &str) -> Result<(), SandboxError> {
        let too_large = || SandboxError::TooLarge { resource_type: self.name.clone(), limit: MAX_ROWS };
        let row = Row {
            chunk: 0,
            start: 0,
            len: u32::try_from(text.len()).map_err(|_| too_large())?,
            id_start: u32::try_from(offset_in(text, id)).map_err(|_| too_large())?,
            id_len: u32::try_from(id.len()).map_err(|_| too_large())?,
            updated: head.updated(),
        };
        if self.rows.len() >= MAX_ROWS as usize {
            return Err(too_large());
        }
        let fits = self.chunks.last().is_some_and(|chunk| chunk.capacity() - chunk.len() >= text.len());
        if !fits {
            self.chunks.push(String::with_capacity(CHUNK.max(text.len())));
        }
        let number = self.chunks.len() - 1;
        if let Some(chunk) = self.chunks.last_mut() {
            let start = u32::try_from(chunk.len())
                .map_err(|_| SandboxError::TooLarge { resource_type: self.name.clone(), limit: MAX_ROWS })?;
            chunk.push_str(text);
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            self.rows.push(Row { chunk: number, start, ..row });
        }
        Ok(())
    }

    /// Closes the table. Where an id came twice, the last text stays, as after a second `PUT`.
    pub(crate) fn finish(mut self) -> ResourceTable {
        if let Some(last) = self.chunks.last_mut() {
            last.shrink_to_fit();
        }
        self.rows.shrink_to_fit();
        let mut table = ResourceTable {
            name: self.name,
            chunks: self.chunks,
            rows: self.rows,
            by_id: Arc::from([]),
            by_updated: OnceLock::new(),
            indexes: Vec::new(),
        };
        table.drop_replaced();
        let mut order: Vec<u32> = (0..row_count(&table.rows)).collect();
        order.sort_unstable_by(|&a, &b| table.id(a).cmp(table.id(b)));
        table.by_id = order.into();
        table.indexes = parameters::of(&table.name)
            .filter(|parameter| parameter.kind.is_indexed())
            .map(|parameter| (parameter, OnceLock::new()))
            .collect();
        table
    }
}

fn row_count(rows: &[Row]) -> u32 {
    u32::try_from(rows.len()).unwrap_or(MAX_ROWS)
}

impl ResourceTable {
    fn drop_replaced(&mut self) {
        let mut order: Vec<u32> = (0..row_count(&self.rows)).collect();
        // Stable: of equal ids the last one put in comes last.
        order.sort_by(|&a, &b| self.id(a).cmp(self.id(b)));
        let mut replaced: Vec<u32> = order
            .windows(2)
            .filter_map(|pair| match pair {
                [a, b] if self.id(*a) == self.id(*b) => Some(*a),
                _ => None,
            })
            .collect();
        if replaced.is_empty() {
            return;
        }
        replaced.sort_unstable();
        let mut number = 0;
        self.rows.retain(|_| {
            let keep = replaced.binary_search(&number).is_err();
            number += 1;
            keep
        });
    }
}

/// Where `part` begins within `whole`, both being slices of the same text.
fn offset_in(whole: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}
