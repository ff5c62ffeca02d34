//! Rows in the order of the key with bounded memory: what fits is sorted at once; what does not is sorted in chunks,
//! which are put aside as Arrow files and merged.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::{self, File},
    io::BufReader,
};

use arrow::{
    array::{ArrayRef, UInt32Array},
    compute::{concat_batches, interleave_record_batch, take_record_batch},
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::{reader::FileReader, writer::FileWriter},
    record_batch::RecordBatch,
    row::{OwnedRow, RowConverter, Rows, SortField},
};
use camino::{Utf8Path, Utf8PathBuf};

use super::TableSpec;
use crate::{durable, error::LakeError};

/// Rows of a batch, put aside or handed on.
const BATCH_ROWS: usize = 4096;

/// Chunks merged at once: each has a file open and a batch in memory.
const MOST_CHUNKS: usize = 64;

pub(super) struct Sorter {
    schema: SchemaRef,
    /// The places of the columns to sort by.
    key: Vec<usize>,
    dir: Utf8PathBuf,
    memory_budget: usize,
    held: Vec<RecordBatch>,
    held_bytes: usize,
    chunks: Vec<Utf8PathBuf>,
    made: usize,
}

impl std::fmt::Debug for Sorter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sorter")
            .field("held_bytes", &self.held_bytes)
            .field("chunks", &self.chunks.len())
            .finish_non_exhaustive()
    }
}

impl Sorter {
    pub(super) fn new(spec: &TableSpec, dir: &Utf8Path, memory_budget: usize) -> Result<Self, LakeError> {
        let place = |name: &String| spec.schema.index_of(name);
        let key = spec.sort_by.iter().map(place).collect::<Result<_, _>>();
        let key = key.map_err(|source| LakeError::Arrow { path: dir.to_owned(), source })?;
        Ok(Self {
            schema: spec.schema.clone(),
            key,
            dir: dir.to_owned(),
            memory_budget,
            held: Vec::new(),
            held_bytes: 0,
            chunks: Vec::new(),
            made: 0,
        })
    }

    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<(), LakeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.held_bytes += batch.get_array_memory_size();
        self.held.push(batch);
        // Sorting needs the rows twice.
        if self.held_bytes >= self.memory_budget / 2 { self.put_aside() } else { Ok(()) }
    }

    /// Hands every row on in order, and removes what was put aside.
    pub(super) fn merge(
        mut self,
        mut write: impl FnMut(RecordBatch) -> Result<(), LakeError>,
    ) -> Result<(), LakeError> {
        if self.chunks.is_empty() {
            let held = std::mem::take(&mut self.held);
            let sorted = sort(&self.schema, &self.key, &held).map_err(|source| self.arrow(source))?;
            drop(held);
            for start in (0..sorted.num_rows()).step_by(BATCH_ROWS) {
                write(sorted.slice(start, BATCH_ROWS.min(sorted.num_rows() - start)))?;
            }
            return Ok(());
        }
        if !self.held.is_empty() {
            self.put_aside()?;
        }
        // The chunks of one merge lie next to each other, so ties stay in the order of their arrival.
        while self.chunks.len() > MOST_CHUNKS {
            let (mut merged, chunks) = (Vec::new(), std::mem::take(&mut self.chunks));
            for group in chunks.chunks(MOST_CHUNKS) {
                let path = self.next_path();
                let mut writer = self.writer(&path)?;
                self.merge_chunks(group, |batch| writer.write(&batch).map_err(|source| arrow(&path, source)))?;
                writer.finish().map_err(|source| arrow(&path, source))?;
                merged.push(path);
            }
            self.chunks = merged;
        }
        let chunks = std::mem::take(&mut self.chunks);
        self.merge_chunks(&chunks, write)
    }

    fn put_aside(&mut self) -> Result<(), LakeError> {
        let held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        let sorted = sort(&self.schema, &self.key, &held).map_err(|source| self.arrow(source))?;
        drop(held);
        let path = self.next_path();
        let mut writer = self.writer(&path)?;
        for start in (0..sorted.num_rows()).step_by(BATCH_ROWS) {
            let batch = sorted.slice(start, BATCH_ROWS.min(sorted.num_rows() - start));
            writer.write(&batch).map_err(|source| arrow(&path, source))?;
        }
        writer.finish().map_err(|source| arrow(&path, source))?;
        self.chunks.push(path);
        Ok(())
    }

    fn next_path(&mut self) -> Utf8PathBuf {
        self.made += 1;
        self.dir.join(format!(".chunk-{:05}.arrow", self.made))
    }

    fn writer(&self, path: &Utf8Path) -> Result<FileWriter<File>, LakeError> {
        let file = durable::create_file(path)?;
        FileWriter::try_new(file, &self.schema).map_err(|source| arrow(path, source))
    }

    fn merge_chunks(
        &self,
        paths: &[Utf8PathBuf],
        mut write: impl FnMut(RecordBatch) -> Result<(), LakeError>,
    ) -> Result<(), LakeError> {
        let converter = converter(&self.schema, &self.key).map_err(|source| self.arrow(source))?;
        let mut merge = Merge { key: &self.key, converter, chunks: Vec::new(), heap: BinaryHeap::new() };
        for path in paths {
            merge.open(path)?;
        }
        while let Some(batch) = merge.next_batch().map_err(|source| self.arrow(source))? {
            write(batch)?;
        }
        for path in paths {
            fs::remove_file(path).map_err(|source| LakeError::io("remove", path, source))?;
        }
        Ok(())
    }

    fn arrow(&self, source: ArrowError) -> LakeError {
        arrow(&self.dir, source)
    }
}

