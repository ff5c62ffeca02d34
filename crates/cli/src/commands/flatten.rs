//! `fhirvest flatten`: files in, tables out, no lake.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
};

use arrow::{csv, datatypes::SchemaRef, ipc::writer::FileWriter, json::LineDelimitedWriter, record_batch::RecordBatch};
use camino::{Utf8Path, Utf8PathBuf};
use fhirvest_flattener::TableCounts;
use fhirvest_jobs::{
    flatten::{self, Block, FlattenError, Flattened},
    run::{Exit, RunError},
    views::ViewSet,
};
use fhirvest_lake::{LakeError, input::Input};
use indicatif::{ProgressBar, ProgressStyle};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use serde::Serialize;

use crate::{
    arguments::{Flatten, TableFormat},
    failure::Failure,
    output,
};

/// What became of the resources, for `--json`.
#[derive(Serialize)]
struct TableDone {
    table: String,
    output: String,
    rows: u64,
    flattened: u64,
    filtered: u64,
    failed: u64,
    misfits: u64,
}

pub(crate) fn flatten(arguments: &Flatten) -> Result<Exit, Failure> {
    let texts = arguments.view.iter().map(|path| super::views::read(path)).collect::<Result<Vec<_>, _>>()?;
    let set = ViewSet::compile(&texts).map_err(RunError::from)?;
    if set.plans.len() > 1 && arguments.input.iter().any(|path| path == "-") {
        return Err(Failure::usage(
            "standard input can be read once only, but the views are of several resource types: give files, or one view at a time",
        ));
    }
    let mut sinks = Vec::new();
    for shape in &set.tables {
        sinks.push(Sink::open(&shape.name, &shape.schema, arguments, set.tables.len() > 1)?);
    }
    let threads = arguments.threads.unwrap_or_else(flatten::cores);
    let mut done: Vec<TableCounts> = vec![TableCounts::default(); set.tables.len()];
    let mut unreadable = 0;
    for (number, plan) in set.plans.iter().enumerate() {
        let places: Vec<Option<usize>> = (0..plan.tables().len())
            .map(|table| {
                let feeds = |shape: &fhirvest_jobs::views::TableShape| {
                    shape.feeds.iter().any(|feed| feed.plan == number && feed.table == table)
                };
                set.tables.iter().position(feeds)
            })
            .collect();
        let mut reader = Reader::open(&arguments.input)?;
        let bar = reader.bar();
        let write = |batches: Vec<Option<RecordBatch>>| {
            for (place, batch) in places.iter().zip(batches) {
                if let (Some(sink), Some(batch)) = (place.and_then(|place| sinks.get_mut(place)), batch) {
                    sink.write(&batch)?;
                }
            }
            Ok(())
        };
        let flattened = flatten::flatten(plan, threads, || reader.next(), write).map_err(failed)?;
        bar.finish_and_clear();
        tell(&flattened, plan.resource_type(), &arguments.input);
        unreadable += if number == 0 { flattened.unreadable } else { 0 };
        for (place, counts) in places.iter().zip(flattened.counts) {
            if let Some(sum) = place.and_then(|place| done.get_mut(place)) {
                let both = [std::mem::take(sum), counts];
                *sum = flatten::sum(both);
            }
        }
    }
    let mut reports = Vec::new();
    for ((sink, shape), counts) in sinks.into_iter().zip(&set.tables).zip(done) {
        let path = sink.finish()?;
        reports.push(TableDone {
            table: shape.name.clone(),
            output: path.to_string(),
            rows: counts.rows,
            flattened: counts.flattened,
            filtered: counts.filtered,
            failed: counts.failed,
            misfits: counts.casts.iter().sum(),
        });
    }
    let whole = unreadable == 0 && reports.iter().all(|report| report.failed == 0);
    if arguments.json.json && arguments.output != "-" {
        output::json(&reports)?;
    } else {
        let rows = reports
            .into_iter()
            .map(|one| {
                let numbers =
                    [one.rows, one.flattened, one.filtered, one.failed, one.misfits].map(|number| number.to_string());
                std::iter::once(one.table).chain(numbers).chain([one.output]).collect()
            })
            .collect();
        output::say(&output::table(&["table", "rows", "flattened", "filtered", "failed", "misfits", "output"], rows));
    }
    if unreadable > 0 {
        output::say(&format!("{unreadable} lines are no readable resource"));
    }
    Ok(if whole { Exit::Done } else { Exit::Incomplete })
}

