//! Reading a sealed archive file with what the ledger knows of its lines.

use fhirvest_lake::{Lake, archive::ArchiveReader};

use super::tables::StoreError;
use crate::{flatten::Block, ledger::Ledger};

/// Superseded lines fetched from the ledger at once.
const SUPERSEDED_CHUNK: usize = 4096;

/// Reads the archive file of a type in blocks, each in the memory that it gets and with the lines that newer variants replace.
///
/// # Errors
/// The archive or the ledger cannot be opened; each call may fail in reading them.
pub(super) fn blocks(
    lake: &Lake,
    source: &str,
    run: &str,
    resource_type: &str,
) -> Result<impl FnMut(Vec<u8>) -> Result<Option<Block>, StoreError> + Send + use<>, StoreError> {
    let mut archive = ArchiveReader::open(&lake.archive_dir(source, run).join(format!("{resource_type}.ndjson.zst")))?;
    // A connection of its own: the reader may run on another thread.
    let ledger = Ledger::open(&lake.ledger_path())?;
    let (run, resource_type) = (run.to_owned(), resource_type.to_owned());
    let (mut line, mut known, mut exhausted) = (0_u64, Vec::<u64>::new(), false);
    Ok(move |mut bytes| {
        if !archive.next_block(&mut bytes)? {
            return Ok(None);
        }
        let mut block = Block::new(bytes, line, 0);
        line += block.lines();
        while !exhausted && known.last().is_none_or(|last| *last < line) {
            let from = known.last().map_or(block.first_line, |last| last + 1);
            let more = ledger.superseded(&run, &resource_type, from, SUPERSEDED_CHUNK)?;
            exhausted = more.len() < SUPERSEDED_CHUNK;
            known.extend(more);
        }
        let until = known.partition_point(|place| *place < line);
        block.skip = known.drain(..until).collect();
        Ok(Some(block))
    })
}
