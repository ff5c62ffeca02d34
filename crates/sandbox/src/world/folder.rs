//! Reads a folder of NDJSON, plain or compressed, without touching the text of a resource.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::table::{Head, ResourceTable, TableBuilder};
use crate::error::SandboxError;

const READ_BUFFER: usize = 1 << 20;

/// One table per resource type, in the order of their names.
pub(crate) fn read(dir: &Path) -> Result<Vec<ResourceTable>, SandboxError> {
    let mut builders = BTreeMap::new();
    for path in files(dir)? {
        read_file(&path, &mut builders)?;
    }
    if builders.is_empty() {
        return Err(SandboxError::Empty { path: dir.to_owned() });
    }
    Ok(builders.into_values().map(TableBuilder::finish).collect())
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, SandboxError> {
    let failed = |source| SandboxError::Read { path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        if [".ndjson", ".ndjson.gz", ".ndjson.zst"].iter().any(|ending| name.ends_with(ending)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let file = File::open(path)?;
    Ok(match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file))),
        Some("zst") => Box::new(zstd::Decoder::new(file)?),
        _ => Box::new(file),
    })
}

fn read_file(path: &Path, builders: &mut BTreeMap<String, TableBuilder>) -> Result<(), SandboxError> {
    let failed = |source| SandboxError::Read { path: path.to_owned(), source };
    let mut reader = BufReader::with_capacity(READ_BUFFER, open(path).map_err(failed)?);
    let mut bytes = Vec::new();
    let mut line = 0;
    loop {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(failed)? == 0 {
            return Ok(());
        }
        line += 1;
        let wrong = |reason: String| SandboxError::Resource { path: path.to_owned(), line, reason };
        let text = std::str::from_utf8(&bytes).map_err(|error| wrong(format!("not UTF-8: {error}")))?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            continue;
        }
        let head = Head::read(text).map_err(|error| wrong(format!("not a JSON object: {error}")))?;
        let kind = head.resource_type.as_deref().ok_or_else(|| wrong("resourceType is missing".to_owned()))?;
        let id = head.id().ok_or_else(|| wrong(format!("{kind} without id")))?;
        let builder = builders.entry(kind.to_owned()).or_insert_with(|| TableBuilder::new(kind));
        builder.push(text, &head, id)?;
    }
}
