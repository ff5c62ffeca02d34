//! What is kept of the past, by count and by age, for snapshots and archives separately. Whole folders go, never a part
//! of one; never what analysts see, never the last complete archive of a type.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use fhirvest_crawler::ending::Status;
use fhirvest_lake::{Lake, changes::SEEN, durable, views_sql};
use serde::Serialize;

use crate::{
    config::Settings,
    ledger::{Ledger, RunRecord, RunState, SnapshotRecord},
    run::{RunError, RunReport, refresh_views_sql},
};

/// What one job keeps; a count of 0 and an age of 0 set no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Snapshots of each table.
    pub snapshots: usize,
    /// The age of the oldest snapshot.
    pub snapshots_for: std::time::Duration,
    /// Archives.
    pub archives: usize,
    /// The age of the oldest archive.
    pub archives_for: std::time::Duration,
}

impl Keep {
    /// Everything is kept.
    pub const ALL: Self = Self {
        snapshots: 0,
        snapshots_for: std::time::Duration::ZERO,
        archives: 0,
        archives_for: std::time::Duration::ZERO,
    };
}

impl From<&Settings> for Keep {
    fn from(settings: &Settings) -> Self {
        Self {
            snapshots: settings.keep_snapshots,
            snapshots_for: settings.keep_snapshots_for.0,
            archives: settings.keep_archives,
            archives_for: settings.keep_archives_for.0,
        }
    }
}

/// A folder that is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Below the lake's folder.
    pub path: String,
    /// The size of its files.
    pub bytes: u64,
    /// Why.
    pub reason: String,
}

/// What was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// The lake.
    pub lake: String,
    /// Whether nothing was removed in truth.
    pub dry_run: bool,
    /// The folders.
    pub removed: Vec<Removed>,
}

/// Removes what `keep` of each job no longer keeps, and folders that the ledger does not know. The ledger forgets them
/// first, then `views.sql`, and only then the files go: a crash leaves folders that nobody knows, for the next time.
///
/// # Errors
/// The lake cannot be read or written.
pub fn prune(lake: &Lake, keep: impl Fn(&str) -> Keep, now: DateTime<Utc>, dry_run: bool) -> Result<Pruned, RunError> {
    let mut ledger = Ledger::open(&lake.ledger_path())?;
    let _publishing = lake.lock_publishing()?;
    let runs: BTreeMap<String, RunRecord> =
        ledger.runs(None, usize::MAX)?.into_iter().map(|run| (run.run.clone(), run)).collect();
    let snapshots = ledger.all_snapshots()?;
    let old = old_snapshots(&snapshots, &runs, &keep, now);
    let archived = ledger.archived()?;
    let archives = old_archives(&archived, &keep, now);
    let mut removed = Vec::new();
    for (one, reason) in &old {
        let folder = lake.snapshot_dir(&one.table, &one.source, &one.snapshot);
        removed.push(Removed { bytes: size(&folder), path: lake.below(&folder), reason: reason.clone() });
    }
    for (run, reason) in &archives {
        let folder = lake.archive_dir(&run.source, &run.run);
        removed.push(Removed { bytes: size(&folder), path: lake.below(&folder), reason: reason.clone() });
    }
    removed.extend(unknown(lake, &ledger, &snapshots)?);
    if !dry_run && !removed.is_empty() {
        let gone: Vec<SnapshotRecord> = old.into_iter().map(|(one, _)| one.clone()).collect();
        let runs: Vec<String> = archives.into_iter().map(|(run, _)| run.run.clone()).collect();
        ledger.forget(&gone, &runs)?;
        refresh_views_sql(lake, &ledger)?;
        removed.iter().try_for_each(|one| durable::remove_dir(&lake.root().join(&one.path)))?;
    }
    Ok(Pruned { lake: lake.root().to_string(), dry_run, removed })
}

