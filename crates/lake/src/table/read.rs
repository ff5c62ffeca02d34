//! Reading a table back, a batch at a time.

use std::{collections::VecDeque, fs::File};

use arrow::record_batch::RecordBatch;
use camino::{Utf8Path, Utf8PathBuf};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::{
    encryption::{self, TableKey},
    error::LakeError,
};

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// Reads the files of a table, one after the other.
#[derive(Debug)]
pub struct TableReader {
    waiting: VecDeque<Utf8PathBuf>,
    key: Option<TableKey>,
    path: Utf8PathBuf,
    open: Option<ParquetRecordBatchReader>,
}

impl TableReader {
    /// A reader of these files, in their order, with the key that they are encrypted with; no file gives no rows.
    #[must_use]
    pub fn new(files: Vec<Utf8PathBuf>, key: Option<TableKey>) -> Self {
        Self { waiting: files.into(), key, path: Utf8PathBuf::new(), open: None }
    }

    /// The file being read.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The next rows; none at the end.
    ///
    /// # Errors
    /// A file is not there, or is damaged.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>, LakeError> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(batch) = open.next() {
                    let damaged = |error| LakeError::Damaged { path: self.path.clone(), what: format!("{error}") };
                    return batch.map(Some).map_err(damaged);
                }
                self.open = None;
            }
            let Some(path) = self.waiting.pop_front() else { return Ok(None) };
            self.path = path;
            let file = File::open(&self.path).map_err(|source| LakeError::io("open", &self.path, source))?;
            let opened = encryption::reading(self.key.as_ref())
                .and_then(|options| ParquetRecordBatchReaderBuilder::try_new_with_options(file, options))
                .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build());
            let damaged = |error| LakeError::Damaged { path: self.path.clone(), what: format!("{error}") };
            self.open = Some(opened.map_err(damaged)?);
        }
    }
}
