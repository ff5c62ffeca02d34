//! Resources into record batches on all cores, in the order of the input and with bounded memory: one thread reads
//! blocks of lines, several flatten them, and the caller gets the batches in order.

use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::{
        Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use arrow::record_batch::RecordBatch;
use fhirvest_flattener::{Flattener, Plan, TableCounts};

/// Blocks in flight for each worker: one being flattened, one waiting, one being written.
const BLOCKS_PER_WORKER: usize = 3;

/// Failures whose reasons are kept; the others are only counted.
pub const FAILURES_KEPT: usize = 100;

/// Whole lines of NDJSON, or one document.
#[derive(Debug, Default)]
pub struct Block {
    /// The lines.
    pub bytes: Vec<u8>,
    /// The place of the first line in its input, from 0.
    pub first_line: u64,
    /// Lines to leave out, as places in the input, in order.
    pub skip: Vec<u64>,
    /// Which of the inputs it is from.
    pub input: usize,
}

impl Block {
    /// How many lines it holds; the last one may lack its line break.
    #[must_use]
    pub fn lines(&self) -> u64 {
        let breaks = memchr::memchr_iter(b'\n', &self.bytes).count() as u64;
        breaks + u64::from(!self.bytes.is_empty() && !self.bytes.ends_with(b"\n"))
    }
}

/// A resource that gave no rows, and why. Never holds any of its data.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RowFailure {
    /// Which of the inputs.
    pub input: usize,
    /// Its line there, from 1.
    pub line: u64,
    /// The table that misses it; `None` where the resource as a whole cannot be read.
    pub table: Option<usize>,
    /// Why.
    pub message: String,
}

/// What became of the resources.
#[derive(Debug, Default)]
pub struct Flattened {
    /// By table of the plan.
    pub counts: Vec<TableCounts>,
    /// Lines that are no readable resource.
    pub unreadable: u64,
    /// The first [`FAILURES_KEPT`] reasons, in order.
    pub failures: Vec<RowFailure>,
}

/// Why flattening stopped.
#[derive(Debug, thiserror::Error)]
pub enum FlattenError<E: std::error::Error + 'static> {
    /// Reading or writing failed.
    #[error(transparent)]
    Store(E),
    /// Arrow refuses a batch: a bug.
    #[error("a batch of table rows cannot be built")]
    Batch(#[source] fhirvest_flattener::FlattenError),
    /// A worker panicked: a bug.
    #[error("a flattening thread ended early")]
    Worker,
}

/// The number of threads that flatten when the caller does not say.
#[must_use]
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

type Done = (u64, Result<Vec<Option<RecordBatch>>, fhirvest_flattener::FlattenError>, Vec<RowFailure>, u64);

/// Flattens every block that `read` gives (`None` ends it) with `plan` on `threads` threads, and hands each block's
/// batches, one for each table of the plan, to `write` in the order of the input.
///
/// # Errors
/// The first error of `read`, `write` or a batch; later blocks are not read.
pub fn flatten<E: std::error::Error + Send + 'static>(
    plan: &Plan,
    threads: usize,
    mut read: impl FnMut() -> Result<Option<Block>, E> + Send,
    mut write: impl FnMut(Vec<Option<RecordBatch>>) -> Result<(), E>,
) -> Result<Flattened, FlattenError<E>> {
    let threads = threads.max(1);
    let in_flight = threads * BLOCKS_PER_WORKER;
    let (work, queue) = sync_channel::<(u64, Block)>(in_flight);
    let (done, results) = sync_channel::<Done>(in_flight);
    // A permit a block: the reader takes one, the writer gives it back when the block's rows are written, so that a
    // slow block holds the others up instead of letting them pile up behind it.
    let (permit, permits) = sync_channel::<()>(in_flight);
    for _ in 0..in_flight {
        let _ = permit.send(());
    }
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        let reader = scope.spawn(move || read_all(&mut read, &work, &permits));
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (done, queue) = (done.clone(), &queue);
                scope.spawn(move || work_all(plan.flattener(), queue, &done))
            })
            .collect();
        drop(done);
        let mut flattened = Flattened::default();
        let written = write_all(&results, &permit, &mut write, &mut flattened);
        // The reader waits for permits and the workers for room: without these both see that it is over.
        drop(results);
        drop(permit);
        for worker in workers {
            let counts = worker.join().map_err(|_| FlattenError::Worker)?;
            let before =
                std::mem::take(&mut flattened.counts).into_iter().chain(std::iter::repeat_with(TableCounts::default));
            flattened.counts = before.zip(counts).map(|(before, more)| sum([before, more])).collect();
        }
        let read = reader.join().map_err(|_| FlattenError::Worker)?;
        written?;
        read.map_err(FlattenError::Store)?;
        Ok(flattened)
    })
}

