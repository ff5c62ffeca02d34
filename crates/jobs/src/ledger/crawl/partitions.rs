//! Partitions, their cursors and the ids held, as rows.

use fhirvest_crawler::{
    ending::EndedBy,
    store::{Partition, PartitionKey, Progress},
};
use rusqlite::{Connection, params};

use super::{CrawlError, Superseded, ended_by};

pub(super) fn list(connection: &Connection, resource_type: &str) -> Result<Vec<Partition>, CrawlError> {
    let mut statement = connection.prepare_cached("SELECT * FROM partition WHERE resource_type = ?1 ORDER BY place")?;
    let mut trail = connection.prepare_cached("SELECT url_hash FROM trail WHERE partition = ?1 ORDER BY page")?;
    let mut rows = statement.query([resource_type])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get("key")?;
        let ending: Option<String> = row.get("ended_by")?;
        let hashes = trail.query_map([&key], |row| row.get::<_, i64>(0).map(i64::cast_unsigned))?;
        let progress = Progress {
            cursor: row.get("cursor")?,
            ended_by: ending.as_deref().map(ended_by).transpose()?,
            pages: row.get::<_, i64>("pages")?.unsigned_abs(),
            server_total: row.get::<_, Option<i64>>("server_total")?.map(i64::unsigned_abs),
            restarts: row.get("restarts")?,
            trail: hashes.collect::<rusqlite::Result<_>>()?,
            state: row.get("state")?,
        };
        let (resource_type, search) = (row.get("resource_type")?, row.get("search")?);
        found.push(Partition { key: PartitionKey(key), resource_type, search, progress });
    }
    Ok(found)
}

pub(super) fn add(
    connection: &mut Connection,
    parent: Option<&PartitionKey>,
    partitions: &[Partition],
) -> Result<(), CrawlError> {
    let commit = connection.transaction()?;
    for partition in partitions {
        commit.execute(
            "INSERT OR IGNORE INTO partition (key, place, resource_type, search, cursor, state)
             VALUES (?1, (SELECT coalesce(max(place), 0) + 1 FROM partition), ?2, ?3, ?4, ?5)",
            params![
                partition.key.0,
                partition.resource_type,
                partition.search,
                partition.progress.cursor,
                partition.progress.state
            ],
        )?;
    }
    if let Some(PartitionKey(parent)) = parent {
        let split = EndedBy::Split.to_string();
        commit.execute("UPDATE partition SET cursor = NULL, ended_by = ?2 WHERE key = ?1", params![parent, split])?;
    }
    Ok(commit.commit()?)
}

pub(super) fn close(
    connection: &mut Connection,
    PartitionKey(key): &PartitionKey,
    ended_by: Option<EndedBy>,
    detail: Option<&str>,
) -> Result<(), CrawlError> {
    let commit = connection.transaction()?;
    if let Some(ended_by) = ended_by {
        commit.execute(
            "UPDATE partition SET cursor = NULL, ended_by = ?2, detail = ?3 WHERE key = ?1",
            params![key, ended_by.to_string(), detail],
        )?;
    } else {
        commit.execute(
            "UPDATE partition SET cursor = NULL, ended_by = NULL, detail = ?2, restarts = restarts + 1 WHERE key = ?1",
            params![key, detail],
        )?;
        commit.execute("DELETE FROM trail WHERE partition = ?1", [key])?;
    }
    Ok(commit.commit()?)
}

pub(super) fn ids(
    connection: &Connection,
    resource_type: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, CrawlError> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM held WHERE type = (SELECT number FROM resource_type WHERE name = ?1)
         AND (?2 IS NULL OR id > ?2) ORDER BY id LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![resource_type, after, limit], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn superseded(connection: &Connection) -> Result<Vec<Superseded>, CrawlError> {
    let mut statement = connection.prepare(
        "SELECT name, line FROM superseded JOIN resource_type ON resource_type.number = superseded.type ORDER BY 1, 2",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
