//! The ids that a crawl holds, made for the one way in which they come: many at a time, in no order, and nearly all of
//! them new. A B-tree rewrites most of its leaves at each commit then; this index gathers records in memory and writes
//! them as sorted runs, a few of which are merged into a larger one now and then (a log-structured merge tree), so that
//! a record is written a handful of times whatever the size of the crawl. Whole ids are kept, so none stands for another.
//!
//! The archive is its log. What is in memory only lies in the archive's lines after those that the runs cover, and is
//! read from there when a crawl is taken up again (`recovery`); the runs of a commit are named by the commit itself, in
//! the database, with their hashes. A run that is missing or damaged costs a reading of the archive and nothing else.

use std::{collections::BTreeMap, io, iter::Peekable};

use camino::{Utf8Path, Utf8PathBuf};

mod filter;
mod memory;
mod run;

use memory::Memory;
use run::Run;

/// Records held in memory before they become a run: about 12 MiB, and what a resumed crawl has to read again. With the pages
/// of one more commit they still fit a hash table of 128 Ki places, which is full at seven eighths. Tests have runs without
/// a hundred thousand resources.
const IN_MEMORY: usize = if cfg!(test) { 64 } else { 96 * 1024 };

/// Runs of one size that are merged into one of the next.
const FANOUT: usize = 8;

/// What is known of the resource of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// The fingerprint of its content.
    pub(super) hash: [u8; 16],
    /// Its line in the archive.
    pub(super) line: u64,
    /// `meta.lastUpdated`, where it reads as a time.
    pub(super) stamp: Option<Stamp>,
}

/// A time: seconds since 1970, and nanoseconds.
pub(super) type Stamp = (i64, u32);

/// A run as the database names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunName {
    pub(super) number: u64,
    /// How often its records were merged.
    pub(super) level: u32,
    /// BLAKE3 of its file.
    pub(super) hash: [u8; 32],
}

/// The key of a record: the number of its type, then its id, so that the ids of a type stand together and in order.
pub(super) fn key(number: u32, id: &str, key: &mut Vec<u8>) {
    key.clear();
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(id.as_bytes());
}

/// The ids of one crawl.
#[derive(Debug)]
pub(super) struct Index {
    folder: Utf8PathBuf,
    memory: Memory,
    /// From the oldest to the newest: a newer record of an id stands for the older ones.
    runs: Vec<Run>,
    limit: usize,
}

impl Index {
    /// Opens the runs that the last commit names, and removes all others. Nothing where one of them is not what it was:
    /// then the index has to be made anew.
    pub(super) fn open(folder: &Utf8Path, names: &[RunName]) -> io::Result<Option<Self>> {
        fhirvest_lake::durable::create_dir(folder).map_err(io::Error::other)?;
        let mut index =
            Self { folder: folder.to_owned(), memory: Memory::default(), runs: Vec::new(), limit: IN_MEMORY };
        for name in names {
            match Run::open(&index.folder, name)? {
                Some(run) => index.runs.push(run),
                None => return Ok(None),
            }
        }
        index.sweep()?;
        Ok(Some(index))
    }

    #[cfg(test)]
    pub(super) fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The record of a key.
    pub(super) fn get(&self, key: &[u8]) -> io::Result<Option<Record>> {
        if let Some(record) = self.memory.get(key) {
            return Ok(Some(*record));
        }
        let hash = filter::hash(key);
        for run in self.runs.iter().rev() {
            if let Some(record) = run.get(key, hash)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Holds a record, in place of what there was under its key.
    pub(super) fn insert(&mut self, key: &[u8], record: Record) {
        self.memory.insert(key, record);
    }

    /// Whether what is in memory should become a run.
    pub(super) fn is_full(&self) -> bool {
        self.memory.len() >= self.limit
    }

    /// Writes what is in memory as a run, and merges runs where there are enough of one size. The files are on the disk
    /// when this returns; those that are no longer needed stay until [`Self::sweep`], so that the commit before this one
    /// can still be gone back to.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let (number, most) = (self.next_number(), self.memory.len() as u64);
        if most > 0 {
            let records = self.memory.in_order().iter().map(|(key, record)| Ok((&key[..], *record)));
            let run = run::write(&self.folder, (number, 0), most, records)?;
            self.runs.push(run);
            self.memory.clear();
        }
        while let Some(last) = self.runs.last().map(|run| run.name.level) {
            let same = self.runs.iter().rev().take_while(|run| run.name.level == last).count();
            if same < FANOUT {
                break;
            }
            let from = self.runs.len() - same;
            let most = self.runs[from..].iter().map(|run| run.records).sum();
            let nothing = BTreeMap::new();
            let mut merged = Merged::new(&nothing, &self.runs[from..], &[])?;
            let records = std::iter::from_fn(|| merged.next().transpose());
            let run = run::write(&self.folder, (self.next_number(), last + 1), most, records)?;
            self.runs.truncate(from);
            self.runs.push(run);
        }
        Ok(())
    }

    /// The runs, for the database.
    pub(super) fn names(&self) -> impl Iterator<Item = &RunName> {
        self.runs.iter().map(|run| &run.name)
    }

    /// Removes the files that are no runs of this index.
    pub(super) fn sweep(&self) -> io::Result<()> {
        for file in self.folder.read_dir_utf8()? {
            let file = file?;
            if !self.runs.iter().any(|run| run::file_name(run.name.number) == file.file_name()) {
                std::fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }

    /// The records from a key on, in order of their keys.
    pub(super) fn from(&mut self, key: &[u8]) -> io::Result<Merged<'_>> {
        Merged::new(self.memory.in_order(), &self.runs, key)
    }

    fn next_number(&self) -> u64 {
        self.runs.iter().map(|run| run.name.number + 1).max().unwrap_or(0)
    }
}

/// Records of several runs and of the memory in order of their keys, each key once and with its newest record.
pub(super) struct Merged<'i> {
    memory: Peekable<std::collections::btree_map::Range<'i, Box<[u8]>, Record>>,
    runs: Vec<run::Records<'i>>,
    key: Vec<u8>,
}

impl<'i> Merged<'i> {
    fn new(memory: &'i BTreeMap<Box<[u8]>, Record>, runs: &'i [Run], from: &[u8]) -> io::Result<Self> {
        let memory = memory.range(Box::<[u8]>::from(from)..).peekable();
        let runs = runs.iter().map(|run| run.from(from)).collect::<io::Result<_>>()?;
        Ok(Self { memory, runs, key: Vec::new() })
    }

