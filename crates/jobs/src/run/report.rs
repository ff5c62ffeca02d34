//! The report of a run, as a value: what a person reads at the end, what `--json` prints, what the ledger keeps.

use chrono::{DateTime, Utc};
use fhirvest_crawler::{ending::Status, engine::ResourceOutcome};
use serde::{Deserialize, Serialize};

use super::{Refreshed, Traffic};
use crate::flatten::RowFailure;

/// How the program ends; the contract's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Exit {
    /// 0: everything is done.
    Done,
    /// 1: a bug.
    Bug,
    /// 2: usage or configuration.
    Usage,
    /// 3: the server refuses: credentials, 4xx, or an answer that is not FHIR.
    Refused,
    /// 4: the server cannot be reached, or fails, after all retries.
    Unavailable,
    /// 5: finished, but something is partial, failed or held back; what was complete is published.
    Incomplete,
    /// 6: the lake cannot be read or written.
    Storage,
    /// 75: the server asks to come back later.
    Later,
    /// 130: interrupted, after a clean commit.
    Interrupted,
}

impl Exit {
    const ALL: [(Self, u8); 9] = [
        (Self::Done, 0),
        (Self::Bug, 1),
        (Self::Usage, 2),
        (Self::Refused, 3),
        (Self::Unavailable, 4),
        (Self::Incomplete, 5),
        (Self::Storage, 6),
        (Self::Later, 75),
        (Self::Interrupted, 130),
    ];

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        Self::ALL.iter().find(|(exit, _)| *exit == self).map_or(1, |(_, code)| *code)
    }

    /// The end of several jobs together: the one that needs a person the most.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let order = [
            Self::Done,
            Self::Incomplete,
            Self::Later,
            Self::Unavailable,
            Self::Refused,
            Self::Usage,
            Self::Storage,
            Self::Bug,
            Self::Interrupted,
        ];
        let place = |exit| order.iter().position(|one| *one == exit);
        if place(other) > place(self) { other } else { self }
    }
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit.code()
    }
}

impl TryFrom<u8> for Exit {
    type Error = String;

    fn try_from(code: u8) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, number)| *number == code);
        found.map(|(exit, _)| *exit).ok_or_else(|| format!("no exit code {code}"))
    }
}

/// What became of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableState {
    /// Analysts see it.
    Published,
    /// Made again it would be what it is: its view and its archive are the same as before.
    Unchanged,
    /// Made and kept for `as_of`; analysts see a later crawl.
    History,
    /// Made, but kept from analysts: see the reason.
    Held,
    /// Not made: see the reason.
    Skipped,
}

/// Stands among the columns of a report for what a view's `where` met; no column can be called so.
pub(crate) const UNJUDGED: &str = "(where)";

/// One table of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableReport {
    /// Its name.
    pub table: String,
    /// What became of it.
    pub state: TableState,
    /// Why it is not published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The resource types that fill it.
    pub resource_types: Vec<String>,
    /// The hash of the view that made it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub view_hash: String,
    /// The snapshot that holds its rows, where it is kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snapshot: Option<String>,
    /// Its rows.
    pub rows: u64,
    /// Rows of the snapshot before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_rows: Option<u64>,
    /// Resources read for it: `flattened + filtered + failed`.
    pub resources: u64,
    /// Those that gave rows.
    pub flattened: u64,
    /// Those that the view leaves out.
    pub filtered: u64,
    /// Those that could not be flattened; they stay in the archive.
    pub failed: u64,
    /// Values that did not fit their column and became null, by column; columns without any are left out. `(where)` counts
    /// the resources that a view's filter could not judge because of such a value; they are in the table.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty", default)]
    pub casts: std::collections::BTreeMap<String, u64>,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Its id.
    pub run: String,
    /// The run whose archive was flattened again; none where it is its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub archive_run: Option<String>,
    /// The job.
    pub job: String,
    /// The catalogued API, if it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub api: Option<String>,
    /// The source's name in the lake.
    pub source: String,
    /// The environment.
    pub environment: String,
    /// The base URL, without credentials.
    pub base_url: String,
    /// The lake's folder.
    pub lake: String,
    /// Whether it continued a run that had been interrupted.
    pub resumed: bool,
    /// When it began (a resumed run: when it first began).
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// From `started_at` to `finished_at`, in seconds.
    pub seconds: f64,
    /// How it ended.
    pub exit_code: Exit,
    /// The types.
    pub resources: Vec<ResourceOutcome>,
    /// With `refresh = "incremental"`: how each type that can be asked for its changes was refreshed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub refreshed: Vec<Refreshed>,
    /// The tables.
    pub tables: Vec<TableReport>,
    /// What analysts see otherwise than before, by type.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub changes: Vec<Changes>,
    /// Resources that could not be flattened, the first of them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub failures: Vec<NamedFailure>,
    /// What was asked, how fast, and how long the server took; nothing where no request went out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traffic: Option<Traffic>,
    /// The server asked not to be asked before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_not_before: Option<DateTime<Utc>>,
    /// What to do next.
    pub next_step: String,
}

