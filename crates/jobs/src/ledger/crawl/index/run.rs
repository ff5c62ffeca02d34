//! A sorted run: records in order of their keys, one after another, in a file that never changes once it is written.
//! What helps to find a record — the key at the beginning of each block, and a filter — is kept in memory and made while
//! the file is written or, when it is opened again, checked against its hash.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
};

use camino::Utf8Path;

use super::{
    Record, RunName,
    filter::{self, Filter},
};

/// Bytes read for one record, in a run of usual size.
const BLOCK: u64 = 4 << 10;

/// Blocks of a run at most: those of a very large one are larger, so that memory stays bounded.
const MOST_BLOCKS: u64 = 1 << 16;

/// Of a record besides its key: the key's length, hash, line, whether there is a stamp, and the stamp.
const FIXED: usize = 2 + 16 + 8 + 1 + 8 + 4;

/// An estimate for the blocks of a run to be written, whose size is not known yet.
const USUAL_RECORD: u64 = 80;

/// An estimate for the filter of a run whose records are not counted yet: hardly any is smaller.
const FEWEST_BYTES: u64 = 48;

#[derive(Debug)]
pub(super) struct Run {
    pub(super) name: RunName,
    pub(super) records: u64,
    file: File,
    length: u64,
    blocks: Blocks,
    filter: Filter,
}

/// Where blocks begin, and with which key.
#[derive(Debug)]
struct Blocks {
    size: u64,
    starts: Vec<(Box<[u8]>, u64)>,
}

impl Blocks {
    fn for_length(length: u64) -> Self {
        Self { size: BLOCK.max(length / MOST_BLOCKS), starts: Vec::new() }
    }

    fn note(&mut self, key: &[u8], place: u64) {
        if self.starts.last().is_none_or(|(_, last)| place - last >= self.size) {
            self.starts.push((key.into(), place));
        }
    }

    /// The place of the block that a key belongs to, and where that block ends.
    fn around(&self, key: &[u8], length: u64) -> Option<(u64, u64)> {
        let after = self.starts.partition_point(|(first, _)| first[..] <= *key);
        let (_, start) = self.starts.get(after.checked_sub(1)?)?;
        Some((*start, self.starts.get(after).map_or(length, |(_, next)| *next)))
    }
}

pub(super) fn file_name(number: u64) -> String {
    format!("{number}.run")
}

/// Writes a run of at most so many records, which come in order, and forces it to the disk.
pub(super) fn write<K: AsRef<[u8]>>(
    folder: &Utf8Path,
    (number, level): (u64, u32),
    most: u64,
    records: impl Iterator<Item = io::Result<(K, Record)>>,
) -> io::Result<Run> {
    let path = folder.join(file_name(number));
    let file = fhirvest_lake::durable::options(&path).truncate(true).open(&path)?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    let mut blocks = Blocks::for_length(most * USUAL_RECORD);
    let mut filter = Filter::new(most);
    let mut hasher = blake3::Hasher::new();
    let (mut length, mut count, mut bytes) = (0, 0, Vec::new());
    for one in records {
        let (key, record) = one?;
        let key = key.as_ref();
        blocks.note(key, length);
        filter.add(filter::hash(key));
        bytes.clear();
        encode(key, &record, &mut bytes)?;
        hasher.update(&bytes);
        out.write_all(&bytes)?;
        length += bytes.len() as u64;
        count += 1;
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    // Its name must survive a power cut, too.
    File::open(folder)?.sync_all()?;
    let name = RunName { number, level, hash: *hasher.finalize().as_bytes() };
    Ok(Run { name, records: count, file, length, blocks, filter })
}

impl Run {
    /// Opens a run and reads it once; nothing where it is missing or not what was written.
    pub(super) fn open(folder: &Utf8Path, name: &RunName) -> io::Result<Option<Self>> {
        let file = match File::open(folder.join(file_name(name.number))) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut (&file).take(length), &mut hasher)?;
        if hasher.finalize().as_bytes() != &name.hash {
            return Ok(None);
        }
        let (mut blocks, mut filter) = (Blocks::for_length(length), Filter::new(length / FEWEST_BYTES));
        let (mut records, mut count, mut place) = (Records::at(&file, 0)?, 0, 0);
        while let Some(key) = records.key() {
            blocks.note(key, place);
            filter.add(filter::hash(key));
            place += (key.len() + FIXED) as u64;
            count += 1;
            records.take()?;
        }
        drop(records);
        Ok(Some(Self { name: name.clone(), records: count, file, length, blocks, filter }))
    }

    /// The record of a key; `hash` is the key's own for filters.
    pub(super) fn get(&self, key: &[u8], hash: u64) -> io::Result<Option<Record>> {
        if !self.filter.may_hold(hash) {
            return Ok(None);
        }
        let Some((start, end)) = self.blocks.around(key, self.length) else { return Ok(None) };
        let mut block = vec![0; usize::try_from(end - start).unwrap_or(0)];
        (&self.file).seek(SeekFrom::Start(start))?;
        (&self.file).read_exact(&mut block)?;
        let mut rest = &block[..];
        while !rest.is_empty() {
            let (found, record, after) = decode(rest)?;
            match found.cmp(key) {
                std::cmp::Ordering::Less => rest = after,
                std::cmp::Ordering::Equal => return Ok(Some(record)),
                std::cmp::Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The records from a key on.
    pub(super) fn from(&self, key: &[u8]) -> io::Result<Records<'_>> {
        let start = self.blocks.around(key, self.length).map_or(0, |(start, _)| start);
        let mut records = Records::at(&self.file, start)?;
        while records.key().is_some_and(|found| found < key) {
            records.take()?;
        }
        Ok(records)
    }
}

/// Records of a run, one after another. Each reader has its own place in the file.
pub(super) struct Records<'r> {
    file: BufReader<Placed<'r>>,
    bytes: Vec<u8>,
    key_length: Option<usize>,
}

/// A reader of a file that others read elsewhere.
struct Placed<'r> {
    file: &'r File,
    place: u64,
}

