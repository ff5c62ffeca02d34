//! The index and the database: which runs a commit names, and what is read from the archive again when a crawl is taken
//! up, since it was in memory only.

use camino::Utf8Path;
use fhirvest_fhir::{fingerprint, resource};
use fhirvest_lake::archive::ArchiveReader;
use rusqlite::{Connection, Transaction, params};

use super::{
    CrawlError, CrawlStore, Files, QUARANTINE,
    index::{self, Index, Record, RunName},
    page::{is_newer, signed, stamp},
};

/// Makes runs of what is in memory and names them in the commit, with the lines that they cover: all that this commit
/// holds. The archive files have been synced before.
pub(super) fn flush(commit: &Transaction<'_>, files: &mut Files) -> Result<(), CrawlError> {
    files.index.flush().map_err(CrawlError::Index)?;
    name(commit, &files.index)
}

fn name(commit: &Transaction<'_>, index: &Index) -> Result<(), CrawlError> {
    commit.execute("DELETE FROM index_run", [])?;
    let mut add = commit.prepare_cached("INSERT INTO index_run VALUES (?1, ?2, ?3)")?;
    for run in index.names() {
        add.execute(params![signed(run.number), run.level, run.hash.as_slice()])?;
    }
    commit
        .execute("INSERT OR REPLACE INTO index_cover SELECT number, lines, committed_bytes FROM resource_type", [])?;
    Ok(())
}

/// Opens the index of a crawl in its folder, as the last commit left it. To be called when the archive files hold
/// nothing but what was committed.
pub(super) fn open(connection: &mut Connection, folder: &Utf8Path) -> Result<Index, CrawlError> {
    let place = folder.join("index");
    let index = match Index::open(&place, &names(connection)?).map_err(CrawlError::Index)? {
        Some(index) => index,
        None => {
            tracing::warn!("the index of the ids is damaged: it is made anew from the archive");
            connection.execute_batch("DELETE FROM index_run; DELETE FROM index_cover")?;
            let index = Index::open(&place, &[]).map_err(CrawlError::Index)?;
            index.ok_or_else(|| CrawlError::Unreadable("an index without runs".into()))?
        }
    };
    catch_up(connection, folder, index)
}

