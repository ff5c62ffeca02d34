//! What the server sent: NDJSON, one resource a line, compressed with zstd. A file grows by whole zstd frames, one a
//! commit, so that cut at any committed length it is a valid file with just the committed lines.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
};

use camino::{Utf8Path, Utf8PathBuf};
use zstd::bulk::Compressor;

use crate::{durable, error::LakeError};

/// Compression level: level 1 keeps up with a crawl at 1.6 GB/s a core, and level 3 saves 6 % of the size only.
const LEVEL: i32 = 1;

/// Lines gathered before a frame is written even without a commit, so that memory stays bounded.
const FRAME_BYTES: usize = 8 << 20;

/// A block of lines is about as large, or as large as one long line.
const BLOCK_BYTES: usize = 2 << 20;

/// The longest line read back. The largest resource seen in the wild is 20 MiB.
const LONGEST_LINE: usize = 256 << 20;

/// How much of a file is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Bytes on the disk: the length to reopen the file at.
    pub len: u64,
}

/// Writes an archive file.
pub struct ArchiveWriter {
    path: Utf8PathBuf,
    file: File,
    len: u64,
    frame: Vec<u8>,
    compressor: Compressor<'static>,
}

impl std::fmt::Debug for ArchiveWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveWriter").field("path", &self.path).field("len", &self.len).finish_non_exhaustive()
    }
}

impl ArchiveWriter {
    /// Opens a file at the length that was committed, and makes it where there is none. What lies beyond that length was
    /// never committed, and is cut off.
    ///
    /// # Errors
    /// The file cannot be written, or is shorter than what was committed.
    pub fn open(path: &Utf8Path, committed_len: u64) -> Result<Self, LakeError> {
        let failed = |source| LakeError::io("open the archive", path, source);
        let mut file = durable::options(path).open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        if len < committed_len {
            let what = format!("it has {len} bytes, but {committed_len} were committed");
            return Err(LakeError::Damaged { path: path.to_owned(), what });
        }
        file.set_len(committed_len).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut compressor = Compressor::new(LEVEL).map_err(failed)?;
        // A block that rots on the disk is told when it is read, instead of giving other resources than those that came.
        compressor.include_checksum(true).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, len: committed_len, frame: Vec::new(), compressor })
    }

    /// Adds a line; `line` holds no line break.
    ///
    /// # Errors
    /// It does hold one, or the disk is full.
    pub fn append(&mut self, line: &[u8]) -> Result<(), LakeError> {
        if memchr::memchr(b'\n', line).is_some() {
            return Err(LakeError::LineBreak { path: self.path.clone() });
        }
        self.frame.extend_from_slice(line);
        self.frame.push(b'\n');
        if self.frame.len() >= FRAME_BYTES { self.end_frame() } else { Ok(()) }
    }

    /// Ends the frame and forces it to the disk.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn sync(&mut self) -> Result<Committed, LakeError> {
        self.end_frame()?;
        self.file.sync_data().map_err(|source| LakeError::io("sync", &self.path, source))?;
        Ok(Committed { len: self.len })
    }

    fn end_frame(&mut self) -> Result<(), LakeError> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let written = self.compressor.compress(&self.frame).and_then(|frame| {
            self.file.write_all(&frame)?;
            Ok(frame.len() as u64)
        });
        self.len += written.map_err(|source| LakeError::io("write", &self.path, source))?;
        self.frame.clear();
        // One long page must not keep its memory for the rest of the crawl.
        self.frame.shrink_to(FRAME_BYTES);
        Ok(())
    }
}

/// A sealed archive file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Its size.
    pub bytes: u64,
    /// Its BLAKE3 hash, in hexadecimal.
    pub blake3: String,
}

/// Moves a finished archive file to its place. After a crash it can be called again.
///
/// # Errors
/// It is nowhere, or cannot be moved or read.
pub fn seal(staged: &Utf8Path, place: &Utf8Path) -> Result<Sealed, LakeError> {
    durable::move_into_place(staged, place)?;
    let (bytes, blake3) = durable::hash_file(place)?;
    Ok(Sealed { bytes, blake3 })
}

/// Reads an archive file in blocks of whole lines.
pub struct ArchiveReader {
    lines: LineBlocks<zstd::Decoder<'static, BufReader<File>>>,
}

impl std::fmt::Debug for ArchiveReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveReader").field("path", &self.lines.path).finish_non_exhaustive()
    }
}

impl ArchiveReader {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Utf8Path) -> Result<Self, LakeError> {
        let failed = |source| LakeError::io("open the archive", path, source);
        let decoder = zstd::Decoder::new(File::open(path).map_err(failed)?).map_err(failed)?;
        Ok(Self { lines: LineBlocks::new(path.to_owned(), decoder) })
    }

    /// Opens a file at a length that was once committed: what comes after it is read.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open_at(path: &Utf8Path, committed: u64) -> Result<Self, LakeError> {
        let failed = |source| LakeError::io("open the archive", path, source);
        let mut file = File::open(path).map_err(failed)?;
        file.seek(SeekFrom::Start(committed)).map_err(failed)?;
        let decoder = zstd::Decoder::new(file).map_err(failed)?;
        Ok(Self { lines: LineBlocks::new(path.to_owned(), decoder) })
    }

    /// The next lines, into `block`, whose capacity is kept; `false` at the end.
    ///
    /// # Errors
    /// The file is damaged, or a line too long.
    pub fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, LakeError> {
        self.lines.next_block(block)
    }
}

/// Cuts a stream of bytes into blocks of whole lines.
pub(crate) struct LineBlocks<R> {
    pub(crate) path: Utf8PathBuf,
    reader: R,
    /// The beginning of a line whose end is not read yet.
    rest: Vec<u8>,
    done: bool,
}

