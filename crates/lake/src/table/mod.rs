//! Parquet files that DuckDB likes: rows sorted by the key, row groups of about a million values, zstd, dictionaries, a
//! page index, bloom filters on keys, and a word about where they come from.

mod parts;
mod read;
mod sort;

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use camino::{Utf8Path, Utf8PathBuf};

use crate::{durable, encryption::TableKey, error::LakeError};
use parts::Parts;
use sort::Sorter;

pub use read::TableReader;

/// What a table is.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// The columns that the rows are sorted by; ties stay in the order of their arrival.
    pub sort_by: Vec<String>,
    /// The columns with a bloom filter.
    pub bloom: Vec<String>,
    /// What every file says of itself.
    pub metadata: Vec<(String, String)>,
    /// What the files are encrypted with; they have no bloom filters then.
    pub key: Option<TableKey>,
}

/// How large things may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableOptions {
    /// Bytes of rows held before they are sorted and put aside on the disk.
    pub memory_budget: usize,
    /// Values (rows times columns) of a row group: large enough to scan fast, small enough to skip and to spread over
    /// threads.
    pub row_group_values: usize,
    /// Bytes after which a new file is begun.
    pub max_file_bytes: u64,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { memory_budget: 64 << 20, row_group_values: 1 << 20, max_file_bytes: 1 << 30 }
    }
}

/// One file of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFile {
    /// Its name in the table's folder: `part-00000.parquet`.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its BLAKE3 hash, in hexadecimal.
    pub blake3: String,
}

/// The files of a table; at least one, since a table without rows has its schema all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFiles {
    /// In the order of the key.
    pub files: Vec<TableFile>,
    /// Rows of all files.
    pub rows: u64,
}

/// Writes one table, sorted, with bounded memory.
#[derive(Debug)]
pub struct TableWriter {
    spec: TableSpec,
    options: TableOptions,
    dir: Utf8PathBuf,
    sorter: Sorter,
}

impl TableWriter {
    /// Begins a table in a folder of its own, which is made.
    ///
    /// # Errors
    /// The folder cannot be made, or a column to sort by is not there.
    pub fn new(spec: TableSpec, dir: &Utf8Path, options: TableOptions) -> Result<Self, LakeError> {
        durable::create_dir(dir)?;
        let sorter = Sorter::new(&spec, dir, options.memory_budget)?;
        Ok(Self { spec, options, dir: dir.to_owned(), sorter })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// The disk is full, or the batch has other columns.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        self.sorter.push(batch.clone())
    }

    /// Sorts what is left, writes the files and syncs them.
    ///
    /// # Errors
    /// The disk is full.
    pub fn finish(self) -> Result<TableFiles, LakeError> {
        let Self { spec, options, dir, sorter } = self;
        let mut parts = Parts::new(&spec, options, &dir);
        sorter.merge(|batch| parts.write(&batch))?;
        parts.finish()
    }
}

/// Writes a table whose rows come in the order of its key already, batch by batch until there is none.
///
/// # Errors
/// Of `next`, or the disk is full.
pub fn write_sorted(
    spec: &TableSpec,
    dir: &Utf8Path,
    options: TableOptions,
    mut next: impl FnMut() -> Result<Option<RecordBatch>, LakeError>,
) -> Result<TableFiles, LakeError> {
    durable::create_dir(dir)?;
    let mut parts = Parts::new(spec, options, dir);
    while let Some(batch) = next()? {
        parts.write(&batch)?;
    }
    parts.finish()
}

#[cfg(test)]
mod tests {
    use std::{fs::File, sync::Arc};

