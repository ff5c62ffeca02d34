//! What the lake's ledger says of a job's runs so far.

use chrono::{DateTime, Utc};

use super::{Ended, LastRun};
use crate::{
    config::Job,
    ledger::{Ledger, LedgerError, RunRecord, RunState},
    run::{Exit, RunReport},
};

/// Runs that are looked through for the last one that went well.
const LOOKED_THROUGH: usize = 50;

/// A job's past, as far as the next run hangs on it and a person wants to see it.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// When the last run began, whoever began it.
    pub last_start: Option<DateTime<Utc>>,
    /// Whether that run is still to be finished.
    pub unfinished: bool,
    /// The server asked not to be asked before this time.
    pub retry_not_before: Option<DateTime<Utc>>,
    /// The last run that came to an end.
    pub last: Option<LastRun>,
    /// When the last run ended that ended with 0.
    pub last_success: Option<DateTime<Utc>>,
}

impl Past {
    /// Reads the past of a job; touches nothing where there is no lake yet.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn of(job: &Job) -> Result<Self, LedgerError> {
        let path = crate::mirror::folder(&job.settings).ledger_path();
        if !path.exists() {
            return Ok(Self::default());
        }
        let runs = Ledger::open(&path)?.runs(Some(&job.name), LOOKED_THROUGH)?;
        let mut past = Self::default();
        if let Some(last) = runs.first() {
            past.last_start = Some(last.started_at);
            past.unfinished = matches!(last.state, RunState::Crawling | RunState::Crawled);
            past.retry_not_before = last.retry_not_before;
        }
        past.last = runs.iter().find_map(last_run);
        let well = |run: &&RunRecord| run.exit_code == Some(Exit::Done.code());
        past.last_success = runs.iter().find(well).and_then(|run| run.finished_at);
        Ok(past)
    }

    /// Notes the end of a run.
    pub(super) fn note(&mut self, ended: &Ended, now: DateTime<Utc>) {
        if let Some(report) = &ended.report {
            self.last = Some(LastRun::of(report));
        }
        if ended.exit == Exit::Done {
            self.last_success = Some(ended.report.as_ref().map_or(now, |report| report.finished_at));
        }
    }
}

fn last_run(record: &RunRecord) -> Option<LastRun> {
    let report: RunReport = serde_json::from_str(record.report.as_deref()?).ok()?;
    Some(LastRun::of(&report))
}
