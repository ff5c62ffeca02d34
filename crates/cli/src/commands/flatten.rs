//! `fhirvest flatten`: files in, tables out, no lake.

mod plain;
mod quarantine;
mod reader;
mod sink;

use fhirvest_flattener::TableCounts;
use fhirvest_jobs::{
    flatten::{self, FlattenError, Flattened, Route, RowFailure},
    run::{Exit, RunError},
    views::ViewSet,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use self::{
    quarantine::{Files, Quarantine},
    reader::Reader,
    sink::{Sink, SinkError},
};
use crate::{arguments::Flatten, failure::Failure, output};

/// Failures shown in words.
const FAILURES_SHOWN: usize = 10;

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
    let bar = bar();
    let files = Files::default();
    let several = set.tables.len() > 1;
    let quarantine = Quarantine::new(arguments.quarantine.as_deref(), &arguments.output, several, files.clone());
    let mut reader = Reader::open(&arguments.input, bar.clone(), files, &quarantine)?;
    let mut sinks: Vec<Sink> = Vec::new();
    for shape in &set.tables {
        sinks.push(Sink::open(&shape.name, &shape.schema, arguments, several, bar.clone())?);
    }
    let dictionaries = sinks.iter().all(Sink::takes_dictionaries);
    let routes: Vec<Route<'_>> = set
        .plans
        .iter()
        .map(|plan| {
            let place =
                |table: &fhirvest_flattener::Table| set.tables.iter().position(|shape| shape.name == table.name);
            Route { plan, sinks: plan.tables().iter().map(place).collect(), dictionaries }
        })
        .collect();
    let threads = arguments.threads.unwrap_or_else(flatten::cores);
    let refuse = |route: usize, failure: &RowFailure, line: &[u8]| {
        let table = failure.table.and_then(|table| routes.get(route)?.plan.tables().get(table));
        quarantine.keep(failure, table.map(|table| table.name.as_str()), line)
    };
    let flattened = flatten::flatten(&routes, &mut sinks, threads, |memory| reader.next(memory), refuse);
    bar.finish_and_clear();
    let flattened = match flattened {
        Err(FlattenError::Store(error)) if error.is_broken_pipe() => return Ok(Exit::Done),
        Err(error) => return Err(failed(&error)),
        Ok(flattened) => flattened,
    };
    let mut counts = vec![TableCounts::default(); set.tables.len()];
    for (route, more) in routes.iter().zip(&flattened.counts) {
        for (place, more) in route.sinks.iter().zip(more) {
            if let Some(sum) = place.and_then(|place| counts.get_mut(place)) {
                *sum = flatten::sum([std::mem::take(sum), more.clone()]);
            }
        }
    }
    let mut reports = Vec::new();
    for ((sink, shape), counts) in sinks.into_iter().zip(&set.tables).zip(counts) {
        let path = match sink.finish() {
            Err(error) if error.is_broken_pipe() => return Ok(Exit::Done),
            Err(error) => return Err(Failure::new(Exit::Storage, &error)),
            Ok(path) => path,
        };
        reports.push(TableDone {
            table: shape.name.clone(),
            output: path.to_string(),
            rows: counts.rows,
            flattened: counts.flattened,
            filtered: counts.filtered,
            failed: counts.failed,
            misfits: counts.casts.iter().sum::<u64>() + counts.unjudged,
        });
    }
    let whole = flattened.unreadable + reader.broken == 0 && reports.iter().all(|report| report.failed == 0);
    tell(&flattened, &reader, &routes);
    drop(reader);
    if let Some(path) = quarantine.finish().map_err(|error| Failure::new(Exit::Storage, &error))? {
        output::say(&format!("what did not become rows is in {path}, with the reasons"));
    }
    if arguments.json.json && arguments.output != "-" {
        output::json(&reports)?;
    } else {
        let rows = reports.into_iter().map(row).collect();
        output::say(&output::table(&["table", "rows", "flattened", "filtered", "failed", "misfits", "output"], rows));
    }
    Ok(if whole { Exit::Done } else { Exit::Incomplete })
}

fn row(one: TableDone) -> Vec<String> {
    let numbers = [one.rows, one.flattened, one.filtered, one.failed, one.misfits].map(|number| number.to_string());
    std::iter::once(one.table).chain(numbers).chain([one.output]).collect()
}

/// Bytes read and rows written; the rows are the bar's length, since it has no other use for that. Hidden where standard
/// error is no terminal.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = "{spinner} {decimal_bytes} read ({decimal_bytes_per_sec}), {human_len} rows, {elapsed}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// What did not become rows, with its place.
fn tell(flattened: &Flattened, reader: &Reader, routes: &[Route<'_>]) {
    let name = |file: usize| reader.file(file);
    for (route, failure) in flattened.failures.iter().take(FAILURES_SHOWN) {
        let table = failure.table.and_then(|table| routes.get(*route)?.plan.tables().get(table));
        let missing = table.map_or_else(String::new, |table| format!(" (missing from {})", table.name));
        output::say(&format!("{}:{}: {}{missing}", name(failure.input), failure.line, failure.message));
    }
    reader.reasons.iter().for_each(|reason| output::say(reason));
    if flattened.failures.len() > FAILURES_SHOWN {
        output::say("…");
    }
    match flattened.unreadable {
        0 => {}
        1 => output::say("1 line is no readable resource, and is in no table"),
        more => output::say(&format!("{more} lines are no readable resource, and are in no table")),
    }
    match reader.broken {
        0 => {}
        1 => output::say("1 file is no JSON, and is in no table"),
        more => output::say(&format!("{more} files are no JSON, and are in no table")),
    }
}

fn failed(error: &FlattenError<SinkError>) -> Failure {
    let exit = if matches!(error, FlattenError::Store(_)) { Exit::Storage } else { Exit::Bug };
    Failure::new(exit, error)
}