    use arrow::{
        array::{ArrayRef, Int64Array, StringArray},
        compute::concat_batches,
        datatypes::{DataType, Field, Schema},
    };
    use parquet::{
        arrow::arrow_reader::ParquetRecordBatchReaderBuilder,
        basic::Compression,
        file::reader::{FileReader, SerializedFileReader},
    };
    use proptest::prelude::*;

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, true), Field::new("n", DataType::Int64, true)]))
    }

    fn spec() -> TableSpec {
        TableSpec {
            name: "t".into(),
            schema: schema(),
            sort_by: vec!["id".into()],
            bloom: vec!["id".into()],
            metadata: vec![("fhirvest.run".into(), "r".into())],
            key: None,
        }
    }

    fn batch(rows: &[(Option<String>, i64)]) -> RecordBatch {
        let ids: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|(id, _)| id.as_deref())));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, n)| *n)));
        RecordBatch::try_new(schema(), vec![ids, numbers]).unwrap()
    }

    fn read(dir: &Utf8Path, files: &TableFiles) -> Vec<(Option<String>, i64)> {
        let mut rows = Vec::new();
        for file in &files.files {
            let file = File::open(dir.join(&file.name)).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
            let batches: Vec<_> = reader.map(Result::unwrap).collect();
            let all = concat_batches(&schema(), &batches).unwrap();
            let ids = all.column(0).as_any().downcast_ref::<StringArray>().unwrap().clone();
            let numbers = all.column(1).as_any().downcast_ref::<Int64Array>().unwrap().clone();
            rows.extend(ids.iter().map(|id| id.map(ToOwned::to_owned)).zip(numbers.values().iter().copied()));
        }
        rows
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn rows_come_back_in_a_stable_order_whatever_the_memory(
            batches in prop::collection::vec(prop::collection::vec((prop::option::of("[a-c]{0,2}"), any::<i64>()), 0..20), 0..12),
            memory_budget in 1usize..4000,
            max_file_bytes in prop::sample::select(vec![1u64, 1 << 30]),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let dir = Utf8PathBuf::from_path_buf(dir.path().join("t")).unwrap();
            let options = TableOptions { memory_budget, row_group_values: 16, max_file_bytes };
            let mut writer = TableWriter::new(spec(), &dir, options).unwrap();
            let mut expected = Vec::new();
            for rows in &batches {
                writer.write(&batch(rows)).unwrap();
                expected.extend(rows.iter().cloned());
            }
            let files = writer.finish().unwrap();
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(files.rows, expected.len() as u64);
            prop_assert_eq!(files.rows, files.files.iter().map(|file| file.rows).sum::<u64>());
            prop_assert_eq!(read(&dir, &files), expected);
            let left: Vec<_> = dir.read_dir_utf8().unwrap().map(|entry| entry.unwrap().file_name().to_owned()).collect();
            prop_assert_eq!(left.len(), files.files.len(), "nothing but the parts is left: {:?}", left);
        }
    }

    #[test]
    fn the_layout_is_what_duckdb_likes() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(dir.path().join("t")).unwrap();
        let options = TableOptions { row_group_values: 2000, ..TableOptions::default() };
        let mut writer = TableWriter::new(spec(), &dir, options).unwrap();
        let rows: Vec<_> = (0..2500).map(|n| (Some(format!("{:05}", 2500 - n)), n)).collect();
        writer.write(&batch(&rows)).unwrap();
        let files = writer.finish().unwrap();
        assert_eq!((files.files.len(), files.files[0].name.as_str()), (1, "part-00000.parquet"));
        let reader = SerializedFileReader::new(File::open(dir.join("part-00000.parquet")).unwrap()).unwrap();
        let metadata = reader.metadata();
        let pairs = metadata.file_metadata().key_value_metadata().unwrap();
        assert!(pairs.iter().any(|pair| pair.key == "fhirvest.run" && pair.value.as_deref() == Some("r")));
        assert!(metadata.file_metadata().created_by().unwrap().starts_with("fhirvest"));
        assert_eq!(
            metadata.row_groups().iter().map(|group| group.num_rows()).collect::<Vec<_>>(),
            vec![1000, 1000, 500]
        );
        let group = metadata.row_group(0);
        assert_eq!(group.sorting_columns().unwrap()[0].column_idx, 0);
        let id = group.column(0);
        assert!(matches!(id.compression(), Compression::ZSTD(_)));
        assert!(id.bloom_filter_offset().is_some() && group.column(1).bloom_filter_offset().is_none());
        assert!(id.column_index_offset().is_some() && id.offset_index_offset().is_some());
        assert!(id.dictionary_page_offset().is_some() && id.statistics().is_some());
    }

    #[test]
    fn a_table_without_rows_has_its_schema() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(dir.path().join("t")).unwrap();
        let files = TableWriter::new(spec(), &dir, TableOptions::default()).unwrap().finish().unwrap();
        assert_eq!((files.rows, files.files.len()), (0, 1));
        let file = File::open(dir.join(&files.files[0].name)).unwrap();
        let read = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        assert_eq!(read.schema().fields().len(), 2);
    }
}
