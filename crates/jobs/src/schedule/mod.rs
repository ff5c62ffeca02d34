//! Jobs that run themselves: each at its cron time in its time zone, never twice at once, a time that was missed caught
//! up once, and a clean stop.
//!
//! What happened before is asked of the lake's ledger, so that a scheduler that was killed goes on where it stood: a job
//! whose time has passed since its last run began is due, and one whose run is unfinished goes on with it.

mod board;
mod page;
mod past;
mod print;
mod timetable;

use std::{future::Future, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

pub use board::{Board, JobOnBoard, LastRun};
pub use page::page;
pub use past::Past;
pub use print::{Form, Place, PrintError, print};
pub use timetable::{Timetable, TimetableError, delay};

use crate::{
    clock::Clock,
    config::{ConfigError, Job},
    ledger::LedgerError,
    run::{Exit, RunReport},
};

/// The clock is looked at at least so often, since it may be set, and a machine may sleep.
const LOOK: Duration = Duration::from_secs(30);

/// Runs jobs; the scheduler says when.
pub trait Runner: Send + Sync + 'static {
    /// Runs a job to its end, whatever the end is, and stops after the page in flight once `cancel` is set.
    fn run(&self, job: Arc<Job>, cancel: watch::Receiver<bool>) -> impl Future<Output = Ended> + Send;
}

/// The end of a run.
#[derive(Debug, Clone)]
pub struct Ended {
    /// How it ended.
    pub exit: Exit,
    /// Its report, where it came to one.
    pub report: Option<Box<RunReport>>,
}

/// What a scheduler is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Read the jobs again.
    Reload,
    /// End the runs after the page in flight, and stop.
    Stop,
}

/// The scheduler cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What happened before cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Nothing to do.
    #[error("no job has a `schedule`: add `schedule = \"15 2 * * *\"` to one")]
    Nothing,
}

/// A job with its next time.
#[derive(Debug)]
struct Entry {
    job: Arc<Job>,
    table: Timetable,
    /// The time of the timetable that comes next.
    planned: DateTime<Utc>,
    /// When it begins: later than planned by the jitter, or now, to catch up.
    due: DateTime<Utc>,
    /// Why it is due at another time than planned.
    because: Option<&'static str>,
    running: Option<DateTime<Utc>>,
    past: Past,
    /// Times that came while the job was running.
    skipped: u64,
}

impl Entry {
    /// A job with its past, planned from `now` on; nothing where it has no schedule.
    fn new(job: Job, past: Past, now: DateTime<Utc>) -> Result<Option<Self>, ConfigError> {
        let Some(table) = job.timetable()? else { return Ok(None) };
        let job = Arc::new(job);
        let mut entry = Self { job, table, planned: now, due: now, because: None, running: None, past, skipped: 0 };
        entry.plan(entry.past.last_start.unwrap_or(now));
        if entry.past.unfinished {
            (entry.due, entry.because) = (now, Some("its last run is unfinished"));
        } else if entry.due < now {
            (entry.due, entry.because) = (now, Some("its time was missed"));
        }
        entry.not_before(entry.past.retry_not_before, now);
        Ok(Some(entry))
    }

    /// Plans the first time after `moment`.
    fn plan(&mut self, moment: DateTime<Utc>) {
        // A timetable without an end: it was checked to have a day.
        self.planned = self.table.after(moment).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let delay = delay(&self.job.name, self.planned, self.job.settings.jitter.0);
        self.due =
            self.planned.checked_add_signed(TimeDelta::from_std(delay).unwrap_or_default()).unwrap_or(self.planned);
        self.because = None;
    }

    /// Plans the time after the one that has just come.
    fn next(&mut self, now: DateTime<Utc>) {
        self.plan(self.planned);
        if self.planned <= now {
            self.plan(now);
        }
    }

