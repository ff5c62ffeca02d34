//! Which staged tables analysts may see, and the step that shows them.

use fhirvest_crawler::ending::Status;
use fhirvest_lake::{
    Lake, durable,
    history::{self, ResourceRow, RunRow},
    table::{TableFile, TableFiles},
    template::Template,
    views_sql::{self, Catalog, Snapshot},
};
use serde::{Deserialize, Serialize};

use super::{
    RunError,
    report::{RunReport, TableReport, TableState, UNJUDGED},
    tables::StagedTable,
};
use crate::{
    config::Publish,
    ledger::{Ledger, SnapshotRecord},
    views::TableShape,
};

/// What the ledger keeps of a snapshot besides its name: enough to write `views.sql` again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SnapshotDetail {
    /// Column, SQL type, description.
    pub(crate) columns: Vec<Column>,
    pub(crate) description: Option<String>,
    pub(crate) view_hash: String,
    /// File names in the snapshot's folder, with their hashes.
    pub(crate) files: Vec<FileDetail>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) sql_type: String,
    pub(crate) description: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileDetail {
    pub(crate) name: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
}

/// The rules of a job about what may be shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) publish: Publish,
    pub(crate) max_shrink: f64,
}

/// Decides about one staged table: `None` publishes it, a reason holds it back.
pub(crate) fn hold(rules: Rules, statuses: &[(&str, Status)], rows: u64, previous: Option<u64>) -> Option<String> {
    match rules.publish {
        Publish::Always => return None,
        Publish::Never => return Some("the job says publish = \"never\"".into()),
        Publish::Complete => {}
    }
    let whole = |status: Status| matches!(status, Status::Complete | Status::Empty | Status::Unsupported);
    if let Some((name, status)) = statuses.iter().find(|(_, status)| !whole(*status)) {
        return Some(format!("{name} is {status}"));
    }
    // A server that no longer knows a type says nothing about its rows.
    if statuses.iter().all(|(_, status)| *status == Status::Unsupported) && previous.is_some_and(|rows| rows > 0) {
        return Some("the server no longer serves its resource types".into());
    }
    let previous = previous?;
    #[allow(clippy::cast_precision_loss, reason = "a share of a row count needs no more than 52 bits")]
    let least = previous as f64 * (1.0 - rules.max_shrink);
    #[allow(clippy::cast_precision_loss, reason = "as above")]
    let shrunk = (rows as f64) < least;
    shrunk.then(|| format!("it has {rows} rows after {previous}: more than max_shrink = {} are gone", rules.max_shrink))
}

/// The report of a table that is made.
pub(crate) fn report(
    staged: &StagedTable,
    shape: &TableShape,
    types: &[&str],
    held: Option<String>,
    previous: Option<u64>,
) -> TableReport {
    let counts = &staged.counts;
    let names = shape.schema.fields().iter().map(|field| field.name().clone());
    let casts = names.zip(counts.casts.iter().copied()).chain([(UNJUDGED.to_owned(), counts.unjudged)]);
    TableReport {
        table: staged.name.clone(),
        state: if held.is_some() { TableState::Held } else { TableState::Published },
        reason: held,
        resource_types: types.iter().map(|name| (*name).to_owned()).collect(),
        view_hash: shape.view_hash.clone(),
        snapshot: None,
        rows: staged.files.rows,
        previous_rows: previous,
        resources: counts.resources,
        flattened: counts.flattened,
        filtered: counts.filtered,
        failed: counts.failed,
        casts: casts.filter(|(_, lost)| *lost > 0).collect(),
    }
}

/// What the ledger keeps of a table that a view made.
pub(crate) fn detail(files: &TableFiles, shape: &TableShape) -> SnapshotDetail {
    let fields = shape.schema.fields().iter().zip(&shape.sql_types);
    let columns = fields.map(|(field, sql_type)| Column {
        name: field.name().clone(),
        sql_type: sql_type.clone(),
        description: field.metadata().get("description").cloned(),
    });
    SnapshotDetail {
        columns: columns.collect(),
        description: shape.description.clone(),
        view_hash: shape.view_hash.clone(),
        ..SnapshotDetail::of(files)
    }
}

impl SnapshotDetail {
    /// Files that no view made.
    pub(crate) fn of(files: &TableFiles) -> Self {
        let file = |file: &TableFile| FileDetail {
            name: file.name.clone(),
            rows: file.rows,
            bytes: file.bytes,
            blake3: file.blake3.clone(),
        };
        Self {
            columns: Vec::new(),
            description: None,
            view_hash: String::new(),
            files: files.files.iter().map(file).collect(),
        }
    }

    pub(crate) fn read(snapshot: &SnapshotRecord) -> Result<Self, RunError> {
        serde_json::from_str(&snapshot.detail).map_err(RunError::report)
    }

    pub(crate) fn text(&self) -> Result<String, RunError> {
        serde_json::to_string(self).map_err(RunError::report)
    }
}

