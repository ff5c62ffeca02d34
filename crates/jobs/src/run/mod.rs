//! One execution of a job: crawl, seal the archive, flatten, publish. Each stage ends in a commit, and a run that was
//! interrupted goes on after the last of them.

mod again;
mod archived;
mod attended;
mod binding;
mod changes;
mod crawl;
mod finish;
mod publish;
mod refresh;
mod report;
mod tables;
mod traffic;

use std::{collections::BTreeSet, sync::Arc};

use chrono::{DateTime, Utc};
use fhirvest_crawler::{ending::Status, engine::ResourceOutcome, event::EventSink};
use fhirvest_lake::{Lake, LakeError, Sensitivity, encryption::KEY_NAME, remote::RemoteError};
use tracing::Instrument;

pub(crate) use crawl::client;

pub use again::{AgainOptions, again, again_shared};
pub use attended::attended;
pub use binding::{Binding, Member, Sandbox};
pub use publish::refresh_views_sql;
pub(crate) use publish::{files_of, render_views_sql as views_sql_text};
pub use refresh::Refreshed;
pub(crate) use report::UNJUDGED;
pub use report::{Exit, NamedFailure, RunReport, TableReport, TableState, judge};
pub use tables::StoreError;
pub(crate) use tables::archive_into;
pub use traffic::{Answer, LatencyBucket, Traffic};

use crate::{
    clock::Clock,
    config::{ConfigError, Job},
    flatten::FlattenError,
    ledger::{Ledger, LedgerError, NewRun, RunRecord, RunState, SnapshotRecord},
    mirror::{self, Mirror},
    retention::{self, Keep},
    views::{ViewSet, ViewsError},
};

/// Why a run could not come to its report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nobody has signed in, or the sign-in fails.
    #[error(transparent)]
    SignIn(#[from] crate::sign_in::SignInError),
    /// The views.
    #[error(transparent)]
    Views(#[from] ViewsError),
    /// The run that was interrupted was begun with other settings.
    #[error(
        "the run {run} of job `{job}` is unfinished and was begun with other settings ({changed}): put them back to \
         finish it, or add --fresh to give it up and start anew"
    )]
    Fingerprint {
        /// The unfinished run.
        run: String,
        /// The job.
        job: String,
        /// What differs.
        changed: String,
    },
    /// The lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The object store of the lake.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Others published to the lake again and again in the same moments.
    #[error(
        "others published to {lake} at the same time, {times} times over: what came is kept in {work_dir}, and the same \
         command publishes it"
    )]
    Overtaken {
        /// The lake.
        lake: String,
        /// How often it was tried.
        times: u32,
        /// Where the run is kept.
        work_dir: String,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A file of the lake.
    #[error("{path} cannot be used")]
    File {
        /// The file or folder.
        path: camino::Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Flattening.
    #[error("the archive cannot be flattened")]
    Flatten(#[from] FlattenError<StoreError>),
    /// The report of the run does not read or write as JSON: a bug.
    #[error("the report of the run cannot be kept")]
    Report {
        /// Why.
        source: serde_json::Error,
    },
    /// Stopped while it waited for its turn; nothing was asked.
    #[error("stopped before anything was asked: run the same command again")]
    Cancelled,
    /// The run has no report yet.
    #[error("the run {run} is not over: `fhirvest run` goes on with it")]
    NotOver {
        /// The run.
        run: String,
    },
    /// The archive of a run is not there.
    #[error("the archive of run `{run}` cannot be flattened again: {why}")]
    NoArchive {
        /// The run.
        run: String,
        /// Why.
        why: String,
    },
    /// No such run.
    #[error("there is no run `{run}` in the lake: see `fhirvest runs`")]
    NoRun {
        /// What was asked for.
        run: String,
    },
}

impl RunError {
    pub(crate) fn report(source: serde_json::Error) -> Self {
        Self::Report { source }
    }

    /// The exit code it comes to.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Lake(
                LakeError::OtherKind { .. }
                | LakeError::NoKey { .. }
                | LakeError::OtherKey { .. }
                | LakeError::NotEncrypted { .. },
            )
            | Self::Config(_)
            | Self::Views(_)
            | Self::Fingerprint { .. }
            | Self::NoRun { .. }
            | Self::NotOver { .. }
            | Self::NoArchive { .. }
            | Self::Remote(RemoteError::Url { .. }) => Exit::Usage,
            Self::Remote(_)
            | Self::Overtaken { .. }
            | Self::Lake(_)
            | Self::Ledger(_)
            | Self::File { .. }
            | Self::Flatten(FlattenError::Store(_)) => Exit::Storage,
            Self::SignIn(error) => error.exit(),
            Self::Cancelled => Exit::Interrupted,
            Self::Flatten(_) | Self::Report { .. } => Exit::Bug,
        }
    }
}

