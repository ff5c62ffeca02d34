//! What came, changed and went: `_changes` has one row a resource and snapshot; `_seen` says of every resource that
//! was ever there when it was first and last seen, and survives retention.
//!
//! Both are made by one merge of sorted rows: what `_seen` knew before, and the ids and hashes of the crawl. Neither is
//! ever held in memory whole.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, StringArray, StringBuilder},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    encryption::TableKey,
    error::LakeError,
    table::{self, TableFiles, TableOptions, TableReader, TableSpec, TableWriter},
};

/// The table of changes.
pub const CHANGES: &str = "_changes";
/// The table of every resource that was ever there.
pub const SEEN: &str = "_seen";

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// Memory for the ids of one type, before they are sorted on the disk.
const INDEX_MEMORY: usize = 48 << 20;

/// How far the crawl of a type speaks for the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// It is all there is: what it lacks was removed.
    Whole,
    /// It is shown to analysts, but need not be all: nothing is removed.
    Part,
    /// It is not shown to analysts: nothing changes for them, but what came was seen.
    Unseen,
}

/// The ids of one resource type of a crawl with the hashes of their content, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrawledType {
    /// The type.
    pub resource_type: String,
    /// How far it speaks.
    pub scope: Scope,
    /// The files that an [`IndexWriter`] wrote; none where nothing came.
    pub index: Vec<Utf8PathBuf>,
}

/// How many resources of a type changed, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeCounts {
    /// The type.
    pub resource_type: String,
    /// There now and not before.
    pub added: u64,
    /// There now and before, with other content.
    pub changed: u64,
    /// There before and not now.
    pub removed: u64,
}

/// Gathers the ids of one type, in any order.
#[derive(Debug)]
pub struct IndexWriter {
    writer: TableWriter,
    dir: Utf8PathBuf,
}

impl IndexWriter {
    /// Begins an index in a folder of its own, encrypted where there is a key.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(dir: &Utf8Path, key: Option<TableKey>) -> Result<Self, LakeError> {
        let spec = TableSpec {
            name: "index".into(),
            schema: schema(&["id", "content_hash"]),
            sort_by: vec!["id".into()],
            bloom: Vec::new(),
            metadata: Vec::new(),
            key,
        };
        let options = TableOptions { memory_budget: INDEX_MEMORY, ..TableOptions::default() };
        Ok(Self { writer: TableWriter::new(spec, dir, options)?, dir: dir.to_owned() })
    }

    /// Adds resources: their ids, and the hashes of their content in hexadecimal.
    ///
    /// # Errors
    /// The disk is full.
    pub fn write(&mut self, ids: StringArray, hashes: StringArray) -> Result<(), LakeError> {
        let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(hashes)];
        let batch = RecordBatch::try_new(schema(&["id", "content_hash"]), columns);
        self.writer.write(&batch.map_err(|source| arrow(&self.dir, source))?)
    }

    /// Sorts them; returns the files.
    ///
    /// # Errors
    /// The disk is full.
    pub fn finish(self) -> Result<Vec<Utf8PathBuf>, LakeError> {
        let files = self.writer.finish()?.files;
        Ok(files.iter().map(|file| self.dir.join(&file.name)).collect())
    }
}

/// Where the two tables are written.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    /// The folder of the staged `_changes`.
    pub changes: &'a Utf8Path,
    /// The folder of the staged `_seen`.
    pub seen: &'a Utf8Path,
    /// What every file says of itself.
    pub metadata: &'a [(String, String)],
    /// What the files are encrypted with, and those that are read.
    pub key: Option<&'a TableKey>,
}

/// What a merge wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The files of `_changes`.
    pub changes: TableFiles,
    /// The files of `_seen`.
    pub seen: TableFiles,
    /// By type, of those that were crawled, in the order of their names.
    pub counts: Vec<ChangeCounts>,
}

