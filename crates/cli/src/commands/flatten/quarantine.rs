//! The lines that gave no rows in some table, with the reason: nothing is only counted.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use camino::{Utf8Path, Utf8PathBuf};
use fhirvest_jobs::flatten::RowFailure;
use serde::Serialize;

use super::sink::SinkError;

/// The files read so far; a block tells its own by its place here.
pub(super) type Files = Arc<Mutex<Vec<Utf8PathBuf>>>;

/// A file of NDJSON, made when the first line comes.
pub(super) struct Quarantine {
    /// Nowhere where the output is standard output and no place was named.
    path: Option<Utf8PathBuf>,
    file: Mutex<Option<BufWriter<File>>>,
    files: Files,
}

/// One entry.
#[derive(Serialize)]
struct Entry<'a> {
    input: &'a Utf8Path,
    line: u64,
    /// The table that misses the rows; all do where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'a str>,
    reason: &'a str,
    /// The line as it stood there.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// The same where it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl Quarantine {
    /// A quarantine at a place, or else beside the output.
    pub(super) fn new(named: Option<&Utf8Path>, output: &Utf8Path, several: bool, files: Files) -> Self {
        let path = match named {
            Some(path) => Some(path.to_owned()),
            None if output == "-" => None,
            None if several => Some(output.join("quarantine.ndjson")),
            None => Some(Utf8PathBuf::from(format!("{output}.quarantine.ndjson"))),
        };
        Self { path, file: Mutex::new(None), files }
    }

    /// Keeps a line that is missing from a table, or from all.
    pub(super) fn keep(&self, failure: &RowFailure, table: Option<&str>, line: &[u8]) -> Result<(), SinkError> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let input = files.get(failure.input).cloned().unwrap_or_default();
        drop(files);
        let text = std::str::from_utf8(line).ok();
        let base64 = text.is_none().then(|| STANDARD.encode(line));
        self.write(&Entry { input: &input, line: failure.line, table, reason: &failure.message, text, base64 })
    }

    /// Names a file that is no JSON; it stays where it is.
    pub(super) fn document(&self, input: &Utf8Path, line: u64, reason: &str) -> Result<(), SinkError> {
        self.write(&Entry { input, line, table: None, reason, text: None, base64: None })
    }

    fn write(&self, entry: &Entry<'_>) -> Result<(), SinkError> {
        let Some(path) = &self.path else { return Ok(()) };
        let failed = |source| SinkError::File { path: path.clone(), source };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let out = match &mut *file {
            Some(out) => out,
            none => none.insert(BufWriter::new(File::create(path).map_err(failed)?)),
        };
        serde_json::to_writer(&mut *out, entry).map_err(|error| failed(io::Error::from(error)))?;
        out.write_all(b"\n").map_err(failed)
    }

    /// Closes the file; its place, if there is one.
    pub(super) fn finish(self) -> Result<Option<Utf8PathBuf>, SinkError> {
        let Self { path, file, .. } = self;
        let (Some(path), Some(mut out)) = (path, file.into_inner().unwrap_or_else(PoisonError::into_inner)) else {
            return Ok(None);
        };
        match out.flush() {
            Ok(()) => Ok(Some(path)),
            Err(source) => Err(SinkError::File { path, source }),
        }
    }
}
