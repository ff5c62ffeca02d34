//! Pages into the archive: what is new is appended, what came before is counted, what can't be used is quarantined;
//! then the files are synced, and the database commits their lengths together with the cursors.

use base64::Engine;
use chrono::DateTime;
use fhirvest_crawler::{
    ending::EndedBy,
    store::{After, PageCommit, PageCounts},
};
use fhirvest_fhir::{
    bundle::{Entry, Mode},
    fingerprint, reference, resource,
};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::json;

use super::{
    CrawlError, Files, QUARANTINE,
    index::{self, Record, Stamp},
    partitions, recovery,
};

/// The longest id that is kept. FHIR allows 64 characters, and some servers more.
const LONGEST_ID: usize = 1_024;

/// A page, prepared before it waits for its commit.
pub(super) struct Prepared {
    pub(super) page: PageCommit,
    /// Of each entry: what is needed to archive it, or why it cannot be.
    pub(super) entries: Vec<Result<Usable, String>>,
}

/// What has to be known of a resource before it is archived.
pub(super) struct Usable {
    hash: [u8; 16],
    stamp: Option<Stamp>,
    /// The line, where it is not the text itself.
    line: Option<Vec<u8>>,
}

impl Prepared {
    pub(super) fn new(page: PageCommit) -> Self {
        let prepare = |entry: &Entry| {
            if let Some(fault) = &entry.fault {
                return Err(fault.to_string());
            }
            let text = page.body.get(entry.range.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok());
            match (text, entry.id.as_deref()) {
                (Some(_), Some(id)) if id.len() > LONGEST_ID => Err("an id of more than 1,024 bytes".to_owned()),
                (Some(text), Some(_)) => Ok(Usable::new(text, entry.last_updated.as_deref())),
                _ => Err("no id, or not UTF-8".to_owned()),
            }
        };
        Self { entries: page.entries.iter().map(prepare).collect(), page }
    }
}

impl Usable {
    fn new(text: &str, last_updated: Option<&str>) -> Self {
        let mut line = Vec::new();
        if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_some() {
            resource::write_line(text, &mut line);
        }
        // Of the line as it is archived, so that it can be worked out from there again.
        let written = if line.is_empty() { text } else { std::str::from_utf8(&line).unwrap_or(text) };
        let hash = fingerprint(written);
        Self { hash, stamp: stamp(last_updated), line: (!line.is_empty()).then_some(line) }
    }
}

/// The time that a stamp means, if it is one.
pub(super) fn stamp(text: Option<&str>) -> Option<Stamp> {
    let time = DateTime::parse_from_rfc3339(text?).ok()?;
    Some((time.timestamp(), time.timestamp_subsec_nanos()))
}

pub(super) fn commit(
    connection: &mut Connection,
    files: &mut Files,
    pages: &[&Prepared],
) -> Result<Vec<PageCounts>, CrawlError> {
    let transaction = connection.transaction()?;
    let mut counts = Vec::with_capacity(pages.len());
    {
        let mut keeper = Keeper::new(&transaction, files);
        for page in pages {
            counts.push(keeper.page(page)?);
        }
    }
    for page in pages {
        move_cursor(&transaction, &page.page)?;
    }
    sync(&transaction, files)?;
    let flushed = files.index.is_full();
    if flushed {
        recovery::flush(&transaction, files)?;
    }
    transaction.commit()?;
    if flushed {
        files.index.sweep().map_err(CrawlError::Index)?;
    }
    Ok(counts)
}

/// The files first: when the database says that a byte is committed, it is on the disk.
fn sync(transaction: &Transaction<'_>, files: &mut Files) -> Result<(), CrawlError> {
    let mut update = transaction.prepare_cached(
        "UPDATE resource_type SET committed_bytes = ?2, lines = ?3, received = ?4, archived = ?5, duplicates = ?6,
         variants = ?7, quarantined = ?8 WHERE number = ?1",
    )?;
    for file in files.open.values_mut().filter(|file| file.touched) {
        let length = file.writer.sync()?.len;
        let (lines, counts) = (file.counts.lines, &file.counts.received);
        let numbers =
            [length, lines, counts.received, counts.archived, counts.duplicates, counts.variants, counts.quarantined];
        let [length, lines, received, archived, duplicates, variants, quarantined] = numbers.map(signed);
        update.execute(params![file.number, length, lines, received, archived, duplicates, variants, quarantined])?;
        file.touched = false;
    }
    Ok(())
}

