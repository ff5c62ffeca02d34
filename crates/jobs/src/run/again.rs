//! Flattening an archive again, with the views of today and without any network: `rerun`, and `publish` for what was held
//! back.

use super::{
    Exit, RunError, RunReport,
    finish::{self, Again, Batch},
    publish::Rules,
    sensitivity,
};
use crate::{
    clock::Clock,
    config::{Job, Publish},
    ledger::{Ledger, NewRun, RunRecord, RunState},
    mirror::{self, Mirror},
    views::ViewSet,
};

/// How an archive is flattened again.
#[derive(Debug, Clone, Copy)]
pub struct AgainOptions {
    /// Make every table, those too whose view and archive are the same as before.
    pub all: bool,
    /// Show what the job's rules held back.
    pub publish: bool,
    /// Where the time comes from.
    pub clock: Clock,
}

/// Flattens the archive of a run again, or of the last run of the job that has one. A table whose view has not changed
/// stays as it is. The job's rules decide what analysts see, unless they are to be overruled; what was crawled before
/// the current snapshot is kept for `as_of` only.
///
/// # Errors
/// There is no such run or no archive of it, or the lake cannot be read or written.
pub fn again(job: &Job, run: Option<&str>, options: AgainOptions) -> Result<RunReport, RunError> {
    let views = ViewSet::compile(&job.views)?;
    let lake = mirror::folder(&job.settings).with_key(job.settings.table_key()?);
    let named = run.unwrap_or(&job.name).to_owned();
    if !lake.ledger_path().exists() {
        return Err(RunError::NoRun { run: named });
    }
    lake.create(sensitivity(job))?;
    let _lock = lake.lock(&job.name)?;
    let mut ledger = Ledger::open(&lake.ledger_path())?;
    finish::repair(&lake, &mut ledger, &job.name)?;
    let archived = match run {
        Some(run) => archive_of(&ledger, run)?,
        None => newest(&ledger, job)?,
    };
    let crawled = report_of(&archived)?;
    let new = NewRun {
        job: job.name.clone(),
        source: archived.source.clone(),
        environment: archived.environment.clone(),
        fingerprint: archived.fingerprint.clone(),
    };
    let record = ledger.begin_again(&new, &archived.run, options.clock.now())?;
    tracing::info!(run = record.run, archive = archived.run, "flattening again");
    let report = RunReport {
        run: record.run.clone(),
        archive_run: Some(archived.run),
        lake: job.settings.lake.clone(),
        resumed: false,
        started_at: record.started_at,
        finished_at: record.started_at,
        seconds: 0.0,
        exit_code: Exit::Done,
        refreshed: Vec::new(),
        tables: Vec::new(),
        changes: Vec::new(),
        failures: Vec::new(),
        retry_not_before: None,
        next_step: String::new(),
        ..crawled
    };
    let settings = &job.settings;
    let publish = if options.publish { Publish::Always } else { settings.publish };
    let mut batch = Batch {
        job,
        views: &views,
        lake: &lake,
        ledger: &mut ledger,
        clock: options.clock,
        record: &record,
        rules: Rules { publish, max_shrink: settings.max_shrink },
        again: Some(Again { all: options.all, publish: options.publish }),
    };
    batch.finish(report)
}

/// As [`again`]; a lake in an object store is brought up to date first, the archive is fetched, and what has become of the
/// lake is uploaded.
///
/// # Errors
/// As [`again`]; or the store refuses, or somebody else published at the same time: then the same command may be given
/// again.
pub async fn again_shared(job: &Job, run: Option<&str>, options: AgainOptions) -> Result<RunReport, RunError> {
    let Some(mut mirror) = Mirror::of(&job.settings)? else { return again(job, run, options) };
    let turn = mirror.turn().await?;
    mirror.pull(&turn).await?;
    let ledger = Ledger::open(&mirror.lake().ledger_path())?;
    let archived = match run {
        Some(run) => archive_of(&ledger, run)?,
        None => newest(&ledger, job)?,
    };
    drop(ledger);
    mirror.fetch_archive(&archived.run).await?;
    let report = again(job, run, options)?;
    mirror.push(&turn, options.clock.now()).await?;
    Ok(report)
}

/// The run that crawled what a run is made of.
fn archive_of(ledger: &Ledger, run: &str) -> Result<RunRecord, RunError> {
    let find = |run: &str| ledger.run(run)?.ok_or_else(|| RunError::NoRun { run: run.to_owned() });
    let found = find(run)?;
    let archived = match &found.archive_run {
        Some(archive) => find(archive)?,
        None => found,
    };
    let none = |why: &str| Err(RunError::NoArchive { run: archived.run.clone(), why: why.to_owned() });
    match archived.state {
        RunState::Crawling | RunState::Crawled => none("the run is not over, `fhirvest run` goes on with it"),
        RunState::Abandoned => none("the run was given up"),
        RunState::Finished if ledger.archive(&archived.run)?.is_empty() => none("nothing came, or it was pruned"),
        RunState::Finished => Ok(archived),
    }
}

/// The newest run of a job whose archive is kept.
fn newest(ledger: &Ledger, job: &Job) -> Result<RunRecord, RunError> {
    let kept = ledger.archived()?.into_iter().rev();
    let mut of_job = kept.filter(|one| one.job == job.name && one.state == RunState::Finished);
    of_job.next().ok_or_else(|| RunError::NoRun { run: job.name.clone() })
}

/// What the crawl of a run came to.
fn report_of(run: &RunRecord) -> Result<RunReport, RunError> {
    serde_json::from_str(run.report.as_deref().unwrap_or_default()).map_err(RunError::report)
}
