//! The lake's ledger: every run, what became of each of its resource types, and every snapshot.

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::LedgerError;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS run (
  run TEXT PRIMARY KEY,
  job TEXT NOT NULL,
  source TEXT NOT NULL,
  environment TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  state TEXT NOT NULL,
  started_at TEXT NOT NULL,
  finished_at TEXT,
  exit_code INTEGER,
  retry_not_before TEXT,
  report TEXT,
  archive_run TEXT
);
CREATE INDEX IF NOT EXISTS run_by_job ON run (job, run);
CREATE TABLE IF NOT EXISTS resource (
  run TEXT NOT NULL REFERENCES run (run) ON DELETE CASCADE,
  resource_type TEXT NOT NULL,
  archive_bytes INTEGER NOT NULL,
  archive_blake3 TEXT NOT NULL,
  PRIMARY KEY (run, resource_type)
);
-- Lines of an archive that a newer variant of the same resource replaces; the views skip them.
CREATE TABLE IF NOT EXISTS superseded (
  run TEXT NOT NULL REFERENCES run (run) ON DELETE CASCADE,
  resource_type TEXT NOT NULL,
  line INTEGER NOT NULL,
  PRIMARY KEY (run, resource_type, line)
) WITHOUT ROWID;
-- How a type was refreshed by a run that asks for changes, as JSON.
CREATE TABLE IF NOT EXISTS refresh (
  run TEXT NOT NULL REFERENCES run (run) ON DELETE CASCADE,
  resource_type TEXT NOT NULL,
  detail TEXT NOT NULL,
  PRIMARY KEY (run, resource_type)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshot (
  source TEXT NOT NULL,
  table_name TEXT NOT NULL,
  run TEXT NOT NULL,
  snapshot TEXT NOT NULL,
  rows INTEGER NOT NULL,
  detail TEXT NOT NULL,
  current INTEGER NOT NULL,
  PRIMARY KEY (source, table_name, snapshot)
);
CREATE UNIQUE INDEX IF NOT EXISTS one_current ON snapshot (source, table_name) WHERE current;
";

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Pages are being fetched, or were when the process ended: it can be resumed.
    Crawling,
    /// Everything is archived; tables are not yet published. It can be resumed.
    Crawled,
    /// Over.
    Finished,
    /// Given up for a newer run.
    Abandoned,
}

impl RunState {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crawling => "crawling",
            Self::Crawled => "crawled",
            Self::Finished => "finished",
            Self::Abandoned => "abandoned",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Crawling, Self::Crawled, Self::Finished, Self::Abandoned].into_iter().find(|state| state.name() == name)
    }
}

/// A run about to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// The job's name.
    pub job: String,
    /// The source's name in the lake.
    pub source: String,
    /// The environment.
    pub environment: String,
    /// What the run is bound to.
    pub fingerprint: String,
}

/// A run in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunRecord {
    /// Its id, which sorts by time: `20261123T020000Z-provider-directory`.
    pub run: String,
    /// The job's name.
    pub job: String,
    /// The source's name in the lake.
    pub source: String,
    /// The environment.
    pub environment: String,
    /// What the run is bound to: base URL, resources, parameters, strategies.
    pub fingerprint: String,
    /// Where it stands.
    pub state: RunState,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was over.
    pub finished_at: Option<DateTime<Utc>>,
    /// The exit code of its end.
    pub exit_code: Option<u8>,
    /// The server asked not to be asked before this time.
    pub retry_not_before: Option<DateTime<Utc>>,
    /// The run whose archive it flattens again; none of a run that crawls.
    pub archive_run: Option<String>,
    /// The report, as JSON text.
    #[serde(skip)]
    pub report: Option<String>,
}

/// A sealed archive file of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResourceRecord {
    /// The resource type.
    pub resource_type: String,
    /// The file's size.
    pub bytes: u64,
    /// The file's BLAKE3 hash, in hexadecimal.
    pub blake3: String,
}

/// A published snapshot of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotRecord {
    /// The source's name in the lake.
    pub source: String,
    /// The table.
    pub table: String,
    /// The run whose archive it was made from.
    pub run: String,
    /// Its name in the path: the run's id, or that of a re-run.
    pub snapshot: String,
    /// Its rows.
    pub rows: u64,
    /// Its columns and files, as JSON text that `run::publish` reads and writes.
    #[serde(skip)]
    pub detail: String,
    /// Whether analysts see it now.
    pub current: bool,
}

