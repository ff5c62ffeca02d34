//! What a crawl changed: the ids and content hashes of its archive, compared with what was known before.

use std::sync::{
    Mutex, PoisonError,
    mpsc::{SyncSender, sync_channel},
};

use arrow::array::StringArray;
use camino::Utf8PathBuf;
use fhirvest_crawler::ending::Status;
use fhirvest_fhir::resource;
use fhirvest_lake::{
    Lake,
    changes::{CrawledType, IndexWriter, Scope},
};

use super::{
    archived,
    report::{TableReport, TableState},
    tables::StoreError,
};
use crate::{
    config::Publish,
    flatten::{self, Block},
};

/// Blocks of hashes that may wait to be written.
const WAITING: usize = 4;

/// How far the crawl of a type speaks for it. What analysts do not see changes nothing for them; only a type that is
/// whole can tell of removals, and only if nobody held its tables back.
pub(super) fn scope(name: &str, status: Status, publish: Publish, tables: &[TableReport]) -> Scope {
    let whole = matches!(status, Status::Complete | Status::Empty);
    // Tables of several types say little of one of them, unless it has no table of its own.
    let of: Vec<&TableReport> = tables.iter().filter(|one| one.resource_types.iter().any(|of| of == name)).collect();
    let own: Vec<&TableReport> = of.iter().copied().filter(|one| one.resource_types.len() == 1).collect();
    let deciding = if own.is_empty() { of } else { own };
    let shown = |one: &&TableReport| matches!(one.state, TableState::Published | TableState::Unchanged);
    match (deciding.iter().all(shown), publish) {
        (false, _) | (_, Publish::Never) => Scope::Unseen,
        (true, _) if whole => Scope::Whole,
        (true, _) if deciding.is_empty() => Scope::Unseen,
        (true, _) => Scope::Part,
    }
}

/// The sorted ids and hashes of one type of an archive; nothing where it brought none. All cores hash, one thread writes.
///
/// # Errors
/// The archive cannot be read, or the index not be written.
pub(super) fn index(
    lake: &Lake,
    source: &str,
    archive: &str,
    run: &str,
    resource_type: &str,
    scope: Scope,
) -> Result<CrawledType, StoreError> {
    let mut crawled = CrawledType { resource_type: resource_type.to_owned(), scope, index: Vec::new() };
    let file: Utf8PathBuf = lake.archive_dir(source, archive).join(format!("{resource_type}.ndjson.zst"));
    if !file.exists() {
        return Ok(crawled);
    }
    let mut writer = IndexWriter::new(&lake.run_dir(run).join("index").join(resource_type), lake.key().cloned())?;
    let read = Mutex::new(archived::blocks(lake, source, archive, resource_type)?);
    let (hashed, results) = sync_channel(WAITING);
    std::thread::scope(|scope| {
        for _ in 0..flatten::cores() {
            let (read, hashed) = (&read, hashed.clone());
            scope.spawn(move || hash_all(read, &hashed));
        }
        drop(hashed);
        results.into_iter().try_for_each(|hashes: Result<(StringArray, StringArray), StoreError>| {
            let (ids, hashes) = hashes?;
            Ok::<(), StoreError>(writer.write(ids, hashes)?)
        })
    })?;
    crawled.index = writer.finish()?;
    Ok(crawled)
}

type Hashes = Result<(StringArray, StringArray), StoreError>;

fn hash_all<R>(read: &Mutex<R>, hashed: &SyncSender<Hashes>)
where
    R: FnMut(Vec<u8>) -> Result<Option<Block>, StoreError>,
{
    let mut memory = Vec::new();
    loop {
        let next = {
            let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
            (*read)(std::mem::take(&mut memory))
        };
        let hashes = match next {
            Ok(None) => break,
            Ok(Some(block)) => {
                let hashes = hash(&block);
                memory = block.bytes;
                Ok(hashes)
            }
            Err(error) => Err(error),
        };
        let failed = hashes.is_err();
        if hashed.send(hashes).is_err() || failed {
            break;
        }
    }
}

fn hash(block: &Block) -> (StringArray, StringArray) {
    let mut skip = block.skip.iter().peekable();
    let (mut ids, mut hashes) = (Vec::new(), Vec::new());
    for (line, place) in block.bytes.split(|byte| *byte == b'\n').zip(block.first_line..) {
        if skip.next_if_eq(&&place).is_some() {
            continue;
        }
        // What cannot be read is no row of any table either, and is told there.
        let Ok(text) = std::str::from_utf8(line) else { continue };
        let id = resource::head(text).ok().and_then(|head| head.id);
        if let (Some(id), Ok(hash)) = (id, resource::content_hash(text)) {
            ids.push(id.into_owned());
            hashes.push(format!("{hash:?}"));
        }
    }
    (StringArray::from(ids), StringArray::from(hashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(types: &[&str], state: TableState) -> TableReport {
        TableReport { state, ..TableReport::skipped("t", types, String::new()) }
    }

    #[test]
    fn only_what_is_whole_and_shown_can_tell_of_removals() {
        use TableState::{Held, Published};
        let shown = [table(&["Location"], Published), table(&["Location", "Endpoint"], Held)];
        let held = [table(&["Location"], Held), table(&["Location", "Endpoint"], Published)];
        for (status, publish, tables, expected) in [
            (Status::Complete, Publish::Complete, &shown[..], Scope::Whole),
            (Status::Empty, Publish::Complete, &shown[..], Scope::Whole),
            (Status::Partial, Publish::Always, &shown[..], Scope::Part),
            // Too much of it was gone, or the job shows nothing.
            (Status::Complete, Publish::Complete, &held[..], Scope::Unseen),
            (Status::Complete, Publish::Never, &shown[..], Scope::Unseen),
            (Status::Partial, Publish::Complete, &held[..], Scope::Unseen),
            // No table reads it.
            (Status::Complete, Publish::Complete, &[], Scope::Whole),
            (Status::Partial, Publish::Always, &[], Scope::Unseen),
        ] {
            assert_eq!(scope("Location", status, publish, tables), expected, "{status:?} {publish:?}");
        }
        assert_eq!(scope("Endpoint", Status::Complete, Publish::Complete, &shown), Scope::Unseen);
    }
}