/// Snapshots of views that are too many or too old. What tells of the lake itself is small and stays, but for `_seen`, of
/// which each replaces the one before: two are kept, for readers in the middle of a query.
fn old_snapshots<'a>(
    snapshots: &'a [SnapshotRecord],
    runs: &BTreeMap<String, RunRecord>,
    keep: &impl Fn(&str) -> Keep,
    now: DateTime<Utc>,
) -> Vec<(&'a SnapshotRecord, String)> {
    let mut by_table: BTreeMap<(&str, &str), Vec<&SnapshotRecord>> = BTreeMap::new();
    for one in snapshots {
        by_table.entry((&one.source, &one.table)).or_default().push(one);
    }
    let mut old = Vec::new();
    for ((_, table), of) in by_table {
        // Newest crawls first; of one archive that was flattened again the last.
        let mut of = of;
        of.sort_by(|a, b| (&b.run, &b.snapshot).cmp(&(&a.run, &a.snapshot)));
        for (place, one) in of.into_iter().enumerate().filter(|(_, one)| !one.current) {
            let run = runs.get(&one.run);
            let keep = keep(run.map_or("", |run| run.job.as_str()));
            let reason = if table == SEEN {
                (place >= 2).then(|| "a later one replaces it".to_owned())
            } else if views_sql::is_table(table) {
                too_much(place, keep.snapshots, "keep_snapshots")
                    .or_else(|| too_old(run.map(|run| run.started_at), keep.snapshots_for, now, "keep_snapshots_for"))
            } else {
                None
            };
            old.extend(reason.map(|reason| (one, reason)));
        }
    }
    old
}

/// Archives that are too many or too old, of each job; without those that a type's last complete crawl is in.
fn old_archives<'a>(
    archives: &'a [RunRecord],
    keep: &impl Fn(&str) -> Keep,
    now: DateTime<Utc>,
) -> Vec<(&'a RunRecord, String)> {
    let (mut seen, mut places) = (BTreeSet::new(), BTreeMap::<&str, usize>::new());
    let mut old = Vec::new();
    for run in archives.iter().rev() {
        let mut last_of_a_type = false;
        for name in complete(run) {
            last_of_a_type |= seen.insert((run.job.as_str(), name));
        }
        let place = places.entry(&run.job).or_default();
        let keep = keep(&run.job);
        let reason = too_much(*place, keep.archives, "keep_archives")
            .or_else(|| too_old(Some(run.started_at), keep.archives_for, now, "keep_archives_for"));
        *place += 1;
        if run.state == RunState::Finished && !last_of_a_type {
            old.extend(reason.map(|reason| (run, reason)));
        }
    }
    old
}

/// The types that a run holds whole.
fn complete(run: &RunRecord) -> Vec<String> {
    let report: Option<RunReport> = run.report.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let resources = report.map(|report| report.resources).unwrap_or_default();
    let whole = resources.into_iter().filter(|one| one.status == Status::Complete);
    whole.map(|one| one.resource_type).collect()
}

fn too_much(place: usize, limit: usize, key: &str) -> Option<String> {
    (limit > 0 && place >= limit).then(|| format!("{key} = {limit}"))
}

fn too_old(at: Option<DateTime<Utc>>, limit: std::time::Duration, now: DateTime<Utc>, key: &str) -> Option<String> {
    let limit = chrono::Duration::from_std(limit).ok().filter(|limit| !limit.is_zero())?;
    (now - at? > limit).then(|| format!("{key} = {} s", limit.num_seconds()))
}

/// Folders of snapshots and archives that the ledger does not know: a process was killed before it had noted them, or
/// after it had forgotten them.
fn unknown(lake: &Lake, ledger: &Ledger, snapshots: &[SnapshotRecord]) -> Result<Vec<Removed>, RunError> {
    let mut known: BTreeSet<Utf8PathBuf> =
        snapshots.iter().map(|one| lake.snapshot_dir(&one.table, &one.source, &one.snapshot)).collect();
    let kept = ledger.archived()?.into_iter().chain(ledger.open_runs()?);
    known.extend(kept.map(|run| lake.archive_dir(&run.source, &run.run)));
    let open: BTreeSet<String> = ledger.open_runs()?.into_iter().map(|run| run.run).collect();
    let mut unknown = Vec::new();
    let tables = folders(&lake.tables_dir())?.into_iter().map(|table| folders(&table));
    let tables = tables.collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
    for source in tables.chain(folders(&lake.archives_dir())?) {
        for folder in folders(&source)? {
            let of_open =
                folder.file_name().and_then(|name| name.split_once('=')).is_some_and(|(_, run)| open.contains(run));
            if !known.contains(&folder) && !of_open {
                let reason = "the ledger does not know it".to_owned();
                unknown.push(Removed { bytes: size(&folder), path: lake.below(&folder), reason });
            }
        }
    }
    Ok(unknown)
}

