//! What a crawl holds, once it is over: its ids and their stamps.

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension};

use super::{
    CrawlError,
    index::{self, Index},
    recovery,
};
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
    index: Index,
}

impl Held {
    /// Opens the crawl of a run in its folder.
    ///
    /// # Errors
    /// The database or the index cannot be opened.
    pub fn open(folder: &Utf8Path) -> Result<Self, LedgerError> {
        let path = folder.join("crawl.sqlite");
        let open = || -> Result<_, CrawlError> {
            let mut connection = super::super::open(&path)?;
            let index = recovery::open(&mut connection, folder)?;
            Ok((connection, index))
        };
        match open() {
            Ok((connection, index)) => Ok(Self { connection, path, index }),
            Err(error) => Err(error.told(&path)),
        }
    }

    /// A test for the ids of a type.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn ids_of(&self, resource_type: &str) -> Result<impl FnMut(&str) -> Result<bool, LedgerError>, LedgerError> {
        let number = self.number(resource_type)?;
        let mut key = Vec::new();
        Ok(move |id: &str| {
            let Some(number) = number else { return Ok(false) };
            index::key(number, id, &mut key);
            let found = self.index.get(&key).map_err(CrawlError::Index);
            found.map(|record| record.is_some()).map_err(|error| error.told(&self.path))
        })
    }

    /// The stamps of a type.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn stamps(&mut self, resource_type: &str) -> Result<Stamps, LedgerError> {
        let mut stamps = Stamps::default();
        let Some(number) = self.number(resource_type)? else { return Ok(stamps) };
        let prefix = number.to_be_bytes();
        let mut read = || -> std::io::Result<Stamps> {
            let mut records = self.index.from(&prefix)?;
            while let Some((key, record)) = records.next()?
                && key.starts_with(&prefix)
            {
                stamps.ids += 1;
                match record.stamp.and_then(|(seconds, nanos)| DateTime::<Utc>::from_timestamp(seconds, nanos)) {
                    None => stamps.unstamped += 1,
                    Some(time) => {
                        stamps.oldest = Some(stamps.oldest.map_or(time, |oldest| oldest.min(time)));
                        stamps.newest = stamps.newest.max(Some(time));
                    }
                }
            }
            Ok(stamps)
        };
        read().map_err(|source| CrawlError::Index(source).told(&self.path))
    }

    fn number(&self, resource_type: &str) -> Result<Option<u32>, LedgerError> {
        let query = "SELECT number FROM resource_type WHERE name = ?1";
        let found = self.connection.query_row(query, [resource_type], |row| row.get(0)).optional();
        found.map_err(|source| CrawlError::Sqlite(source).told(&self.path))
    }
}
