//! One output file in any of the formats.

use std::{
    error::Error,
    fs::File,
    io::{self, BufWriter, Write},
};

use arrow::{csv, datatypes::SchemaRef, ipc::writer::FileWriter, json::LineDelimitedWriter, record_batch::RecordBatch};
use camino::{Utf8Path, Utf8PathBuf};
use fhirvest_jobs::{flatten::TableSink, run::Exit};
use fhirvest_lake::{LakeError, stream::ParquetStream};
use indicatif::ProgressBar;
use parquet::errors::ParquetError;

use super::plain::Plain;
use crate::{
    arguments::{Flatten, TableFormat},
    failure::Failure,
    output,
};

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
    Parquet(Box<ParquetStream<Out>>),
    Ndjson(LineDelimitedWriter<Out>, Plain),
    Csv(Box<csv::Writer<Out>>, Plain),
    Arrow(Box<FileWriter<Out>>),
}

/// One output file. It is written beside its place and moved there when it is whole.
pub(super) struct Sink {
    path: Utf8PathBuf,
    staged: Option<Staged>,
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
            TableFormat::Parquet => {
                let stream =
                    ParquetStream::new(out, schema.clone()).map_err(|error| Failure::new(Exit::Bug, &error))?;
                Writer::Parquet(Box::new(stream))
            }
            TableFormat::Ndjson => Writer::Ndjson(LineDelimitedWriter::new(out), Plain::new(schema, false)),
            TableFormat::Csv => {
                let plain = Plain::new(schema, true);
                let mut writer = csv::WriterBuilder::new().with_header(true).build(out);
                // A table without rows has its heading all the same.
                writer
                    .write(&RecordBatch::new_empty(plain.schema.clone()))
                    .map_err(|error| Failure::new(Exit::Usage, &error))?;
                Writer::Csv(Box::new(writer), plain)
            }
            TableFormat::Arrow => {
                let writer = FileWriter::try_new(out, schema).map_err(|error| Failure::new(Exit::Bug, &error))?;
                Writer::Arrow(Box::new(writer))
            }
        };
        Ok(Self { path, staged, writer, bar })
    }

    /// Whether texts may come as dictionaries: Parquet has its own of them.
    pub(super) fn takes_dictionaries(&self) -> bool {
        matches!(self.writer, Writer::Parquet(_))
    }

    pub(super) fn finish(self) -> Result<Utf8PathBuf, SinkError> {
        let Self { path, staged, writer, .. } = self;
        let arrow = |source| SinkError::Arrow { path: path.clone(), source };
        let file = |source| SinkError::File { path: path.clone(), source };
        let mut out = match writer {
            Writer::Parquet(writer) => {
                writer.finish().map_err(|source| SinkError::Parquet { path: path.clone(), source })?
            }
            Writer::Ndjson(mut writer, _) => {
                writer.finish().map_err(arrow)?;
                writer.into_inner()
            }
            Writer::Csv(writer, _) => writer.into_inner(),
            Writer::Arrow(mut writer) => {
                writer.finish().map_err(arrow)?;
                writer.into_inner().map_err(arrow)?
            }
        };
        out.flush().map_err(file)?;
        if let Some(staged) = &staged {
            std::fs::rename(&staged.0, &path).map_err(file)?;
        }
        Ok(path)
    }
}

impl TableSink for Sink {
    type Error = SinkError;

    fn write(&mut self, batch: &RecordBatch) -> Result<(), SinkError> {
        let path = &self.path;
        let arrow = |source| SinkError::Arrow { path: path.clone(), source };
        match &mut self.writer {
            Writer::Parquet(writer) => {
                writer.write(batch).map_err(|source| SinkError::Parquet { path: path.clone(), source })
            }
            Writer::Ndjson(writer, plain) => plain.batch(batch).and_then(|batch| writer.write(&batch)).map_err(arrow),
            Writer::Csv(writer, plain) => plain.batch(batch).and_then(|batch| writer.write(&batch)).map_err(arrow),
            Writer::Arrow(writer) => writer.write(batch).map_err(arrow),
        }?;
        self.bar.inc_length(batch.num_rows() as u64);
        Ok(())
    }
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
