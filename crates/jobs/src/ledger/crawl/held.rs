//! What a crawl holds, once it is over: its ids and their stamps.

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, params};

use crate::ledger::LedgerError;

/// `meta.lastUpdated` over the resources of a type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamps {
    /// Ids.
    pub ids: u64,
    /// Those whose stamp is missing or no time.
    pub unstamped: u64,
    /// The earliest stamp.
    pub oldest: Option<DateTime<Utc>>,
    /// The latest stamp.
    pub newest: Option<DateTime<Utc>>,
}

/// The ids that a crawl holds. To be opened when its [`super::CrawlStore`] is closed.
#[derive(Debug)]
pub struct Held {
    connection: Connection,
    path: Utf8PathBuf,
}

impl Held {
    /// Opens the crawl of a run in its folder.
    ///
    /// # Errors
    /// The database cannot be opened.
    pub fn open(folder: &Utf8Path) -> Result<Self, LedgerError> {
        let path = folder.join("crawl.sqlite");
        match super::super::open(&path) {
            Ok(connection) => Ok(Self { connection, path }),
            Err(source) => Err(LedgerError::Sqlite { path, source }),
        }
    }

    /// A test for the ids of a type.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn ids_of(&self, resource_type: &str) -> Result<impl FnMut(&str) -> Result<bool, LedgerError>, LedgerError> {
        let number = self.told(self.number(resource_type))?;
        let query = "SELECT 1 FROM held WHERE type = ?1 AND id = ?2";
        let mut statement = self.told(self.connection.prepare(query))?;
        Ok(move |id: &str| self.told(statement.exists(params![number, id])))
    }

    /// The stamps of a type.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn stamps(&self, resource_type: &str) -> Result<Stamps, LedgerError> {
        let read = || {
            let mut stamps = Stamps::default();
            let mut statement = self.connection.prepare("SELECT last_updated FROM held WHERE type = ?1")?;
            let mut rows = statement.query([self.number(resource_type)?])?;
            while let Some(row) = rows.next()? {
                stamps.ids += 1;
                let text = row.get_ref(0)?.as_str_or_null()?;
                match text.and_then(|text| DateTime::parse_from_rfc3339(text).ok()) {
                    None => stamps.unstamped += 1,
                    Some(time) => {
                        let time = time.with_timezone(&Utc);
                        stamps.oldest = Some(stamps.oldest.map_or(time, |oldest| oldest.min(time)));
                        stamps.newest = stamps.newest.max(Some(time));
                    }
                }
            }
            Ok(stamps)
        };
        self.told(read())
    }

    fn number(&self, resource_type: &str) -> rusqlite::Result<Option<i64>> {
        let query = "SELECT number FROM resource_type WHERE name = ?1";
        self.connection.query_row(query, [resource_type], |row| row.get(0)).optional()
    }

    fn told<T>(&self, result: rusqlite::Result<T>) -> Result<T, LedgerError> {
        result.map_err(|source| LedgerError::Sqlite { path: self.path.clone(), source })
    }
}