/// The lake's ledger.
#[derive(Debug)]
pub struct Ledger {
    pub(super) connection: Connection,
    path: Utf8PathBuf,
}

impl Ledger {
    /// Opens the ledger, creating it where there is none.
    ///
    /// # Errors
    /// The file cannot be opened or is no ledger.
    pub fn open(path: &Utf8Path) -> Result<Self, LedgerError> {
        let open = || {
            let connection = super::open(path)?;
            connection.execute_batch(SCHEMA)?;
            // Ledgers of earlier versions lack it.
            let columns = "SELECT count(*) FROM pragma_table_info('run') WHERE name = 'archive_run'";
            if connection.query_row(columns, [], |row| row.get::<_, i64>(0))? == 0 {
                connection.execute_batch("ALTER TABLE run ADD COLUMN archive_run TEXT")?;
            }
            Ok(connection)
        };
        match open() {
            Ok(connection) => Ok(Self { connection, path: path.to_owned() }),
            Err(source) => Err(LedgerError::Sqlite { path: path.to_owned(), source }),
        }
    }

    pub(super) fn sql<T>(&self, result: rusqlite::Result<T>) -> Result<T, LedgerError> {
        result.map_err(|source| LedgerError::Sqlite { path: self.path.clone(), source })
    }

    /// Begins a run: gives it an id that sorts by time and is taken by no other. Two runs of one job within a second
    /// get ids a second apart, so that ids stay in the order of their beginnings.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn begin(&self, new: &NewRun, now: DateTime<Utc>) -> Result<RunRecord, LedgerError> {
        self.add(new, now, RunState::Crawling, None)
    }

    /// Begins a run that flattens the archive of another one again.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn begin_again(&self, new: &NewRun, archive_run: &str, now: DateTime<Utc>) -> Result<RunRecord, LedgerError> {
        self.add(new, now, RunState::Crawled, Some(archive_run))
    }

    fn add(
        &self,
        new: &NewRun,
        now: DateTime<Utc>,
        state: RunState,
        archive_run: Option<&str>,
    ) -> Result<RunRecord, LedgerError> {
        let mut at = now;
        loop {
            let run = format!("{}-{}", at.format("%Y%m%dT%H%M%SZ"), new.job);
            let added = self.sql(self.connection.execute(
                "INSERT OR IGNORE INTO run (run, job, source, environment, fingerprint, state, started_at, archive_run)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    run,
                    new.job,
                    new.source,
                    new.environment,
                    new.fingerprint,
                    state.name(),
                    text(now),
                    archive_run
                ],
            ))?;
            if added == 1 {
                return self.run(&run)?.ok_or_else(|| self.unreadable(format!("no row for the run {run}")));
            }
            at += chrono::Duration::seconds(1);
        }
    }

    /// A run by its id.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn run(&self, run: &str) -> Result<Option<RunRecord>, LedgerError> {
        let query = "SELECT * FROM run WHERE run = ?1";
        let found = self.sql(self.connection.query_row(query, [run], |row| Ok(record(row))).optional())?;
        found.map(|record| self.readable(record)).transpose()
    }

    /// The newest runs first, of one job or of all, at most `limit`.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn runs(&self, job: Option<&str>, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        let query = "SELECT * FROM run WHERE ?1 IS NULL OR job = ?1 ORDER BY run DESC LIMIT ?2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.sql(self.connection.prepare(query).and_then(|mut statement| {
            statement.query_map(params![job, limit], |row| Ok(record(row)))?.collect::<rusqlite::Result<Vec<_>>>()
        }))?;
        rows.into_iter().map(|row| self.readable(row)).collect()
    }

    /// The newest run of a job that crawls.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn last_crawl(&self, job: &str) -> Result<Option<RunRecord>, LedgerError> {
        let query = "SELECT * FROM run WHERE job = ?1 AND archive_run IS NULL ORDER BY run DESC LIMIT 1";
        let found = self.sql(self.connection.query_row(query, [job], |row| Ok(record(row))).optional())?;
        found.map(|record| self.readable(record)).transpose()
    }

    /// The last runs of a job that ended, up to a run, the newest first, at most `limit`.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn ended_until(&self, job: &str, run: &str, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        let query = "SELECT * FROM run WHERE job = ?1 AND run <= ?2 AND state = 'finished' ORDER BY run DESC LIMIT ?3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.sql(self.connection.prepare(query).and_then(|mut statement| {
            statement.query_map(params![job, run, limit], |row| Ok(record(row)))?.collect::<rusqlite::Result<Vec<_>>>()
        }))?;
        rows.into_iter().map(|row| self.readable(row)).collect()
    }

    /// The newest run of a job that crawls and is not over.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn unfinished(&self, job: &str) -> Result<Option<RunRecord>, LedgerError> {
        let query = "SELECT * FROM run WHERE job = ?1 AND state IN ('crawling', 'crawled') AND archive_run IS NULL
                     ORDER BY run DESC LIMIT 1";
        let found = self.sql(self.connection.query_row(query, [job], |row| Ok(record(row))).optional())?;
        found.map(|record| self.readable(record)).transpose()
    }

    /// Moves a run to another state.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn set_state(&self, run: &str, state: RunState) -> Result<(), LedgerError> {
        let result = self.connection.execute("UPDATE run SET state = ?2 WHERE run = ?1", params![run, state.name()]);
        self.sql(result).map(|_| ())
    }

    /// Keeps the time before which the server asked not to be asked.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn set_retry(&self, run: &str, not_before: Option<DateTime<Utc>>) -> Result<(), LedgerError> {
        let query = "UPDATE run SET retry_not_before = ?2 WHERE run = ?1";
        self.sql(self.connection.execute(query, params![run, not_before.map(text)])).map(|_| ())
    }

    /// Ends the crawl of a run: its superseded lines, its outcomes and its state, in one commit. From here on the run
    /// needs no network; what is left is done again after a crash.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn seal(&mut self, run: &str, outcomes: &str, superseded: &[(String, u64)]) -> Result<(), LedgerError> {
        let seal = |connection: &mut Connection| {
            let commit = connection.transaction()?;
            for (resource_type, line) in superseded {
                commit.execute(
                    "INSERT OR IGNORE INTO superseded VALUES (?1, ?2, ?3)",
                    params![run, resource_type, signed(*line)],
                )?;
            }
            commit.execute(
                "UPDATE run SET state = ?2, report = ?3 WHERE run = ?1",
                params![run, RunState::Crawled.name(), outcomes],
            )?;
            commit.commit()
        };
        let result = seal(&mut self.connection);
        self.sql(result)
    }

    /// Notes the archive files of a run, once they are in their place.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn sealed(&self, run: &str, files: &[ResourceRecord]) -> Result<(), LedgerError> {
        for file in files {
            self.sql(self.connection.execute(
                "INSERT OR REPLACE INTO resource VALUES (?1, ?2, ?3, ?4)",
                params![run, file.resource_type, signed(file.bytes), file.blake3],
            ))?;
        }
        Ok(())
    }

    /// The sealed archive files of a run.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn archive(&self, run: &str) -> Result<Vec<ResourceRecord>, LedgerError> {
        let query = "SELECT resource_type, archive_bytes, archive_blake3 FROM resource WHERE run = ?1 ORDER BY 1";
        self.sql(self.connection.prepare(query).and_then(|mut statement| {
            let rows = statement.query_map([run], |row| {
                Ok(ResourceRecord {
                    resource_type: row.get(0)?,
                    bytes: row.get::<_, i64>(1)?.unsigned_abs(),
                    blake3: row.get(2)?,
                })
            })?;
            rows.collect()
        }))
    }

    /// The superseded lines of one archive file, in order, `limit` of them from `from` on.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn superseded(&self, run: &str, resource_type: &str, from: u64, limit: usize) -> Result<Vec<u64>, LedgerError> {
        let query =
            "SELECT line FROM superseded WHERE run = ?1 AND resource_type = ?2 AND line >= ?3 ORDER BY line LIMIT ?4";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.sql(self.connection.prepare(query).and_then(|mut statement| {
            let rows = statement.query_map(params![run, resource_type, signed(from), limit], |row| {
                Ok(row.get::<_, i64>(0)?.unsigned_abs())
            })?;
            rows.collect()
        }))
    }

    /// Keeps how a type is refreshed by a run, as JSON text.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn set_refresh(&self, run: &str, resource_type: &str, detail: &str) -> Result<(), LedgerError> {
        let query = "INSERT OR REPLACE INTO refresh VALUES (?1, ?2, ?3)";
        self.sql(self.connection.execute(query, params![run, resource_type, detail])).map(|_| ())
    }

    /// How the types of a run were refreshed, by type.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn refresh(&self, run: &str) -> Result<Vec<(String, String)>, LedgerError> {
        let query = "SELECT resource_type, detail FROM refresh WHERE run = ?1 ORDER BY resource_type";
        self.sql(self.connection.prepare(query).and_then(|mut statement| {
            let rows = statement.query_map([run], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        }))
    }

    /// Ends a run: its new snapshots are noted, those that are current take the place of others, together with its exit
    /// code and report, in one commit.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn finish(
        &mut self,
        run: &str,
        snapshots: &[SnapshotRecord],
        exit_code: u8,
        report: &str,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let finish = |connection: &mut Connection| {
            let commit = connection.transaction()?;
            for snapshot in snapshots {
                add_snapshot(&commit, snapshot)?;
            }
            commit.execute(
                "UPDATE run SET state = ?2, finished_at = ?3, exit_code = ?4, report = ?5 WHERE run = ?1",
                params![run, RunState::Finished.name(), text(now), exit_code, report],
            )?;
            commit.commit()
        };
        let result = finish(&mut self.connection);
        self.sql(result)
    }

    /// Forgets snapshots and the archive files of runs, in one commit. Their files are no longer promised to anybody.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn forget(&mut self, snapshots: &[SnapshotRecord], archives: &[String]) -> Result<(), LedgerError> {
        let forget = |connection: &mut Connection| {
            let commit = connection.transaction()?;
            for one in snapshots {
                let query = "DELETE FROM snapshot WHERE source = ?1 AND table_name = ?2 AND snapshot = ?3";
                commit.execute(query, params![one.source, one.table, one.snapshot])?;
            }
            for run in archives {
                commit.execute("DELETE FROM resource WHERE run = ?1", [run])?;
                commit.execute("DELETE FROM superseded WHERE run = ?1", [run])?;
            }
            commit.commit()
        };
        let result = forget(&mut self.connection);
        self.sql(result)
    }

    /// Looks the whole database through; what SQLite finds wrong, a line each.
    ///
    /// # Errors
    /// It cannot even be looked through.
    pub fn damage(&self) -> Result<Vec<String>, LedgerError> {
        let found: Vec<String> = self.sql(
            self.connection
                .prepare("PRAGMA integrity_check")
                .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect()),
        )?;
        Ok(found.into_iter().filter(|line| line != "ok").collect())
    }

    /// Every run that has not ended.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn open_runs(&self) -> Result<Vec<RunRecord>, LedgerError> {
        let query = "SELECT * FROM run WHERE state IN ('crawling', 'crawled') ORDER BY run";
        let rows = self.sql(self.connection.prepare(query).and_then(|mut statement| {
            statement.query_map([], |row| Ok(record(row)))?.collect::<rusqlite::Result<Vec<_>>>()
        }))?;
        rows.into_iter().map(|row| self.readable(row)).collect()
    }

    /// The runs whose archives are kept.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn archived(&self) -> Result<Vec<RunRecord>, LedgerError> {
        let query = "SELECT * FROM run WHERE run IN (SELECT run FROM resource) ORDER BY run";
        let rows = self.sql(self.connection.prepare(query).and_then(|mut statement| {
            statement.query_map([], |row| Ok(record(row)))?.collect::<rusqlite::Result<Vec<_>>>()
        }))?;
        rows.into_iter().map(|row| self.readable(row)).collect()
    }

    /// The snapshots that analysts see now, by source and table.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn current(&self) -> Result<Vec<SnapshotRecord>, LedgerError> {
        self.snapshots("SELECT * FROM snapshot WHERE current ORDER BY source, table_name")
    }

    /// Every snapshot, by source, table and time.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn all_snapshots(&self) -> Result<Vec<SnapshotRecord>, LedgerError> {
        self.snapshots("SELECT * FROM snapshot ORDER BY source, table_name, snapshot")
    }

    fn snapshots(&self, query: &str) -> Result<Vec<SnapshotRecord>, LedgerError> {
        self.sql(self.connection.prepare(query).and_then(|mut statement| {
            let rows = statement.query_map([], |row| {
                Ok(SnapshotRecord {
                    source: row.get("source")?,
                    table: row.get("table_name")?,
                    run: row.get("run")?,
                    snapshot: row.get("snapshot")?,
                    rows: row.get::<_, i64>("rows")?.unsigned_abs(),
                    detail: row.get("detail")?,
                    current: row.get("current")?,
                })
            })?;
            rows.collect()
        }))
    }

    fn readable(&self, record: Result<RunRecord, String>) -> Result<RunRecord, LedgerError> {
        record.map_err(|what| self.unreadable(what))
    }

    fn unreadable(&self, what: String) -> LedgerError {
        LedgerError::Unreadable { path: self.path.clone(), what }
    }
}