/// Compares the crawl of a run with what was known `before` (the files of the last `_seen`). Types that were not crawled
/// stay as they were.
///
/// # Errors
/// A file cannot be read or written.
pub fn merge(
    run: &str,
    before: Vec<Utf8PathBuf>,
    mut crawled: Vec<CrawledType>,
    output: Output<'_>,
) -> Result<Merged, LakeError> {
    crawled.sort_by(|a, b| a.resource_type.cmp(&b.resource_type));
    let spec = |name: &str, columns: &[&str]| TableSpec {
        name: name.to_owned(),
        schema: schema(columns),
        sort_by: vec!["resource_type".into(), "id".into()],
        bloom: vec!["id".into()],
        metadata: output.metadata.to_vec(),
        key: output.key.cloned(),
    };
    let changes = spec(CHANGES, &["resource_type", "id", "change", "content_hash"]);
    let seen = spec(SEEN, &["resource_type", "id", "content_hash", "first_run", "last_run"]);
    let mut merge = Merge {
        run,
        known: Cursor::open(before, output.key)?,
        changes: Rows::new(changes.schema.clone(), output.changes),
        seen: Rows::new(seen.schema.clone(), output.seen),
        counts: Vec::new(),
    };
    let mut writer = TableWriter::new(changes, output.changes, TableOptions::default())?;
    let mut waiting = crawled.into_iter();
    let mut current: Option<(CrawledType, Cursor<2>)> = None;
    let seen = table::write_sorted(&seen, output.seen, TableOptions::default(), || {
        loop {
            if merge.changes.len() >= BATCH_ROWS {
                writer.write(&merge.changes.take()?)?;
            }
            if merge.seen.len() >= BATCH_ROWS {
                return Ok(Some(merge.seen.take()?));
            }
            let open = match &mut current {
                Some(open) => open,
                None => match waiting.next() {
                    Some(next) => {
                        merge.counts.push(ChangeCounts {
                            resource_type: next.resource_type.clone(),
                            ..ChangeCounts::default()
                        });
                        let cursor = Cursor::open(next.index.clone(), output.key)?;
                        current.insert((next, cursor))
                    }
                    None if merge.carry_over()? => continue,
                    None => break,
                },
            };
            if !merge.step(&open.0, &mut open.1)? {
                current = None;
            }
        }
        writer.write(&merge.changes.take()?)?;
        let rest = merge.seen.take()?;
        Ok((rest.num_rows() > 0).then_some(rest))
    })?;
    let (changes, counts) = (writer.finish()?, merge.counts);
    Ok(Merged { changes, seen, counts })
}

struct Merge<'a> {
    run: &'a str,
    /// `_seen` as it was.
    known: Cursor<5>,
    changes: Rows,
    seen: Rows,
    counts: Vec<ChangeCounts>,
}

impl Merge<'_> {
    /// One id further; `false` when the type is done.
    fn step(&mut self, of: &CrawledType, crawled: &mut Cursor<2>) -> Result<bool, LakeError> {
        let name = of.resource_type.as_str();
        let known = match self.known.row() {
            // Types that were not crawled come first: they are carried over.
            Some([Some(resource_type), ..]) if resource_type < name => return self.carry_over(),
            Some([resource_type, id, ..]) if resource_type == Some(name) => id,
            _ => None,
        };
        let order = match (known, crawled.row().and_then(|[id, _]| id)) {
            (None, None) => return Ok(false),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(known), Some(crawled)) => known.cmp(crawled),
        };
        match order {
            Ordering::Less => self.gone(of)?,
            Ordering::Equal => {
                self.seen_again(of, crawled);
                self.known.advance()?;
                crawled.advance()?;
            }
            Ordering::Greater => {
                if let Some([id, hash]) = crawled.row() {
                    self.came(of, id, hash);
                }
                crawled.advance()?;
            }
        }
        Ok(true)
    }

    /// Takes one row of `_seen` over as it is; `false` at the end.
    fn carry_over(&mut self) -> Result<bool, LakeError> {
        let Some(row) = self.known.row() else { return Ok(false) };
        self.seen.push(&row);
        self.known.advance()?;
        Ok(true)
    }

    /// A resource that was there before and did not come.
    fn gone(&mut self, of: &CrawledType) -> Result<(), LakeError> {
        let Some(mut row) = self.known.row() else { return Ok(()) };
        if of.scope == Scope::Whole && row[2].is_some() {
            self.changes.push(&[row[0], row[1], Some("removed"), row[2]]);
            count(&mut self.counts).removed += 1;
            row[2] = None;
        }
        self.seen.push(&row);
        self.known.advance()
    }

    fn seen_again(&mut self, of: &CrawledType, crawled: &Cursor<2>) {
        let (Some(row), Some(came)) = (self.known.row(), crawled.row()) else { return };
        let (before, now) = (row[2], came[1]);
        let change = match (of.scope, before) {
            (Scope::Unseen, _) => None,
            // It was removed, or never shown.
            (_, None) => Some("added"),
            (_, before) if before != now => Some("changed"),
            _ => None,
        };
        if let Some(change) = change {
            self.changes.push(&[row[0], row[1], Some(change), now]);
            let counts = count(&mut self.counts);
            *(if change == "added" { &mut counts.added } else { &mut counts.changed }) += 1;
        }
        let hash = if of.scope == Scope::Unseen { before } else { now };
        self.seen.push(&[row[0], row[1], hash, row[3], Some(self.run)]);
    }

    fn came(&mut self, of: &CrawledType, id: Option<&str>, hash: Option<&str>) {
        let name = Some(of.resource_type.as_str());
        let hash = hash.filter(|_| of.scope != Scope::Unseen);
        if hash.is_some() {
            self.changes.push(&[name, id, Some("added"), hash]);
            count(&mut self.counts).added += 1;
        }
        self.seen.push(&[name, id, hash, Some(self.run), Some(self.run)]);
    }
}