/// How a time is told to a person.
const TIME: &str = "%Y-%m-%dT%H:%M:%SZ";

/// How to run a job.
#[derive(Clone)]
pub struct RunOptions {
    /// Give up an unfinished run and start anew.
    pub fresh: bool,
    /// Only these resource types of the job; empty means all.
    pub only: Vec<String>,
    /// Pages of each search after which to stop: a sample.
    pub max_pages: Option<u64>,
    /// Where the time comes from.
    pub clock: Clock,
    /// Set to end the crawl after the page in flight.
    pub cancel: tokio::sync::watch::Receiver<bool>,
    /// Who is told what happens.
    pub events: Arc<dyn EventSink>,
    /// The limiters that all jobs of this process share, one a host.
    pub hosts: Arc<fhirvest_crawler::pace::HostLimiters>,
}

/// Runs a job to its end and returns the report, whatever the end is.
///
/// # Errors
/// What keeps a run from beginning, or from keeping what it got. What the server did is no error: it is in the report.
pub async fn run(job: &Job, binding: &Binding, options: &RunOptions) -> Result<RunReport, RunError> {
    // Every line that is logged meanwhile says whose it is; the run's id is noted once there is one.
    let span = tracing::info_span!("run", job = job.name, run = tracing::field::Empty);
    in_span(job, binding, options).instrument(span).await
}

async fn in_span(job: &Job, binding: &Binding, options: &RunOptions) -> Result<RunReport, RunError> {
    let views = ViewSet::compile(&job.views)?;
    let types = asked_for(job, &options.only)?;
    let fingerprint = binding::fingerprint(job, binding, &types);
    let mut mirror = Mirror::of(&job.settings)?;
    if let Some(mirror) = &mut mirror {
        let turn = mirror.turn().await?;
        mirror.pull(&turn).await?;
    }
    let lake = mirror::folder(&job.settings).with_key(job.settings.table_key()?);
    lake.create(sensitivity(job))?;
    let _lock = lake.lock(&job.name)?;
    let mut ledger = Ledger::open(&lake.ledger_path())?;
    finish::repair(&lake, &mut ledger, &job.name)?;
    let mut session =
        Session { job, binding, options, views, types, lake, ledger, begun: options.clock.now(), resumed: false };
    if let Some(report) = session.not_yet()? {
        return Ok(report);
    }
    let record = match &mirror {
        None => session.begin(&fingerprint)?,
        Some(mirror) => session.begin_claimed(&fingerprint, mirror).await?,
    };
    tracing::Span::current().record("run", &record.run);
    let outcomes = if record.state == RunState::Crawled {
        session.sealed_outcomes(&record)?
    } else {
        let Some(_host) = host_lock(&session.lake, job, binding, options).await? else {
            return Err(RunError::Cancelled);
        };
        match session.crawl(&record).await? {
            crawl::End::Sealed(outcomes) => outcomes,
            crawl::End::Over(report) => {
                if let (Some(mirror), false) =
                    (&mut mirror, matches!(report.exit_code, Exit::Later | Exit::Interrupted))
                {
                    session.push_history(mirror).await?;
                }
                return Ok(*report);
            }
        }
    };
    match &mut mirror {
        None => {
            let report = session.finish(&record, outcomes)?;
            prune(&session);
            Ok(report)
        }
        Some(mirror) => session.finish_shared(&record, &outcomes, mirror).await,
    }
}

