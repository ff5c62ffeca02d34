//! A JSON document as lines of resources: the entries of a Bundle and the elements of a list one by one, however large it
//! is; any other resource as a whole.

use std::io::BufRead;

use camino::Utf8PathBuf;
use serde::{Deserialize, de::Error};

use crate::error::LakeError;

/// What one resource may hold: it is held in memory.
const LARGEST_RESOURCE: usize = 1 << 30;

/// Bytes of lines after which a block is handed on.
const BLOCK_BYTES: usize = 1 << 20;

/// Bytes of a key that tell it from others.
const KEY_BYTES: usize = 16;

/// A document being read.
pub(crate) struct Document<R> {
    path: Utf8PathBuf,
    source: R,
    splitter: Splitter,
    /// The beginning of a line that the last block had no room for.
    rest: Vec<u8>,
    ended: bool,
}

/// What the end of a document without entries has to say.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "resourceType", default)]
    resource_type: Option<String>,
}

impl<R: BufRead> Document<R> {
    pub(crate) fn new(path: Utf8PathBuf, source: R) -> Self {
        Self { path, source, splitter: Splitter::default(), rest: Vec::new(), ended: false }
    }

    /// The next resources as lines, into `block`; `false` at the end.
    ///
    /// # Errors
    /// It cannot be read, or is no JSON: what was handed on before stands, as far as it is JSON itself.
    pub(crate) fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, LakeError> {
        block.clear();
        block.append(&mut self.rest);
        self.splitter.line_start = 0;
        while !self.ended && (self.splitter.line_start == 0 || block.len() < BLOCK_BYTES) {
            let bytes = self.source.fill_buf().map_err(|source| LakeError::io("read", &self.path, source))?;
            if bytes.is_empty() {
                self.ended = true;
                break;
            }
            let taken = bytes.len();
            bytes.iter().for_each(|byte| self.splitter.take(*byte, block));
            self.source.consume(taken);
            if self.splitter.line_bytes(block) > LARGEST_RESOURCE {
                return Err(self.wrong(serde_json::Error::custom("a resource of more than 1 GiB")));
            }
        }
        if self.ended && !self.splitter.told {
            // An unfinished line is no resource.
            block.truncate(self.splitter.line_start);
            if block.is_empty() {
                self.splitter.told = true;
                return self.end(block);
            }
        }
        self.rest = block.split_off(self.splitter.line_start);
        Ok(!block.is_empty())
    }

    /// What is left at the end: a resource that is no Bundle, or a mistake.
    fn end(&mut self, block: &mut Vec<u8>) -> Result<bool, LakeError> {
        let Some(whole) = self.splitter.whole.take() else {
            let whole = self.splitter.depth == 0 && !self.splitter.in_string;
            return if whole { Ok(false) } else { Err(self.wrong(serde_json::Error::custom("it ends early"))) };
        };
        if self.splitter.list {
            // A list without a resource.
            return Ok(false);
        }
        // The text as it was, so that the place of a mistake is true.
        let head: Head = serde_json::from_slice(&whole).map_err(|source| self.wrong(source))?;
        if head.resource_type.as_deref() == Some("Bundle") {
            return Ok(false);
        }
        compact(&whole, block);
        block.push(b'\n');
        Ok(true)
    }

    fn wrong(&self, source: serde_json::Error) -> LakeError {
        LakeError::NotJson { path: self.path.clone(), source }
    }
}

/// Finds the resources on the bytes.
struct Splitter {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The document is a list of resources.
    list: bool,
    /// The beginning of the last string outside resources.
    key: Vec<u8>,
    /// Within the value of `entry`.
    in_entries: bool,
    /// The next value is a `resource`.
    wanted: bool,
    /// The depth around the resource that is being copied.
    around: Option<usize>,
    /// Where the line that is being copied begins in its block.
    line_start: usize,
    /// Everything, as long as no resource was found within.
    whole: Option<Vec<u8>>,
    /// The end was dealt with.
    told: bool,
}

impl Default for Splitter {
    fn default() -> Self {
        Self {
            depth: 0,
            in_string: false,
            escaped: false,
            list: false,
            key: Vec::new(),
            in_entries: false,
            wanted: false,
            around: None,
            line_start: 0,
            whole: Some(Vec::new()),
            told: false,
        }
    }
}

impl Splitter {
    /// Bytes held for the resource that is being read.
    fn line_bytes(&self, block: &[u8]) -> usize {
        self.whole.as_ref().map_or(block.len() - self.line_start.min(block.len()), Vec::len)
    }

