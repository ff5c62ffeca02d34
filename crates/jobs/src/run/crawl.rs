//! The crawl stage: from the job's settings to a sealed archive.

use std::{collections::BTreeSet, sync::Arc};

use chrono::{DateTime, Utc};
use fhirvest_crawler::{
    authorized::Authorized,
    engine::{Crawl, CrawlOutcome, ResourceOutcome, ResourcePlan},
    event::EventSink,
    http::Http,
    pace::{HostLimiters, Paced},
    retry::Retrying,
    source::{Limits, Pace, Rewrite, Source, TrustedOrigin},
    strategy::Strategy,
};
use fhirvest_lake::archive;
use tokio::sync::watch;

use super::{
    Binding, Exit, RunError, RunReport, Session,
    report::{judge, nothing_came},
    traffic::{Counted, kept},
};
use crate::{
    clock::Clock,
    config::{ConfigError, Job, LimitsConfig},
    ledger::{CrawlStore, QUARANTINE, ResourceRecord, RunRecord},
};

/// How the crawl stage ended.
pub(super) enum End {
    /// The archive is sealed; tables can be made.
    Sealed(Vec<ResourceOutcome>),
    /// The run is over, or stops here to be resumed.
    Over(Box<RunReport>),
}

impl Session<'_> {
    /// Crawls, or goes on crawling, and seals the archive.
    pub(super) async fn crawl(&mut self, record: &RunRecord) -> Result<End, RunError> {
        let folder = self.lake.run_dir(&record.run);
        let store = Arc::new(CrawlStore::open(&folder, &self.types, &self.watched())?);
        let mut outcome = self.ask(Arc::clone(&store), record).await?;
        if outcome.interrupted || outcome.retry_not_before.is_some() {
            return self.stop(record, outcome).map(End::Over);
        }
        self.ledger.set_retry(&record.run, None)?;
        let exit = judge_crawl(&outcome.resources);
        if nothing_came(&outcome.resources) && exit != Exit::Done {
            // Nothing to keep: no archive, no table is touched, only the history says what happened.
            drop(store);
            let mut report = self.report(record, outcome.resources, exit)?;
            report.next_step = super::next_step(&report, &self.lake);
            self.end(&report)?;
            return Ok(End::Over(Box::new(report)));
        }
        let mut superseded = store.superseded().await?;
        let quarantined = store.totals().await?.get(QUARANTINE).copied();
        // The files are closed before they are moved.
        drop(store);
        self.make_whole(record, &mut outcome.resources, &mut superseded)?;
        let text = serde_json::to_string(&outcome.resources).map_err(RunError::report)?;
        self.ledger.seal(&record.run, &text, &superseded)?;
        if let Some(lines) = quarantined.map(|counts| counts.lines).filter(|lines| *lines > 0) {
            tracing::warn!(
                lines,
                "some of what came could not be used: see quarantine.ndjson.zst in the run's archive"
            );
        }
        self.seal_files(&record.run, &outcome.resources)?;
        Ok(End::Sealed(outcome.resources))
    }

    async fn ask(&self, store: Arc<CrawlStore>, record: &RunRecord) -> Result<CrawlOutcome, RunError> {
        let (hosts, cancel) = (Arc::clone(&self.options.hosts), self.options.cancel.clone());
        let folder = self.lake.run_dir(&record.run);
        let rate = &self.job.settings.rate;
        let counted =
            Arc::new(Counted::new(Arc::clone(&self.options.events), kept(&folder)?, rate, self.options.clock));
        let events: Arc<dyn EventSink> = Arc::clone(&counted) as _;
        let max_pages = self.options.max_pages;
        let (fetcher, source) = client(self.job, self.binding, hosts, Arc::clone(&events), cancel, max_pages)?;
        let limits = limits(&self.job.settings.limits, max_pages);
        let plans = self.types.iter().map(|name| self.plan(name, record.started_at));
        let mut plans = plans.collect::<Result<Vec<ResourcePlan>, _>>()?;
        self.refresh(record, &mut plans, &fetcher, &source).await?;
        let concurrency = self.job.settings.rate.concurrency;
        let members = self.members(&events)?;
        let crawl = Crawl::new(fetcher, store, source, limits, concurrency, events).with_members(members);
        let outcome = crawl.run(&plans).await;
        counted.keep(&folder)?;
        Ok(outcome?)
    }

    /// A way for each member's requests, where each member has a token of their own.
    fn members(&self, events: &Arc<dyn EventSink>) -> Result<Vec<Fetcher>, RunError> {
        let own = self.binding.members.iter().filter_map(|member| member.credentials.clone());
        own.map(|credentials| {
            let binding = Binding { credentials, ..self.binding.clone() };
            let (hosts, cancel) = (Arc::clone(&self.options.hosts), self.options.cancel.clone());
            Ok(client(self.job, &binding, hosts, Arc::clone(events), cancel, self.options.max_pages)?.0)
        })
        .collect()
    }

    /// The types that are read by reference.
    fn watched(&self) -> BTreeSet<String> {
        let by_reference = |name: &&String| {
            let found = self.job.strategy(name, &[], DateTime::UNIX_EPOCH);
            found.is_ok_and(|(strategy, _)| strategy == Strategy::IdRead)
        };
        self.types.iter().filter(by_reference).cloned().collect()
    }

    fn plan(&self, name: &str, started: DateTime<Utc>) -> Result<ResourcePlan, RunError> {
        let of_type = self.job.settings.resources.get(name).cloned().unwrap_or_default();
        let wrong = |message: String| {
            let message = format!("[resources.{name}]: {message}");
            RunError::Config(ConfigError::Job { job: self.job.name.clone(), message })
        };
        let members: Vec<String> = self.binding.members.iter().map(|member| member.id.clone()).collect();
        let (strategy, paging) = self.job.strategy(name, &members, started).map_err(wrong)?;
        if let Some(from) = strategy.source().filter(|from| !self.types.contains(*from)) {
            return Err(wrong(format!("its strategy starts from {from}: name it with --only too")));
        }
        Ok(ResourcePlan {
            resource_type: name.to_owned(),
            page_size: of_type.page_size,
            params: of_type.params.into_iter().collect(),
            min_coverage: self.job.settings.min_coverage,
            strategy,
            paging,
            cap: of_type.cap,
            whole_type: self.job.settings.patients.is_none(),
        })
    }

    /// Leaves the run to be resumed: every page that came is committed, and the cursors are kept.
    fn stop(&self, record: &RunRecord, outcome: CrawlOutcome) -> Result<Box<RunReport>, RunError> {
        let later = outcome.retry_not_before;
        self.ledger.set_retry(&record.run, later)?;
        let signed_out = self.binding.signed_out();
        let exit = match (signed_out, outcome.interrupted) {
            (true, _) => Exit::Refused,
            (false, true) => Exit::Interrupted,
            (false, false) => Exit::Later,
        };
        let mut report = self.report(record, outcome.resources, exit)?;
        report.retry_not_before = later;
        let again = "the same command goes on from here".to_owned();
        report.next_step = match later {
            _ if signed_out => {
                let login = self.job.api.as_ref().unwrap_or(&self.job.name);
                format!("the sign-in is over: run `fhirvest login {login}`; then {again}")
            }
            Some(time) if !outcome.interrupted => {
                format!("the server asks to come back after {}; then {again}", time.format(super::TIME))
            }
            _ => again,
        };
        Ok(Box::new(report))
    }

    /// Moves the finished archive files to their place and notes their hashes. After a crash it can be called again.
    pub(super) fn seal_files(&self, run: &str, outcomes: &[ResourceOutcome]) -> Result<(), RunError> {
        let folder = self.lake.run_dir(run);
        let place = self.lake.archive_dir(&self.job.source.name, run);
        let refreshed = self.refreshes(run)?;
        let mut files = Vec::new();
        for name in self.types.iter().map(String::as_str).chain([QUARANTINE]) {
            let whole = refreshed.iter().any(|one| one.resource_type == name && one.since.is_some());
            let staged = if whole { self.merged(run, name) } else { CrawlStore::staged(&folder, name) };
            let sealed = place.join(format!("{name}.ndjson.zst"));
            // Something came of it, so there was a file: without it the tables would lack its rows, and nobody knew.
            let expected = outcomes.iter().any(|one| one.resource_type == name && one.counts.archived > 0);
            if expected || staged.exists() || sealed.exists() {
                let archive::Sealed { bytes, blake3 } = archive::seal(&staged, &sealed)?;
                files.push(ResourceRecord { resource_type: name.to_owned(), bytes, blake3 });
            }
        }
        Ok(self.ledger.sealed(run, &files)?)
    }
}