fn tell(flattened: &Flattened, resource_type: &str, inputs: &[Utf8PathBuf]) {
    for failure in flattened.failures.iter().take(5) {
        let input = inputs.get(failure.input).map_or("", |path| path.as_str());
        output::say(&format!("{input}: {resource_type} {}: {}", failure.line, failure.message));
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the argument of map_err")]
fn failed(error: FlattenError<SinkError>) -> Failure {
    let exit = if matches!(error, FlattenError::Store(_)) { Exit::Storage } else { Exit::Bug };
    Failure::new(exit, &error)
}

/// The inputs, one after the other, in blocks.
struct Reader {
    inputs: Vec<Utf8PathBuf>,
    place: usize,
    open: Option<Input>,
    line: u64,
    read: u64,
    bar: ProgressBar,
}

impl Reader {
    fn open(inputs: &[Utf8PathBuf]) -> Result<Self, Failure> {
        for path in inputs.iter().filter(|path| *path != "-") {
            if !path.exists() {
                return Err(Failure::usage(format!("the input {path} is not there")));
            }
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {decimal_bytes} read, {decimal_bytes_per_sec}, {elapsed}")
        {
            bar.set_style(style);
        }
        Ok(Self { inputs: inputs.to_vec(), place: 0, open: None, line: 0, read: 0, bar })
    }

    fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    fn next(&mut self) -> Result<Option<Block>, SinkError> {
        while let Some(path) = self.inputs.get(self.place) {
            let input = match &mut self.open {
                Some(input) => input,
                closed => {
                    self.line = 0;
                    closed.insert(Input::open(path)?)
                }
            };
            let mut block = Block { first_line: self.line, input: self.place, ..Block::default() };
            if input.next_block(&mut block.bytes)? {
                self.line += block.lines();
                self.read += block.bytes.len() as u64;
                self.bar.set_position(self.read);
                return Ok(Some(block));
            }
            self.open = None;
            self.place += 1;
        }
        Ok(None)
    }
}

/// Reading the input or writing the output failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkError {
    #[error(transparent)]
    Input(#[from] LakeError),
    #[error("{path} cannot be written")]
    Arrow { path: Utf8PathBuf, source: arrow::error::ArrowError },
    #[error("{path} cannot be written")]
    Parquet { path: Utf8PathBuf, source: parquet::errors::ParquetError },
    #[error("{path} cannot be written")]
    File { path: Utf8PathBuf, source: io::Error },
}

type Out = BufWriter<Box<dyn Write + Send>>;

enum Writer {
    Parquet(Box<ArrowWriter<Out>>),
    Ndjson(LineDelimitedWriter<Out>),
    Csv(Box<csv::Writer<Out>>),
    Arrow(Box<FileWriter<Out>>),
}

/// One output file. It is written beside its place and moved there when it is whole.
struct Sink {
    path: Utf8PathBuf,
    staged: Option<Utf8PathBuf>,
    writer: Writer,
}

impl Sink {
    fn open(table: &str, schema: &SchemaRef, arguments: &Flatten, several: bool) -> Result<Self, Failure> {
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
            let staged = folder.join(format!(".{}.part", path.file_name().unwrap_or(table)));
            let file = File::create(&staged).map_err(cannot)?;
            (path.clone(), Some(staged), Box::new(file))
        };
        let out = BufWriter::with_capacity(1 << 20, out);
        let writer = match format {
            TableFormat::Parquet => {
                let level = ZstdLevel::default();
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties));
                Writer::Parquet(Box::new(writer.map_err(|error| Failure::new(Exit::Bug, &error))?))
            }
            TableFormat::Ndjson => Writer::Ndjson(LineDelimitedWriter::new(out)),
            TableFormat::Csv => Writer::Csv(Box::new(csv::WriterBuilder::new().with_header(true).build(out))),
            TableFormat::Arrow => {
                let writer = FileWriter::try_new(out, schema).map_err(|error| Failure::new(Exit::Bug, &error))?;
                Writer::Arrow(Box::new(writer))
            }
        };
        Ok(Self { path, staged, writer })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), SinkError> {
        let path = &self.path;
        let arrow = |source| SinkError::Arrow { path: path.clone(), source };
        match &mut self.writer {
            Writer::Parquet(writer) => {
                writer.write(batch).map_err(|source| SinkError::Parquet { path: path.clone(), source })
            }
            Writer::Ndjson(writer) => writer.write(batch).map_err(arrow),
            Writer::Csv(writer) => writer.write(batch).map_err(arrow),
            Writer::Arrow(writer) => writer.write(batch).map_err(arrow),
        }
    }

    fn finish(self) -> Result<Utf8PathBuf, Failure> {
        let Self { path, staged, writer } = self;
        let arrow = |source| SinkError::Arrow { path: path.clone(), source };
        let file = |source| SinkError::File { path: path.clone(), source };
        let finish = || -> Result<(), SinkError> {
            let mut out = match writer {
                Writer::Parquet(writer) => {
                    writer.into_inner().map_err(|source| SinkError::Parquet { path: path.clone(), source })?
                }
                Writer::Ndjson(mut writer) => {
                    writer.finish().map_err(arrow)?;
                    writer.into_inner()
                }
                Writer::Csv(writer) => writer.into_inner(),
                Writer::Arrow(mut writer) => {
                    writer.finish().map_err(arrow)?;
                    writer.into_inner().map_err(arrow)?
                }
            };
            out.flush().map_err(file)?;
            match &staged {
                Some(staged) => std::fs::rename(staged, &path).map_err(file),
                None => Ok(()),
            }
        };
        match finish() {
            Err(SinkError::File { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(path),
            Err(error) => Err(Failure::new(Exit::Storage, &error)),
            Ok(()) => Ok(path),
        }
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