/// How often a run is published again because somebody else was faster.
const PUBLISH_ATTEMPTS: u32 = 5;

/// What kind of lake a job writes to.
fn sensitivity(job: &Job) -> Sensitivity {
    if job.settings.sensitive { Sensitivity::Sensitive } else { Sensitivity::Public }
}

/// Removes what the job no longer keeps. The run is over and stands, whatever comes of it.
fn prune(session: &Session<'_>) {
    let own = Keep::from(&session.job.settings);
    let keep = |job: &str| if job == session.job.name { own } else { Keep::ALL };
    match retention::prune(&session.lake, keep, session.options.clock.now(), false) {
        Ok(pruned) if pruned.removed.is_empty() => {}
        Ok(pruned) => tracing::info!(folders = pruned.removed.len(), "removed what is no longer kept"),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "what is no longer kept stays for now"),
    }
}

/// Between two looks whether another process still asks the same host.
const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_millis(500);

/// One process of a lake asks a host at a time, since each paces only its own requests: another one waits here. Nothing
/// where the wait was cancelled; the lock's own error where it takes longer than `max_wait`. Jobs of one process share
/// their pace instead.
async fn host_lock(
    lake: &Lake,
    job: &Job,
    binding: &Binding,
    options: &RunOptions,
) -> Result<Option<HostLock>, RunError> {
    let url = &binding.base_url;
    let host: String =
        url.host_str().unwrap_or("none").chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = format!("host-{host}-{}", url.port_or_known_default().unwrap_or(0));
    let mut waited = std::time::Duration::ZERO;
    loop {
        match lake.lock(&name) {
            Ok(lock) => return Ok(Some(HostLock { _lock: lock })),
            Err(LakeError::Locked { holder, .. }) if waited < job.settings.limits.max_wait.0 => {
                if waited.is_zero() {
                    tracing::warn!(host, holder, "another process asks this host: waiting until it is done");
                }
                waited += BETWEEN_LOOKS;
            }
            Err(error) => return Err(error.into()),
        }
        let mut cancel = options.cancel.clone();
        tokio::select! {
            () = tokio::time::sleep(BETWEEN_LOOKS) => {}
            Ok(_) = cancel.wait_for(|cancelled| *cancelled) => return Ok(None),
        }
    }
}

/// Held while a host is asked.
struct HostLock {
    _lock: fhirvest_lake::layout::Lock,
}

/// The types to crawl: those of the job, or some of them.
fn asked_for(job: &Job, only: &[String]) -> Result<BTreeSet<String>, RunError> {
    let all: BTreeSet<String> = job.settings.resources.keys().cloned().collect();
    if only.is_empty() {
        return Ok(all);
    }
    for name in only {
        if !all.contains(name) {
            let help = crate::config::nearest(name, all.iter().map(String::as_str));
            let message = format!("does not ask for the resource type `{name}` ({help})");
            return Err(ConfigError::Job { job: job.name.clone(), message }.into());
        }
    }
    Ok(only.iter().cloned().collect())
}

/// One run in progress.
struct Session<'a> {
    job: &'a Job,
    binding: &'a Binding,
    options: &'a RunOptions,
    views: ViewSet,
    types: BTreeSet<String>,
    lake: Lake,
    ledger: Ledger,
    begun: DateTime<Utc>,
    resumed: bool,
}