/// The exit code of a crawl without its tables.
fn judge_crawl(resources: &[ResourceOutcome]) -> Exit {
    let statuses: Vec<_> = resources.iter().map(|one| one.status).collect();
    judge(&statuses, resources.iter().any(|one| one.unavailable), &[])
}

/// The way of a job's requests.
type Fetcher = Retrying<Authorized<Paced<Http>>>;

/// What asks on behalf of a job: its server, with its credentials, at its pace.
pub(crate) fn client(
    job: &Job,
    binding: &Binding,
    hosts: Arc<HostLimiters>,
    events: Arc<dyn EventSink>,
    cancel: watch::Receiver<bool>,
    max_pages: Option<u64>,
) -> Result<(Fetcher, Source), RunError> {
    let mut source = Source::new(binding.base_url.clone());
    source.credentials = binding.credentials.clone();
    let trusted = job.source.trusted_origins.iter();
    source.trusted_origins =
        trusted.map(|one| TrustedOrigin { origin: one.origin.origin(), credentials: one.credentials }).collect();
    let rules = job.source.rewrite_next.iter();
    source.sensitive = job.settings.sensitive;
    source.rewrite_next = rules.map(|rule| Rewrite { from: rule.from.clone(), to: rule.to.clone() }).collect();
    let rate = &job.settings.rate;
    let pace = Pace { requests_per_second: rate.requests_per_second, burst: rate.burst, concurrency: rate.concurrency };
    let limits = limits(&job.settings.limits, max_pages);
    let now: fn() -> DateTime<Utc> = || Clock::System.now();
    let fetcher = fhirvest_crawler::client(&source, pace, &limits, hosts, now, events, cancel)
        .map_err(|error| ConfigError::Job { job: job.name.clone(), message: error.to_string() })?;
    Ok((fetcher, source))
}

fn limits(config: &LimitsConfig, max_pages: Option<u64>) -> Limits {
    let max_page_bytes = usize::try_from(config.max_page_bytes.0).unwrap_or(usize::MAX);
    Limits {
        request_timeout: config.request_timeout.0,
        max_page_bytes,
        max_retries: config.max_retries,
        max_wait: config.max_wait.0,
        max_pages: max_pages.unwrap_or(config.max_pages),
        ..Limits::default()
    }
}
