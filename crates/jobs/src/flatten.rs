//! Resources into record batches on all cores, in the order of the input and with bounded memory: each thread takes the
//! next block of lines, flattens it, and hands the rows to the tables, each of which takes them in order. There is no
//! thread besides those that are asked for; one thread does it all by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    ops::Range,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use arrow::record_batch::RecordBatch;
use fhirvest_fhir::resource;
use fhirvest_flattener::{Flattener, Plan, TableCounts};

/// Blocks read but not handed to their tables, for each thread: a slow one holds the others up instead of letting rows
/// pile up behind it.
const BLOCKS_PER_THREAD: u64 = 3;

/// Failures whose reasons are kept; the others are only counted.
pub const FAILURES_KEPT: usize = 100;

/// Whole lines of NDJSON, or one document.
#[derive(Debug)]
pub struct Block {
    /// The lines.
    pub(crate) bytes: Vec<u8>,
    /// Where each line ends; the last one may lack its line break.
    ends: Vec<usize>,
    /// The place of the first line in its input, from 0.
    pub first_line: u64,
    /// Lines to leave out, as places in the input, in order.
    pub skip: Vec<u64>,
    /// Which of the inputs it is from.
    pub input: usize,
}

impl Block {
    /// The lines of an input, of which the first one has this place.
    #[must_use]
    pub fn new(bytes: Vec<u8>, first_line: u64, input: usize) -> Self {
        let mut ends: Vec<usize> = memchr::memchr_iter(b'\n', &bytes).collect();
        if bytes.last().is_some_and(|last| *last != b'\n') {
            ends.push(bytes.len());
        }
        Self { bytes, ends, first_line, skip: Vec::new(), input }
    }

    /// How many lines it holds.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.ends.len() as u64
    }
}

/// What takes the rows of one table, in the order of the input.
pub trait TableSink: Send {
    /// Why it cannot.
    type Error: std::error::Error + Send + 'static;

    /// Takes rows.
    ///
    /// # Errors
    /// They cannot be written.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Self::Error>;
}

/// A plan, and for each of its tables the sink that takes the rows; several may lead to one.
#[derive(Debug)]
pub struct Route<'p> {
    /// The plan.
    pub plan: &'p Plan,
    /// By table of the plan: the number of a sink; `None` drops the rows.
    pub sinks: Vec<Option<usize>>,
    /// Whether the sinks take dictionaries of texts ([`Plan::flattener_of_dictionaries`]).
    pub dictionaries: bool,
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
    /// By route, and by table of its plan.
    pub counts: Vec<Vec<TableCounts>>,
    /// Lines that are no readable resource.
    pub unreadable: u64,
    /// The first [`FAILURES_KEPT`] reasons, in order, each with the number of its route (0 where it concerns all).
    pub failures: Vec<(usize, RowFailure)>,
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

/// Flattens every block that `read` gives (`None` ends it; it may use the memory that it gets) on `threads` threads, in one pass for all routes, and hands
/// each table's rows to its sink in the order of the input. `refuse` gets every line that gave no rows in some table, in
/// any order, with the number of its route.
///
/// # Errors
/// The first error of `read`, of a sink, of `refuse` or of a batch; later blocks are not read.
pub fn flatten<S: TableSink>(
    routes: &[Route<'_>],
    sinks: &mut [S],
    threads: usize,
    read: impl FnMut(Vec<u8>) -> Result<Option<Block>, S::Error> + Send,
    refuse: impl Fn(usize, &RowFailure, &[u8]) -> Result<(), S::Error> + Sync,
) -> Result<Flattened, FlattenError<S::Error>> {
    let threads = threads.max(1);
    let work = Work {
        routes,
        lanes: sinks.iter_mut().map(Lane::new).collect(),
        reader: Mutex::new(Reader { read, number: 0, ended: false }),
        refuse,
        progress: Mutex::new(Progress::default()),
        moved: Condvar::new(),
        in_flight: threads as u64 * BLOCKS_PER_THREAD,
    };
    let flattened = if threads == 1 {
        vec![work.run()]
    } else {
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work.run())).collect();
            workers.into_iter().map(|worker| worker.join().ok()).collect::<Option<Vec<_>>>()
        })
        .ok_or(FlattenError::Worker)?
    };
    if let Some(error) = lock(&work.progress).error.take() {
        return Err(error);
    }
    Ok(merged(flattened))
}

