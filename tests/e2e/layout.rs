//! How the Parquet files of a whole lake are laid out: what an analyst's engine may count on in every table.

use std::{collections::BTreeMap, fs::File, path::Path};

use arrow::{
    array::{Array, StringArray},
    datatypes::DataType,
};
use parquet::{
    arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::Compression,
    file::{
        metadata::{ColumnChunkMetaData, RowGroupMetaData},
        reader::{FileReader, SerializedFileReader},
    },
};

use crate::harness::Home;

/// Values of a row group, at most.
const GROUP_VALUES: i64 = 1 << 20;

/// Holds every file of every table that a view made to the promises; returns how many files there were.
pub(crate) fn check(home: &Home, lake: &str) -> usize {
    let files: Vec<String> =
        home.files(lake).into_iter().filter(|path| path.starts_with("tables/") && path.ends_with(".parquet")).collect();
    let of_views: Vec<&String> = files.iter().filter(|path| !path.starts_with("tables/_")).collect();
    of_views.iter().for_each(|path| file(&home.path(lake).join(path), path));
    assert_eq!(types_that_differ(home, lake), Vec::<String>::new());
    of_views.len()
}

fn file(path: &Path, name: &str) {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let metadata = reader.metadata();
    let file = metadata.file_metadata();
    let pairs: BTreeMap<&str, &str> = file
        .key_value_metadata()
        .unwrap()
        .iter()
        .filter_map(|pair| Some((pair.key.as_str(), pair.value.as_deref()?)))
        .collect();
    let table = name.split('/').nth(1).unwrap();
    let run = name.split("snapshot=").nth(1).unwrap().split('/').next().unwrap();
    assert_eq!((pairs["fhirvest.run"], pairs["fhirvest.view"]), (run, table), "{name}");
    assert_eq!(pairs["fhirvest.version"], env!("CARGO_PKG_VERSION"), "{name}");
    assert!(pairs["fhirvest.view_hash"].len() >= 32 && pairs.contains_key("fhirvest.api"), "{name}: {pairs:?}");
    assert_eq!(file.created_by().unwrap(), concat!("fhirvest ", env!("CARGO_PKG_VERSION")), "{name}");

    let columns: Vec<&str> =
        file.schema_descr().columns().iter().map(|column| column.path().parts()[0].as_str()).collect();
    let groups = metadata.row_groups();
    for group in groups {
        let whole = GROUP_VALUES / i64::try_from(columns.len()).unwrap();
        assert!(group.num_rows() > 0 && group.num_rows() <= whole, "{name}: {} rows", group.num_rows());
        sorted_by_the_key(group, name);
        group.columns().iter().zip(&columns).enumerate().for_each(|(place, (chunk, column))| {
            let what = format!("{name} {column}");
            self::chunk(chunk, place == 0 || *column == "npi", &what);
        });
    }
    let rows: i64 = groups.iter().map(RowGroupMetaData::num_rows).sum();
    assert_eq!(keys_in_order(path, name), usize::try_from(rows).unwrap(), "{name}");
}

fn sorted_by_the_key(group: &RowGroupMetaData, name: &str) {
    let sorted = group.sorting_columns().unwrap();
    assert_eq!((sorted.len(), sorted[0].column_idx, sorted[0].descending), (1, 0, false), "{name}");
}

fn chunk(chunk: &ColumnChunkMetaData, has_bloom: bool, what: &str) {
    assert!(matches!(chunk.compression(), Compression::ZSTD(_)), "{what}: {}", chunk.compression());
    assert!(chunk.column_index_offset().is_some() && chunk.offset_index_offset().is_some(), "{what}: no page index");
    let statistics = chunk.statistics().unwrap_or_else(|| panic!("{what}: no statistics"));
    let nulls = statistics.null_count_opt().unwrap();
    let values = u64::try_from(chunk.num_values()).unwrap();
    assert!(nulls == values || statistics.min_bytes_opt().is_some(), "{what}: no least value");
    // Booleans have none, in no writer.
    let can = chunk.column_type() != parquet::basic::Type::BOOLEAN;
    assert_eq!(chunk.dictionary_page_offset().is_some(), can, "{what}: dictionary");
    assert_eq!(chunk.bloom_filter_offset().is_some(), has_bloom, "{what}: bloom filter");
}

/// Reads the first column and returns its rows.
fn keys_in_order(path: &Path, name: &str) -> usize {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    assert_eq!(builder.schema().field(0).data_type(), &DataType::Utf8, "{name}: a key is text");
    let first = ProjectionMask::leaves(builder.parquet_schema(), [0]);
    let (mut rows, mut last) = (0, String::new());
    for batch in builder.with_projection(first).build().unwrap().map(Result::unwrap) {
        let keys = batch.column(0).as_any().downcast_ref::<StringArray>().unwrap().clone();
        for key in keys.iter() {
            let key = key.unwrap_or_else(|| panic!("{name}: a row without a key"));
            assert!(last.as_str() <= key, "{name}: {last} before {key}");
            key.clone_into(&mut last);
        }
        rows += keys.len();
    }
    rows
}

/// Columns of the lake's views that are not what `fhirvest views ddl` says. What DuckDB adds to a table is no column of it.
fn types_that_differ(home: &Home, lake: &str) -> Vec<String> {
    let ddl = home.run(&["views", "ddl"]).expect(0).stdout;
    let sql = format!(
        "CREATE SCHEMA said; SET schema = 'said'; {ddl}; SET schema = 'main';
         SELECT DISTINCT found.table_name || '.' || found.column_name || ' ' || found.data_type AS column
         FROM duckdb_columns() AS found JOIN duckdb_columns() AS said
           ON said.schema_name = 'said' AND said.table_name = found.table_name AND said.column_name = found.column_name
         WHERE found.schema_name NOT IN ('said', 'all', 'main') AND NOT found.internal AND found.data_type <> said.data_type
         UNION ALL
         SELECT 'nothing compared' WHERE NOT EXISTS (SELECT 1 FROM duckdb_columns() AS found JOIN duckdb_columns() AS said
           ON said.schema_name = 'said' AND said.table_name = found.table_name AND said.column_name = found.column_name
         WHERE found.schema_name NOT IN ('said', 'all', 'main'))"
    );
    home.duckdb_in(lake, &sql).iter().map(|row| row["column"].as_str().unwrap().to_owned()).collect()
}
