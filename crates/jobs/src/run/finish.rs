//! The second half of a run, which needs no network: flatten, decide, compare, publish.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use fhirvest_crawler::ending::Status;
use fhirvest_lake::{
    Lake,
    changes::{self as lake_changes, CHANGES, Output, SEEN, Scope},
    durable,
    table::TableFiles,
};

use super::{
    Exit, RunError, RunReport, TableReport, TableState, changes, judge, next_step,
    publish::{self, Rules, SnapshotDetail},
    report::Changes,
    rows_before,
    tables::{self, StagedTable, StoreError},
};
use crate::{
    clock::Clock,
    config::Job,
    ledger::{Ledger, RunRecord, RunState, SnapshotRecord},
    views::{TableShape, ViewSet},
};

/// How an archive is flattened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Again {
    /// Tables too whose view and archive are the same as before.
    pub(super) all: bool,
    /// Only to publish what was held back: snapshots are named after the run whose archive it is.
    pub(super) publish: bool,
}

/// Everything that is made of one archive.
pub(super) struct Batch<'a> {
    pub(super) job: &'a Job,
    pub(super) views: &'a ViewSet,
    pub(super) lake: &'a Lake,
    pub(super) ledger: &'a mut Ledger,
    pub(super) clock: Clock,
    pub(super) record: &'a RunRecord,
    pub(super) rules: Rules,
    /// None where the run has crawled itself.
    pub(super) again: Option<Again>,
}