/// What the threads share.
struct Work<'w, S: TableSink, R, F> {
    routes: &'w [Route<'w>],
    lanes: Vec<Lane<'w, S>>,
    reader: Mutex<Reader<R>>,
    refuse: F,
    progress: Mutex<Progress<S::Error>>,
    /// Told when a block is done, or all is over.
    moved: Condvar,
    in_flight: u64,
}

struct Reader<R> {
    read: R,
    /// Blocks read.
    number: u64,
    ended: bool,
}

struct Progress<E: std::error::Error + 'static> {
    /// Every block before this one is done.
    done: u64,
    /// Blocks that are done though one before them is not.
    ahead: BTreeSet<u64>,
    error: Option<FlattenError<E>>,
}

impl<E: std::error::Error + 'static> Default for Progress<E> {
    fn default() -> Self {
        Self { done: 0, ahead: BTreeSet::new(), error: None }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'m, T>(condition: &Condvar, guard: MutexGuard<'m, T>) -> MutexGuard<'m, T> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

impl<S, R, F> Work<'_, S, R, F>
where
    S: TableSink,
    R: FnMut(Vec<u8>) -> Result<Option<Block>, S::Error>,
    F: Fn(usize, &RowFailure, &[u8]) -> Result<(), S::Error>,
{
    /// What one thread does until nothing is left.
    fn run(&self) -> Flattened {
        let mut lines = Lines::new(self.routes);
        let mut memory = Vec::new();
        while let Some((number, block)) = self.next(std::mem::take(&mut memory)) {
            let rows = lines.push(&block, &self.refuse).map_err(FlattenError::Store);
            memory = block.bytes;
            let rows = rows.and_then(|()| lines.flush().map_err(FlattenError::Batch));
            match rows.and_then(|batches| self.hand_over(number, batches)) {
                Ok(()) => self.finish(number),
                Err(error) => self.fail(error),
            }
        }
        lines.end()
    }

    /// The next block, in the memory of one that is done; none at the end, or where something failed.
    fn next(&self, memory: Vec<u8>) -> Option<(u64, Block)> {
        let mut reader = lock(&self.reader);
        let mut progress = lock(&self.progress);
        while progress.error.is_none() && reader.number >= progress.done + self.in_flight {
            progress = wait(&self.moved, progress);
        }
        if reader.ended || progress.error.is_some() {
            return None;
        }
        drop(progress);
        match (reader.read)(memory) {
            Ok(Some(block)) => {
                reader.number += 1;
                Some((reader.number - 1, block))
            }
            Ok(None) => {
                reader.ended = true;
                None
            }
            Err(error) => {
                reader.ended = true;
                self.fail(FlattenError::Store(error));
                None
            }
        }
    }

    fn finish(&self, number: u64) {
        let mut progress = lock(&self.progress);
        progress.ahead.insert(number);
        loop {
            let next = progress.done;
            if !progress.ahead.remove(&next) {
                break;
            }
            progress.done += 1;
        }
        self.moved.notify_all();
    }

    fn fail(&self, error: FlattenError<S::Error>) {
        lock(&self.progress).error.get_or_insert(error);
        self.moved.notify_all();
        self.lanes.iter().for_each(|lane| lane.moved.notify_all());
    }

    /// Gives each sink what the block has for it; every sink hears of every block, so that it knows the order.
    fn hand_over(&self, number: u64, batches: Vec<Vec<Option<RecordBatch>>>) -> Result<(), FlattenError<S::Error>> {
        let mut parts: Vec<Vec<RecordBatch>> = self.lanes.iter().map(|_| Vec::new()).collect();
        for (route, batches) in self.routes.iter().zip(batches) {
            for (sink, batch) in route.sinks.iter().zip(batches) {
                if let (Some(part), Some(batch)) = (sink.and_then(|sink| parts.get_mut(sink)), batch) {
                    part.push(batch);
                }
            }
        }
        for (lane, part) in self.lanes.iter().zip(parts) {
            lane.take(number, part, self.in_flight).map_err(FlattenError::Store)?;
        }
        Ok(())
    }
}

/// A sink with the rows that wait for it. Whoever brings the next rows in order writes them, and all that has come in
/// the meantime.
struct Lane<'s, S> {
    queue: Mutex<Queue<'s, S>>,
    moved: Condvar,
}