fn move_cursor(transaction: &Transaction<'_>, page: &PageCommit) -> Result<(), CrawlError> {
    let (cursor, ended_by) = match &page.after {
        After::Next(cursor) => (Some(cursor.as_str()), None),
        After::End(ended_by) => (None, Some(ended_by.to_string())),
        After::Split(parts) => {
            partitions::insert(transaction, parts)?;
            (None, Some(EndedBy::Split.to_string()))
        }
    };
    let key = &page.partition.0;
    let moved = transaction
        .prepare_cached(
            "UPDATE partition SET cursor = ?2, ended_by = ?3, pages = pages + 1,
         server_total = nullif(max(coalesce(server_total, -1), coalesce(?4, -1)), -1) WHERE key = ?1",
        )?
        .execute(params![key, cursor, ended_by, page.total.map(signed)])?;
    if moved == 0 {
        return Err(CrawlError::Unreadable(format!("no partition {key:?}")));
    }
    transaction
        .prepare_cached(
            "INSERT INTO trail VALUES (?1, (SELECT coalesce(max(page), 0) + 1 FROM trail WHERE partition = ?1), ?2)",
        )?
        .execute(params![key, page.url_hash.cast_signed()])?;
    Ok(())
}

struct Keeper<'t> {
    transaction: &'t Transaction<'t>,
    files: &'t mut Files,
    partition_type: String,
    key: Vec<u8>,
}

impl<'t> Keeper<'t> {
    fn new(transaction: &'t Transaction<'t>, files: &'t mut Files) -> Self {
        Self { transaction, files, partition_type: String::new(), key: Vec::new() }
    }

    fn page(&mut self, Prepared { page, entries }: &Prepared) -> Result<PageCounts, CrawlError> {
        let query = "SELECT resource_type FROM partition WHERE key = ?1";
        let of = self.transaction.prepare_cached(query)?.query_row([&page.partition.0], |row| row.get(0)).optional()?;
        self.partition_type = of.unwrap_or_default();
        let mut counts = PageCounts::default();
        for (entry, prepared) in page.entries.iter().zip(entries) {
            counts.received += 1;
            let unusable = match prepared {
                Err(reason) => reason,
                Ok(_) if !self.files.requested.contains(&*entry.resource_type) => {
                    "a resource type that the job does not ask for"
                }
                Ok(usable) => {
                    self.resource(page, entry, usable, &mut counts)?;
                    continue;
                }
            };
            counts.quarantined += 1;
            self.quarantine(page, entry, unusable)?;
        }
        Ok(counts)
    }

    fn resource(
        &mut self,
        page: &PageCommit,
        entry: &Entry,
        usable: &Usable,
        counts: &mut PageCounts,
    ) -> Result<(), CrawlError> {
        let text = page.body.get(entry.range.clone()).unwrap_or_default();
        self.note_references(text)?;
        let line = usable.line.as_deref().unwrap_or_else(|| text.trim_ascii());
        let id = entry.id.as_deref().unwrap_or_default();
        let file = self.files.of(self.transaction, &entry.resource_type)?;
        file.touched = true;
        file.counts.received.received += 1;
        let number = file.number;
        index::key(number, id, &mut self.key);
        let held = self.files.index.get(&self.key).map_err(CrawlError::Index)?;
        let file = self.files.of(self.transaction, &entry.resource_type)?;
        let record = Record { hash: usable.hash, line: file.counts.lines, stamp: usable.stamp };
        let Some(held) = held else {
            file.writer.append(line)?;
            file.counts.lines += 1;
            file.counts.received.archived += 1;
            self.files.index.insert(&self.key, record);
            counts.archived += 1;
            // Only matches of the partition's own type count towards the server's total.
            if entry.mode != Some(Mode::Include) && self.partition_type == *entry.resource_type {
                counts.new_matches += 1;
            }
            return Ok(());
        };
        let mut known =
            self.transaction.prepare_cached("SELECT 1 FROM variant WHERE type = ?1 AND id = ?2 AND hash = ?3")?;
        if held.hash == record.hash || known.exists(params![number, id, record.hash.as_slice()])? {
            file.counts.received.duplicates += 1;
            counts.duplicates += 1;
            return Ok(());
        }
        // Another content under the same id: both are kept, the views see the newer.
        file.writer.append(line)?;
        file.counts.lines += 1;
        file.counts.received.variants += 1;
        counts.variants += 1;
        let mut keep = self.transaction.prepare_cached("INSERT OR IGNORE INTO variant VALUES (?1, ?2, ?3)")?;
        keep.execute(params![number, id, held.hash.as_slice()])?;
        keep.execute(params![number, id, record.hash.as_slice()])?;
        let newer = is_newer(record.stamp, held.stamp);
        if newer {
            self.files.index.insert(&self.key, record);
        }
        let older = signed(if newer { held.line } else { record.line });
        self.transaction.prepare_cached("INSERT INTO superseded VALUES (?1, ?2)")?.execute(params![number, older])?;
        Ok(())
    }

