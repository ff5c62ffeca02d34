//! Asking only for what has changed (`refresh = "incremental"`), and making it whole again with the archive before it.
//!
//! A type is asked for its changes only where its server was seen to heed `_lastUpdated`, where every resource has a
//! stamp, where it is searched by itself, and where a complete archive of the same question is there. Changes are asked
//! for since the earlier of two times: the server's own when the last run began, and the newest stamp that run saw. The
//! archive of an incremental run is whole: the lines of the archive before it whose ids did not come again, then what
//! came. What was deleted stays in it until the next full crawl, `full_every` after the last.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fhirvest_crawler::{
    ending::Status,
    engine::{ResourceOutcome, ResourcePlan},
    probe::{self, ChangeFindings},
    retry::Retrying,
    source::Source,
    strategy::Strategy,
    transport::Transport,
};
use fhirvest_fhir::resource;
use fhirvest_lake::archive::{ArchiveReader, ArchiveWriter};
use serde::{Deserialize, Serialize};

use super::{RunError, RunReport, Session, TIME, archived, binding::Fingerprint, tables::StoreError};
use crate::{
    config::Refresh,
    ledger::{CrawlStore, Held, RunRecord, RunState, Superseded},
};

/// How a type was refreshed, as the ledger keeps it and the report tells it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Refreshed {
    /// The type.
    pub resource_type: String,
    /// Asked for was what changed since this time; none where everything was.
    pub since: Option<DateTime<Utc>>,
    /// The run whose archive was carried over.
    pub base: Option<String>,
    /// When the full crawl began that this goes back to.
    pub full_at: DateTime<Utc>,
    /// Why everything was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// What the server was found to do, before anything was asked for.
    pub findings: ChangeFindings,
    /// Resources taken over from the archive before.
    pub carried: u64,
    /// Resources of the archive before that came again.
    pub replaced: u64,
    /// Resources in the archive.
    pub resources: u64,
    /// Resources without a stamp.
    pub unstamped: u64,
    /// The earliest stamp in the archive.
    pub oldest: Option<DateTime<Utc>>,
    /// The latest stamp in the archive.
    pub newest: Option<DateTime<Utc>>,
}

impl Refreshed {
    /// From when on changes have to be asked for after this, or why they can't be.
    fn watermark(&self) -> Result<DateTime<Utc>, &'static str> {
        let Some((newest, server_time)) = self.newest.zip(self.findings.server_time) else {
            return Err("the server tells no time, or its resources have no stamps");
        };
        if self.unstamped > 0 || self.findings.all_stamped == Some(false) {
            return Err("some resources have no stamp, so that their changes would not be found");
        }
        if self.resources > 1 && self.oldest == self.newest {
            return Err("all resources have the same stamp, that of an export");
        }
        Ok(newest.min(server_time))
    }
}

