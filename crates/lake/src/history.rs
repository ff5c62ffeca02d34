//! What was crawled, as tables: `_runs` has one row a run, `_resources` one row a resource type and run.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt8Array,
        UInt64Array,
    },
    datatypes::{DataType, Field, Schema, TimeUnit},
    error::ArrowError,
};
use chrono::{DateTime, Utc};

use crate::{
    durable,
    error::LakeError,
    layout::Lake,
    table::{TableFiles, TableOptions, TableSpec, TableWriter},
};

/// The table of runs.
pub const RUNS: &str = "_runs";
/// The table of resource types and runs.
pub const RESOURCES: &str = "_resources";

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Its id.
    pub run: String,
    /// The run whose archive it flattened: itself, or the one that was run again.
    pub archive_run: String,
    /// The job.
    pub job: String,
    /// The environment.
    pub environment: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// How it ended; the contract's exit codes.
    pub exit_code: u8,
    /// The version of the program.
    pub fhirvest_version: String,
}

/// One resource type of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceRow {
    /// The run's id.
    pub run: String,
    /// The type.
    pub resource_type: String,
    /// How it was enumerated.
    pub strategy: String,
    /// What it came to.
    pub status: String,
    /// The ending that decided.
    pub ended_by: Option<String>,
    /// Whether its partitions together hold everything by construction.
    pub partition_closed: bool,
    /// Pages.
    pub pages: u64,
    /// Entries with a resource.
    pub received: u64,
    /// Ids.
    pub unique_ids: u64,
    /// Received again with the same content.
    pub duplicates: u64,
    /// Received again with other content.
    pub variants: u64,
    /// Not usable.
    pub quarantined: u64,
    /// The server's own count.
    pub server_total: Option<u64>,
    /// Ids as a share of the server's count.
    pub coverage: Option<f64>,
}

/// Stages the history of a run: one row of [`RUNS`], and the rows of [`RESOURCES`] where anything was crawled. Returns
/// the tables with their files.
///
/// # Errors
/// The lake cannot be written.
pub fn stage_history(
    lake: &Lake,
    run: &RunRow,
    resources: &[ResourceRow],
) -> Result<Vec<(&'static str, TableFiles)>, LakeError> {
    let arrow = |error| LakeError::Arrow { path: lake.run_dir(&run.run), source: error };
    let mut staged = vec![(RUNS, stage(lake, RUNS, &run.run, &runs(run).map_err(arrow)?)?)];
    if !resources.is_empty() {
        staged.push((RESOURCES, stage(lake, RESOURCES, &run.run, &rows(resources).map_err(arrow)?)?));
    }
    Ok(staged)
}

fn stage(lake: &Lake, table: &str, run: &str, batch: &RecordBatch) -> Result<TableFiles, LakeError> {
    let staged = lake.staged_dir(run, table);
    durable::remove_dir(&staged)?;
    let spec = TableSpec {
        name: table.to_owned(),
        schema: batch.schema(),
        sort_by: vec!["run".into()],
        bloom: Vec::new(),
        metadata: vec![("fhirvest.run".into(), run.to_owned())],
        key: lake.key().cloned(),
    };
    let mut writer = TableWriter::new(spec, &staged, TableOptions::default())?;
    writer.write(batch)?;
    writer.finish()
}

fn text<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(StringArray::from_iter(values))
}

fn time(value: DateTime<Utc>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![value.timestamp_micros()]).with_timezone("UTC"))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, ArrowError> {
    let field = |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect())
}

fn runs(run: &RunRow) -> Result<RecordBatch, ArrowError> {
    let one = |value: &str| text([Some(value)].into_iter());
    debug_assert_eq!(*time(run.started_at).data_type(), DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
    batch(vec![
        ("run", one(&run.run)),
        ("archive_run", one(&run.archive_run)),
        ("job", one(&run.job)),
        ("environment", one(&run.environment)),
        ("started_at", time(run.started_at)),
        ("finished_at", time(run.finished_at)),
        ("exit_code", Arc::new(UInt8Array::from(vec![run.exit_code]))),
        ("fhirvest_version", one(&run.fhirvest_version)),
    ])
}

fn rows(rows: &[ResourceRow]) -> Result<RecordBatch, ArrowError> {
    let count = |value: fn(&ResourceRow) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(value)))
    };
    batch(vec![
        ("run", text(rows.iter().map(|row| Some(row.run.as_str())))),
        ("resource_type", text(rows.iter().map(|row| Some(row.resource_type.as_str())))),
        ("strategy", text(rows.iter().map(|row| Some(row.strategy.as_str())))),
        ("status", text(rows.iter().map(|row| Some(row.status.as_str())))),
        ("ended_by", text(rows.iter().map(|row| row.ended_by.as_deref()))),
        ("partition_closed", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.partition_closed))))),
        ("pages", count(|row| row.pages)),
        ("received", count(|row| row.received)),
        ("unique_ids", count(|row| row.unique_ids)),
        ("duplicates", count(|row| row.duplicates)),
        ("variants", count(|row| row.variants)),
        ("quarantined", count(|row| row.quarantined)),
        ("server_total", Arc::new(UInt64Array::from_iter(rows.iter().map(|row| row.server_total)))),
        ("coverage", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.coverage)))),
    ])
}