    /// Notes what a resource refers to, of the types that are read by reference.
    fn note_references(&self, text: &[u8]) -> Result<(), CrawlError> {
        if self.files.watched.is_empty() {
            return Ok(());
        }
        let text = std::str::from_utf8(text).unwrap_or_default();
        let mut note =
            self.transaction.prepare_cached("INSERT OR IGNORE INTO wanted (resource_type, id) VALUES (?1, ?2)")?;
        for (name, id) in reference::targets(text).filter(|(name, _)| self.files.watched.contains(&**name)) {
            note.execute(params![name, id])?;
        }
        Ok(())
    }

    fn quarantine(&mut self, page: &PageCommit, entry: &Entry, reason: &str) -> Result<(), CrawlError> {
        let bytes = page.body.get(entry.range.clone()).unwrap_or_default();
        let mut note = json!({
            "reason": reason,
            "partition": page.partition.0,
            "resource_type": &*entry.resource_type,
            "id": entry.id.as_deref(),
        });
        match std::str::from_utf8(bytes) {
            Ok(text) => note["text"] = text.into(),
            Err(_) => note["base64"] = base64::engine::general_purpose::STANDARD.encode(bytes).into(),
        }
        let file = self.files.of(self.transaction, QUARANTINE)?;
        file.touched = true;
        file.writer.append(note.to_string().as_bytes())?;
        file.counts.lines += 1;
        // Counted with its own type where that is one of the job's, so that the type's sum is whole.
        // What has no type came in place of one of the search's own.
        let own =
            if entry.resource_type.is_empty() { self.partition_type.clone() } else { entry.resource_type.to_string() };
        let name = if self.files.requested.contains(&own) { &*own } else { QUARANTINE };
        let file = self.files.of(self.transaction, name)?;
        file.touched = true;
        file.counts.received.received += 1;
        file.counts.received.quarantined += 1;
        Ok(())
    }
}

/// Whether what has just come is newer than what is held: by `meta.lastUpdated` where both have one that reads as a
/// time, else the last received wins.
pub(super) fn is_newer(new: Option<Stamp>, held: Option<Stamp>) -> bool {
    match (new, held) {
        (Some(new), Some(held)) => new >= held,
        _ => true,
    }
}

/// SQLite's integers are signed; none of ours comes near the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{is_newer, stamp};

    #[test]
    fn the_newer_stamp_wins_and_without_stamps_the_last_received() {
        for (new, held, newer) in [
            (Some("2026-01-02T00:00:00Z"), Some("2026-01-01T00:00:00Z"), true),
            (Some("2026-01-01T00:00:00Z"), Some("2026-01-02T00:00:00Z"), false),
            (Some("2026-01-01T01:00:00+02:00"), Some("2026-01-01T00:00:00Z"), false),
            (Some("2020-08-05T19:21:12.7460000Z"), Some("2020-08-05T19:21:12.746Z"), true),
            (None, Some("2026-01-01T00:00:00Z"), true),
            (Some("yesterday"), Some("2026-01-01T00:00:00Z"), true),
        ] {
            assert_eq!(is_newer(stamp(new), stamp(held)), newer, "{new:?} after {held:?}");
        }
    }
}
