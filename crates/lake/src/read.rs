//! Reading published tables again: what their files say of themselves, and single columns batch by batch.

use std::fs::File;

use arrow::record_batch::RecordBatch;
use camino::{Utf8Path, Utf8PathBuf};
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};

use crate::{
    encryption::{self, TableKey},
    error::LakeError,
};

/// Rows of one batch.
const BATCH: usize = 8_192;

/// A column of a table, as its files count it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnNulls {
    /// The column.
    pub column: String,
    /// Its rows without a value.
    pub nulls: u64,
}

/// The Parquet files of a folder, in the order of their names; none where there is no such folder.
///
/// # Errors
/// The folder cannot be read.
pub fn files(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>, LakeError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let failed = |source| LakeError::io("read the folder", folder, source);
    let mut found = Vec::new();
    for entry in folder.read_dir_utf8().map_err(failed)? {
        let path = entry.map_err(failed)?.into_path();
        if path.extension() == Some("parquet") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// How many rows of each column have no value, from the files' statistics; a column without them is left out.
///
/// # Errors
/// A file cannot be read, or not with this key.
pub fn nulls(files: &[Utf8PathBuf], key: Option<&TableKey>) -> Result<Vec<ColumnNulls>, LakeError> {
    let mut all: Vec<(String, Option<u64>)> = Vec::new();
    for path in files {
        let reader = open(path, key)?;
        for group in reader.metadata().row_groups() {
            for (place, column) in group.columns().iter().enumerate() {
                let nulls = column.statistics().and_then(|statistics| statistics.null_count_opt());
                match all.get_mut(place) {
                    Some((_, sum)) => *sum = sum.zip(nulls).map(|(sum, nulls)| sum + nulls),
                    None => all.push((column.column_path().string(), nulls)),
                }
            }
        }
    }
    Ok(all.into_iter().filter_map(|(column, nulls)| Some(ColumnNulls { column, nulls: nulls? })).collect())
}

/// The names of a table's columns.
///
/// # Errors
/// The file cannot be read.
pub fn columns(path: &Utf8Path, key: Option<&TableKey>) -> Result<Vec<String>, LakeError> {
    Ok(open(path, key)?.schema().fields().iter().map(|field| field.name().clone()).collect())
}

/// Hands some columns of a table to `each`, batch by batch, in the order of the rows.
///
/// # Errors
/// A file cannot be read.
pub fn scan(
    files: &[Utf8PathBuf],
    key: Option<&TableKey>,
    columns: &[&str],
    mut each: impl FnMut(&RecordBatch),
) -> Result<(), LakeError> {
    for path in files {
        let builder = open(path, key)?.with_batch_size(BATCH);
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let failed = |error: String| LakeError::io("read", path, std::io::Error::other(error));
        for batch in builder.with_projection(mask).build().map_err(|error| failed(error.to_string()))? {
            each(&batch.map_err(|error| failed(error.to_string()))?);
        }
    }
    Ok(())
}

fn open(path: &Utf8Path, key: Option<&TableKey>) -> Result<ParquetRecordBatchReaderBuilder<File>, LakeError> {
    let failed = |source| LakeError::io("read", path, source);
    let file = File::open(path).map_err(failed)?;
    encryption::reading(key)
        .and_then(|options| ParquetRecordBatchReaderBuilder::try_new_with_options(file, options))
        .map_err(|error| failed(std::io::Error::other(error.to_string())))
}
