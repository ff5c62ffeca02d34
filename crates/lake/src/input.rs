//! Files of FHIR JSON as blocks of lines: NDJSON plain, gzip or zstd, folders of such, standard input, and documents (one
//! resource or one Bundle), whose resources become lines. Of FHIR it knows `Bundle.entry.resource` only.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::value::RawValue;

use crate::{archive::LineBlocks, document::Document, error::LakeError};

/// The name of standard input.
const STDIN: &str = "-";

/// What some programs write before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

type Source = Box<dyn BufRead + Send>;

/// A file being read.
enum Open {
    Lines(LineBlocks<Source>),
    Document(Document<Source>),
}

impl Open {
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, LakeError> {
        match self {
            Self::Lines(lines) => lines.next_block(block),
            Self::Document(document) => document.next_block(block),
        }
    }
}

/// One input: a file, a folder, or standard input.
pub struct Input {
    waiting: VecDeque<Utf8PathBuf>,
    open: Option<Open>,
    /// The file of the last block.
    file: Utf8PathBuf,
    /// Files begun.
    files: usize,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Input {
    /// Opens an input. Of a folder the files `*.ndjson*`, `*.jsonl*` and `*.json*` are read, in the order of their names.
    ///
    /// # Errors
    /// It is not there.
    pub fn open(path: &Utf8Path) -> Result<Self, LakeError> {
        let mut waiting = VecDeque::new();
        if path != STDIN && path.is_dir() {
            let failed = |source| LakeError::io("read the folder", path, source);
            for entry in path.read_dir_utf8().map_err(failed)? {
                let path = entry.map_err(failed)?.into_path();
                let name = path.file_name().unwrap_or_default();
                if path.is_file() && [".ndjson", ".jsonl", ".json"].iter().any(|ending| name.contains(ending)) {
                    waiting.push_back(path);
                }
            }
            waiting.make_contiguous().sort();
        } else {
            waiting.push_back(path.to_owned());
        }
        Ok(Self { waiting, open: None, file: Utf8PathBuf::new(), files: 0 })
    }

    /// The file that the last block is from, and how many files were begun up to it.
    #[must_use]
    pub fn file(&self) -> (&Utf8Path, usize) {
        (&self.file, self.files)
    }

    /// The next lines of one file, into `block`; `false` at the end.
    ///
    /// # Errors
    /// A file cannot be read, or is neither NDJSON nor a document. The next call goes on with the file after it.
    pub fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, LakeError> {
        loop {
            if let Some(open) = &mut self.open {
                let more = open.next_block(block);
                if more.is_err() {
                    self.open = None;
                }
                if more? {
                    if !block.ends_with(b"\n") {
                        block.push(b'\n');
                    }
                    return Ok(true);
                }
                self.open = None;
            }
            let Some(path) = self.waiting.pop_front() else { return Ok(false) };
            self.files += 1;
            self.file.clone_from(&path);
            let mut source = decompressed(&path)?;
            let head = source.fill_buf().map_err(|error| LakeError::io("read", &path, error))?;
            let mark = if head.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
            source.consume(mark);
            self.open = Some(if is_document(&path, &mut source)? {
                Open::Document(Document::new(path, source))
            } else {
                Open::Lines(LineBlocks::new(path, source))
            });
        }
    }
}

/// A reader of what a file holds, by its first bytes: gzip, zstd, or plain.
fn decompressed(path: &Utf8Path) -> Result<Source, LakeError> {
    let failed = |source| LakeError::io("read", path, source);
    let raw: Box<dyn Read + Send> =
        if path == STDIN { Box::new(io::stdin()) } else { Box::new(File::open(path).map_err(failed)?) };
    let mut raw = BufReader::with_capacity(1 << 16, raw);
    let head = raw.fill_buf().map_err(failed)?;
    Ok(if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(raw)))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(BufReader::new(zstd::Decoder::with_buffer(raw).map_err(failed)?))
    } else {
        Box::new(raw)
    })
}

