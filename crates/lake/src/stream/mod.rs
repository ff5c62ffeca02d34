//! Rows into one Parquet file in the order in which they come: the quickest small file there is to make. Texts are most of
//! what FHIR's tables hold, so their column chunks are encoded here, each value looked up once for as long as it recurs;
//! all other columns are the `parquet` crate's. What the lake keeps is written by [`table`](crate::table) instead: sorted,
//! with page indexes and bloom filters.

mod front;
mod hybrid;
mod text;

use std::io::Write;

use arrow::{
    array::{Array, ArrayRef, Int32DictionaryArray, cast::AsArray},
    datatypes::{DataType, SchemaRef},
    record_batch::RecordBatch,
};
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves},
    },
    basic::{Compression, ZstdLevel},
    errors::{ParquetError, Result},
    file::{
        properties::{EnabledStatistics, WriterProperties},
        writer::SerializedFileWriter,
    },
};
use zstd::bulk::Compressor;

use self::text::{Coding, TextColumn};

/// Values (rows times columns) of a row group, as in the lake.
const ROW_GROUP_VALUES: usize = 1 << 20;

/// The level of zstd: higher ones take longer than all the rest.
const LEVEL: i32 = 1;

/// A Parquet file being written.
pub struct ParquetStream<W: Write + Send> {
    file: SerializedFileWriter<W>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    compressor: Compressor<'static>,
    /// Of the row group that is being filled; empty before its first row.
    columns: Vec<Column>,
    /// Rows in it.
    rows: usize,
    most_rows: usize,
    /// For each column how its texts were kept at the end of the row group before.
    codings: Vec<Coding>,
}

enum Column {
    Text(Box<TextColumn>),
    Other(Box<ArrowColumnWriter>),
}

impl<W: Write + Send> ParquetStream<W> {
    /// Begins a file with a schema. Columns of type `Utf8` have dictionaries while their values recur; numbers, dates and
    /// times have the least and the greatest value of each row group, texts have not, since rows are not sorted.
    ///
    /// # Errors
    /// The schema holds what Parquet cannot, or the beginning cannot be written.
    pub fn new(out: W, schema: SchemaRef) -> Result<Self> {
        let columns = schema.fields().len();
        let properties = WriterProperties::builder()
            .set_created_by(concat!("fhirvest ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL)?))
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .build();
        let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties))?;
        let (file, factory) = writer.into_serialized_writer()?;
        let compressor = Compressor::new(LEVEL).map_err(failed)?;
        let most_rows = (ROW_GROUP_VALUES / columns.max(1)).max(1);
        Ok(Self {
            file,
            factory,
            schema,
            compressor,
            columns: Vec::new(),
            rows: 0,
            most_rows,
            codings: vec![Coding::default(); columns],
        })
    }