fn names(connection: &Connection) -> Result<Vec<RunName>, CrawlError> {
    let mut statement = connection.prepare("SELECT number, level, hash FROM index_run ORDER BY number")?;
    let rows = statement.query_map([], |row| {
        let number = row.get::<_, i64>(0)?.unsigned_abs();
        Ok(RunName { number, level: row.get(1)?, hash: row.get(2)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// An archive file and how much of it the runs cover.
struct Tail {
    number: u32,
    name: String,
    lines: u64,
    covered: (u64, u64),
}

/// Puts what the archive holds beyond the runs into the index.
fn catch_up(connection: &mut Connection, folder: &Utf8Path, mut index: Index) -> Result<Index, CrawlError> {
    let mut flushed = false;
    for tail in tails(connection)? {
        let (mut line, bytes) = tail.covered;
        if line >= tail.lines {
            continue;
        }
        let path = CrawlStore::staged(folder, &tail.name);
        let (mut reader, mut block) = (ArchiveReader::open_at(&path, bytes)?, Vec::new());
        while line < tail.lines && reader.next_block(&mut block)? {
            for text in block.split_inclusive(|byte| *byte == b'\n').take_while(|text| text.ends_with(b"\n")) {
                if line < tail.lines {
                    take(&mut index, tail.number, line, text.trim_ascii_end())?;
                }
                line += 1;
            }
            if index.is_full() {
                index.flush().map_err(CrawlError::Index)?;
                flushed = true;
            }
        }
        if line < tail.lines {
            let what = format!("{path} with fewer lines than were committed");
            return Err(CrawlError::Unreadable(what));
        }
    }
    if flushed {
        index.flush().map_err(CrawlError::Index)?;
        let commit = connection.transaction()?;
        name(&commit, &index)?;
        commit.commit()?;
        index.sweep().map_err(CrawlError::Index)?;
    }
    Ok(index)
}

/// Takes a line of the archive as it was taken when it came: the first of its id, or another content of the same.
fn take(index: &mut Index, number: u32, line: u64, text: &[u8]) -> Result<(), CrawlError> {
    let unreadable = || CrawlError::Unreadable(format!("an archive whose line {line} is no resource"));
    let text = std::str::from_utf8(text).map_err(|_| unreadable())?;
    let head = resource::head(text).map_err(|_| unreadable())?;
    let mut key = Vec::new();
    index::key(number, head.id.as_deref().ok_or_else(unreadable)?, &mut key);
    let record = Record { hash: fingerprint(text), line, stamp: stamp(head.last_updated.as_deref()) };
    let held = index.get(&key).map_err(CrawlError::Index)?;
    if held.is_none_or(|held| is_newer(record.stamp, held.stamp)) {
        index.insert(&key, record);
    }
    Ok(())
}

fn tails(connection: &Connection) -> Result<Vec<Tail>, CrawlError> {
    let mut statement = connection.prepare(
        "SELECT number, name, resource_type.lines, coalesce(index_cover.lines, 0), coalesce(bytes, 0)
         FROM resource_type LEFT JOIN index_cover ON index_cover.type = number WHERE name <> ?1",
    )?;
    let rows = statement.query_map([QUARANTINE], |row| {
        let count = |column: usize| row.get::<_, i64>(column).map(i64::unsigned_abs);
        Ok(Tail { number: row.get(0)?, name: row.get(1)?, lines: count(2)?, covered: (count(3)?, count(4)?) })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use camino::Utf8PathBuf;
    use fhirvest_crawler::{
        ending::EndedBy,
        store::{After, PageCommit, PageCounts, Partition, Store},
        strategy::Bucket,
    };

    use super::*;
    use crate::ledger::Held;

    /// Pages of the store, and ids on each: enough for runs of two levels.
    const PAGES: usize = 60;
    const PER_PAGE: usize = 13;

    fn store(folder: &Utf8Path) -> CrawlStore {
        CrawlStore::open(folder, &BTreeSet::from(["X".to_owned()]), &BTreeSet::new()).unwrap()
    }

    /// A page whose ids come in no order, all of them stamped with this year.
    async fn commit(store: &CrawlStore, page: usize, year: usize) -> PageCounts {
        let entries: Vec<String> = (page * PER_PAGE..(page + 1) * PER_PAGE)
            .map(|one| {
                let id = one * 7_919 % 10_007;
                format!(
                    r#"{{"resource":{{"resourceType":"X","id":"{id}","meta":{{"lastUpdated":"{year}-01-01T00:00:00Z"}},"name":"{}"}}}}"#,
                    year / 1_000
                )
            })
            .collect();
        let body = format!(r#"{{"resourceType":"Bundle","entry":[{}]}}"#, entries.join(","));
        let scanned = fhirvest_fhir::bundle::scan(body.as_bytes()).unwrap();
        let partition = Partition::new("X", Bucket::All);
        let after = if page + 1 < PAGES { After::Next(format!("X?p={page}")) } else { After::End(EndedBy::LastPage) };
        let (key, total, url_hash) = (partition.key.clone(), None, page as u64);
        store.add_partitions(None, vec![partition]).await.unwrap();
        let body = Bytes::from(body);
        store
            .commit(PageCommit { partition: key, body, entries: scanned.entries, total, after, url_hash })
            .await
            .unwrap()
    }

    fn runs(folder: &Utf8Path) -> Vec<Utf8PathBuf> {
        let mut runs: Vec<_> =
            folder.join("index").read_dir_utf8().unwrap().map(|file| file.unwrap().path().to_owned()).collect();
        runs.sort();
        runs
    }

    /// Whatever happens to the index's files while nobody uses them, what came before is known when it comes again.
    #[tokio::test]
    async fn torn_missing_and_strange_runs_lose_nothing() {
        type Harm = fn(&Utf8Path);
        let harms: [Harm; 6] = [
            |_| {},
            |folder| runs(folder).iter().for_each(|run| std::fs::remove_file(run).unwrap()),
            |folder| std::fs::remove_dir_all(folder.join("index")).unwrap(),
            |folder| {
                let file = std::fs::File::options().write(true).open(&runs(folder)[0]).unwrap();
                file.set_len(file.metadata().unwrap().len() - 3).unwrap();
            },
            |folder| std::fs::write(runs(folder).last().unwrap(), "no run").unwrap(),
            |folder| std::fs::write(folder.join("index/99.run"), "half a run that no commit names").unwrap(),
        ];
        for (place, harm) in harms.into_iter().enumerate() {
            let home = tempfile::tempdir().unwrap();
            let folder = Utf8Path::from_path(home.path()).unwrap();
            for part in (0..PAGES).collect::<Vec<_>>().chunks(PAGES / 4) {
                // Taken up again, with the tail of the archive in no run.
                let store = store(folder);
                for page in part {
                    let counts = commit(&store, *page, 2_020).await;
                    assert_eq!(counts.archived, PER_PAGE as u64, "page {page}");
                }
                drop(store);
                if part.contains(&(PAGES / 2)) {
                    harm(folder);
                }
            }
            assert!(!runs(folder).is_empty());
            harm(folder);
            let store = store(folder);
            let ids = store.ids("X", None, usize::MAX).await.unwrap();
            assert_eq!(ids.len(), PAGES * PER_PAGE, "harm {place}");
            assert!(ids.is_sorted());
            assert_eq!(store.ids("X", Some(&ids[99]), 5).await.unwrap(), ids[100..105]);
            let asked = [ids[0].clone(), "never came".into(), ids[ids.len() - 1].clone()].to_vec();
            assert_eq!(store.not_held("X", asked.clone()).await.unwrap(), ["never came"]);
            assert_eq!(store.not_held("Y", asked.clone()).await.unwrap(), asked, "another type");
            // The same again, with another stamp; then another content, newer and older than what is held.
            assert_eq!(commit(&store, 3, 2_021).await.duplicates, PER_PAGE as u64);
            assert_eq!(commit(&store, 4, 3_020).await.variants, PER_PAGE as u64);
            assert_eq!(commit(&store, 5, 1_020).await.variants, PER_PAGE as u64);
            let superseded = store.superseded().await.unwrap();
            drop(store);
            assert_eq!(superseded.len(), 2 * PER_PAGE);
            // The newer replaces the line that came first; of the older, its own line.
            assert_eq!(superseded[0].1, 4 * PER_PAGE as u64);
            assert_eq!(superseded.last().unwrap().1, ((PAGES + 2) * PER_PAGE - 1) as u64);
            let mut held = Held::open(folder).unwrap();
            let stamps = held.stamps("X").unwrap();
            assert_eq!((stamps.ids, stamps.unstamped), ((PAGES * PER_PAGE) as u64, 0));
            assert_eq!(stamps.newest.unwrap().to_rfc3339(), "3020-01-01T00:00:00+00:00");
            let mut came = held.ids_of("X").unwrap();
            assert!(came(&ids[7]).unwrap() && !came("nobody").unwrap());
        }
    }
}
