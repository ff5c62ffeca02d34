//! Data on standard output, talk on standard error.

use std::{
    io::{self, Write},
    sync::OnceLock,
};

use comfy_table::{CellAlignment, Table, presets};
use fhirvest_jobs::run::{Exit, RunReport, TableState};
use serde::Serialize;

use crate::failure::Failure;

/// Writes lines of data to standard output. A reader that closes the pipe early (`| head`) is no error.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::io("standard output", &error)),
        _ => Ok(()),
    }
}

/// Writes a value as one line of JSON to standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::new(Exit::Bug, &error))?;
    data(&text)
}

/// How this process talks on standard error; set once, when logging starts.
static TALK: OnceLock<Talk> = OnceLock::new();

/// How a process talks on standard error.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Talk {
    /// Only of what went wrong.
    pub(crate) quiet: bool,
    /// One JSON object a line, whatever is said.
    pub(crate) json: bool,
}

/// Settles how this process talks.
pub(crate) fn talk(how: Talk) {
    // The first word counts; there is only one.
    let _ = TALK.set(how);
}

fn how() -> Talk {
    TALK.get().copied().unwrap_or_default()
}

/// Says on standard error what failed: a job, or the program as a whole.
pub(crate) fn failure(job: Option<&str>, failure: &Failure) {
    let text = failure.text();
    match job {
        _ if how().json => tracing::error!(job, exit_code = failure.exit.code(), "{text}"),
        Some(job) => say(&format!("job {job}: {text}")),
        None => say(&text),
    }
}

/// Says something on standard error.
pub(crate) fn say(text: &str) {
    if how().json {
        tracing::info!("{}", text.trim());
        return;
    }
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The text form of a value that serializes as a word.
pub(crate) fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

/// The name of a choice on the command line.
#[allow(clippy::needless_pass_by_value, reason = "choices are copied")]
pub(crate) fn word_of(choice: impl clap::ValueEnum) -> String {
    choice.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// A table of text; columns whose every cell is a number are aligned to the right.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head);
    let numeric =
        |cell: &str| cell.is_empty() || cell.bytes().all(|byte| byte.is_ascii_digit() || b".,%".contains(&byte));
    let right: Vec<usize> = (0..head.len())
        .filter(|place| rows.iter().all(|row| row.get(*place).is_none_or(|cell| numeric(cell))))
        .collect();
    for row in rows {
        table.add_row(row);
    }
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&place) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// The end of one run: the report as JSON on standard output, or as tables on standard error; where it went well and only
/// problems are wanted, nothing.
pub(crate) fn report(report: &RunReport, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return json(report);
    }
    let well = report.exit_code == Exit::Done;
    match how() {
        Talk { json: true, .. } => over(report, well),
        Talk { quiet: true, .. } if well => {}
        _ => say(&render(report)),
    }
    Ok(())
}

/// The end of a run as one log line; what its types came to has its own lines, and everything is in `fhirvest runs RUN`.
fn over(report: &RunReport, well: bool) {
    let RunReport { run, job, seconds, next_step, .. } = report;
    let exit_code = report.exit_code.code();
    if well {
        tracing::info!(run, job, exit_code, seconds, next_step, "run over");
    } else {
        tracing::error!(run, job, exit_code, seconds, next_step, "run over");
    }
}

/// The report of a run as a person reads it.
pub(crate) fn render(report: &RunReport) -> String {
    let resumed = if report.resumed { ", resumed" } else { "" };
    let mut text = format!("\n{} from {} ({}{resumed})\n\n", report.run, report.base_url, report.environment);
    let resources = report.resources.iter().map(|one| {
        let outcome = one;
        vec![
            outcome.resource_type.clone(),
            outcome.pages.to_string(),
            outcome.counts.archived.to_string(),
            outcome.server_total.map_or_else(String::new, |total| total.to_string()),
            outcome.coverage.map_or_else(String::new, |share| format!("{:.1}%", share * 100.0)),
            outcome.status.to_string(),
            outcome.ended_by.as_ref().map_or_else(String::new, ToString::to_string),
        ]
    });
    let rows: Vec<_> = resources.collect();
    if !rows.is_empty() {
        text.push_str(&table(&["type", "pages", "resources", "server says", "coverage", "status", "ended by"], rows));
        text.push_str("\n\n");
    }
    let rows: Vec<_> = report
        .tables
        .iter()
        .map(|one| {
            let lost: u64 = one.casts.values().sum();
            let state = match (&one.reason, one.state) {
                (Some(reason), state) => format!("{}: {reason}", word(&state)),
                (None, TableState::Published) => "published".to_owned(),
                (None, state) => word(&state),
            };
            vec![one.table.clone(), one.rows.to_string(), one.failed.to_string(), lost.to_string(), state]
        })
        .collect();
    if !rows.is_empty() {
        text.push_str(&table(&["table", "rows", "failed", "misfits", "state"], rows));
        text.push_str("\n\n");
    }
    for failure in report.failures.iter().take(FAILURES_SHOWN) {
        let table = failure.table.as_deref().unwrap_or("every table");
        text.push_str(&format!(
            "{} line {} is missing from {table}: {}\n",
            failure.resource_type, failure.line, failure.message
        ));
    }
    text.push_str(&format!(
        "{:.1} s, exit code {}\nnext: {}",
        report.seconds,
        report.exit_code.code(),
        report.next_step
    ));
    text
}

/// Failures of single resources shown at the end of a run; the rest is in `fhirvest runs RUN --json`.
const FAILURES_SHOWN: usize = 5;

/// The end of several runs, on standard error.
pub(crate) fn summary(reports: &[RunReport]) {
    let well = reports.iter().all(|report| report.exit_code == Exit::Done);
    if how().json || how().quiet && well {
        return;
    }
    let rows = reports
        .iter()
        .map(|report| {
            let resources: u64 = report.resources.iter().map(|one| one.counts.archived).sum();
            let rows: u64 =
                report.tables.iter().filter(|one| one.state == TableState::Published).map(|one| one.rows).sum();
            vec![
                report.job.clone(),
                resources.to_string(),
                rows.to_string(),
                format!("{:.1}", report.seconds),
                report.exit_code.code().to_string(),
                report.next_step.clone(),
            ]
        })
        .collect();
    say(&format!("\n{}", table(&["job", "resources", "rows", "seconds", "exit", "next"], rows)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_lines_have_no_trailing_space() {
        let text = table(&["type", "pages"], vec![vec!["Location".into(), "7".into()], vec!["X".into(), "12".into()]]);
        insta::assert_snapshot!(text, @r"
        type      pages
        Location      7
        X            12
        ");
    }
}