    /// Adds rows, which have the columns of the schema; texts may come as `Dictionary(Int32, Utf8)`.
    ///
    /// # Errors
    /// They have others, or cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_columns() != self.schema.fields().len() {
            return Err(ParquetError::General("the rows have other columns than the file".into()));
        }
        let mut begin = 0;
        while begin < batch.num_rows() {
            if self.columns.is_empty() {
                self.begin_row_group()?;
            }
            let length = (batch.num_rows() - begin).min(self.most_rows - self.rows);
            for (place, column) in self.columns.iter_mut().enumerate() {
                let array = batch.column(place).slice(begin, length);
                column.append(self.schema.field(place), &array, &mut self.compressor)?;
            }
            begin += length;
            self.rows += length;
            if self.rows >= self.most_rows {
                self.end_row_group()?;
            }
        }
        Ok(())
    }

    /// Ends the file; returns what it was written to.
    ///
    /// # Errors
    /// The end cannot be written.
    pub fn finish(mut self) -> Result<W> {
        self.end_row_group()?;
        self.file.into_inner()
    }

    fn begin_row_group(&mut self) -> Result<()> {
        let number = self.file.flushed_row_groups().len();
        let others = self.factory.create_column_writers(number)?;
        let leaves = self.file.schema_descr().columns();
        if others.len() != self.codings.len() || leaves.len() != self.codings.len() {
            return Err(ParquetError::NYI("a column of several leaves".into()));
        }
        let columns = others.into_iter().zip(leaves).zip(self.schema.fields()).zip(&self.codings);
        self.columns = columns
            .map(|(((other, leaf), field), coding)| match field.data_type() {
                DataType::Utf8 if field.is_nullable() => Column::Text(Box::new(TextColumn::new(leaf.clone(), *coding))),
                _ => Column::Other(Box::new(other)),
            })
            .collect();
        Ok(())
    }

    fn end_row_group(&mut self) -> Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for (column, coding) in self.columns.drain(..).zip(&mut self.codings) {
            match column {
                Column::Text(column) => {
                    let chunk = column.close(&mut self.compressor)?;
                    *coding = chunk.coding;
                    group.append_column(&chunk.bytes, chunk.closed)?;
                }
                Column::Other(column) => column.close()?.append_to_row_group(&mut group)?,
            }
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

impl Column {
    fn append(
        &mut self,
        field: &arrow::datatypes::Field,
        array: &ArrayRef,
        compressor: &mut Compressor<'static>,
    ) -> Result<()> {
        match self {
            Self::Text(column) => {
                match (array.as_string_opt(), array.as_any().downcast_ref::<Int32DictionaryArray>()) {
                    (Some(array), _) => column.append(array, compressor),
                    (None, Some(array)) => column.append_numbered(array, compressor),
                    (None, None) => {
                        Err(ParquetError::General(format!("the column `{}` does not hold texts", field.name())))
                    }
                }
            }
            Self::Other(column) => compute_leaves(field, array)?.iter().try_for_each(|leaf| column.write(leaf)),
        }
    }
}

/// An error of zstd's.
fn failed(error: std::io::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Int32Array, ListArray, StringArray},
        compute::{cast, concat_batches},
        datatypes::{Field, Int32Type, Schema},
    };
    use bytes::Bytes;
    use parquet::{
        arrow::arrow_reader::ParquetRecordBatchReaderBuilder,
        basic::Encoding,
        file::reader::{FileReader, SerializedFileReader},
    };
    use proptest::prelude::*;

    use super::*;

    fn schema() -> SchemaRef {
        let list = DataType::new_list(DataType::Int32, true);
        Arc::new(Schema::new(vec![
            Field::new("text", DataType::Utf8, true),
            Field::new("number", DataType::Int32, true),
            Field::new("list", list, true),
        ]))
    }

    fn batch(texts: &[Option<String>]) -> RecordBatch {
        let numbers: Int32Array = (0..i32::try_from(texts.len()).unwrap()).map(|n| (n % 3 > 0).then_some(n)).collect();
        let lists = texts.iter().map(|text| Some(text.iter().map(|text| Some(i32::try_from(text.len()).unwrap()))));
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
        let texts: StringArray = texts.iter().map(Option::as_deref).collect();
        RecordBatch::try_new(schema(), vec![Arc::new(texts), Arc::new(numbers), Arc::new(lists)]).unwrap()
    }

    fn written(batches: &[RecordBatch], most_rows: usize) -> Bytes {
        let mut stream = ParquetStream::new(Vec::new(), schema()).unwrap();
        stream.most_rows = most_rows;
        batches.iter().for_each(|batch| stream.write(batch).unwrap());
        stream.finish().unwrap().into()
    }

    fn read(file: Bytes) -> RecordBatch {
        let batches: Vec<_> =
            ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap).collect();
        concat_batches(&schema(), &batches).unwrap()
    }

    /// The same rows with a dictionary of their texts.
    fn numbered(batch: &RecordBatch) -> RecordBatch {
        let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let mut columns = batch.columns().to_vec();
        columns[0] = cast(&columns[0], &kind).unwrap();
        let mut fields = schema().fields().to_vec();
        fields[0] = Arc::new(Field::new("text", kind, true));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    /// Whether the row groups have a page of texts in an encoding.
    fn have(file: Bytes, encoding: Encoding) -> Vec<bool> {
        let reader = SerializedFileReader::new(file).unwrap();
        let groups = reader.metadata().row_groups().iter();
        groups.map(|group| group.column(0).encodings().any(|one| one == encoding)).collect()
    }

    /// Texts by kind: one value, few values in runs or in turn, a value for each row that is like the one before, many nulls, a
    /// value for each row that is not, only nulls, values of two rows each.
    fn texts(kind: u8, from: usize, count: usize) -> Vec<Option<String>> {
        let text = |row: usize| match kind {
            0 => Some("http://nucc.org/provider-taxonomy".to_owned()),
            1 => Some(format!("v{}", row / 37 % 5)),
            2 => Some(format!("ä{}", row * 7919 % 300)),
            3 => Some(format!("id-{row:08}")),
            4 => row.is_multiple_of(11).then(|| format!("v{}", row % 2)),
            5 => (row % 1000 > 500).then(|| "x".repeat(row % 40)),
            7 => Some(format!("{:x}", row.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            9 => Some(format!("role-{:08}", row / 2)),
            8 => (!row.is_multiple_of(7)).then(|| format!("a longer beginning than thirty-two bytes/{row}")),
            _ => None,
        };
        (from..from + count).map(text).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_read_is_what_was_written(
            parts in prop::collection::vec((0_u8..10, 1_usize..9000), 1..8),
            dictionaries in prop::sample::select(vec![0_usize, 1, 2]),
            most_rows in prop::sample::select(vec![1000_usize, 7001, 30_000, 100_000]),
        ) {
            let mut from = 0;
            let batches: Vec<RecordBatch> = parts.iter().map(|(kind, count)| {
                from += count;
                batch(&texts(*kind, from, *count))
            }).collect();
            let expected = concat_batches(&schema(), &batches).unwrap();
            // None of the batches has one, some have, all have.
            let mut batches = batches;
            if dictionaries > 0 {
                batches.iter_mut().step_by(3 - dictionaries).for_each(|batch| *batch = numbered(batch));
            }
            prop_assert_eq!(read(written(&batches, most_rows)), expected);
        }
    }

    #[test]
    fn texts_are_kept_by_how_they_recur() {
        use Encoding::{DELTA_BYTE_ARRAY, PLAIN, RLE_DICTIONARY};
        let several = |kind| (0..8).map(|part| batch(&texts(kind, part * 9000, 9000))).collect::<Vec<_>>();
        for (kind, expected) in [
            (0, vec![PLAIN, RLE_DICTIONARY]),
            (1, vec![PLAIN, RLE_DICTIONARY]),
            (2, vec![PLAIN, RLE_DICTIONARY]),
            (3, vec![DELTA_BYTE_ARRAY]),
            (4, vec![PLAIN, RLE_DICTIONARY]),
            (6, vec![PLAIN]),
            (7, vec![PLAIN]),
            (8, vec![DELTA_BYTE_ARRAY]),
            (9, vec![DELTA_BYTE_ARRAY]),
        ] {
            for batches in [several(kind), several(kind).iter().map(numbered).collect()] {
                let file = written(&batches, 40_000);
                for encoding in [PLAIN, RLE_DICTIONARY, DELTA_BYTE_ARRAY] {
                    assert_eq!(have(file.clone(), encoding), [expected.contains(&encoding); 2], "{kind} {encoding}");
                }
                assert_eq!(read(file), concat_batches(&schema(), &several(kind)).unwrap(), "{kind}");
            }
        }
        // Values that cease to recur in the middle of a row group.
        let batches: Vec<_> = several(1).into_iter().take(3).chain(several(3)).chain(several(3)).collect();
        let file = written(&batches, 150_000);
        assert_eq!(have(file.clone(), RLE_DICTIONARY), [true, false]);
        assert_eq!(have(file.clone(), DELTA_BYTE_ARRAY), [true, true]);
        assert_eq!(read(file), concat_batches(&schema(), &batches).unwrap());
        // Values that cease to be like the ones before.
        let batches: Vec<_> = several(3).into_iter().take(3).chain(several(7)).chain(several(7)).collect();
        let file = written(&batches, 90_000);
        assert_eq!(have(file.clone(), DELTA_BYTE_ARRAY), [true, false]);
        assert_eq!(read(file), concat_batches(&schema(), &batches).unwrap());
    }

    #[test]
    fn a_file_without_rows_has_its_columns() {
        let file = written(&[], 10);
        let schema = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().schema().clone();
        let expected = self::schema();
        assert_eq!(schema.fields(), expected.fields());
    }
}