/// Whether a file is one JSON document: its first line is no whole object, or is a Bundle.
fn is_document(path: &Utf8Path, source: &mut Source) -> Result<bool, LakeError> {
    let head = source.fill_buf().map_err(|error| LakeError::io("read", path, error))?;
    let head = head.trim_ascii_start();
    if head.is_empty() {
        return Ok(false);
    }
    let mut lines = head.split(|byte| *byte == b'\n');
    let (line, next) = (lines.next().unwrap_or(head), lines.next());
    let first = line.trim_ascii_end();
    // `{` or `[` alone on the first line, or half an object: pretty-printed. Where an object begins on the next line, or the
    // mistake is within the line, it is a broken line.
    let half = next.is_some() && serde_json::from_slice::<&RawValue>(first).is_err_and(|error| error.is_eof());
    if half && !(first != b"[" && next.is_some_and(|next| next.starts_with(b"{"))) {
        return Ok(true);
    }
    let bundle = memchr::memmem::find(&line[..line.len().min(400)], b"\"Bundle\"").is_some();
    Ok(bundle || !(first.starts_with(b"{")))
}

/// Whether a path can be an input at all.
#[must_use]
pub fn exists(path: &Utf8Path) -> bool {
    path == STDIN || fs::metadata(path).is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(path: &Utf8Path) -> Vec<String> {
        let mut input = Input::open(path).unwrap();
        let (mut block, mut lines) = (Vec::new(), Vec::new());
        while input.next_block(&mut block).unwrap() {
            lines.extend(String::from_utf8(block.clone()).unwrap().lines().map(ToOwned::to_owned));
        }
        lines
    }

    #[test]
    fn every_kind_of_file_gives_its_resources_as_lines() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let lines = "{\"resourceType\":\"A\",\"id\":\"1\"}\n{\"resourceType\":\"A\",\"id\":\"2\"}\n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(lines.as_bytes()).unwrap();
        let bundle = "{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":{\"resourceType\":\"A\",\"id\":\"1\"}},{},{\"resource\":{\"resourceType\":\"A\",\"id\":\"2\"}}]}";
        for (name, bytes, expected) in [
            ("a.ndjson", lines.as_bytes().to_vec(), 2),
            ("b.ndjson.gz", gzip.finish().unwrap(), 2),
            ("c.ndjson.zst", zstd::encode_all(lines.as_bytes(), 1).unwrap(), 2),
            ("d.json", bundle.as_bytes().to_vec(), 2),
            ("e.json", b"{\n  \"resourceType\": \"A\",\n  \"id\": \"a \\\" b\"\n}\n".to_vec(), 1),
            ("f.ndjson", b"{\"resourceType\":\"A\",\"id\":\"1\"}".to_vec(), 1),
            ("g.ndjson", Vec::new(), 0),
            ("j.ndjson", [BYTE_ORDER_MARK, lines.as_bytes()].concat(), 2),
        ] {
            fs::write(dir.join(name), bytes).unwrap();
            assert_eq!(read(&dir.join(name)).len(), expected, "{name}");
        }
        assert_eq!(read(&dir.join("e.json")), ["{\"resourceType\":\"A\",\"id\":\"a \\\" b\"}"]);
        assert_eq!(read(dir).len(), 12);
        fs::write(dir.join("i.ndjson"), "{\"resourceType\":\n{\"resourceType\":\"A\"}\n").unwrap();
        assert_eq!(read(&dir.join("i.ndjson")).len(), 2, "the first line is cut off, the second is not lost");
        fs::write(dir.join("i.ndjson"), "{\"resourceType\" \"A\"}\n{\"resourceType\":\"A\"}\n").unwrap();
        assert_eq!(read(&dir.join("i.ndjson")).len(), 2, "the first line is wrong, the second is not lost");
        fs::write(dir.join("h.json"), "{\n oops").unwrap();
        assert!(matches!(
            Input::open(&dir.join("h.json")).unwrap().next_block(&mut Vec::new()),
            Err(LakeError::NotJson { .. })
        ));
    }
}
