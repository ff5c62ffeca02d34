//! What a scheduler shows of itself.

use chrono::{DateTime, TimeDelta, Utc};
use fhirvest_crawler::ending::Status;
use serde::Serialize;

use crate::run::{Exit, RunReport};

/// A scheduler that has not looked at its clock for so long hangs: six times the longest pause between two looks.
const HANGS_AFTER: TimeDelta = TimeDelta::seconds(180);

/// What there is to see.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Board {
    /// When the scheduler last looked at its clock.
    pub at: DateTime<Utc>,
    /// Whether it is stopping.
    pub draining: bool,
    /// Why the jobs could not be read again, if they could not.
    pub reload_problem: Option<String>,
    /// The jobs.
    pub jobs: Vec<JobOnBoard>,
}

/// One job.
#[derive(Debug, Clone, Default, Serialize)]
pub struct JobOnBoard {
    /// Its name.
    pub job: String,
    /// Its source's name.
    pub source: String,
    /// Its schedule.
    pub schedule: String,
    /// The schedule's time zone.
    pub timezone: String,
    /// When it runs next.
    pub next: Option<DateTime<Utc>>,
    /// Why it runs then, where the schedule is not the reason.
    pub because: Option<String>,
    /// Since when it is running, if it is.
    pub running_since: Option<DateTime<Utc>>,
    /// Times that came while it was running, since the scheduler started.
    pub skipped: u64,
    /// The last run that came to an end.
    pub last: Option<LastRun>,
    /// When and how the newest run ended, where it came to no report: the lake could not be used, say.
    pub failed: Option<(DateTime<Utc>, Exit)>,
    /// When the last run ended that ended with 0.
    pub last_success: Option<DateTime<Utc>>,
}

/// A run that came to an end.
#[derive(Debug, Clone, Serialize)]
pub struct LastRun {
    /// Its id.
    pub run: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// How.
    pub exit: Exit,
    /// Each type with its status and its coverage, where the server gave a count.
    pub types: Vec<(String, Status, Option<f64>)>,
    /// What to do next.
    pub next_step: String,
}

impl LastRun {
    pub(super) fn of(report: &RunReport) -> Self {
        let types = report.resources.iter().map(|one| (one.resource_type.clone(), one.status, one.coverage));
        Self {
            run: report.run.clone(),
            started_at: report.started_at,
            finished_at: report.finished_at,
            exit: report.exit_code,
            types: types.collect(),
            next_step: report.next_step.clone(),
        }
    }
}

impl Board {
    /// Whether the scheduler is alive and takes up work.
    #[must_use]
    pub fn is_well(&self, now: DateTime<Utc>) -> bool {
        !self.draining && now - self.at < HANGS_AFTER
    }
}