struct Queue<'s, S> {
    next: u64,
    waiting: BTreeMap<u64, Vec<RecordBatch>>,
    /// Not here while somebody writes.
    sink: Option<&'s mut S>,
    failed: bool,
    /// Threads that wait for its sink. Where there is none, nobody is to be told, which would be a call to the system.
    held_up: usize,
}

impl<'s, S: TableSink> Lane<'s, S> {
    fn new(sink: &'s mut S) -> Self {
        let queue = Queue { next: 0, waiting: BTreeMap::new(), sink: Some(sink), failed: false, held_up: 0 };
        Self { queue: Mutex::new(queue), moved: Condvar::new() }
    }

    fn take(&self, number: u64, batches: Vec<RecordBatch>, most: u64) -> Result<(), S::Error> {
        let mut queue = lock(&self.queue);
        queue.waiting.insert(number, batches);
        // A sink that is slower than the threads holds them up. Whoever writes waits for nobody, so this ends.
        while queue.sink.is_none() && !queue.failed && queue.waiting.len() as u64 > most {
            queue.held_up += 1;
            queue = wait(&self.moved, queue);
            queue.held_up -= 1;
        }
        let Some(sink) = queue.sink.take() else { return Ok(()) };
        let mut result = Ok(());
        while result.is_ok() {
            let next = queue.next;
            let Some(batches) = queue.waiting.remove(&next) else { break };
            queue.next += 1;
            self.tell(queue);
            result = batches.iter().try_for_each(|batch| sink.write(batch));
            queue = lock(&self.queue);
        }
        queue.failed = result.is_err();
        queue.sink = Some(sink);
        self.tell(queue);
        result
    }

    /// Tells whoever waits that something has changed.
    fn tell(&self, queue: MutexGuard<'_, Queue<'s, S>>) {
        let held_up = queue.held_up;
        drop(queue);
        if held_up > 0 {
            self.moved.notify_all();
        }
    }
}

/// The flatteners of one thread.
struct Lines<'p> {
    routes: &'p [Route<'p>],
    flatteners: Vec<Flattener>,
    /// For each of them, the lines of the block that it was given: their places in the input and in the block.
    given: Vec<Vec<(u64, Range<usize>)>>,
    /// Readable resources that no plan wants.
    others: u64,
    unreadable: u64,
    failures: Vec<(usize, RowFailure)>,
}