    fn take(&mut self, byte: u8, block: &mut Vec<u8>) {
        if let Some(whole) = &mut self.whole {
            // A byte order mark is no JSON.
            if !whole.is_empty() || !matches!(byte, 0xef | 0xbb | 0xbf) {
                whole.push(byte);
            }
        }
        let copying = self.around.is_some();
        if self.in_string {
            if copying {
                block.push(byte);
            } else if self.key.len() < KEY_BYTES {
                self.key.push(byte);
            }
            self.in_string = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return;
        }
        if byte.is_ascii_whitespace() {
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.key.clear();
            }
            b':' if !copying => match self.depth {
                1 => self.in_entries = self.key == b"entry\"",
                3 => self.wanted = self.in_entries && self.key == b"resource\"",
                _ => {}
            },
            b',' if !copying => match self.depth {
                1 => self.in_entries = false,
                3 => self.wanted = false,
                _ => {}
            },
            b'{' | b'[' => self.open(byte, block),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.around.is_some() {
            block.push(byte);
        }
        if self.around == Some(self.depth) {
            block.push(b'\n');
            (self.around, self.wanted, self.line_start) = (None, false, block.len());
        }
    }

    fn open(&mut self, byte: u8, block: &[u8]) {
        let resource = self.wanted && self.depth == 3 || self.list && self.depth == 1;
        if self.around.is_none() && byte == b'{' && resource {
            self.around = Some(self.depth);
            self.line_start = block.len();
            self.whole = None;
        }
        if self.depth == 0 {
            self.list = byte == b'[';
        }
        self.depth += 1;
    }
}

/// JSON without the white space between its tokens.
fn compact(json: &[u8], out: &mut Vec<u8>) {
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
        } else {
            in_string = *byte == b'"';
            if byte.is_ascii_whitespace() {
                continue;
            }
        }
        out.push(*byte);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    /// The lines, and whether it ended well.
    fn read(text: impl Read) -> (Vec<String>, bool) {
        let mut document = Document::new("test.json".into(), BufReader::with_capacity(7, text));
        let (mut lines, mut block) = (Vec::new(), Vec::new());
        loop {
            match document.next_block(&mut block) {
                Ok(true) => lines.extend(String::from_utf8(block.clone()).unwrap().lines().map(ToOwned::to_owned)),
                Ok(false) => return (lines, true),
                Err(_) => return (lines, false),
            }
        }
    }

    #[test]
    fn resources_become_lines() {
        let one = r#"{"resourceType":"A","entry":[{"item":{"x":"{ \" ["}}]}"#;
        let bundle = format!(
            r#"{{"entry": [ {{"fullUrl":"resource","resource" : {one}, "search":{{"resource":1}}}}, {{}}, {{"resource":{one}}}], "resourceType":"Bundle"}}"#
        );
        for (text, lines) in [
            (one.to_owned(), vec![one]),
            (format!("\u{feff}{one}\n"), vec![one]),
            (bundle.clone(), vec![one, one]),
            (format!("[{one}, {one}]"), vec![one, one]),
            (r#"{"resourceType":"Bundle","total":0}"#.to_owned(), vec![]),
            ("[]".to_owned(), vec![]),
        ] {
            assert_eq!(read(text.as_bytes()), (lines.iter().map(|line| (*line).to_owned()).collect(), true), "{text}");
        }
        // What was there before the end is not lost, and the end is told.
        let cut = bundle.rfind(one).unwrap() + 10;
        assert_eq!(read(&bundle.as_bytes()[..cut]), (vec![one.to_owned()], false));
        assert_eq!(read(&b"{\"resourceType\": oops}"[..]), (vec![], false));
        assert_eq!(read(&b"{\"resourceType\":\"A\"} x"[..]), (vec![], false));
    }

    #[test]
    fn a_large_bundle_is_never_held_whole() {
        let entry = format!(r#",{{"resource":{{"resourceType":"A","id":"{}"}}}}"#, "x".repeat(1000));
        let entries = std::iter::repeat_n(entry.as_bytes(), 20_000).flatten().copied().collect::<Vec<u8>>();
        let text = br#"{"resourceType":"Bundle","entry":[{}"#.chain(&entries[..]).chain(&b"]}"[..]);
        let mut document = Document::new("test.json".into(), BufReader::new(text));
        let (mut block, mut lines, mut most) = (Vec::new(), 0, 0);
        while document.next_block(&mut block).unwrap() {
            lines += memchr::memchr_iter(b'\n', &block).count();
            most = most.max(block.capacity());
        }
        assert_eq!(lines, 20_000);
        assert!(most < 4 << 20, "{most} bytes of 20 MB were held");
    }
}