impl Session<'_> {
    /// Whether the server has asked not to be asked yet: then nothing is sent, and the report says until when.
    fn not_yet(&self) -> Result<Option<RunReport>, RunError> {
        let Some(last) = self.ledger.last_crawl(&self.job.name)? else { return Ok(None) };
        let Some(until) = last.retry_not_before.filter(|until| *until > self.begun) else { return Ok(None) };
        let mut report = self.report(&last, Vec::new(), Exit::Later)?;
        report.retry_not_before = Some(until);
        report.next_step = format!("nothing was sent: the server asked to come back after {}", until.format(TIME));
        Ok(Some(report))
    }

    /// The run to go on with: the unfinished one if it fits, else a new one.
    fn begin(&mut self, fingerprint: &binding::Fingerprint) -> Result<RunRecord, RunError> {
        let text = serde_json::to_string(fingerprint).map_err(RunError::report)?;
        if let Some(unfinished) = self.ledger.unfinished(&self.job.name)? {
            if !self.options.fresh {
                let changed = fingerprint.differences(&unfinished.fingerprint);
                if !changed.is_empty() {
                    let (run, job) = (unfinished.run, self.job.name.clone());
                    return Err(RunError::Fingerprint { run, job, changed: changed.join(", ") });
                }
                tracing::info!(run = unfinished.run, "resuming the unfinished run");
                self.resumed = true;
                return Ok(unfinished);
            }
            self.ledger.set_state(&unfinished.run, RunState::Abandoned)?;
            self.clear(&unfinished.run)?;
        }
        let new = NewRun {
            job: self.job.name.clone(),
            source: self.job.source.name.clone(),
            environment: self.job.settings.environment.clone(),
            fingerprint: text,
        };
        let record = self.ledger.begin(&new, self.begun)?;
        tracing::info!(run = record.run, "run begun");
        Ok(record)
    }

    /// As [`Session::begin`], with a name for the run that no other machine has.
    async fn begin_claimed(
        &mut self,
        fingerprint: &binding::Fingerprint,
        mirror: &Mirror,
    ) -> Result<RunRecord, RunError> {
        loop {
            let record = self.begin(fingerprint)?;
            if self.resumed || mirror.claim(&record.run).await? {
                return Ok(record);
            }
            // Taken here, the name is not tried again: the next one is a second later.
            self.ledger.set_state(&record.run, RunState::Abandoned)?;
        }
    }

    /// As [`Session::finish`], and uploads what has become of the lake. Where somebody else published in between, the
    /// tables are made again on top of that.
    async fn finish_shared(
        &mut self,
        record: &RunRecord,
        outcomes: &[ResourceOutcome],
        mirror: &mut Mirror,
    ) -> Result<RunReport, RunError> {
        for _ in 0..PUBLISH_ATTEMPTS {
            let turn = mirror.turn().await?;
            mirror.pull(&turn).await?;
            let report = self.finish(record, outcomes.to_vec())?;
            prune(self);
            match mirror.push(&turn, self.options.clock.now()).await {
                Err(error) if mirror::is_conflict(&error) => {
                    tracing::warn!(run = record.run, "somebody else published at the same time: once more");
                }
                other => return other.map(|()| report),
            }
        }
        // The ledger goes back to where the run can be published by the next one.
        let turn = mirror.turn().await?;
        mirror.pull(&turn).await?;
        Err(RunError::Overtaken {
            lake: self.job.settings.lake.clone(),
            times: PUBLISH_ATTEMPTS,
            work_dir: self.lake.root().to_string(),
        })
    }

    /// Uploads the history of a run that brought nothing. Where somebody else published in between, it stays here: a line
    /// of history is no reason to fail.
    async fn push_history(&self, mirror: &mut Mirror) -> Result<(), RunError> {
        let turn = mirror.turn().await?;
        match mirror.push(&turn, self.options.clock.now()).await {
            Err(error) if mirror::is_conflict(&error) => Ok(()),
            other => other,
        }
    }

    /// The outcomes of a run that was sealed before it was interrupted.
    fn sealed_outcomes(&mut self, record: &RunRecord) -> Result<Vec<ResourceOutcome>, RunError> {
        let text = record.report.as_deref().unwrap_or("[]");
        let outcomes: Vec<ResourceOutcome> = serde_json::from_str(text).map_err(RunError::report)?;
        self.seal_files(&record.run, &outcomes)?;
        Ok(outcomes)
    }

    /// Flattens, decides, publishes.
    fn finish(&mut self, record: &RunRecord, outcomes: Vec<ResourceOutcome>) -> Result<RunReport, RunError> {
        let report = self.report(record, outcomes, Exit::Done)?;
        let settings = &self.job.settings;
        let mut batch = finish::Batch {
            job: self.job,
            views: &self.views,
            lake: &self.lake,
            ledger: &mut self.ledger,
            clock: self.options.clock,
            record,
            rules: publish::Rules { publish: settings.publish, max_shrink: settings.max_shrink },
            again: None,
        };
        batch.finish(report)
    }

    /// Ends a run that brought nothing: no table is touched, only the history says what happened.
    fn end(&mut self, report: &RunReport) -> Result<(), RunError> {
        let _publishing = self.lake.lock_publishing()?;
        finish::end(&self.lake, &mut self.ledger, report, Vec::new())
    }

    fn clear(&self, run: &str) -> Result<(), RunError> {
        Ok(fhirvest_lake::durable::remove_dir(&self.lake.run_dir(run))?)
    }

    fn report(
        &self,
        record: &RunRecord,
        outcomes: Vec<ResourceOutcome>,
        exit_code: Exit,
    ) -> Result<RunReport, RunError> {
        let finished_at = self.options.clock.now();
        let millis = (finished_at - record.started_at).num_milliseconds().max(0);
        Ok(RunReport {
            run: record.run.clone(),
            archive_run: None,
            job: self.job.name.clone(),
            api: self.job.api.clone(),
            source: self.job.source.name.clone(),
            environment: self.job.settings.environment.clone(),
            base_url: self.binding.shown_base(),
            lake: self.job.settings.lake.clone(),
            resumed: self.resumed,
            started_at: record.started_at,
            finished_at,
            #[allow(clippy::cast_precision_loss, reason = "a run of 285,000 years would lose a millisecond")]
            seconds: millis as f64 / 1000.0,
            exit_code,
            resources: outcomes,
            refreshed: self.refreshes(&record.run)?,
            tables: Vec::new(),
            changes: Vec::new(),
            failures: Vec::new(),
            traffic: traffic::kept(&self.lake.run_dir(&record.run))?,
            retry_not_before: None,
            next_step: String::new(),
        })
    }
}