fn read_all<E>(
    read: &mut impl FnMut() -> Result<Option<Block>, E>,
    work: &SyncSender<(u64, Block)>,
    permits: &Receiver<()>,
) -> Result<(), E> {
    for number in 0.. {
        if permits.recv().is_err() {
            break;
        }
        let Some(block) = read()? else { break };
        if work.send((number, block)).is_err() {
            break;
        }
    }
    Ok(())
}

fn work_all(
    mut flattener: Flattener,
    queue: &Mutex<Receiver<(u64, Block)>>,
    done: &SyncSender<Done>,
) -> Vec<TableCounts> {
    loop {
        let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        let Ok((number, block)) = next else { break };
        let (mut failures, mut unreadable) = (Vec::new(), 0);
        push_block(&mut flattener, &block, &mut failures, &mut unreadable);
        if done.send((number, flattener.flush(), failures, unreadable)).is_err() {
            break;
        }
    }
    flattener.counts().to_vec()
}

fn push_block(flattener: &mut Flattener, block: &Block, failures: &mut Vec<RowFailure>, unreadable: &mut u64) {
    let mut skip = block.skip.iter().copied().peekable();
    // One check for the whole block where all is well, line by line where it is not.
    let whole = std::str::from_utf8(&block.bytes).ok();
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', &block.bytes).chain([block.bytes.len()]);
    for (place, end) in (block.first_line..).zip(ends) {
        let range = start..end;
        start = end + 1;
        if range.is_empty() || range.start > block.bytes.len() {
            continue;
        }
        if skip.next_if_eq(&place).is_some() {
            continue;
        }
        let mut fail = |table, message: String| {
            if failures.len() < FAILURES_KEPT {
                failures.push(RowFailure { input: block.input, line: place + 1, table, message });
            }
        };
        let line = match whole {
            Some(text) => text.get(range),
            None => std::str::from_utf8(&block.bytes[range]).ok(),
        };
        let Some(line) = line else {
            *unreadable += 1;
            fail(None, "not UTF-8".into());
            continue;
        };
        if line.trim_ascii().is_empty() {
            continue;
        }
        if let Err(error) = flattener.push(line) {
            *unreadable += 1;
            fail(None, error.to_string());
            continue;
        }
        for failure in flattener.take_failures() {
            fail(Some(failure.table), failure.message);
        }
    }
}

fn write_all<E: std::error::Error + 'static>(
    results: &Receiver<Done>,
    permit: &SyncSender<()>,
    write: &mut impl FnMut(Vec<Option<RecordBatch>>) -> Result<(), E>,
    flattened: &mut Flattened,
) -> Result<(), FlattenError<E>> {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    for (number, batches, failures, unreadable) in results {
        waiting.insert(number, (batches, failures, unreadable));
        while let Some((batches, failures, unreadable)) = waiting.remove(&next) {
            next += 1;
            flattened.unreadable += unreadable;
            let room = FAILURES_KEPT.saturating_sub(flattened.failures.len());
            flattened.failures.extend(failures.into_iter().take(room));
            write(batches.map_err(FlattenError::Batch)?).map_err(FlattenError::Store)?;
            let _ = permit.send(());
        }
    }
    Ok(())
}

/// The counts of several workers, or of several resource types that fill one table, added up.
#[must_use]
pub fn sum(counts: impl IntoIterator<Item = TableCounts>) -> TableCounts {
    let mut sum = TableCounts::default();
    for one in counts {
        sum.resources += one.resources;
        sum.flattened += one.flattened;
        sum.filtered += one.filtered;
        sum.failed += one.failed;
        sum.rows += one.rows;
        sum.casts.resize(sum.casts.len().max(one.casts.len()), 0);
        for (sum, one) in sum.casts.iter_mut().zip(one.casts) {
            *sum += one;
        }
    }
    sum
}
