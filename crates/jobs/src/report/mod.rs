//! The report of a run as a page for a browser, and as JSON with the same numbers.

mod chart;
mod html;
mod quality;
mod support;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fhirvest_lake::Lake;
use serde::Serialize;

pub use html::html;
pub(crate) use html::{time, whole};
pub use quality::{AgeBucket, ColumnQuality, NpiQuality, Quality, ReferenceQuality, RoleQuality, Staleness};
pub use support::support;

use crate::{
    ledger::Ledger,
    run::{Exit, RunError, RunReport, TableReport, TableState},
    views::ViewSet,
};

/// The look of every page that this program makes: light and dark, on paper and on a phone.
const STYLE: &str = include_str!("style.css");

/// Runs that a report looks back on, its own included.
const LOOKED_BACK: usize = 10;

/// Everything that the page shows.
#[derive(Debug, Clone, Serialize)]
pub struct Document {
    /// The report that the run left.
    pub run: RunReport,
    /// The job's last runs up to this one, the oldest first.
    pub history: Vec<PastRun>,
    /// What the tables say about the data.
    pub quality: Quality,
    /// The program's version.
    pub fhirvest_version: &'static str,
}

/// One of the runs before.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PastRun {
    /// Its id.
    pub run: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How it ended.
    pub exit_code: Exit,
    /// Rows of its tables that analysts saw when it was over.
    pub rows: BTreeMap<String, u64>,
}

/// The report of a run, as the ledger keeps it.
///
/// # Errors
/// There is no such run, it is not over, or the ledger cannot be read.
pub fn of_run(ledger: &Ledger, run: &str) -> Result<RunReport, RunError> {
    let record = ledger.run(run)?.ok_or_else(|| RunError::NoRun { run: run.to_owned() })?;
    let text = record.report.as_deref().unwrap_or_default();
    serde_json::from_str(text).map_err(|_| RunError::NotOver { run: run.to_owned() })
}

/// Gathers what the page shows. `views` are those of the run's job as they are today, if it is still there: with them what
/// was held back is made again from the archive, to be judged.
///
/// # Errors
/// There is no such run, it is not over, or the lake cannot be read.
pub fn document(lake: &Lake, ledger: &Ledger, run: &str, views: Option<&ViewSet>) -> Result<Document, RunError> {
    let report = of_run(ledger, run)?;
    let records = ledger.ended_until(&report.job, run, LOOKED_BACK)?;
    let past = records.iter().filter_map(|one| serde_json::from_str::<RunReport>(one.report.as_deref()?).ok());
    let mut history: Vec<PastRun> = past.map(|one| PastRun::of(&one)).collect();
    history.reverse();
    let quality = quality::look(lake, &report, views)?;
    Ok(Document { run: report, history, quality, fhirvest_version: env!("CARGO_PKG_VERSION") })
}

impl PastRun {
    fn of(report: &RunReport) -> Self {
        // A table that a re-run left as it was is seen as before.
        let seen = |table: &&TableReport| matches!(table.state, TableState::Published | TableState::Unchanged);
        let seen = report.tables.iter().filter(seen);
        Self {
            run: report.run.clone(),
            started_at: report.started_at,
            exit_code: report.exit_code,
            rows: seen.map(|table| (table.table.clone(), table.rows)).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