impl<'p> Lines<'p> {
    fn new(routes: &'p [Route<'p>]) -> Self {
        let flattener = |route: &Route<'p>| match route.dictionaries {
            true => route.plan.flattener_of_dictionaries(),
            false => route.plan.flattener(),
        };
        let flatteners = routes.iter().map(flattener).collect();
        let given = vec![Vec::new(); routes.len()];
        Self { routes, flatteners, given, others: 0, unreadable: 0, failures: Vec::new() }
    }

    fn push<E>(
        &mut self,
        block: &Block,
        refuse: &impl Fn(usize, &RowFailure, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut skip = block.skip.iter().copied().peekable();
        let mut start = 0;
        for (place, end) in (block.first_line..).zip(&block.ends) {
            let range = start..*end;
            start = end + 1;
            if range.is_empty() || skip.next_if_eq(&place).is_some() {
                continue;
            }
            let bytes = &block.bytes[range.clone()];
            // Line by line, though the whole block would be one check: it would leave the cache before its lines are read.
            let line = simdutf8::basic::from_utf8(bytes).ok();
            let route = match line.map(str::trim_ascii) {
                Some("") => continue,
                Some(line) => self.line(line),
                None => Err("not UTF-8".into()),
            };
            match route {
                Ok(Some(route)) => self.given[route].push((place, range)),
                Ok(None) => {}
                Err(message) => {
                    self.unreadable += 1;
                    let failure = RowFailure { input: block.input, line: place + 1, table: None, message };
                    self.fail(0, failure, bytes, refuse)?;
                }
            }
        }
        self.tell_failures(block, refuse)
    }

    /// Tells what gave no rows in some table.
    fn tell_failures<E>(
        &mut self,
        block: &Block,
        refuse: &impl Fn(usize, &RowFailure, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for route in 0..self.flatteners.len() {
            let given = std::mem::take(&mut self.given[route]);
            for failure in self.flatteners[route].take_failures() {
                let Some((place, range)) = given.get(failure.resource) else { continue };
                let (line, table, message) = (place + 1, Some(failure.table), failure.message);
                let failure = RowFailure { input: block.input, line, table, message };
                self.fail(route, failure, &block.bytes[range.clone()], refuse)?;
            }
            self.given[route] = given;
            self.given[route].clear();
        }
        Ok(())
    }

    /// Flattens a resource by the plan of its type; returns the number of that, if a view wants it.
    fn line(&mut self, line: &str) -> Result<Option<usize>, String> {
        if let [flattener] = &mut self.flatteners[..] {
            return flattener.push(line).map(|()| Some(0)).map_err(|error| error.to_string());
        }
        let told = type_at_the_beginning(line).and_then(|name| self.of_type(name));
        let route = match told {
            Some(route) => Some(route),
            // Also reads what no view wants: a broken line is told, whatever it was meant to be.
            None => self.of_type(&resource::head(line).map_err(|error| error.to_string())?.resource_type),
        };
        match route {
            Some(route) => self.flatteners[route].push(line).map(|()| Some(route)).map_err(|error| error.to_string()),
            None => {
                self.others += 1;
                Ok(None)
            }
        }
    }

    fn of_type(&self, name: &str) -> Option<usize> {
        self.routes.iter().position(|route| route.plan.resource_type() == name)
    }

    fn fail<E>(
        &mut self,
        route: usize,
        failure: RowFailure,
        line: &[u8],
        refuse: &impl Fn(usize, &RowFailure, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        refuse(route, &failure, line)?;
        self.failures.push((route, failure));
        // The first ones in the input count, and a thread does not know what the others found.
        if self.failures.len() >= 2 * FAILURES_KEPT {
            first_failures(&mut self.failures);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<Vec<Vec<Option<RecordBatch>>>, fhirvest_flattener::FlattenError> {
        self.flatteners.iter_mut().map(Flattener::flush).collect()
    }

    fn end(mut self) -> Flattened {
        let readable: u64 = self.others + self.flatteners.iter_mut().map(resources).sum::<u64>();
        let counts = self.flatteners.iter_mut().map(|flattener| {
            // What the other plans read is of another type for this one.
            let others = readable - resources(flattener);
            let more = |counts: &TableCounts| TableCounts {
                resources: counts.resources + others,
                filtered: counts.filtered + others,
                ..counts.clone()
            };
            flattener.counts().iter().map(more).collect()
        });
        Flattened { counts: counts.collect(), unreadable: self.unreadable, failures: self.failures }
    }
}

fn resources(flattener: &mut Flattener) -> u64 {
    flattener.counts().first().map_or(0, |counts| counts.resources)
}

/// The type of a resource that begins with it, as most do.
fn type_at_the_beginning(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("{\"resourceType\":")?.trim_ascii_start().strip_prefix('"')?;
    rest.get(..memchr::memchr(b'"', rest.as_bytes())?)
}

fn first_failures(failures: &mut Vec<(usize, RowFailure)>) {
    failures.sort_by_key(|(route, failure)| (failure.input, failure.line, *route, failure.table));
    failures.truncate(FAILURES_KEPT);
}

/// What the threads found, together.
fn merged(parts: Vec<Flattened>) -> Flattened {
    let mut all = Flattened::default();
    for part in parts {
        all.counts.resize(all.counts.len().max(part.counts.len()), Vec::new());
        for (all, more) in all.counts.iter_mut().zip(part.counts) {
            let before = std::mem::take(all).into_iter().chain(std::iter::repeat_with(TableCounts::default));
            *all = before.zip(more).map(|(before, more)| sum([before, more])).collect();
        }
        all.unreadable += part.unreadable;
        all.failures.extend(part.failures);
    }
    first_failures(&mut all.failures);
    all
}

/// The counts of several threads, or of several resource types that fill one table, added up.
#[must_use]
pub fn sum(counts: impl IntoIterator<Item = TableCounts>) -> TableCounts {
    let mut sum = TableCounts::default();
    for one in counts {
        sum.resources += one.resources;
        sum.flattened += one.flattened;
        sum.filtered += one.filtered;
        sum.failed += one.failed;
        sum.unjudged += one.unjudged;
        sum.rows += one.rows;
        sum.casts.resize(sum.casts.len().max(one.casts.len()), 0);
        for (sum, one) in sum.casts.iter_mut().zip(one.casts) {
            *sum += one;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use fhirvest_flattener::parse_view;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("full")]
    struct Full;

    /// Keeps the ids of its rows; full after so many.
    struct Ids(Vec<String>, usize);

    impl TableSink for Ids {
        type Error = Full;

        fn write(&mut self, batch: &RecordBatch) -> Result<(), Full> {
            let column = arrow::array::cast::AsArray::as_string::<i32>(batch.column(0));
            self.0.extend(column.iter().flatten().map(ToOwned::to_owned));
            if self.0.len() > self.1 { Err(Full) } else { Ok(()) }
        }
    }

    fn plan(resource: &str) -> Plan {
        let text = format!(
            r#"{{"resource":"{resource}","name":"t","select":[{{"column":[{{"name":"id","path":"getResourceKey()"}}]}}]}}"#
        );
        Plan::compile(&[parse_view(&text, "test").unwrap()]).unwrap()
    }

    fn run(
        text: &str,
        lines_per_block: usize,
        threads: usize,
        room: usize,
    ) -> (Vec<Ids>, Result<Flattened, FlattenError<Full>>) {
        let (locations, roles) = (plan("Location"), plan("PractitionerRole"));
        let routes = [
            Route { plan: &locations, sinks: vec![Some(0)], dictionaries: false },
            Route { plan: &roles, sinks: vec![Some(1)], dictionaries: false },
        ];
        let mut sinks = vec![Ids(Vec::new(), room), Ids(Vec::new(), room)];
        let lines: Vec<&str> = text.lines().collect();
        let mut blocks = lines.chunks(lines_per_block).enumerate().map(|(number, lines)| {
            // The last line of a block may lack its line break.
            let text = lines.join("\n") + if number % 2 == 0 { "\n" } else { "" };
            Block::new(text.into_bytes(), (number * lines_per_block) as u64, 0)
        });
        let refused = Mutex::new(BTreeSet::new());
        let done = flatten(
            &routes,
            &mut sinks,
            threads,
            |_| Ok(blocks.next()),
            |_, failure, line| {
                assert_eq!(lines[usize::try_from(failure.line).unwrap() - 1].as_bytes(), line);
                refused.lock().unwrap().insert(failure.line);
                Ok(())
            },
        );
        let refused = refused.into_inner().unwrap();
        assert!(done.as_ref().is_err() || refused.len() as u64 == done.as_ref().unwrap().unreadable);
        (sinks, done)
    }

    fn input() -> (String, Vec<String>) {
        let (mut text, mut ids) = (String::new(), Vec::new());
        for number in 0..3000 {
            text += &match number % 5 {
                0 => format!("{{\"resourceType\":\"PractitionerRole\",\"id\":\"r{number}\"}}\n"),
                1 => format!("{{\"id\":\"{number}\",\"resourceType\":\"Location\"}}\n"),
                2 => "{\"resourceType\":\"Location\",\"id\":\n".to_owned(),
                3 => "{\"resourceType\":\"Endpoint\",\"id\":\"e\"}\n".to_owned(),
                _ => format!("{{\"resourceType\": \"Location\",\"id\":\"{number}\"}}\n"),
            };
            if number % 5 == 1 || number % 5 == 4 {
                ids.push(number.to_string());
            }
        }
        (text, ids)
    }

    #[test]
    fn rows_stay_in_order_and_every_line_is_counted_once_on_any_number_of_threads() {
        let (text, ids) = input();
        for (threads, lines) in [(1, 7), (2, 1), (3, 100), (8, 11)] {
            let (sinks, done) = run(&text, lines, threads, usize::MAX);
            let done = done.unwrap();
            assert!(sinks[0].0 == ids, "{threads} threads");
            assert_eq!(sinks[1].0.len(), 600);
            assert_eq!(done.unreadable, 600);
            for (counts, flattened) in [(&done.counts[0][0], 1200), (&done.counts[1][0], 600)] {
                assert_eq!((counts.resources, counts.flattened, counts.filtered), (2400, flattened, 2400 - flattened));
            }
            assert_eq!(done.failures.len(), FAILURES_KEPT);
            let lines: Vec<u64> = done.failures.iter().map(|(_, failure)| failure.line).collect();
            assert_eq!(lines, (0..100).map(|number| number * 5 + 3).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_sink_that_fails_ends_it_on_any_number_of_threads() {
        let (text, _) = input();
        for threads in [1, 2, 5] {
            assert!(matches!(run(&text, 3, threads, 50).1, Err(FlattenError::Store(Full))));
        }
    }
}