/// What to do after a run.
fn next_step(report: &RunReport, lake: &Lake) -> String {
    if report.exit_code == Exit::Done {
        let views = lake.shown_views_sql(&report.lake);
        return match lake.key() {
            None => format!("duckdb -init {views}"),
            // DuckDB asks for the key before it makes the views.
            Some(_) => format!(
                "duckdb -cmd \"PRAGMA add_parquet_key('{KEY_NAME}', getenv('FHIRVEST_LAKE_KEY'))\" -cmd \".read {views}\", with \
                 the key in that variable"
            ),
        };
    }
    let well = |status| matches!(status, Status::Complete | Status::Empty);
    // A type that the server does not know is no fault, unless it knows none.
    let ill = report.resources.iter().filter(|one| !well(one.status));
    let worst = ill.min_by_key(|one| one.status == Status::Unsupported);
    let all_unsupported = report.resources.iter().all(|one| one.status == Status::Unsupported);
    let held = report.tables.iter().find(|table| table.state == TableState::Held);
    match (worst.filter(|one| one.status != Status::Unsupported || all_unsupported), held) {
        (Some(one), _) => one.detail.clone().unwrap_or_else(|| {
            format!("{} is {}: run `fhirvest run {}` again", one.resource_type, one.status, report.job)
        }),
        (None, Some(table)) => format!(
            "table {} was held back ({}): look at it with `fhirvest runs {}`",
            table.table,
            table.reason.as_deref().unwrap_or("see the report"),
            report.run
        ),
        _ => format!("see `fhirvest runs {}`", report.run),
    }
}

fn rows_before(current: &[SnapshotRecord], source: &str, table: &str) -> Option<u64> {
    current.iter().find(|one| one.source == source && one.table == table).map(|one| one.rows)
}
