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
    reference,
    resource::{self, ContentHash},
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Transaction, params};
use serde_json::json;

use super::{CrawlError, Files, QUARANTINE, partitions};

/// A page with the hash of each of its resources, which is worked out before the page waits for its commit.
pub(super) struct Hashed {
    pub(super) page: PageCommit,
    /// Nothing for an entry that cannot be used.
    pub(super) hashes: Vec<Option<ContentHash>>,
}

impl Hashed {
    pub(super) fn new(page: PageCommit) -> Self {
        let hash = |entry: &Entry| {
            let text = std::str::from_utf8(page.body.get(entry.range.clone())?).ok()?;
            entry.fault.is_none().then(|| resource::content_hash(text).ok()).flatten()
        };
        Self { hashes: page.entries.iter().map(hash).collect(), page }
    }
}

pub(super) fn commit(
    connection: &mut Connection,
    files: &mut Files,
    pages: &[&Hashed],
) -> Result<Vec<PageCounts>, CrawlError> {
    let transaction = connection.transaction()?;
    let mut counts = Vec::with_capacity(pages.len());
    {
        let mut keeper = Keeper::new(&transaction, files)?;
        for page in pages {
            counts.push(keeper.page(page)?);
        }
    }
    for page in pages {
        move_cursor(&transaction, &page.page)?;
    }
    sync(&transaction, files)?;
    transaction.commit()?;
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
    find: CachedStatement<'t>,
    add: CachedStatement<'t>,
    hold: CachedStatement<'t>,
    partition_type: String,
    line: Vec<u8>,
}

impl<'t> Keeper<'t> {
    fn new(transaction: &'t Transaction<'t>, files: &'t mut Files) -> Result<Self, CrawlError> {
        Ok(Self {
            find: transaction
                .prepare_cached("SELECT hash, line, last_updated FROM held WHERE type = ?1 AND id = ?2")?,
            add: transaction.prepare_cached("INSERT OR IGNORE INTO held VALUES (?1, ?2, ?3, ?4, ?5)")?,
            hold: transaction.prepare_cached("INSERT OR REPLACE INTO held VALUES (?1, ?2, ?3, ?4, ?5)")?,
            transaction,
            files,
            partition_type: String::new(),
            line: Vec::new(),
        })
    }

    fn page(&mut self, Hashed { page, hashes }: &Hashed) -> Result<PageCounts, CrawlError> {
        let query = "SELECT resource_type FROM partition WHERE key = ?1";
        let of = self.transaction.prepare_cached(query)?.query_row([&page.partition.0], |row| row.get(0)).optional()?;
        self.partition_type = of.unwrap_or_default();
        let mut counts = PageCounts::default();
        for (entry, hash) in page.entries.iter().zip(hashes) {
            counts.received += 1;
            self.entry(page, (entry, *hash), &mut counts)?;
        }
        Ok(counts)
    }

    fn entry(
        &mut self,
        page: &PageCommit,
        (entry, hash): (&Entry, Option<ContentHash>),
        counts: &mut PageCounts,
    ) -> Result<(), CrawlError> {
        let bytes = page.body.get(entry.range.clone()).unwrap_or_default();
        if let Some(fault) = &entry.fault {
            counts.quarantined += 1;
            return self.quarantine(page, entry, bytes, &fault.to_string());
        }
        let (Some(id), Ok(text)) = (entry.id.as_deref(), std::str::from_utf8(bytes)) else {
            counts.quarantined += 1;
            return self.quarantine(page, entry, bytes, "no id, or not UTF-8");
        };
        if !self.files.requested.contains(&*entry.resource_type) {
            counts.quarantined += 1;
            return self.quarantine(page, entry, bytes, "a resource type that the job does not ask for");
        }
        let Some(hash) = hash else {
            counts.quarantined += 1;
            return self.quarantine(page, entry, bytes, "not a JSON object");
        };
        let hash = hash.0;
        let last_updated = entry.last_updated.as_deref();
        self.note_references(text)?;
        let file = self.files.of(self.transaction, &entry.resource_type)?;
        file.touched = true;
        file.counts.received.received += 1;
        // Most are new: one statement says so and holds it.
        let is_new =
            self.add.execute(params![file.number, id, hash.as_slice(), signed(file.counts.lines), last_updated])? > 0;
        if is_new {
            self.line.clear();
            resource::write_line(text, &mut self.line);
            file.writer.append(&self.line)?;
            file.counts.lines += 1;
            file.counts.received.archived += 1;
            counts.archived += 1;
            // Only matches of the partition's own type count towards the server's total.
            if entry.mode != Some(Mode::Include) && self.partition_type == *entry.resource_type {
                counts.new_matches += 1;
            }
            return Ok(());
        }
        let (held_hash, held_line, held_updated): (Vec<u8>, i64, Option<String>) =
            self.find.query_row(params![file.number, id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut known =
            self.transaction.prepare_cached("SELECT 1 FROM variant WHERE type = ?1 AND id = ?2 AND hash = ?3")?;
        if held_hash == hash || known.exists(params![file.number, id, hash.as_slice()])? {
            file.counts.received.duplicates += 1;
            counts.duplicates += 1;
            return Ok(());
        }
        // Another content under the same id: both are kept, the views see the newer.
        self.line.clear();
        resource::write_line(text, &mut self.line);
        file.writer.append(&self.line)?;
        let line = signed(file.counts.lines);
        file.counts.lines += 1;
        file.counts.received.variants += 1;
        counts.variants += 1;
        let mut keep = self.transaction.prepare_cached("INSERT OR IGNORE INTO variant VALUES (?1, ?2, ?3)")?;
        keep.execute(params![file.number, id, held_hash])?;
        keep.execute(params![file.number, id, hash.as_slice()])?;
        let older = if is_newer(last_updated, held_updated.as_deref()) {
            self.hold.execute(params![file.number, id, hash.as_slice(), line, last_updated])?;
            held_line
        } else {
            line
        };
        self.transaction
            .prepare_cached("INSERT INTO superseded VALUES (?1, ?2)")?
            .execute(params![file.number, older])?;
        Ok(())
    }

    /// Notes what a resource refers to, of the types that are read by reference.
    fn note_references(&self, text: &str) -> Result<(), CrawlError> {
        if self.files.watched.is_empty() {
            return Ok(());
        }
        let mut note =
            self.transaction.prepare_cached("INSERT OR IGNORE INTO wanted (resource_type, id) VALUES (?1, ?2)")?;
        for (name, id) in reference::targets(text).filter(|(name, _)| self.files.watched.contains(&**name)) {
            note.execute(params![name, id])?;
        }
        Ok(())
    }

    fn quarantine(&mut self, page: &PageCommit, entry: &Entry, bytes: &[u8], reason: &str) -> Result<(), CrawlError> {
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
        let name =
            if self.files.requested.contains(&*entry.resource_type) { &*entry.resource_type } else { QUARANTINE };
        let file = self.files.of(self.transaction, name)?;
        file.touched = true;
        file.counts.received.received += 1;
        file.counts.received.quarantined += 1;
        Ok(())
    }
}

/// Whether what has just come is newer than what is held: by `meta.lastUpdated` where both have one that reads as a
/// time, else the last received wins.
fn is_newer(new: Option<&str>, held: Option<&str>) -> bool {
    let time = |text: Option<&str>| text.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    match (time(new), time(held)) {
        (Some(new), Some(held)) => new >= held,
        _ => true,
    }
}

/// SQLite's integers are signed; none of ours comes near the limit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::is_newer;

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
            assert_eq!(is_newer(new, held), newer, "{new:?} after {held:?}");
        }
    }
}