fn add_snapshot(commit: &rusqlite::Transaction<'_>, snapshot: &SnapshotRecord) -> rusqlite::Result<()> {
    if snapshot.current {
        let query = "UPDATE snapshot SET current = 0 WHERE source = ?1 AND table_name = ?2";
        commit.execute(query, params![snapshot.source, snapshot.table])?;
    }
    commit.execute(
        "INSERT OR REPLACE INTO snapshot VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            snapshot.source,
            snapshot.table,
            snapshot.run,
            snapshot.snapshot,
            signed(snapshot.rows),
            snapshot.detail,
            snapshot.current
        ],
    )?;
    Ok(())
}

fn record(row: &Row<'_>) -> Result<RunRecord, String> {
    let told = |error: rusqlite::Error| error.to_string();
    let time = |column: &str| -> Result<Option<DateTime<Utc>>, String> {
        let value: Option<String> = row.get(column).map_err(told)?;
        value
            .map(|text| {
                DateTime::parse_from_rfc3339(&text)
                    .map(|time| time.with_timezone(&Utc))
                    .map_err(|_| format!("the time {text:?}"))
            })
            .transpose()
    };
    let state: String = row.get("state").map_err(told)?;
    Ok(RunRecord {
        run: row.get("run").map_err(told)?,
        job: row.get("job").map_err(told)?,
        source: row.get("source").map_err(told)?,
        environment: row.get("environment").map_err(told)?,
        fingerprint: row.get("fingerprint").map_err(told)?,
        state: RunState::from_name(&state).ok_or_else(|| format!("the state {state:?}"))?,
        started_at: time("started_at")?.ok_or("a run without a beginning")?,
        finished_at: time("finished_at")?,
        exit_code: row.get("exit_code").map_err(told)?,
        retry_not_before: time("retry_not_before")?,
        archive_run: row.get("archive_run").map_err(told)?,
        report: row.get("report").map_err(told)?,
    })
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// SQLite's integers are signed; none of ours comes near the limit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().join("ledger.sqlite")).unwrap();
        let ledger = Ledger::open(&path).unwrap();
        (dir, ledger)
    }

    fn new() -> NewRun {
        NewRun { job: "j".into(), source: "s".into(), environment: "local".into(), fingerprint: "f".into() }
    }

    fn snapshot(run: &str, table: &str, rows: u64) -> SnapshotRecord {
        SnapshotRecord {
            source: "s".into(),
            table: table.into(),
            run: run.into(),
            snapshot: run.into(),
            rows,
            detail: "{}".into(),
            current: true,
        }
    }

    #[test]
    fn runs_of_one_second_get_ids_in_order() {
        let (_dir, ledger) = ledger();
        let now = DateTime::parse_from_rfc3339("2026-11-23T02:00:00Z").unwrap().with_timezone(&Utc);
        let first = ledger.begin(&new(), now).unwrap();
        let second = ledger.begin(&new(), now).unwrap();
        assert_eq!(first.run, "20261123T020000Z-j");
        assert!(first.run < second.run);
        assert_eq!(ledger.unfinished("j").unwrap().unwrap().run, second.run);
        assert_eq!(ledger.runs(None, 10).unwrap().len(), 2);
        assert_eq!(ledger.runs(Some("other"), 10).unwrap(), vec![]);
    }

    #[test]
    fn a_table_has_one_current_snapshot_and_keeps_its_history() {
        let (_dir, mut ledger) = ledger();
        let now = DateTime::parse_from_rfc3339("2026-11-23T02:00:00Z").unwrap().with_timezone(&Utc);
        for rows in [5, 6] {
            let run = ledger.begin(&new(), now).unwrap().run;
            ledger.seal(&run, "[]", &[("Location".into(), 7), ("Location".into(), 3)]).unwrap();
            assert_eq!(ledger.superseded(&run, "Location", 4, 10).unwrap(), vec![7]);
            ledger.finish(&run, &[snapshot(&run, "location", rows)], 0, "{}", now).unwrap();
        }
        let current = ledger.current().unwrap();
        assert_eq!(current.iter().map(|one| one.rows).collect::<Vec<_>>(), vec![6]);
        assert_eq!(ledger.all_snapshots().unwrap().len(), 2);
        assert!(ledger.unfinished("j").unwrap().is_none());
    }
}