    /// A server asked to be left alone until then: where that is sooner than the next time, the job goes on then.
    fn not_before(&mut self, until: Option<DateTime<Utc>>, now: DateTime<Utc>) {
        let Some(until) = until.filter(|until| *until > now) else { return };
        if self.because.is_some() || until < self.due {
            self.due = until;
            self.because = Some("the server asked to come back then");
        }
    }
}

/// Runs jobs at their times.
#[derive(Debug)]
pub struct Scheduler<R> {
    runner: Arc<R>,
    clock: Clock,
    entries: Vec<Entry>,
    board: watch::Sender<Board>,
    cancel: watch::Sender<bool>,
    /// Each gives the job, and its end; none where there was nothing to do.
    running: JoinSet<(String, Option<Ended>)>,
    reload_problem: Option<String>,
}

impl<R: Runner> Scheduler<R> {
    /// Plans the jobs that have a schedule.
    ///
    /// # Errors
    /// None has one, or what happened before cannot be read.
    pub async fn new(runner: R, clock: Clock, jobs: Vec<Job>) -> Result<Self, ScheduleError> {
        let entries = entries(jobs, clock).await?;
        if entries.is_empty() {
            return Err(ScheduleError::Nothing);
        }
        let (board, _) = watch::channel(Board::default());
        let (cancel, _) = watch::channel(false);
        let running = JoinSet::new();
        let scheduler = Self { runner: Arc::new(runner), clock, entries, board, cancel, running, reload_problem: None };
        scheduler.show(false);
        Ok(scheduler)
    }

    /// What there is to see, kept up to date.
    #[must_use]
    pub fn board(&self) -> watch::Receiver<Board> {
        self.board.subscribe()
    }

