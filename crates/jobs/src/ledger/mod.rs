//! What happened, in SQLite: one database for the lake (runs, resource types, snapshots) and one for each crawl in
//! progress (partitions, cursors, ids).
//!
//! Two commits carry the whole promise. A page is archived together with the cursor that follows it: the archive file
//! is synced first, and the crawl's database then commits the file's new length with the cursor, so that whatever lies
//! beyond the committed length was never received. A snapshot becomes current together with its row here; `views.sql`
//! is made from these rows and can be made again at any time.

mod crawl;
mod merge;
mod runs;

use camino::Utf8PathBuf;

pub(crate) use crawl::QUARANTINE;
pub use crawl::{CrawlStore, FileCounts, Held, Stamps, Superseded};
pub use merge::Unpublished;
pub use runs::{Ledger, NewRun, ResourceRecord, RunRecord, RunState, SnapshotRecord};

/// The ledger cannot be read or written: exit code 6.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// SQLite refuses.
    #[error("the ledger {path} cannot be used")]
    Sqlite {
        /// The database.
        path: Utf8PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The archive cannot be written.
    #[error("the archive of the run cannot be written")]
    Archive {
        /// Why.
        #[from]
        source: fhirvest_lake::LakeError,
    },
    /// The index of the ids cannot be read or written.
    #[error("the index of the ids of {path} cannot be used")]
    Index {
        /// The database that it belongs to.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something that this program wrote does not read back.
    #[error("the ledger {path} holds {what}, which this version can't read: was it written by a newer fhirvest?")]
    Unreadable {
        /// The database.
        path: Utf8PathBuf,
        /// What.
        what: String,
    },
    /// The thread that writes has ended, after an error that it has already told of.
    #[error("the writer of the run has stopped after an earlier error")]
    Stopped,
    /// The writing thread cannot be started.
    #[error("the writer of the run cannot be started")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
}

/// Opens a database with the settings that both kinds share: write-ahead log, full sync at every commit.
fn open(path: &camino::Utf8Path) -> rusqlite::Result<rusqlite::Connection> {
    // SQLite gives its journals the permissions of the database: made here, all of them are private in a private folder.
    // What keeps it from being made keeps SQLite from opening it, which has the better message.
    let _ = fhirvest_lake::durable::options(path).open(path);
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    Ok(connection)
}

/// How long a process waits for another's commit: they take milliseconds.
const BUSY: std::time::Duration = std::time::Duration::from_secs(30);

/// Page cache of one database, in KiB (SQLite's convention: negative): 32 MiB, whatever the size of the crawl.
const CACHE_KIB: i64 = -32 * 1024;
