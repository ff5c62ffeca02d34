//! Partitions, their cursors and what is wanted, as rows.

use fhirvest_crawler::{
    ending::EndedBy,
    store::{Parent, Partition, PartitionKey, Progress, Summary},
    strategy::Bucket,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{CrawlError, Files, Superseded, ended_by, index};

pub(super) fn open(connection: &Connection, resource_type: &str, limit: usize) -> Result<Vec<Partition>, CrawlError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM partition WHERE resource_type = ?1 AND ended_by IS NULL ORDER BY place LIMIT ?2",
    )?;
    let mut trail = connection.prepare_cached("SELECT url_hash FROM trail WHERE partition = ?1 ORDER BY page")?;
    let mut rows = statement.query(params![resource_type, signed(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get("key")?;
        let hashes = trail.query_map([&key], |row| row.get::<_, i64>(0).map(i64::cast_unsigned))?;
        let progress = Progress {
            cursor: row.get("cursor")?,
            ended_by: None,
            pages: row.get::<_, i64>("pages")?.unsigned_abs(),
            server_total: row.get::<_, Option<i64>>("server_total")?.map(i64::unsigned_abs),
            restarts: row.get("restarts")?,
            trail: hashes.collect::<rusqlite::Result<_>>()?,
        };
        let text: String = row.get("bucket")?;
        let bucket = serde_json::from_str(&text).map_err(|_| CrawlError::Unreadable(format!("the share {text:?}")))?;
        let resource_type = row.get("resource_type")?;
        found.push(Partition { key: PartitionKey(key), resource_type, bucket, progress });
    }
    Ok(found)
}

pub(super) fn summary(connection: &Connection, files: &Files, resource_type: &str) -> Result<Summary, CrawlError> {
    let count = |number: i64| number.unsigned_abs();
    let mut summary = connection
        .prepare_cached(
            "SELECT count(*), count(*) FILTER (WHERE ended_by IS NULL), coalesce(sum(pages), 0),
             max(server_total) FILTER (WHERE kind = 'root'),
             sum(server_total) FILTER (WHERE kind <> 'root' AND coalesce(ended_by, '') <> 'split'),
             count(*) FILTER (WHERE kind = 'all') > 0
             FROM partition WHERE resource_type = ?1",
        )?
        .query_row([resource_type], |row| {
            let (root, sum): (Option<i64>, Option<i64>) = (row.get(3)?, row.get(4)?);
            let summary = Summary {
                partitions: count(row.get(0)?),
                open: count(row.get(1)?),
                pages: count(row.get(2)?),
                whole_search: row.get(5)?,
                ..Summary::default()
            };
            Ok(summary.counted(root.map(count), sum.map(count)))
        })?;
    let mut endings = connection.prepare_cached(
        "SELECT ended_by FROM partition WHERE resource_type = ?1 AND ended_by IS NOT NULL GROUP BY 1 ORDER BY min(place)",
    )?;
    for text in endings.query_map([resource_type], |row| row.get::<_, String>(0))? {
        summary.endings.push(ended_by(&text?)?);
    }
    if let Some(broken) = summary.endings.iter().find(|ending| !ending.is_whole()) {
        let query = "SELECT detail FROM partition WHERE resource_type = ?1 AND ended_by = ?2 ORDER BY place LIMIT 1";
        let detail = connection
            .prepare_cached(query)?
            .query_row(params![resource_type, broken.to_string()], |row| row.get(0))
            .optional()?;
        summary.detail = detail.flatten();
    }
    summary.missing = missing(connection, files, resource_type)?;
    Ok(summary)
}

/// Ids that were asked for and did not come.
fn missing(connection: &Connection, files: &Files, resource_type: &str) -> Result<u64, CrawlError> {
    let (mut after, mut missing) = (String::new(), 0);
    loop {
        let ids = wanted_in(connection, resource_type, ASKED, &after, LOOKED_AT)?;
        let Some(last) = ids.last().cloned() else { return Ok(missing) };
        for id in ids {
            missing += u64::from(!is_held(files, resource_type, &id)?);
        }
        after = last;
    }
}

/// The states of an id that others refer to.
const UNASKED: i64 = 0;
const ASKED: i64 = 1;
const HELD: i64 = 2;

/// Ids looked at in one go: bounds the memory.
const LOOKED_AT: usize = 4_096;

/// Looks through what is wanted in this state, in order, and marks what is held as held; gives the first `limit` ids
/// that are not.
fn not_held(
    connection: &mut Connection,
    files: &Files,
    (resource_type, state): (&str, i64),
    limit: usize,
) -> Result<Vec<String>, CrawlError> {
    let (mut after, mut found) = (String::new(), Vec::new());
    while found.len() < limit {
        let commit = connection.transaction()?;
        let ids = wanted_in(&commit, resource_type, state, &after, LOOKED_AT)?;
        let Some(last) = ids.last().cloned() else { break };
        {
            let mut mark =
                commit.prepare_cached("UPDATE wanted SET asked = ?3 WHERE resource_type = ?1 AND id = ?2")?;
            for id in ids {
                if found.len() == limit {
                    break;
                }
                if is_held(files, resource_type, &id)? {
                    mark.execute(params![resource_type, id, HELD])?;
                } else {
                    found.push(id);
                }
            }
        }
        commit.commit()?;
        after = last;
    }
    Ok(found)
}

fn wanted_in(
    connection: &Connection,
    resource_type: &str,
    state: i64,
    after: &str,
    limit: usize,
) -> Result<Vec<String>, CrawlError> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM wanted WHERE resource_type = ?1 AND asked = ?2 AND id > ?3 ORDER BY id LIMIT ?4",
    )?;
    let rows = statement.query_map(params![resource_type, state, after, signed(limit)], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn is_held(files: &Files, resource_type: &str, id: &str) -> Result<bool, CrawlError> {
    let Some(number) = files.number(resource_type) else { return Ok(false) };
    let mut key = Vec::new();
    index::key(number, id, &mut key);
    Ok(files.index.get(&key).map_err(CrawlError::Index)?.is_some())
}

pub(super) fn wanted(
    connection: &mut Connection,
    files: &Files,
    resource_type: &str,
    limit: usize,
) -> Result<Vec<String>, CrawlError> {
    not_held(connection, files, (resource_type, UNASKED), limit)
}

pub(super) fn add(
    connection: &mut Connection,
    parent: Option<&Parent>,
    partitions: &[Partition],
) -> Result<(), CrawlError> {
    let commit = connection.transaction()?;
    insert(&commit, partitions)?;
    match parent {
        None => {}
        Some(Parent::Split(PartitionKey(key))) => {
            let split = EndedBy::Split.to_string();
            commit.execute("UPDATE partition SET cursor = NULL, ended_by = ?2 WHERE key = ?1", params![key, split])?;
        }
        Some(Parent::Feed(PartitionKey(key), bucket)) => {
            commit.execute("UPDATE partition SET bucket = ?2 WHERE key = ?1", params![key, json(bucket)?])?;
        }
    }
    Ok(commit.commit()?)
}

/// Adds partitions within a commit; one that is known already stays as it is.
pub(super) fn insert(commit: &Connection, partitions: &[Partition]) -> Result<(), CrawlError> {
    let mut add = commit.prepare_cached(
        "INSERT OR IGNORE INTO partition (key, place, resource_type, bucket, kind, cursor, ended_by, server_total)
         VALUES (?1, (SELECT coalesce(max(place), 0) + 1 FROM partition), ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut ask = commit.prepare_cached(
        "INSERT INTO wanted VALUES (?1, ?2, 1) ON CONFLICT (resource_type, id) DO UPDATE SET asked = 1",
    )?;
    for partition in partitions {
        let kind = match &partition.bucket {
            Bucket::Root => "root",
            Bucket::All => "all",
            _ => "part",
        };
        let progress = &partition.progress;
        let ended_by = progress.ended_by.map(|ended_by| ended_by.to_string());
        let total = progress.server_total.map(|total| i64::try_from(total).unwrap_or(i64::MAX));
        let (name, bucket) = (&partition.resource_type, json(&partition.bucket)?);
        add.execute(params![partition.key.0, name, bucket, kind, progress.cursor, ended_by, total])?;
        if let Bucket::Read { ids } = &partition.bucket {
            for id in ids {
                ask.execute(params![name, id])?;
            }
        }
    }
    Ok(())
}

fn json(bucket: &Bucket) -> Result<String, CrawlError> {
    serde_json::to_string(bucket).map_err(|error| CrawlError::Unreadable(error.to_string()))
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
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
    files: &mut Files,
    resource_type: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, CrawlError> {
    let Some(number) = files.number(resource_type) else { return Ok(Vec::new()) };
    let mut from = Vec::new();
    index::key(number, after.unwrap_or_default(), &mut from);
    let prefix = number.to_be_bytes();
    let mut records = files.index.from(&from).map_err(CrawlError::Index)?;
    let mut ids = Vec::new();
    while ids.len() < limit
        && let Some((key, _)) = records.next().map_err(CrawlError::Index)?
        && let Some(id) = key.strip_prefix(&prefix)
    {
        if after.is_none_or(|after| id > after.as_bytes()) {
            let id = String::from_utf8(id.to_vec());
            ids.push(id.map_err(|_| CrawlError::Unreadable("an id that is no text".into()))?);
        }
    }
    Ok(ids)
}

pub(super) fn of_these_not_held(
    files: &Files,
    resource_type: &str,
    ids: Vec<String>,
) -> Result<Vec<String>, CrawlError> {
    let looked = ids.into_iter().map(|id| Ok((is_held(files, resource_type, &id)?, id)));
    looked.filter_map(|found| found.map(|(held, id)| (!held).then_some(id)).transpose()).collect()
}

pub(super) fn superseded(connection: &Connection) -> Result<Vec<Superseded>, CrawlError> {
    let mut statement = connection.prepare(
        "SELECT name, line FROM superseded JOIN resource_type ON resource_type.number = superseded.type ORDER BY 1, 2",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
