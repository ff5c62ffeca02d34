//! What the lake's ledger says of a job's runs so far.

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, Utc};
use fhirvest_lake::LakeError;

use super::{Ended, LastRun};
use crate::{
    config::Job,
    ledger::{Ledger, LedgerError, RunRecord, RunState},
    mirror,
    run::{Exit, RunReport},
};

/// Runs that are looked through for the last one that went well.
const LOOKED_THROUGH: usize = 50;

/// An object store that does not answer for so long is not waited for: what is known here has to do.
const PATIENCE: Duration = Duration::from_secs(60);

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
    /// When and how the newest run ended, where it came to no report. Only the process that saw it knows.
    pub failed: Option<(DateTime<Utc>, Exit)>,
    /// When the last run ended that ended with 0.
    pub last_success: Option<DateTime<Utc>>,
}

impl Past {
    /// Reads the past of a job, as far as it is known on this machine; touches nothing where there is no lake yet.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn of(job: &Job) -> Result<Self, LedgerError> {
        let path = mirror::folder(&job.settings).ledger_path();
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
        self.failed = match &ended.report {
            Some(report) => {
                self.last = Some(LastRun::of(report));
                None
            }
            None => Some((now, ended.exit)),
        };
        if ended.exit == Exit::Done {
            self.last_success = Some(ended.report.as_ref().map_or(now, |report| report.finished_at));
        }
    }
}

/// Asks the object stores of jobs' lakes what other machines have done. One that does not answer is told, and does not keep
/// the others waiting: the run that needs it will say what is wrong.
pub(super) async fn refresh(jobs: &[Job]) {
    let mut asked = BTreeSet::new();
    for job in jobs.iter().filter(|job| mirror::is_remote(&job.settings)) {
        if !asked.insert((&job.settings.lake, &job.settings.work_dir)) {
            continue;
        }
        match tokio::time::timeout(PATIENCE, mirror::lake(&job.settings)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(job = job.name, error, "what other machines have done is not known");
            }
            Err(_) => {
                tracing::warn!(job = job.name, "the lake does not answer: what other machines have done is not known");
            }
        }
    }
}

/// Whether somebody else is at the job, or has run it since `planned`. A ledger that cannot be read is the run's to
/// complain about.
pub(super) async fn is_somebody_elses(job: &Job, planned: Option<DateTime<Utc>>) -> bool {
    let lake = mirror::folder(&job.settings);
    if lake.ledger_path().exists() && matches!(lake.lock(&job.name), Err(LakeError::Locked { .. })) {
        return true;
    }
    let Some(planned) = planned else { return false };
    refresh(std::slice::from_ref(job)).await;
    let past = Past::of(job).ok().filter(|past| !past.unfinished);
    past.and_then(|past| past.last_start).is_some_and(|start| start >= planned)
}

fn last_run(record: &RunRecord) -> Option<LastRun> {
    let report: RunReport = serde_json::from_str(record.report.as_deref()?).ok()?;
    Some(LastRun::of(&report))
}