fn arrow(path: &Utf8Path, source: ArrowError) -> LakeError {
    LakeError::Arrow { path: path.to_owned(), source }
}

fn converter(schema: &SchemaRef, key: &[usize]) -> Result<RowConverter, ArrowError> {
    RowConverter::new(key.iter().map(|place| SortField::new(schema.field(*place).data_type().clone())).collect())
}

fn key_columns(batch: &RecordBatch, key: &[usize]) -> Vec<ArrayRef> {
    key.iter().map(|place| batch.column(*place).clone()).collect()
}

/// All rows in one batch, sorted; ties in the order of their arrival; nulls first.
fn sort(schema: &SchemaRef, key: &[usize], batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let all = concat_batches(schema, batches)?;
    if key.is_empty() || all.num_rows() < 2 {
        return Ok(all);
    }
    let rows = converter(schema, key)?.convert_columns(&key_columns(&all, key))?;
    let is_sorted = (1..rows.num_rows()).all(|place| rows.row(place - 1) <= rows.row(place));
    if is_sorted {
        return Ok(all);
    }
    let count = u32::try_from(rows.num_rows()).map_err(|_| ArrowError::ComputeError("too many rows at once".into()))?;
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_by(|a, b| rows.row(*a as usize).cmp(&rows.row(*b as usize)));
    take_record_batch(&all, &UInt32Array::from(order))
}

/// A chunk being read: the batch at hand and the place in it.
struct Chunk {
    reader: FileReader<BufReader<File>>,
    batch: RecordBatch,
    rows: Rows,
    place: usize,
}

struct Merge<'a> {
    key: &'a [usize],
    converter: RowConverter,
    chunks: Vec<Chunk>,
    /// The next row of each chunk, the least first; of equal ones that of the earlier chunk.
    heap: BinaryHeap<Reverse<(OwnedRow, usize)>>,
}

impl Merge<'_> {
    fn open(&mut self, path: &Utf8Path) -> Result<(), LakeError> {
        let file = File::open(path).map_err(|source| LakeError::io("open", path, source))?;
        let mut reader = FileReader::try_new(BufReader::new(file), None).map_err(|source| arrow(path, source))?;
        let Some(batch) = reader.next().transpose().map_err(|source| arrow(path, source))? else { return Ok(()) };
        let rows =
            self.converter.convert_columns(&key_columns(&batch, self.key)).map_err(|source| arrow(path, source))?;
        self.heap.push(Reverse((rows.row(0).owned(), self.chunks.len())));
        self.chunks.push(Chunk { reader, batch, rows, place: 0 });
        Ok(())
    }

    /// The next rows, gathered from the chunks' batches. A batch ends early where a chunk has to read on, since its rows
    /// are gathered before the batch at hand is let go.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let mut gathered: Vec<(usize, usize)> = Vec::with_capacity(BATCH_ROWS);
        let mut exhausted = None;
        while let Some(Reverse((_, number))) = self.heap.pop() {
            let chunk = &mut self.chunks[number];
            gathered.push((number, chunk.place));
            chunk.place += 1;
            if chunk.place < chunk.batch.num_rows() {
                self.heap.push(Reverse((chunk.rows.row(chunk.place).owned(), number)));
            } else {
                exhausted = Some(number);
            }
            if exhausted.is_some() || gathered.len() == BATCH_ROWS {
                break;
            }
        }
        if gathered.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = self.chunks.iter().map(|chunk| &chunk.batch).collect();
        let merged = interleave_record_batch(&batches, &gathered)?;
        if let Some(number) = exhausted {
            let chunk = &mut self.chunks[number];
            if let Some(batch) = chunk.reader.next().transpose()? {
                chunk.rows = self.converter.convert_columns(&key_columns(&batch, self.key))?;
                (chunk.batch, chunk.place) = (batch, 0);
                self.heap.push(Reverse((chunk.rows.row(0).owned(), number)));
            }
        }
        Ok(Some(merged))
    }
}