fn folders(path: &Utf8Path) -> Result<Vec<Utf8PathBuf>, RunError> {
    let failed = |source| RunError::File { path: path.to_owned(), source };
    let mut found = Vec::new();
    for entry in path.read_dir_utf8().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            found.push(entry.into_path());
        }
    }
    found.sort();
    Ok(found)
}

fn size(folder: &Utf8Path) -> u64 {
    let entries = folder.read_dir_utf8().into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|about| about.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: u32) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(&format!("2026-11-{day:02}T02:00:00Z")).unwrap().with_timezone(&Utc)
    }

    fn run(day: u32, types: &[(&str, Status)]) -> RunRecord {
        let resources: Vec<_> = types
            .iter()
            .map(|(name, status)| {
                serde_json::json!({"resource_type": name, "status": status, "strategy": "bare", "partition_closed": true,
                    "pages": 1, "unavailable": false,
                    "counts": {"received": 1, "archived": 1, "duplicates": 0, "variants": 0, "quarantined": 0}})
            })
            .collect();
        let report = serde_json::json!({
            "run": "r", "job": "j", "source": "s", "environment": "local", "base_url": "", "lake": "", "resumed": false,
            "started_at": at(day), "finished_at": at(day), "seconds": 0.0, "exit_code": 0, "resources": resources,
            "tables": [], "next_step": ""
        });
        RunRecord {
            run: format!("202611{day:02}T020000Z-j"),
            job: "j".into(),
            source: "s".into(),
            environment: "local".into(),
            fingerprint: String::new(),
            state: RunState::Finished,
            started_at: at(day),
            finished_at: Some(at(day)),
            exit_code: Some(0),
            retry_not_before: None,
            archive_run: None,
            report: Some(report.to_string()),
        }
    }

    fn snapshot(table: &str, day: u32, current: bool) -> SnapshotRecord {
        let run = format!("202611{day:02}T020000Z-j");
        SnapshotRecord {
            source: "s".into(),
            table: table.into(),
            snapshot: run.clone(),
            run,
            rows: 0,
            detail: String::new(),
            current,
        }
    }

    fn keep(count: usize, days: u64) -> Keep {
        let age = std::time::Duration::from_secs(days * 86_400);
        Keep { snapshots: count, snapshots_for: age, archives: count, archives_for: age }
    }

    #[test]
    fn snapshots_go_by_count_and_age_but_never_what_is_seen() {
        let runs: BTreeMap<String, RunRecord> =
            (1..=6).map(|day| run(day, &[])).map(|run| (run.run.clone(), run)).collect();
        // A bad night after the current snapshot of the table was published out of its order.
        let snapshots: Vec<_> = (1..=6).map(|day| snapshot("location", day, day == 2)).collect();
        for (keep, gone) in [
            (keep(0, 0), vec![]),
            (keep(3, 0), vec![3, 1]),
            (keep(1, 0), vec![5, 4, 3, 1]),
            // On the 7th, the night of the 4th is three days ago.
            (keep(0, 3), vec![3, 1]),
            (keep(2, 2), vec![4, 3, 1]),
        ] {
            let old = old_snapshots(&snapshots, &runs, &|_| keep, at(7));
            let days: Vec<u32> = old.iter().map(|(one, _)| one.run[6..8].parse().unwrap()).collect();
            assert_eq!(days, gone, "{keep:?}");
        }
        let told: Vec<_> = (1..=6).map(|day| snapshot("_changes", day, day == 6)).collect();
        assert!(old_snapshots(&told, &runs, &|_| keep(1, 1), at(7)).is_empty(), "history is not pruned");
        let seen: Vec<_> = (1..=6).map(|day| snapshot(SEEN, day, day == 6)).collect();
        assert_eq!(old_snapshots(&seen, &runs, &|_| keep(0, 0), at(7)).len(), 4);
    }

    #[test]
    fn the_last_complete_archive_of_each_type_stays() {
        use Status::{Complete, Partial};
        let archives = [
            run(1, &[("Location", Complete), ("Endpoint", Complete)]),
            run(2, &[("Location", Complete), ("Endpoint", Complete)]),
            run(3, &[("Location", Complete), ("Endpoint", Partial)]),
            run(4, &[("Location", Partial), ("Endpoint", Partial)]),
            run(5, &[("Location", Partial), ("Endpoint", Partial)]),
        ];
        let old = old_archives(&archives, &|_| keep(1, 0), at(7));
        let days: Vec<&str> = old.iter().map(|(one, _)| &one.run[6..8]).collect();
        assert_eq!(days, ["04", "01"]);
    }
}