impl Read for Placed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.seek(SeekFrom::Start(self.place))?;
        let read = self.file.read(buffer)?;
        self.place += read as u64;
        Ok(read)
    }
}

impl<'r> Records<'r> {
    fn at(file: &'r File, place: u64) -> io::Result<Self> {
        let mut records = Self {
            file: BufReader::with_capacity(1 << 16, Placed { file, place }),
            bytes: Vec::new(),
            key_length: None,
        };
        records.advance()?;
        Ok(records)
    }

    /// The key of the record that comes next.
    pub(super) fn key(&self) -> Option<&[u8]> {
        self.key_length.map(|length| &self.bytes[2..2 + length])
    }

    /// The record that comes next.
    pub(super) fn take(&mut self) -> io::Result<Option<Record>> {
        if self.key_length.is_none() {
            return Ok(None);
        }
        let (_, record, _) = decode(&self.bytes)?;
        self.advance()?;
        Ok(Some(record))
    }

    fn advance(&mut self) -> io::Result<()> {
        self.key_length = None;
        let mut length = [0; 2];
        match self.file.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let key_length = usize::from(u16::from_be_bytes(length));
        self.bytes.clear();
        self.bytes.extend_from_slice(&length);
        self.bytes.resize(key_length + FIXED, 0);
        self.file.read_exact(&mut self.bytes[2..])?;
        self.key_length = Some(key_length);
        Ok(())
    }
}

fn encode(key: &[u8], record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
    let length = u16::try_from(key.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "an id of more than 65,531 bytes"))?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(&record.hash);
    out.extend_from_slice(&record.line.to_be_bytes());
    let (seconds, nanoseconds) = record.stamp.unwrap_or_default();
    out.push(u8::from(record.stamp.is_some()));
    out.extend_from_slice(&seconds.to_be_bytes());
    out.extend_from_slice(&nanoseconds.to_be_bytes());
    Ok(())
}

/// The record at the beginning of `bytes` with its key, and what comes after it.
fn decode(bytes: &[u8]) -> io::Result<(&[u8], Record, &[u8])> {
    let read = || {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (hash, rest) = rest.split_first_chunk::<16>()?;
        let (line, rest) = rest.split_first_chunk::<8>()?;
        let (stamped, rest) = rest.split_first_chunk::<1>()?;
        let (seconds, rest) = rest.split_first_chunk::<8>()?;
        let (nanoseconds, rest) = rest.split_first_chunk::<4>()?;
        let stamp = (stamped[0] == 1).then(|| (i64::from_be_bytes(*seconds), u32::from_be_bytes(*nanoseconds)));
        Some((key, Record { hash: *hash, line: u64::from_be_bytes(*line), stamp }, rest))
    };
    read().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a record of the index is cut off"))
}
