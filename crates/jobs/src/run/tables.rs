//! From the archive of a run to staged tables.

use arrow::record_batch::RecordBatch;
use camino::Utf8Path;
use fhirvest_flattener::{Table, TableCounts};
use fhirvest_lake::{
    Lake, LakeError,
    table::{TableFiles, TableOptions, TableSpec, TableWriter},
};

use super::report::NamedFailure;
use crate::{
    flatten::{self, FlattenError, Route, TableSink},
    ledger::LedgerError,
    views::{TableShape, ViewSet},
};

/// Memory for rows that wait to be sorted, over all tables together.
const SORT_MEMORY: usize = 192 << 20;

/// A table whose files are staged.
#[derive(Debug)]
pub(super) struct StagedTable {
    /// Its name.
    pub(super) name: String,
    /// Its files.
    pub(super) files: TableFiles,
    /// What became of the resources read for it.
    pub(super) counts: TableCounts,
}

/// What is needed to flatten a run.
#[derive(Debug)]
pub(super) struct Flattening<'a> {
    /// The lake.
    pub(super) lake: &'a Lake,
    /// The source's name.
    pub(super) source: &'a str,
    /// The run whose archive is read.
    pub(super) run: &'a str,
    /// Where the tables are staged.
    pub(super) staging: &'a Utf8Path,
    /// The compiled views.
    pub(super) views: &'a ViewSet,
    /// What every Parquet file of the run says of itself.
    pub(super) metadata: &'a [(String, String)],
}

/// Reading the archive or writing tables failed: exit code 6.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Flattening<'_> {
    /// Makes the named tables from the archive files of `types`, each sorted by its key, and the reasons of the first
    /// failures.
    ///
    /// # Errors
    /// The archive cannot be read or a table not be written.
    pub(super) fn tables(
        &self,
        tables: &[&TableShape],
        types: &[String],
    ) -> Result<(Vec<StagedTable>, Vec<NamedFailure>), FlattenError<StoreError>> {
        if tables.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let share = SORT_MEMORY / tables.len().max(1);
        let mut writers = Vec::with_capacity(tables.len());
        for shape in tables {
            let folder = self.staging.join(&shape.name);
            let options = TableOptions { memory_budget: share, ..TableOptions::default() };
            writers.push(TableWriter::new(self.spec(shape), &folder, options).map_err(lake)?);
        }
        let (counts, failures) =
            archive_into(self.lake, self.source, self.run, self.views, tables, types, &mut writers)?;
        let mut finished = Vec::new();
        for ((shape, writer), counts) in tables.iter().zip(writers).zip(counts) {
            let files = writer.finish().map_err(lake)?;
            finished.push(StagedTable { name: shape.name.clone(), files, counts });
        }
        Ok((finished, failures))
    }

    fn spec(&self, shape: &TableShape) -> TableSpec {
        // The first column is the key; a child table begins with its parent's key and the element's index.
        let columns: Vec<&str> = shape.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let key = columns.first().map(|name| (*name).to_owned());
        let bloom = columns.iter().filter(|name| Some(**name) == key.as_deref() || **name == "npi");
        let mut metadata = self.metadata.to_vec();
        metadata.push(("fhirvest.view".into(), shape.name.clone()));
        metadata.push(("fhirvest.view_hash".into(), shape.view_hash.clone()));
        TableSpec {
            name: shape.name.clone(),
            schema: shape.schema.clone(),
            bloom: bloom.map(|name| (*name).to_owned()).collect(),
            sort_by: key.into_iter().collect(),
            metadata,
            key: self.lake.key().cloned(),
        }
    }
}

/// Sends the rows that the named tables get from the archive files of `types` to their sinks, which stand in the order of
/// the tables; gives what became of the resources, by table, and the reasons of the first failures.
///
/// # Errors
/// The archive cannot be read or a sink fails.
pub(crate) fn archive_into<S: TableSink<Error = StoreError>>(
    lake: &Lake,
    source: &str,
    run: &str,
    views: &ViewSet,
    tables: &[&TableShape],
    types: &[String],
    sinks: &mut [S],
) -> Result<(Vec<TableCounts>, Vec<NamedFailure>), FlattenError<StoreError>> {
    let mut counts = vec![TableCounts::default(); tables.len()];
    let mut failures = Vec::new();
    for (number, plan) in views.plans.iter().enumerate() {
        let path = lake.archive_dir(source, run).join(format!("{}.ndjson.zst", plan.resource_type()));
        let feeds_any = tables.iter().any(|shape| shape.feeds.iter().any(|feed| feed.plan == number));
        if !feeds_any || !types.iter().any(|one| one == plan.resource_type()) || !path.exists() {
            continue;
        }
        let read = super::archived::blocks(lake, source, run, plan.resource_type()).map_err(FlattenError::Store)?;
        let place = |table: &Table| tables.iter().position(|shape| shape.name == table.name);
        let of_plan: Vec<Option<usize>> = plan.tables().iter().map(place).collect();
        let route = Route { plan, sinks: of_plan.clone(), dictionaries: false };
        let done = flatten::flatten(&[route], sinks, flatten::cores(), read, |_, _, _| Ok(()))?;
        for (place, more) in of_plan.iter().zip(done.counts.into_iter().flatten()) {
            if let Some(sum) = place.and_then(|place| counts.get_mut(place)) {
                *sum = flatten::sum([std::mem::take(sum), more]);
            }
        }
        let room = flatten::FAILURES_KEPT.saturating_sub(failures.len());
        let named = done.failures.into_iter().take(room);
        failures.extend(named.map(|(_, failure)| NamedFailure::new(failure, plan.resource_type(), plan.tables())));
    }
    Ok((counts, failures))
}

impl TableSink for TableWriter {
    type Error = StoreError;

    fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        Ok(TableWriter::write(self, batch)?)
    }
}

fn lake(error: LakeError) -> FlattenError<StoreError> {
    FlattenError::Store(StoreError::Lake(error))
}