/// The counts of the type at hand, which is the last one begun.
fn count(counts: &mut Vec<ChangeCounts>) -> &mut ChangeCounts {
    if counts.is_empty() {
        counts.push(ChangeCounts::default());
    }
    let last = counts.len() - 1;
    &mut counts[last]
}

/// Rows of sorted files, one at a time; `N` columns of text.
struct Cursor<const N: usize> {
    reader: TableReader,
    columns: Vec<StringArray>,
    place: usize,
    rows: usize,
}

impl<const N: usize> Cursor<N> {
    fn open(files: Vec<Utf8PathBuf>, key: Option<&TableKey>) -> Result<Self, LakeError> {
        let mut cursor = Self { reader: TableReader::new(files, key.cloned()), columns: Vec::new(), place: 0, rows: 0 };
        cursor.next_batch()?;
        Ok(cursor)
    }

    /// The row at hand; none at the end.
    fn row(&self) -> Option<[Option<&str>; N]> {
        (self.place < self.rows).then(|| {
            std::array::from_fn(|column| {
                let column = self.columns.get(column)?;
                column.is_valid(self.place).then(|| column.value(self.place))
            })
        })
    }

    fn advance(&mut self) -> Result<(), LakeError> {
        self.place += 1;
        if self.place < self.rows { Ok(()) } else { self.next_batch() }
    }

    fn next_batch(&mut self) -> Result<(), LakeError> {
        (self.place, self.rows) = (0, 0);
        self.columns.clear();
        while self.rows == 0 {
            let Some(batch) = self.reader.next_batch()? else { return Ok(()) };
            self.rows = batch.num_rows();
            let text = batch.columns().iter().map(|column| column.as_any().downcast_ref::<StringArray>().cloned());
            let columns: Option<Vec<StringArray>> = text.collect();
            self.columns = columns.filter(|columns| columns.len() == N).ok_or_else(|| LakeError::Damaged {
                path: self.reader.path().to_owned(),
                what: format!("it does not have {N} columns of text"),
            })?;
        }
        Ok(())
    }
}

/// Rows being gathered; all columns are text.
struct Rows {
    schema: SchemaRef,
    path: Utf8PathBuf,
    columns: Vec<StringBuilder>,
    rows: usize,
}

impl Rows {
    fn new(schema: SchemaRef, path: &Utf8Path) -> Self {
        let columns = schema.fields().iter().map(|_| StringBuilder::new()).collect();
        Self { schema, path: path.to_owned(), columns, rows: 0 }
    }

    fn len(&self) -> usize {
        self.rows
    }

    fn push(&mut self, row: &[Option<&str>]) {
        for (column, value) in self.columns.iter_mut().zip(row) {
            column.append_option(*value);
        }
        self.rows += 1;
    }

    fn take(&mut self) -> Result<RecordBatch, LakeError> {
        self.rows = 0;
        let columns = self.columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|source| arrow(&self.path, source))
    }
}

fn schema(columns: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>()))
}

