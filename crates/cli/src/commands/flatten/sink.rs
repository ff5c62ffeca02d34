//! One output file in any of the formats.

use std::{
    collections::HashSet,
    error::Error,
    fs::File,
    io::{self, BufWriter, Write},
};

use arrow::{
    array::{Array, cast::AsArray},
    csv,
    datatypes::DataType,
    datatypes::SchemaRef,
    ipc::writer::FileWriter,
    json::LineDelimitedWriter,
    record_batch::RecordBatch,
};
use camino::{Utf8Path, Utf8PathBuf};
use fhirvest_jobs::{flatten::TableSink, run::Exit};
use fhirvest_lake::LakeError;
use indicatif::ProgressBar;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
    schema::types::ColumnPath,
};

use crate::{
    arguments::{Flatten, TableFormat},
    failure::Failure,
    output,
};

/// Values (rows times columns) of a Parquet row group, as in the lake.
const ROW_GROUP_VALUES: usize = 1 << 20;

/// Reading the input or writing the output failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkError {
    #[error(transparent)]
    Input(#[from] LakeError),
    #[error("{path} cannot be written")]
    Arrow { path: Utf8PathBuf, source: arrow::error::ArrowError },
    #[error("{path} cannot be written")]
    Parquet { path: Utf8PathBuf, source: ParquetError },
    #[error("{path} cannot be written")]
    File { path: Utf8PathBuf, source: io::Error },
}