impl Session<'_> {
    /// Decides for each type whether only changes are asked for, and changes the plans of those; what a resumed run
    /// has decided stands.
    pub(super) async fn refresh<T: Transport>(
        &self,
        record: &RunRecord,
        plans: &mut [ResourcePlan],
        fetcher: &Retrying<T>,
        source: &Source,
    ) -> Result<(), RunError> {
        if self.job.settings.refresh == Refresh::Full {
            return Ok(());
        }
        let decided = self.refreshed(&record.run)?;
        let sources: Vec<String> =
            plans.iter().filter_map(|plan| plan.strategy.source().map(ToOwned::to_owned)).collect();
        for plan in plans {
            let one = match decided.get(&plan.resource_type) {
                Some(one) => one.clone(),
                None if !searched_by_itself(plan) || sources.contains(&plan.resource_type) => continue,
                None => {
                    // A server that does not answer here will not answer the crawl either, which then says so.
                    let Ok(findings) = probe::changes(fetcher, source, plan).await else { continue };
                    let one = self.decide(record, &plan.resource_type, findings)?;
                    self.ledger.set_refresh(&record.run, &plan.resource_type, &text(&one)?)?;
                    one
                }
            };
            match (one.since, &mut plan.strategy) {
                (Some(since), Strategy::DateRange { start, .. }) => *start = since,
                (Some(since), _) => plan.params.push(("_lastUpdated".into(), format!("ge{}", since.format(TIME)))),
                (None, _) => {}
            }
            match (one.since, &one.reason) {
                (Some(since), _) => tracing::info!(resource = plan.resource_type, %since, "asking for changes only"),
                (None, reason) => tracing::info!(resource = plan.resource_type, reason, "asking for everything"),
            }
        }
        Ok(())
    }

    fn decide(&self, record: &RunRecord, resource_type: &str, findings: ChangeFindings) -> Result<Refreshed, RunError> {
        let full = |reason: &str, findings| Refreshed {
            resource_type: resource_type.to_owned(),
            full_at: record.started_at,
            reason: Some(reason.to_owned()),
            findings,
            ..Refreshed::default()
        };
        if !findings.honoured {
            return Ok(full("the server does not heed _lastUpdated", findings));
        }
        let (base, before) = match self.base(record, resource_type)? {
            Ok(found) => found,
            Err(reason) => return Ok(full(reason, findings)),
        };
        if record.started_at - before.full_at >= span(self.job.settings.full_every.0) {
            return Ok(full("the last full crawl is full_every ago", findings));
        }
        let since = match before.watermark() {
            Ok(since) => since,
            Err(reason) => return Ok(full(reason, findings)),
        };
        Ok(Refreshed {
            resource_type: resource_type.to_owned(),
            since: Some(since),
            base: Some(base),
            full_at: before.full_at,
            findings,
            ..Refreshed::default()
        })
    }

    /// The last complete archive that answers the same question, or why there is none.
    fn base(
        &self,
        record: &RunRecord,
        resource_type: &str,
    ) -> Result<Result<(String, Refreshed), &'static str>, RunError> {
        for run in self.ledger.runs(Some(&self.job.name), RUNS_LOOKED_AT)? {
            if run.run == record.run || run.state != RunState::Finished || run.source != record.source {
                continue;
            }
            let report: Option<RunReport> = run.report.as_deref().and_then(|text| serde_json::from_str(text).ok());
            let outcomes = report.map(|report| report.resources).unwrap_or_default();
            let status = outcomes.iter().find(|one| one.resource_type == resource_type).map(|one| one.status);
            let known = self.refreshed(&run.run)?.remove(resource_type);
            match (status, known) {
                (Some(Status::Complete), Some(known)) => {
                    if !Fingerprint::same_question(&run.fingerprint, &record.fingerprint, resource_type) {
                        return Ok(Err("the job asks for something else than before"));
                    }
                    let file = self.lake.archive_dir(&run.source, &run.run).join(format!("{resource_type}.ndjson.zst"));
                    if !file.exists() {
                        return Ok(Err("the archive before is no longer there"));
                    }
                    return Ok(Ok((run.run, known)));
                }
                // Its changes did not make it whole: something is lost that only a full crawl finds.
                (Some(Status::Partial), Some(known)) if known.since.is_some() => {
                    return Ok(Err("the changes of the last run did not add up to the server's count"));
                }
                _ => {}
            }
        }
        Ok(Err("there is no complete archive yet"))
    }

    fn refreshed(&self, run: &str) -> Result<BTreeMap<String, Refreshed>, RunError> {
        let rows = self.ledger.refresh(run)?.into_iter();
        rows.map(|(name, text)| Ok((name, serde_json::from_str(&text).map_err(RunError::report)?))).collect()
    }

    /// How each type of a run was refreshed; empty where the job asks for everything.
    pub(super) fn refreshes(&self, run: &str) -> Result<Vec<Refreshed>, RunError> {
        Ok(self.refreshed(run)?.into_values().collect())
    }

    /// Once the crawl is over and its files are closed: makes the archives of changes whole, and notes what the next
    /// run needs to know. Changes nothing that the crawl has written, so it can be done again after a crash.
    pub(super) fn make_whole(
        &self,
        record: &RunRecord,
        outcomes: &mut [ResourceOutcome],
        superseded: &mut [Superseded],
    ) -> Result<(), RunError> {
        let decided = self.refreshed(&record.run)?;
        if decided.is_empty() {
            return Ok(());
        }
        let mut held = Held::open(&self.lake.run_dir(&record.run))?;
        for outcome in outcomes {
            let Some(mut one) = decided.get(&outcome.resource_type).cloned() else { continue };
            let stamps = held.stamps(&one.resource_type)?;
            (one.carried, one.replaced) = (0, 0);
            (one.unstamped, one.oldest, one.newest) = (stamps.unstamped, stamps.oldest, stamps.newest);
            if let (Some(base), Some(since)) = (one.base.clone(), one.since) {
                let lines = self.merge(record, &mut one, &base, &held)?;
                let of_type = superseded.iter_mut().filter(|(name, _)| *name == one.resource_type);
                of_type.for_each(|(_, line)| *line += lines);
                if let Some(before) = self.refreshed(&base)?.remove(&one.resource_type) {
                    one.unstamped += before.unstamped;
                    one.oldest = before.oldest.into_iter().chain(one.oldest).min();
                    one.newest = one.newest.max(before.newest);
                }
                one.resources = one.carried + stamps.ids;
                judge(outcome, &one, since, self.job.settings.min_coverage);
            } else {
                one.resources = stamps.ids;
            }
            self.ledger.set_refresh(&record.run, &one.resource_type, &text(&one)?)?;
        }
        Ok(())
    }

    /// Writes the whole archive of a type beside what was crawled; returns the lines before those that were crawled.
    fn merge(&self, record: &RunRecord, one: &mut Refreshed, base: &str, held: &Held) -> Result<u64, RunError> {
        let name = &one.resource_type;
        let folder = self.lake.run_dir(&record.run);
        let place = self.merged(&record.run, name);
        let mut write = || -> Result<u64, StoreError> {
            let mut came = held.ids_of(name)?;
            let mut next = archived::blocks(&self.lake, &record.source, base, name)?;
            if let Some(parent) = place.parent() {
                fhirvest_lake::durable::create_dir(parent)?;
            }
            let mut writer = ArchiveWriter::open(&place, 0)?;
            while let Some(block) = next(Vec::new())? {
                let mut skip = block.skip.iter().peekable();
                for (line, number) in block.bytes.split_inclusive(|byte| *byte == b'\n').zip(block.first_line..) {
                    if skip.next_if_eq(&&number).is_some() {
                        continue;
                    }
                    let line = line.strip_suffix(b"\n").unwrap_or(line);
                    let head = std::str::from_utf8(line).ok().and_then(|text| resource::head(text).ok());
                    let id = head.and_then(|head| head.id);
                    if id.map(|id| came(&id)).transpose()?.unwrap_or(false) {
                        one.replaced += 1;
                    } else {
                        writer.append(line)?;
                        one.carried += 1;
                    }
                }
            }
            let crawled = CrawlStore::staged(&folder, name);
            if crawled.exists() {
                let (mut reader, mut block) = (ArchiveReader::open(&crawled)?, Vec::new());
                while reader.next_block(&mut block)? {
                    for line in block.split_inclusive(|byte| *byte == b'\n') {
                        writer.append(line.strip_suffix(b"\n").unwrap_or(line))?;
                    }
                }
            }
            writer.sync()?;
            Ok(one.carried)
        };
        write().map_err(|error| match error {
            StoreError::Lake(error) => error.into(),
            StoreError::Ledger(error) => error.into(),
        })
    }

    /// Where the whole archive of a type is put together.
    pub(super) fn merged(&self, run: &str, resource_type: &str) -> camino::Utf8PathBuf {
        self.lake.run_dir(run).join("merged").join(format!("{resource_type}.ndjson.zst"))
    }
}