impl Batch<'_> {
    /// Makes the tables of the archive, publishes those that may be, and completes the report, whose resources say what
    /// the crawl came to.
    pub(super) fn finish(&mut self, mut report: RunReport) -> Result<RunReport, RunError> {
        let statuses: Vec<(String, Status)> =
            report.resources.iter().map(|one| (one.resource_type.clone(), one.status)).collect();
        let crawled: Vec<String> = statuses.iter().map(|(name, _)| name.clone()).collect();
        let (chosen, mut tables) = self.choose(&statuses);
        durable::remove_dir(&self.lake.run_dir(&self.record.run).join("tables"))?;
        let (unchanged, to_make) = self.unchanged(chosen)?;
        let begun = self.clock.now();
        let (staged, failures) = self.flatten(&to_make, &crawled)?;
        let flattened = self.clock.now();
        // From here on what analysts see must not change under our feet.
        let _publishing = self.lake.lock_publishing()?;
        let current = self.ledger.current()?;
        let mut snapshots = Vec::new();
        for (table, shape) in staged.iter().filter_map(|table| Some((table, self.shape(&table.name)?))) {
            let (one, snapshot) = self.decide(table, shape, &statuses, &current)?;
            snapshots.extend(snapshot);
            tables.push(one);
        }
        tables.extend(unchanged);
        tables.sort_by(|a, b| a.table.cmp(&b.table));
        let (merged, changes) = self.compare(&statuses, &tables, &current)?;
        let compared = self.clock.now();
        snapshots.extend(merged);
        let unavailable = report.resources.iter().any(|outcome| outcome.unavailable);
        let all: Vec<Status> = statuses.iter().map(|(_, status)| *status).collect();
        let whole = tables.iter().all(|one| one.state != TableState::Held && one.failed == 0);
        report.exit_code = match (self.again, whole) {
            (None, _) => judge(&all, unavailable, &tables),
            (Some(_), true) => Exit::Done,
            (Some(_), false) => Exit::Incomplete,
        };
        (report.tables, report.failures, report.changes) = (tables, failures, changes);
        report.tell_what_no_count_explains();
        report.finished_at = self.clock.now();
        report.seconds = seconds(report.started_at, report.finished_at);
        report.next_step = next_step(&report, self.lake);
        end(self.lake, self.ledger, &report, snapshots)?;
        tracing::debug!(
            flatten = seconds(begun, flattened),
            compare = seconds(flattened, compared),
            publish = seconds(compared, self.clock.now()),
            "seconds of each stage"
        );
        Ok(report)
    }

    /// The run whose archive it is.
    fn archive(&self) -> &str {
        self.record.archive_run.as_deref().unwrap_or(&self.record.run)
    }

    /// How the snapshots of tables are named.
    fn snapshot(&self) -> &str {
        if self.again.is_some_and(|again| again.publish) { self.archive() } else { &self.record.run }
    }

    fn shape(&self, table: &str) -> Option<&TableShape> {
        self.views.tables.iter().find(|shape| shape.name == table)
    }

    /// The tables that can be made, and reports of those that can't.
    fn choose(&self, statuses: &[(String, Status)]) -> (Vec<&TableShape>, Vec<TableReport>) {
        let asked = |name: &str| statuses.iter().any(|(known, _)| known == name);
        let of_job = |name: &str| match self.again {
            None => self.job.settings.resources.contains_key(name),
            // What the job asks for today does not change what the archive holds.
            Some(_) => asked(name) || self.job.settings.resources.contains_key(name),
        };
        let (mut chosen, mut skipped) = (Vec::new(), Vec::new());
        for shape in &self.views.tables {
            let types = self.views.resource_types(shape);
            let wanted: Vec<&str> = types.iter().copied().filter(|name| of_job(name)).collect();
            let missing = wanted.iter().find(|name| !asked(name));
            let reason = match (wanted.is_empty(), missing) {
                // Nothing to say of a table of other resource types than the job's.
                (true, _) => continue,
                (false, Some(name)) => format!("{name} was not asked for in this run"),
                (false, None) => {
                    chosen.push(shape);
                    continue;
                }
            };
            skipped.push(TableReport::skipped(&shape.name, &wanted, reason));
        }
        (chosen, skipped)
    }

    /// Of an archive that is flattened again: the tables that are there already as the views of today make them, whole,
    /// and those that have to be made.
    fn unchanged<'s>(&self, chosen: Vec<&'s TableShape>) -> Result<(Vec<TableReport>, Vec<&'s TableShape>), RunError> {
        let Some(again) = self.again else { return Ok((Vec::new(), chosen)) };
        let kept = self.ledger.all_snapshots()?;
        let (mut unchanged, mut to_make) = (Vec::new(), Vec::new());
        for shape in chosen {
            let of_archive = kept.iter().rev().filter(|one| {
                one.source == self.job.source.name && one.table == shape.name && one.run == self.archive()
            });
            let mut found = None;
            for one in of_archive {
                let detail = SnapshotDetail::read(one)?;
                if (detail.view_hash == shape.view_hash || again.publish) && !again.all && self.intact(one, &detail)? {
                    found = Some(one);
                    break;
                }
            }
            let Some(one) = found else {
                to_make.push(shape);
                continue;
            };
            let mut report = TableReport::skipped(&shape.name, &self.views.resource_types(shape), String::new());
            report.state = if one.current { TableState::Unchanged } else { TableState::History };
            report.reason = None;
            (report.rows, report.snapshot) = (one.rows, Some(one.snapshot.clone()));
            report.view_hash = SnapshotDetail::read(one)?.view_hash;
            unchanged.push(report);
        }
        Ok((unchanged, to_make))
    }

    /// Whether the files of a snapshot are what was written.
    fn intact(&self, snapshot: &SnapshotRecord, detail: &SnapshotDetail) -> Result<bool, RunError> {
        let folder = self.lake.snapshot_dir(&snapshot.table, &snapshot.source, &snapshot.snapshot);
        for file in &detail.files {
            let path = folder.join(&file.name);
            if !path.exists() || durable::hash_file(&path)? != (file.bytes, file.blake3.clone()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn flatten(
        &self,
        shapes: &[&TableShape],
        crawled: &[String],
    ) -> Result<(Vec<StagedTable>, Vec<super::NamedFailure>), RunError> {
        let staging = self.lake.run_dir(&self.record.run).join("tables");
        let metadata = self.metadata();
        let flattening = tables::Flattening {
            lake: self.lake,
            source: &self.job.source.name,
            run: self.archive(),
            staging: &staging,
            views: self.views,
            metadata: &metadata,
        };
        Ok(flattening.tables(shapes, crawled)?)
    }

    fn metadata(&self) -> Vec<(String, String)> {
        let pairs = [
            ("fhirvest.run", self.archive().to_owned()),
            ("fhirvest.source", self.job.source.name.clone()),
            ("fhirvest.api", self.job.api.clone().unwrap_or_default()),
            ("fhirvest.version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// What becomes of a staged table.
    fn decide(
        &self,
        table: &StagedTable,
        shape: &TableShape,
        statuses: &[(String, Status)],
        current: &[SnapshotRecord],
    ) -> Result<(TableReport, Option<SnapshotRecord>), RunError> {
        let types = self.views.resource_types(shape);
        let of: Vec<(&str, Status)> = statuses
            .iter()
            .filter(|(name, _)| types.contains(&name.as_str()))
            .map(|(name, status)| (name.as_str(), *status))
            .collect();
        let source = &self.job.source.name;
        let before = rows_before(current, source, &table.name);
        let held = publish::hold(self.rules, &of, table.files.rows, before);
        let mut report = publish::report(table, shape, &types, held, before);
        if report.state == TableState::Held {
            return Ok((report, None));
        }
        let later = current
            .iter()
            .find(|one| one.source == *source && one.table == table.name && one.run.as_str() > self.archive());
        if let Some(later) = later {
            report.state = TableState::History;
            report.reason = Some(format!("{} was crawled later", later.run));
        }
        report.snapshot = Some(self.snapshot().to_owned());
        let mut record =
            self.entry(&table.name, self.snapshot(), &table.files, &publish::detail(&table.files, shape))?;
        record.current = later.is_none();
        Ok((report, Some(record)))
    }

    /// Compares the crawl with what was known of the source, and stages `_changes` and `_seen`.
    fn compare(
        &self,
        statuses: &[(String, Status)],
        tables: &[TableReport],
        current: &[SnapshotRecord],
    ) -> Result<(Vec<SnapshotRecord>, Vec<Changes>), RunError> {
        // An archive that was compared when it was crawled tells nothing new, unless more of it is shown now.
        if self.again.is_some_and(|again| !again.publish) {
            return Ok((Vec::new(), Vec::new()));
        }
        let source = &self.job.source.name;
        let known = current.iter().find(|one| one.source == *source && one.table == SEEN);
        let run = &self.record.run;
        let (mut crawled, mut shown) = (Vec::new(), BTreeSet::new());
        for (name, status) in statuses {
            let scope = changes::scope(name, *status, self.rules.publish, tables);
            let came = matches!(status, Status::Complete | Status::Empty | Status::Partial);
            if !came || (self.again.is_some() && scope == Scope::Unseen) {
                continue;
            }
            // What is not shown changes nothing for anybody: to tell of no changes would be to say that it is the same.
            if scope != Scope::Unseen {
                shown.insert(name.clone());
            }
            let index = changes::index(self.lake, source, self.archive(), run, name, scope).map_err(of_store)?;
            crawled.push(index);
        }
        if crawled.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut before = Vec::new();
        if let Some(known) = known {
            let folder = self.lake.snapshot_dir(SEEN, source, &known.snapshot);
            before.extend(SnapshotDetail::read(known)?.files.iter().map(|file| folder.join(&file.name)));
        }
        let (changes, seen) = (self.lake.staged_dir(run, CHANGES), self.lake.staged_dir(run, SEEN));
        let metadata = self.metadata();
        let output = Output { changes: &changes, seen: &seen, metadata: &metadata, key: self.lake.key() };
        let merged = lake_changes::merge(self.archive(), before, crawled, output)?;
        let seen = merged.counts.into_iter().filter(|one| shown.contains(&one.resource_type));
        let counts = seen.map(|one| Changes {
            resource_type: one.resource_type,
            added: one.added,
            changed: one.changed,
            removed: one.removed,
        });
        let entries = [(CHANGES, &merged.changes), (SEEN, &merged.seen)];
        let entries = entries.map(|(table, files)| self.entry(table, run, files, &SnapshotDetail::of(files)));
        Ok((entries.into_iter().collect::<Result<_, _>>()?, counts.collect()))
    }

    fn entry(
        &self,
        table: &str,
        snapshot: &str,
        files: &TableFiles,
        detail: &SnapshotDetail,
    ) -> Result<SnapshotRecord, RunError> {
        Ok(SnapshotRecord {
            source: self.job.source.name.clone(),
            table: table.to_owned(),
            run: self.archive().to_owned(),
            snapshot: snapshot.to_owned(),
            rows: files.rows,
            detail: detail.text()?,
            current: true,
        })
    }
}

fn of_store(error: StoreError) -> RunError {
    match error {
        StoreError::Lake(error) => error.into(),
        StoreError::Ledger(error) => error.into(),
    }
}

fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    let millis = (to - from).num_milliseconds().max(0);
    #[allow(clippy::cast_precision_loss, reason = "a run of 285,000 years would lose a millisecond")]
    let seconds = millis as f64 / 1000.0;
    seconds
}

/// The step that analysts see: files first, then the ledger, then `views.sql`, which is made from the ledger. To be
/// called by who holds the publishing lock, or with nothing to publish.
pub(super) fn end(
    lake: &Lake,
    ledger: &mut Ledger,
    report: &RunReport,
    mut snapshots: Vec<SnapshotRecord>,
) -> Result<(), RunError> {
    for (table, files) in publish::stage_history(lake, report)? {
        snapshots.push(SnapshotRecord {
            source: report.source.clone(),
            table: table.to_owned(),
            run: report.archive_run.clone().unwrap_or_else(|| report.run.clone()),
            snapshot: report.run.clone(),
            rows: files.rows,
            detail: SnapshotDetail::of(&files).text()?,
            current: true,
        });
    }
    let moves: Vec<(&str, &str)> = snapshots.iter().map(|one| (one.table.as_str(), one.snapshot.as_str())).collect();
    fhirvest_lake::publish::publish(lake, &report.source, &report.run, &moves)?;
    let text = serde_json::to_string(report).map_err(RunError::report)?;
    ledger.finish(&report.run, &snapshots, report.exit_code.code(), &text, report.finished_at)?;
    publish::refresh_views_sql(lake, ledger)?;
    // What is held back is not kept: it can be made again from the archive.
    Ok(durable::remove_dir(&lake.run_dir(&report.run))?)
}

/// Puts right what a process left that ended in the middle of publishing: `views.sql` says what the ledger says, runs
/// that flattened again are given up, and what ended runs have staged is removed. To be called by who holds the job's
/// lock.
pub(super) fn repair(lake: &Lake, ledger: &mut Ledger, job: &str) -> Result<(), RunError> {
    let _publishing = lake.lock_publishing()?;
    for one in ledger.open_runs()?.iter().filter(|one| one.job == job && one.archive_run.is_some()) {
        ledger.set_state(&one.run, RunState::Abandoned)?;
    }
    let path = lake.views_sql_path();
    let there = std::fs::read_to_string(&path).ok();
    if there.is_some() || !ledger.all_snapshots()?.is_empty() {
        let text = publish::render_views_sql(lake, ledger)?;
        if there.as_deref() != Some(text.as_str()) {
            tracing::info!("views.sql is written again from the ledger");
            durable::write_atomically(&path, text.as_bytes())?;
        }
    }
    // First the folders, then the ledger: a run that begins meanwhile is in the ledger before it has a folder.
    let failed = |source| RunError::File { path: lake.runs_dir(), source };
    let folders = lake.runs_dir().read_dir_utf8().and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
    let open: BTreeSet<String> = ledger.open_runs()?.into_iter().map(|one| one.run).collect();
    folders.iter().filter(|one| !open.contains(one.file_name())).try_for_each(|one| durable::remove_dir(one.path()))?;
    Ok(())
}
