//! The files of a table, one after the other.

use std::fs::File;

use arrow::record_batch::RecordBatch;
use camino::{Utf8Path, Utf8PathBuf};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};

use super::{TableFile, TableFiles, TableOptions, TableSpec};
use crate::{durable, error::LakeError};

/// A row group that reaches this many bytes ends even if it has fewer values than asked for.
const ROW_GROUP_BYTES: usize = 128 << 20;

pub(super) struct Parts<'a> {
    spec: &'a TableSpec,
    options: TableOptions,
    dir: &'a Utf8Path,
    open: Option<(Utf8PathBuf, ArrowWriter<File>, u64)>,
    files: Vec<TableFile>,
}

impl<'a> Parts<'a> {
    pub(super) fn new(spec: &'a TableSpec, options: TableOptions, dir: &'a Utf8Path) -> Self {
        Self { spec, options, dir, open: None, files: Vec::new() }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        if self.open.is_none() {
            self.open = Some(self.begin()?);
        }
        let Some((path, writer, rows)) = &mut self.open else { return Ok(()) };
        let failed = |source| LakeError::Parquet { path: path.clone(), source };
        writer.write(batch).map_err(failed)?;
        *rows += batch.num_rows() as u64;
        if writer.in_progress_size() >= ROW_GROUP_BYTES {
            writer.flush().map_err(failed)?;
        }
        if (writer.bytes_written() + writer.in_progress_size()) as u64 >= self.options.max_file_bytes {
            self.end()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<TableFiles, LakeError> {
        if self.files.is_empty() && self.open.is_none() {
            self.open = Some(self.begin()?);
        }
        self.end()?;
        durable::sync_dir(self.dir)?;
        let rows = self.files.iter().map(|file| file.rows).sum();
        Ok(TableFiles { files: self.files, rows })
    }

    fn begin(&self) -> Result<(Utf8PathBuf, ArrowWriter<File>, u64), LakeError> {
        let path = self.dir.join(format!("part-{:05}.parquet", self.files.len()));
        let file = durable::create_file(&path)?;
        let writer = self
            .properties()
            .and_then(|properties| ArrowWriter::try_new(file, self.spec.schema.clone(), Some(properties)));
        writer.map(|writer| (path.clone(), writer, 0)).map_err(|source| LakeError::Parquet { path, source })
    }

    fn properties(&self) -> Result<WriterProperties, ParquetError> {
        let columns = self.spec.schema.fields().len().max(1);
        let rows = (self.options.row_group_values / columns).max(1);
        let metadata =
            self.spec.metadata.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
        let sorted = self.spec.sort_by.iter().filter_map(|name| self.spec.schema.index_of(name).ok());
        let sorted = sorted.filter_map(|place| {
            let column_idx = i32::try_from(place).ok()?;
            Some(SortingColumn { column_idx, descending: false, nulls_first: true })
        });
        let mut builder = WriterProperties::builder()
            .set_created_by(concat!("fhirvest ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_dictionary_enabled(true)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_max_row_group_row_count(Some(rows))
            .set_sorting_columns(Some(sorted.collect()))
            .set_key_value_metadata(Some(metadata));
        for name in self.spec.bloom.iter().filter(|_| self.spec.key.is_none()) {
            builder = builder.set_column_bloom_filter_enabled(ColumnPath::from(name.as_str()), true);
        }
        if let Some(key) = &self.spec.key {
            builder = key.encrypt(builder)?;
        }
        Ok(builder.build())
    }

    fn end(&mut self) -> Result<(), LakeError> {
        let Some((path, writer, rows)) = self.open.take() else { return Ok(()) };
        let file = writer.into_inner().map_err(|source| LakeError::Parquet { path: path.clone(), source })?;
        file.sync_all().map_err(|source| LakeError::io("sync", &path, source))?;
        let (bytes, blake3) = durable::hash_file(&path)?;
        let name = path.file_name().unwrap_or_default().to_owned();
        self.files.push(TableFile { name, rows, bytes, blake3 });
        Ok(())
    }
}