    /// Runs jobs at their times until it is told to stop, or nobody is left to tell it. `reload` reads the jobs again.
    pub async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        reload: impl Fn() -> Result<Vec<Job>, ConfigError> + Send + Sync,
    ) {
        for entry in &self.entries {
            let (because, next) = (entry.because.unwrap_or("its schedule"), entry.due);
            tracing::info!(job = entry.job.name, %next, because, "planned");
        }
        loop {
            self.begin_what_is_due();
            self.show(false);
            let next = self.entries.iter().map(|entry| entry.due).min().unwrap_or(DateTime::<Utc>::MAX_UTC);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Reload) => self.reload(&reload).await,
                    Some(Order::Stop) | None => break,
                },
                Some(ended) = self.running.join_next(), if !self.running.is_empty() => self.ended(ended),
                () = self.clock.sleep_until(next, LOOK) => {}
            }
        }
        self.drain().await;
    }

    fn begin_what_is_due(&mut self) {
        let now = self.clock.now();
        for entry in &mut self.entries {
            if entry.due > now {
                continue;
            }
            let job = Arc::clone(&entry.job);
            if entry.running.is_some() {
                entry.skipped += 1;
                tracing::warn!(job = job.name, planned = %entry.planned, "still running: this time is skipped");
            } else {
                tracing::info!(job = job.name, planned = %entry.planned, because = entry.because, "due");
                entry.running = Some(now);
                let (runner, cancel) = (Arc::clone(&self.runner), self.cancel.subscribe());
                // What goes on or is caught up is no time of the timetable that somebody else may have served.
                let planned = entry.because.is_none().then_some(entry.planned);
                self.running.spawn(one(runner, job, planned, cancel));
            }
            // What was due to catch up or to go on does not use up the time that is still to come.
            if entry.planned <= now {
                entry.next(now);
            } else {
                entry.plan(now);
            }
        }
    }

    fn ended(&mut self, ended: Result<(String, Option<Ended>), tokio::task::JoinError>) {
        let Ok((name, ended)) = ended else { return };
        let now = self.clock.now();
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.job.name == name) else { return };
        entry.running = None;
        let Some(ended) = ended else {
            tracing::info!(job = name, next = %entry.due, "somebody else runs it, or has run it: there is nothing to do");
            return;
        };
        entry.past.note(&ended, now);
        if ended.exit == Exit::Later {
            entry.not_before(ended.report.as_ref().and_then(|report| report.retry_not_before), now);
        }
        tracing::info!(job = name, exit = ended.exit.code(), next = %entry.due, "run over");
    }

    /// Takes over the jobs as the files have them now; a broken file keeps the old set.
    async fn reload(&mut self, read: &(impl Fn() -> Result<Vec<Job>, ConfigError> + Sync)) {
        let entries = match read() {
            Ok(jobs) => entries(jobs, self.clock).await,
            Err(error) => Err(error.into()),
        };
        let now = self.clock.now();
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(%error, "the jobs were not read again: the old ones stay");
                self.reload_problem = Some(error.to_string());
                return;
            }
        };
        self.reload_problem = None;
        for entry in &mut entries {
            if let Some(old) = self.entries.iter().find(|old| old.job.name == entry.job.name) {
                (entry.skipped, entry.past.failed) = (old.skipped, old.past.failed);
                if old.running.is_some() {
                    // Its own unfinished run is no reason to begin another.
                    entry.running = old.running;
                    entry.plan(now);
                }
            }
        }
        // A run of a job that is no longer there goes on to its end, and is shown until then.
        let gone = self
            .entries
            .drain(..)
            .filter(|old| old.running.is_some() && !entries.iter().any(|entry| entry.job.name == old.job.name));
        let mut gone: Vec<Entry> = gone.collect();
        for entry in &mut gone {
            (entry.planned, entry.due) = (DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MAX_UTC);
        }
        tracing::info!(jobs = entries.len(), "the jobs were read again");
        entries.extend(gone);
        self.entries = entries;
    }

    /// Stops the runs after the page in flight and waits for their commits.
    async fn drain(mut self) {
        if !self.running.is_empty() {
            tracing::warn!(runs = self.running.len(), "stopping after the pages in flight");
        }
        let _ = self.cancel.send(true);
        self.show(true);
        while let Some(ended) = self.running.join_next().await {
            self.ended(ended);
            self.show(true);
        }
    }

    fn show(&self, draining: bool) {
        let jobs = self.entries.iter().map(|entry| JobOnBoard {
            job: entry.job.name.clone(),
            source: entry.job.source.name.clone(),
            schedule: entry.job.settings.schedule.clone().unwrap_or_default(),
            timezone: entry.table.zone().name().to_owned(),
            next: Some(entry.due).filter(|due| *due < DateTime::<Utc>::MAX_UTC),
            because: entry.because.map(ToOwned::to_owned),
            running_since: entry.running,
            skipped: entry.skipped,
            last: entry.past.last.clone(),
            failed: entry.past.failed,
            last_success: entry.past.last_success,
        });
        let board =
            Board { at: self.clock.now(), draining, reload_problem: self.reload_problem.clone(), jobs: jobs.collect() };
        self.board.send_replace(board);
    }
}

/// The jobs that have a schedule, each with its past.
async fn entries(jobs: Vec<Job>, clock: Clock) -> Result<Vec<Entry>, ScheduleError> {
    past::refresh(&jobs).await;
    let mut entries = Vec::new();
    for job in jobs {
        let past = Past::of(&job)?;
        entries.extend(Entry::new(job, past, clock.now())?);
    }
    Ok(entries)
}

/// Runs a job, unless somebody else does, or has since its planned time: a second scheduler, cron, or a person.
async fn one<R: Runner>(
    runner: Arc<R>,
    job: Arc<Job>,
    planned: Option<DateTime<Utc>>,
    cancel: watch::Receiver<bool>,
) -> (String, Option<Ended>) {
    let name = job.name.clone();
    if past::is_somebody_elses(&job, planned).await {
        return (name, None);
    }
    // A task of its own, so that a bug in a run ends that run only.
    let run = tokio::spawn(async move { runner.run(job, cancel).await });
    let ended = run.await.unwrap_or_else(|error| {
        tracing::error!(job = name, %error, "the run ended with a bug");
        Ended { exit: Exit::Bug, report: None }
    });
    (name, Some(ended))
}

#[cfg(test)]
mod tests;