impl SinkError {
    /// Whether the reader of standard output has gone (`| head`), which is no error.
    pub(super) fn is_broken_pipe(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

type Out = BufWriter<Box<dyn Write + Send>>;

enum Writer {
    /// Nothing was written yet: the first rows tell which columns want a dictionary.
    Waiting(Option<Out>),
    Parquet(Box<ArrowWriter<Out>>),
    Ndjson(LineDelimitedWriter<Out>),
    Csv(Box<csv::Writer<Out>>),
    Arrow(Box<FileWriter<Out>>),
}

/// One output file. It is written beside its place and moved there when it is whole.
pub(super) struct Sink {
    path: Utf8PathBuf,
    staged: Option<Staged>,
    schema: SchemaRef,
    writer: Writer,
    bar: ProgressBar,
}

/// A file that is not whole yet; dropped, it is removed.
struct Staged(Utf8PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // Moved to its place, it is not here any more.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Sink {
    pub(super) fn open(
        table: &str,
        schema: &SchemaRef,
        arguments: &Flatten,
        several: bool,
        bar: ProgressBar,
    ) -> Result<Self, Failure> {
        let output = &arguments.output;
        let format = match (arguments.format, several) {
            (Some(format), _) => format,
            (None, true) => TableFormat::Parquet,
            (None, false) => by_name(output)?,
        };
        let (path, staged, out): (_, _, Box<dyn Write + Send>) = if output == "-" {
            if several {
                return Err(Failure::usage("several tables can't share standard output: name a folder with --output"));
            }
            (output.clone(), None, Box::new(io::stdout()))
        } else {
            let path =
                if several { output.join(format!("{table}.{}", output::word_of(format))) } else { output.clone() };
            let folder = path.parent().filter(|folder| !folder.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
            let cannot = |error: io::Error| Failure::io(format!("{path} cannot be written"), &error);
            std::fs::create_dir_all(folder).map_err(cannot)?;
            let staged = Staged(folder.join(format!(".{}.part", path.file_name().unwrap_or(table))));
            let file = File::create(&staged.0).map_err(cannot)?;
            (path.clone(), Some(staged), Box::new(file))
        };
        let out = BufWriter::with_capacity(1 << 20, out);
        let writer = match format {
            TableFormat::Parquet => Writer::Waiting(Some(out)),
            TableFormat::Ndjson => Writer::Ndjson(LineDelimitedWriter::new(out)),
            TableFormat::Csv => {
                let mut writer = csv::WriterBuilder::new().with_header(true).build(out);
                // A table without rows has its heading all the same.
                writer
                    .write(&RecordBatch::new_empty(schema.clone()))
                    .map_err(|error| Failure::new(Exit::Usage, &error))?;
                Writer::Csv(Box::new(writer))
            }
            TableFormat::Arrow => {
                let writer = FileWriter::try_new(out, schema).map_err(|error| Failure::new(Exit::Bug, &error))?;
                Writer::Arrow(Box::new(writer))
            }
        };
        Ok(Self { path, staged, schema: schema.clone(), writer, bar })
    }

    /// Begins the Parquet file, where that is what is written and it is not begun.
    fn begin(&mut self, first: &RecordBatch) -> Result<(), SinkError> {
        let Writer::Waiting(out) = &mut self.writer else { return Ok(()) };
        let Some(out) = out.take() else { return Ok(()) };
        let writer = properties(first)
            .and_then(|properties| ArrowWriter::try_new(out, self.schema.clone(), Some(properties)))
            .map_err(|source| SinkError::Parquet { path: self.path.clone(), source })?;
        self.writer = Writer::Parquet(Box::new(writer));
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Utf8PathBuf, SinkError> {
        self.begin(&RecordBatch::new_empty(self.schema.clone()))?;
        let Self { path, staged, writer, .. } = self;
        let arrow = |source| SinkError::Arrow { path: path.clone(), source };
        let file = |source| SinkError::File { path: path.clone(), source };
        let out = match writer {
            Writer::Waiting(out) => out,
            Writer::Parquet(writer) => {
                Some(writer.into_inner().map_err(|source| SinkError::Parquet { path: path.clone(), source })?)
            }
            Writer::Ndjson(mut writer) => {
                writer.finish().map_err(arrow)?;
                Some(writer.into_inner())
            }
            Writer::Csv(writer) => Some(writer.into_inner()),
            Writer::Arrow(mut writer) => {
                writer.finish().map_err(arrow)?;
                Some(writer.into_inner().map_err(arrow)?)
            }
        };
        if let Some(mut out) = out {
            out.flush().map_err(file)?;
        }
        if let Some(staged) = &staged {
            std::fs::rename(&staged.0, &path).map_err(file)?;
        }
        Ok(path)
    }
}

impl TableSink for Sink {
    type Error = SinkError;

    fn write(&mut self, batch: &RecordBatch) -> Result<(), SinkError> {
        self.begin(batch)?;
        let path = &self.path;
        let arrow = |source| SinkError::Arrow { path: path.clone(), source };
        match &mut self.writer {
            Writer::Parquet(writer) => {
                writer.write(batch).map_err(|source| SinkError::Parquet { path: path.clone(), source })
            }
            Writer::Ndjson(writer) => writer.write(batch).map_err(arrow),
            Writer::Csv(writer) => writer.write(batch).map_err(arrow),
            Writer::Arrow(writer) => writer.write(batch).map_err(arrow),
            Writer::Waiting(_) => Ok(()),
        }?;
        self.bar.inc_length(batch.num_rows() as u64);
        Ok(())
    }
}

/// zstd, and a dictionary for every column whose values recur: looking each up is what writing costs most, and where
/// nearly all are different it is in vain.
fn properties(first: &RecordBatch) -> Result<WriterProperties, ParquetError> {
    let columns = first.num_columns().max(1);
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("fhirvest ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some((ROW_GROUP_VALUES / columns).max(1)));
    for (field, column) in first.schema().fields().iter().zip(first.columns()) {
        if *field.data_type() != DataType::Utf8 {
            continue;
        }
        let texts = column.as_string::<i32>();
        let different: HashSet<&str> = texts.iter().flatten().collect();
        if different.len() > 16 && different.len() * 4 > (texts.len() - column.null_count()) * 3 {
            builder = builder.set_column_dictionary_enabled(ColumnPath::from(field.name().as_str()), false);
        }
    }
    Ok(builder.build())
}

fn by_name(output: &Utf8Path) -> Result<TableFormat, Failure> {
    match output.extension() {
        Some("parquet") => Ok(TableFormat::Parquet),
        Some("ndjson" | "jsonl") => Ok(TableFormat::Ndjson),
        Some("csv") => Ok(TableFormat::Csv),
        Some("arrow" | "arrows") => Ok(TableFormat::Arrow),
        _ => Err(Failure::usage(format!(
            "the output {output} does not tell its format: end it with .parquet, .ndjson, .csv or .arrow, or say --format"
        ))),
    }
}