fn arrow(path: &Utf8Path, source: ArrowError) -> LakeError {
    LakeError::Arrow { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    type World = BTreeMap<u8, u8>;

    /// What a plain map makes of the same nights.
    #[derive(Default)]
    struct Model {
        shown: BTreeMap<(String, u8), u8>,
        seen: BTreeMap<(String, u8), (String, String)>,
    }

    impl Model {
        fn night(
            &mut self,
            run: &str,
            name: &str,
            scope: Scope,
            world: &World,
        ) -> BTreeSet<(String, u8, &'static str)> {
            let mut changes = BTreeSet::new();
            for (id, hash) in world {
                let key = (name.to_owned(), *id);
                self.seen.entry(key.clone()).or_insert((run.into(), run.into())).1 = run.into();
                if scope != Scope::Unseen {
                    match self.shown.insert(key, *hash) {
                        None => changes.insert((name.to_owned(), *id, "added")),
                        Some(before) if before != *hash => changes.insert((name.to_owned(), *id, "changed")),
                        Some(_) => false,
                    };
                }
            }
            if scope == Scope::Whole {
                let gone: Vec<_> =
                    self.shown.keys().filter(|(of, id)| of == name && !world.contains_key(id)).cloned().collect();
                for key in gone {
                    self.shown.remove(&key);
                    changes.insert((key.0, key.1, "removed"));
                }
            }
            changes
        }
    }

    fn rows<const N: usize>(dir: &Utf8Path, files: &TableFiles) -> Vec<[Option<String>; N]> {
        let paths = files.files.iter().map(|file| dir.join(&file.name)).collect();
        let (mut cursor, mut rows) = (Cursor::<N>::open(paths, None).unwrap(), Vec::new());
        while let Some(row) = cursor.row() {
            rows.push(row.map(|value| value.map(ToOwned::to_owned)));
            cursor.advance().unwrap();
        }
        rows
    }

    fn id(number: u8) -> String {
        format!("id-{number:03}")
    }

    fn night() -> impl Strategy<Value = Vec<(&'static str, Scope, World)>> {
        let scope = prop::sample::select(vec![Scope::Whole, Scope::Part, Scope::Unseen]);
        let world = prop::collection::btree_map(0u8..12, 0u8..3, 0..10);
        let of = |name: &'static str| prop::option::of((Just(name), scope.clone(), world.clone()));
        (of("Endpoint"), of("Location"), of("Organization"))
            .prop_map(|(a, b, c)| [c, a, b].into_iter().flatten().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn nights_are_told_as_a_plain_map_tells_them(nights in prop::collection::vec(night(), 1..5)) {
            let dir = tempfile::tempdir().unwrap();
            let dir = Utf8Path::from_path(dir.path()).unwrap();
            let (mut model, mut before) = (Model::default(), Vec::new());
            for (number, types) in nights.iter().enumerate() {
                let run = format!("run-{number}");
                let (mut crawled, mut expected) = (Vec::new(), BTreeSet::new());
                for (name, scope, world) in types {
                    let mut index = IndexWriter::new(&dir.join(&run).join(name), None).unwrap();
                    // In the order of arrival, which is none.
                    let came: Vec<_> = world.iter().rev().collect();
                    let ids = came.iter().map(|(number, _)| Some(id(**number)));
                    let hashes = came.iter().map(|(_, hash)| Some(hash.to_string()));
                    index.write(StringArray::from_iter(ids), StringArray::from_iter(hashes)).unwrap();
                    let index = index.finish().unwrap();
                    crawled.push(CrawledType { resource_type: (*name).into(), scope: *scope, index });
                    expected.extend(model.night(&run, name, *scope, world));
                }
                let (changes, seen) = (dir.join(&run).join(CHANGES), dir.join(&run).join(SEEN));
                let output = Output { changes: &changes, seen: &seen, metadata: &[], key: None };
                let merged = merge(&run, before, crawled, output).unwrap();

                let found: Vec<[Option<String>; 4]> = rows(&changes, &merged.changes);
                let expected: Vec<_> = expected.into_iter().map(|(name, number, change)| (name, id(number), change.to_owned())).collect();
                let named: Vec<_> = found.iter().map(|[a, b, c, _]| (a.clone().unwrap(), b.clone().unwrap(), c.clone().unwrap())).collect();
                prop_assert_eq!(&named, &expected);
                let counted: u64 = merged.counts.iter().map(|one| one.added + one.changed + one.removed).sum();
                prop_assert_eq!(counted, expected.len() as u64);

                let found: Vec<[Option<String>; 5]> = rows(&seen, &merged.seen);
                let expected: Vec<_> = model.seen.iter().map(|((name, number), (first, last))| {
                    let hash = model.shown.get(&(name.clone(), *number)).map(ToString::to_string);
                    [Some(name.clone()), Some(id(*number)), hash, Some(first.clone()), Some(last.clone())]
                }).collect();
                prop_assert_eq!(found, expected);
                before = merged.seen.files.iter().map(|file| seen.join(&file.name)).collect();
            }
        }
    }
}