/// The files of a snapshot: name, bytes, hash.
pub(crate) fn files_of(snapshot: &SnapshotRecord) -> Result<Vec<(String, u64, String)>, RunError> {
    let files = SnapshotDetail::read(snapshot)?.files;
    Ok(files.into_iter().map(|file| (file.name, file.bytes, file.blake3)).collect())
}

/// Writes `views.sql` from what the ledger says is current. It can be done at any time, and is done at the end of each
/// run and after a crash before it. To be called by who holds the publishing lock.
///
/// # Errors
/// The ledger cannot be read or the file not be written.
pub fn refresh_views_sql(lake: &Lake, ledger: &Ledger) -> Result<(), RunError> {
    Ok(durable::write_atomically(&lake.views_sql_path(), render_views_sql(lake, ledger)?.as_bytes())?)
}

/// The text that `views.sql` should have.
///
/// # Errors
/// The ledger cannot be read.
pub(crate) fn render_views_sql(lake: &Lake, ledger: &Ledger) -> Result<String, RunError> {
    let templates = crate::config::sql_templates().iter().filter_map(|text| Template::parse(text)).collect();
    let mut catalog =
        Catalog { root: lake.absolute_root()?, encrypted: lake.encrypted()?, snapshots: Vec::new(), templates };
    for snapshot in ledger.all_snapshots()? {
        let detail = SnapshotDetail::read(&snapshot)?;
        let folder = lake.below(&lake.snapshot_dir(&snapshot.table, &snapshot.source, &snapshot.snapshot));
        let column = |one: Column| views_sql::Column { name: one.name, description: one.description };
        catalog.snapshots.push(Snapshot {
            source: snapshot.source,
            table: snapshot.table,
            snapshot: snapshot.snapshot,
            run: snapshot.run,
            rows: snapshot.rows,
            view_hash: detail.view_hash,
            current: snapshot.current,
            description: detail.description,
            columns: detail.columns.into_iter().map(column).collect(),
            files: detail.files.into_iter().map(|file| format!("{folder}/{}", file.name)).collect(),
        });
    }
    Ok(views_sql::render(&catalog))
}

/// Stages the rows of the history of a run.
pub(crate) fn stage_history(lake: &Lake, report: &RunReport) -> Result<Vec<(&'static str, TableFiles)>, RunError> {
    let run = RunRow {
        run: report.run.clone(),
        archive_run: report.archive_run.clone().unwrap_or_else(|| report.run.clone()),
        job: report.job.clone(),
        environment: report.environment.clone(),
        started_at: report.started_at,
        finished_at: report.finished_at,
        exit_code: report.exit_code.code(),
        fhirvest_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    // What was flattened again was not crawled again.
    let crawled = report.resources.iter().filter(|_| report.archive_run.is_none());
    let resources: Vec<ResourceRow> = crawled
        .map(|one| ResourceRow {
            run: report.run.clone(),
            resource_type: one.resource_type.clone(),
            strategy: one.strategy.clone(),
            status: one.status.to_string(),
            ended_by: one.ended_by.map(|ended_by| ended_by.to_string()),
            partition_closed: one.partition_closed,
            pages: one.pages,
            received: one.counts.received,
            unique_ids: one.counts.archived,
            duplicates: one.counts.duplicates,
            variants: one.counts.variants,
            quarantined: one.counts.quarantined,
            server_total: one.server_total,
            coverage: one.coverage,
        })
        .collect();
    Ok(history::stage_history(lake, &run, &resources)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_tables_that_did_not_shrink_are_shown() {
        use Status::{Complete, Empty, Failed, Partial, Unsupported};
        let rules = Rules { publish: Publish::Complete, max_shrink: 0.2 };
        for (statuses, rows, previous, shown) in [
            (vec![Complete], 10, None, true),
            (vec![Empty], 0, None, true),
            (vec![Complete, Unsupported], 10, Some(10), true),
            (vec![Unsupported], 0, None, true),
            (vec![Unsupported], 0, Some(0), true),
            (vec![Unsupported], 0, Some(3), false),
            (vec![Complete, Partial], 10, Some(10), false),
            (vec![Failed], 0, None, false),
            (vec![Complete], 80, Some(100), true),
            (vec![Complete], 79, Some(100), false),
        ] {
            let named: Vec<(&str, Status)> = statuses.iter().map(|status| ("Location", *status)).collect();
            assert_eq!(hold(rules, &named, rows, previous).is_none(), shown, "{statuses:?} {rows} after {previous:?}");
        }
        let always = Rules { publish: Publish::Always, max_shrink: 0.2 };
        assert_eq!(hold(always, &[("Location", Partial)], 0, Some(9)), None);
        let never = Rules { publish: Publish::Never, max_shrink: 0.2 };
        assert!(hold(never, &[("Location", Complete)], 9, Some(9)).is_some());
    }
}