impl<R: Read> LineBlocks<R> {
    pub(crate) fn new(path: Utf8PathBuf, reader: R) -> Self {
        Self { path, reader, rest: Vec::new(), done: false }
    }

    pub(crate) fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, LakeError> {
        // What the memory held before is gone over, and only what it lacks is zeroed: a vector that is emptied and filled
        // again by `read_to_end` is zeroed as a whole for readers like zstd's.
        let mut filled = self.rest.len();
        block.reserve((BLOCK_BYTES + BLOCK_BYTES / 4).saturating_sub(block.len()));
        block.resize(filled.max(BLOCK_BYTES), 0);
        block[..filled].copy_from_slice(&self.rest);
        self.rest.clear();
        // Where a line break was looked for in vain.
        let mut searched = 0;
        while !self.done {
            if let Some(last) = memchr::memrchr(b'\n', &block[searched..filled]) {
                if filled >= BLOCK_BYTES {
                    self.rest.extend_from_slice(&block[searched + last + 1..filled]);
                    block.truncate(searched + last + 1);
                    return Ok(true);
                }
            } else {
                searched = filled;
                if searched > LONGEST_LINE {
                    return Err(LakeError::LongLine { path: self.path.clone(), limit: LONGEST_LINE });
                }
            }
            let want = BLOCK_BYTES.saturating_sub(filled).max(BLOCK_BYTES / 4);
            block.resize(block.len().max(filled + want), 0);
            let read = self.fill(&mut block[filled..filled + want]).map_err(|source| self.told(source))?;
            self.done = read == 0;
            filled += read;
        }
        block.truncate(filled);
        Ok(!block.is_empty())
    }

    /// Reads until a place is full, or nothing is left; how many bytes.
    fn fill(&mut self, place: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < place.len() {
            match self.reader.read(&mut place[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn told(&self, source: io::Error) -> LakeError {
        match source.kind() {
            // zstd and gzip tell a broken file in these ways.
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::Other
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput => {
                LakeError::Damaged { path: self.path.clone(), what: format!("it does not decompress ({source})") }
            }
            _ => LakeError::io("read", &self.path, source),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().join("X.ndjson.zst")).unwrap();
        (dir, path)
    }

    fn read(path: &Utf8Path) -> Vec<u8> {
        let mut reader = ArchiveReader::open(path).unwrap();
        let (mut all, mut block) = (Vec::new(), Vec::new());
        while reader.next_block(&mut block).unwrap() {
            assert_eq!(block.last(), Some(&b'\n'), "blocks end with a line");
            all.extend_from_slice(&block);
        }
        all
    }

    proptest! {
        #[test]
        fn what_is_cut_after_a_commit_was_never_there(
            commits in prop::collection::vec(prop::collection::vec("[a-z]{0,40}", 0..5), 1..5),
            kept in 0usize..5,
            extra in 0u64..30,
        ) {
            let (_dir, path) = file();
            let mut writer = ArchiveWriter::open(&path, 0).unwrap();
            let (mut lengths, mut texts) = (vec![0], vec![String::new()]);
            for lines in &commits {
                let mut text = texts.last().unwrap().clone();
                for line in lines {
                    writer.append(line.as_bytes()).unwrap();
                    text += line;
                    text += "\n";
                }
                lengths.push(writer.sync().unwrap().len);
                texts.push(text);
            }
            drop(writer);
            let kept = kept.min(commits.len());
            // The power fails somewhere after a commit: any number of later bytes may be there.
            let cut = (lengths[kept] + extra).min(*lengths.last().unwrap());
            File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
            let mut writer = ArchiveWriter::open(&path, lengths[kept]).unwrap();
            writer.append(b"after").unwrap();
            writer.sync().unwrap();
            let expected = format!("{}after\n", texts[kept]);
            prop_assert_eq!(String::from_utf8(read(&path)).unwrap(), expected);
        }
    }

    #[test]
    fn a_missing_end_is_damage_and_a_line_break_is_refused() {
        let (_dir, path) = file();
        let mut writer = ArchiveWriter::open(&path, 0).unwrap();
        assert!(matches!(writer.append(b"a\nb"), Err(LakeError::LineBreak { .. })));
        writer.append(&[b'x'; 1000]).unwrap();
        let len = writer.sync().unwrap().len;
        assert!(matches!(ArchiveWriter::open(&path, len + 1), Err(LakeError::Damaged { .. })));
        File::options().write(true).open(&path).unwrap().set_len(len - 3).unwrap();
        let mut reader = ArchiveReader::open(&path).unwrap();
        assert!(matches!(reader.next_block(&mut Vec::new()), Err(LakeError::Damaged { .. })));
    }

    #[test]
    fn long_lines_and_many_lines_come_back_whole() {
        let (_dir, path) = file();
        let mut writer = ArchiveWriter::open(&path, 0).unwrap();
        let mut expected = Vec::new();
        for length in [3 << 20, 1, 10 << 20, 70_000, 0] {
            let line = vec![b'a'; length];
            writer.append(&line).unwrap();
            expected.extend_from_slice(&line);
            expected.push(b'\n');
        }
        writer.sync().unwrap();
        assert!(read(&path) == expected);
    }

    #[test]
    fn sealing_twice_is_sealing_once() {
        let (dir, path) = file();
        ArchiveWriter::open(&path, 0).unwrap().sync().unwrap();
        let place = Utf8PathBuf::from_path_buf(dir.path().join("a/b/X.ndjson.zst")).unwrap();
        let sealed = seal(&path, &place).unwrap();
        assert_eq!(seal(&path, &place).unwrap(), sealed);
        assert!(matches!(seal(&path, &path), Err(LakeError::Missing { .. })));
    }
}