/// Runs of a job that are looked through for a complete archive: a year of nights.
const RUNS_LOOKED_AT: usize = 366;

/// Whether a type comes by searches of its own, to which a time can be added.
fn searched_by_itself(plan: &ResourcePlan) -> bool {
    let has_own = plan.params.iter().any(|(name, _)| name == "_lastUpdated");
    match &plan.strategy {
        Strategy::Bare | Strategy::Values { .. } | Strategy::Prefix { .. } => !has_own,
        Strategy::DateRange { param, .. } => param == "_lastUpdated",
        _ => false,
    }
}

/// What the crawl of changes came to, as an archive of everything.
fn judge(outcome: &mut ResourceOutcome, one: &Refreshed, since: DateTime<Utc>, min_coverage: f64) {
    outcome.strategy = format!("{} since {}", outcome.strategy, since.format(TIME));
    if !matches!(outcome.status, Status::Complete | Status::Empty) {
        return;
    }
    outcome.status = Status::Complete;
    outcome.server_total = one.findings.total;
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53 resources")]
    let share = |total: u64| if total == 0 { 1.0 } else { (one.resources as f64 / total as f64).min(1.0) };
    outcome.coverage = one.findings.total.map(share);
    if outcome.coverage.is_some_and(|coverage| coverage < min_coverage) {
        outcome.status = Status::Partial;
        outcome.detail = Some(format!(
            "with its changes since {} the archive has {} resources, of {} that the server counts: the next run asks \
             for everything",
            since.format(TIME),
            one.resources,
            one.findings.total.unwrap_or_default()
        ));
    }
}

fn span(span: std::time::Duration) -> chrono::Duration {
    chrono::Duration::from_std(span).unwrap_or(chrono::Duration::MAX)
}

fn text(one: &Refreshed) -> Result<String, RunError> {
    serde_json::to_string(one).map_err(RunError::report)
}