impl RunReport {
    /// Says of types that are whole by the server's word alone how many resources did not come again: whether they are
    /// gone from the server, or its pages have passed over them, no count shows.
    pub(super) fn tell_what_no_count_explains(&mut self) {
        for one in self.changes.iter().filter(|one| one.removed > 0) {
            let (name, removed) = (&one.resource_type, one.removed);
            let uncounted = |resource: &&mut ResourceOutcome| {
                resource.resource_type == *name
                    && resource.server_total.unwrap_or(0) == 0
                    && matches!(resource.status, Status::Complete | Status::Empty)
            };
            for resource in self.resources.iter_mut().filter(uncounted) {
                let told = format!(
                    "{name}: {removed} that were there before did not come again, and the server gives no count that could \
                     show whether they are gone from it: see _changes"
                );
                tracing::info!(resource_type = name, removed, "did not come again, and the server gives no count");
                resource.detail = Some(match resource.detail.take() {
                    Some(detail) => format!("{detail}; {told}"),
                    None => told,
                });
            }
        }
    }
}

/// Resources of a type that changed since the crawl before; they are the rows of `_changes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The type.
    pub resource_type: String,
    /// There now and not before.
    pub added: u64,
    /// There now and before, with other content.
    pub changed: u64,
    /// There before and not now: only a crawl that was complete can tell.
    pub removed: u64,
}

/// A resource that could not be flattened, by its place in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedFailure {
    /// Its type: the archive file.
    pub resource_type: String,
    /// Its line there, from 1.
    pub line: u64,
    /// The table that misses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Why.
    pub message: String,
}

impl TableReport {
    pub(crate) fn skipped(table: &str, resource_types: &[&str], reason: String) -> Self {
        Self {
            table: table.to_owned(),
            state: TableState::Skipped,
            reason: Some(reason),
            resource_types: resource_types.iter().map(|name| (*name).to_owned()).collect(),
            view_hash: String::new(),
            snapshot: None,
            rows: 0,
            previous_rows: None,
            resources: 0,
            flattened: 0,
            filtered: 0,
            failed: 0,
            casts: std::collections::BTreeMap::new(),
        }
    }
}

impl NamedFailure {
    pub(crate) fn new(failure: RowFailure, resource_type: &str, tables: &[fhirvest_flattener::Table]) -> Self {
        let table = failure.table.and_then(|table| tables.get(table)).map(|table| table.name.clone());
        Self { resource_type: resource_type.to_owned(), line: failure.line, table, message: failure.message }
    }
}

/// Whether a crawl brought nothing at all and found out nothing either.
#[must_use]
pub(super) fn nothing_came(resources: &[ResourceOutcome]) -> bool {
    resources.iter().all(|one| one.counts.received == 0 && !matches!(one.status, Status::Complete | Status::Empty))
}

/// The exit code that the statuses of the types and the states of the tables come to.
#[must_use]
pub fn judge(statuses: &[Status], unavailable: bool, tables: &[TableReport]) -> Exit {
    let good = |status: &Status| matches!(status, Status::Complete | Status::Empty);
    let neutral = |status: &Status| matches!(status, Status::Unsupported);
    if statuses.iter().all(|status| good(status) || neutral(status)) && statuses.iter().any(good) {
        let whole = tables.iter().all(|table| table.state != TableState::Held && table.failed == 0);
        return if whole { Exit::Done } else { Exit::Incomplete };
    }
    // Something came: what is missing makes the run incomplete, whatever the reason.
    if statuses.iter().any(|status| good(status) || *status == Status::Partial) {
        return Exit::Incomplete;
    }
    if unavailable { Exit::Unavailable } else { Exit::Refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_explains_every_exit_code() {
        let manual = include_str!("../../../../docs/operations.md");
        for (exit, code) in Exit::ALL {
            let row = manual.lines().find(|line| line.starts_with(&format!("| {code} | ")));
            assert_eq!(row.map(|row| row.matches(" | ").count()), Some(2), "{exit:?}");
        }
    }

    #[test]
    fn statuses_come_to_the_contracts_codes() {
        use Status::{Complete, Empty, Failed, Partial, Refused, Unsupported};
        for (statuses, unavailable, exit) in [
            (vec![Complete, Empty, Unsupported], false, Exit::Done),
            (vec![Complete, Partial], false, Exit::Incomplete),
            (vec![Complete, Refused], false, Exit::Incomplete),
            (vec![Partial], false, Exit::Incomplete),
            (vec![Refused, Refused], false, Exit::Refused),
            (vec![Unsupported, Unsupported], false, Exit::Refused),
            (vec![Failed, Failed], true, Exit::Unavailable),
        ] {
            assert_eq!(judge(&statuses, unavailable, &[]), exit, "{statuses:?}");
        }
    }

    #[test]
    fn codes_are_the_contracts_and_the_worst_wins() {
        assert_eq!(Exit::ALL.map(|(exit, _)| exit.code()), [0, 1, 2, 3, 4, 5, 6, 75, 130]);
        assert_eq!(Exit::Incomplete.worst(Exit::Done), Exit::Incomplete);
        assert_eq!(Exit::Done.worst(Exit::Later).worst(Exit::Refused), Exit::Refused);
    }
}