    /// The next record with its key.
    pub(super) fn next(&mut self) -> io::Result<Option<(Vec<u8>, Record)>> {
        let of_memory = self.memory.peek().map(|(key, _)| &key[..]);
        let Some(least) = self.runs.iter().filter_map(run::Records::key).chain(of_memory).min() else {
            return Ok(None);
        };
        self.key.clear();
        self.key.extend_from_slice(least);
        let mut newest = None;
        for run in &mut self.runs {
            if run.key() == Some(&self.key[..]) {
                newest = run.take()?;
            }
        }
        if let Some((_, record)) = self.memory.next_if(|(key, _)| key[..] == self.key[..]) {
            newest = Some(*record);
        }
        Ok(newest.map(|record| (self.key.clone(), record)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn folder(home: &tempfile::TempDir) -> Utf8PathBuf {
        Utf8Path::from_path(home.path()).unwrap().join("index")
    }

    fn record(line: u64) -> Record {
        Record { hash: [7; 16], line, stamp: line.is_multiple_of(3).then_some((line.cast_signed(), 5)) }
    }

    fn all(index: &mut Index, from: &[u8]) -> Vec<(Vec<u8>, Record)> {
        let mut merged = index.from(from).unwrap();
        std::iter::from_fn(|| merged.next().unwrap()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Whatever is inserted, flushed and opened again, the index is the map that it stands for.
        #[test]
        fn it_is_a_map(
            steps in prop::collection::vec((0u32..3, "[a-d]{1,3}", 0u8..20), 1..400),
            limit in 1usize..12,
        ) {
            let home = tempfile::tempdir().unwrap();
            let mut index = Index::open(&folder(&home), &[]).unwrap().unwrap().with_limit(limit);
            let mut map = BTreeMap::new();
            let mut committed = (Vec::new(), BTreeMap::new());
            for (line, (number, id, what)) in (0..).zip(steps) {
                let mut name = Vec::new();
                key(number, &id, &mut name);
                prop_assert_eq!(index.get(&name).unwrap(), map.get(&name).copied());
                index.insert(&name, record(line));
                map.insert(name, record(line));
                if index.is_full() {
                    index.flush().unwrap();
                    committed = (index.names().cloned().collect(), map.clone());
                    if what > 0 {
                        index.sweep().unwrap();
                    }
                }
                if what == 1 {
                    // The process dies: what was not flushed comes from the archive again.
                    index = Index::open(&folder(&home), &committed.0).unwrap().unwrap().with_limit(limit);
                    map = committed.1.clone();
                }
            }
            let wanted: Vec<_> = map.iter().map(|(key, record)| (key.clone(), *record)).collect();
            prop_assert_eq!(&all(&mut index, &[]), &wanted);
            let mut middle = Vec::new();
            key(1, "b", &mut middle);
            let after: Vec<_> = wanted.into_iter().filter(|(key, _)| *key >= middle).collect();
            prop_assert_eq!(all(&mut index, &middle), after);
        }
    }

    #[test]
    fn a_damaged_or_missing_run_is_found_out() {
        let home = tempfile::tempdir().unwrap();
        let folder = folder(&home);
        let mut index = Index::open(&folder, &[]).unwrap().unwrap();
        for line in 0..2_000 {
            index.insert(format!("{line:04}").as_bytes(), record(line));
        }
        index.flush().unwrap();
        let names: Vec<RunName> = index.names().cloned().collect();
        let path = folder.join(run::file_name(names[0].number));
        let whole = std::fs::read(&path).unwrap();
        assert!(Index::open(&folder, &names).unwrap().is_some());
        let mut torn = whole.clone();
        torn.truncate(whole.len() / 2);
        let mut flipped = whole.clone();
        flipped[1_000] ^= 1;
        for broken in [torn, flipped, Vec::new()] {
            std::fs::write(&path, broken).unwrap();
            assert!(Index::open(&folder, &names).unwrap().is_none());
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Index::open(&folder, &names).unwrap().is_none());
        std::fs::write(folder.join("9.run"), whole).unwrap();
        assert!(Index::open(&folder, &[]).unwrap().is_some());
        assert_eq!(folder.read_dir_utf8().unwrap().count(), 0, "what no commit names is removed");
    }

    #[test]
    fn runs_of_one_size_are_merged() {
        let home = tempfile::tempdir().unwrap();
        let mut index = Index::open(&folder(&home), &[]).unwrap().unwrap().with_limit(100);
        for line in 0..6_400_u64 {
            index.insert(&line.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes(), record(line));
            if index.is_full() {
                index.flush().unwrap();
                index.sweep().unwrap();
            }
        }
        let levels: Vec<u32> = index.names().map(|name| name.level).collect();
        assert_eq!(levels, [2]);
        assert_eq!(all(&mut index, &[]).len(), 6_400);
        assert_eq!(folder(&home).read_dir_utf8().unwrap().count(), 1);
    }
}
