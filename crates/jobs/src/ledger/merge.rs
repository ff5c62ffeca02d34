//! A ledger that is shared through an object store: what is pushed, and what becomes of the local one when the shared
//! one has gone on.

use camino::Utf8Path;
use rusqlite::{Connection, params};

use super::{Ledger, LedgerError, RunState};

/// A run that was over here but never came to be part of the shared lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpublished {
    /// The run.
    pub run: String,
    /// Its source.
    pub source: String,
}

impl Ledger {
    /// Copies the ledger to a new file, without runs that are not over: those are the business of this working folder.
    ///
    /// # Errors
    /// A database cannot be read or written.
    pub fn copy_finished(&self, to: &Utf8Path) -> Result<(), LedgerError> {
        self.sql(self.connection.execute("VACUUM INTO ?1", [to.as_str()]))?;
        let trim = || {
            let copy = Connection::open(to)?;
            copy.pragma_update(None, "foreign_keys", true)?;
            // One file, which is uploaded: no journal beside it.
            copy.pragma_update(None, "journal_mode", "DELETE")?;
            copy.execute("DELETE FROM run WHERE state IN ('crawling', 'crawled')", [])?;
            copy.execute("VACUUM", [])
        };
        trim().map(|_| ()).map_err(|source| LedgerError::Sqlite { path: to.to_owned(), source })
    }

    /// Takes over the shared ledger. Of the local one those runs stay that the shared one does not know: unfinished ones
    /// as they are; finished ones go back to where their archive was sealed, so that their tables are made and published
    /// again, on top of what others have published. Returns these.
    ///
    /// # Errors
    /// A database cannot be read or written; then nothing has changed.
    pub fn take_over(&mut self, shared: &Utf8Path) -> Result<Vec<Unpublished>, LedgerError> {
        // Opened once, the shared one has every table that this version knows.
        drop(Self::open(shared)?);
        self.sql(self.connection.execute("ATTACH ?1 AS shared", [shared.as_str()]))?;
        let taken = take_over(&mut self.connection);
        self.sql(self.connection.execute("DETACH shared", []))?;
        self.sql(taken)
    }
}

fn take_over(connection: &mut Connection) -> rusqlite::Result<Vec<Unpublished>> {
    let commit = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    commit.pragma_update(None, "defer_foreign_keys", true)?;
    commit.execute_batch(
        "CREATE TEMP TABLE kept AS SELECT run, source, state FROM main.run
         WHERE run NOT IN (SELECT run FROM shared.run) AND state <> 'abandoned'
         AND NOT (state = 'finished' AND archive_run IS NOT NULL)",
    )?;
    for table in
        names(&commit, "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")?
    {
        let columns = names(&commit, &format!("SELECT name FROM pragma_table_info('{table}')"))?;
        // Snapshots are what runs have published: those of a run that goes back are made again. A re-run whose tables never
        // came to be part of the lake is forgotten: its archive is there to be flattened again.
        let of_run = table != "snapshot" && columns.iter().any(|column| column == "run");
        let gone = if of_run { "WHERE run NOT IN (SELECT run FROM temp.kept)" } else { "" };
        let columns = columns.join(", ");
        commit.execute_batch(&format!(
            "DELETE FROM main.{table} {gone}; INSERT INTO main.{table} ({columns}) SELECT {columns} FROM shared.{table};"
        ))?;
    }
    // What was never sealed cannot be made again, and its history is all there is of it.
    let query = "SELECT run, source FROM temp.kept WHERE state = 'finished' AND run IN (SELECT run FROM main.resource)";
    let unpublished = {
        let mut statement = commit.prepare(query)?;
        let rows = statement.query_map([], |row| Ok(Unpublished { run: row.get(0)?, source: row.get(1)? }))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()?
    };
    for one in &unpublished {
        commit.execute(
            "UPDATE main.run SET state = ?2, finished_at = NULL, exit_code = NULL,
             report = coalesce(json_extract(report, '$.resources'), report) WHERE run = ?1",
            params![one.run, RunState::Crawled.name()],
        )?;
    }
    commit.execute_batch("DROP TABLE temp.kept")?;
    commit.commit()?;
    Ok(unpublished)
}

fn names(connection: &Connection, query: &str) -> rusqlite::Result<Vec<String>> {
    connection.prepare(query)?.query_map([], |row| row.get(0))?.collect()
}
