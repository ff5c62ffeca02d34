//! Whether the lake is what the ledger says: every archive file and every file of every snapshot, by size and hash.

use camino::Utf8Path;
use fhirvest_lake::{Lake, durable, views_sql};
use serde::Serialize;

use crate::{
    ledger::Ledger,
    run::{RunError, files_of, views_sql_text},
};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file, below the lake's folder.
    pub path: String,
    /// How it is damaged.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// What a lake was found to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The lake.
    pub lake: String,
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is damaged.
    pub damage: Vec<Damage>,
}

/// Reads the whole lake and compares it with the ledger. Changes nothing.
///
/// # Errors
/// The ledger cannot be read. Damaged files are no error but the result.
pub fn verify(lake: &Lake) -> Result<Verified, RunError> {
    let ledger = Ledger::open(&lake.ledger_path())?;
    let mut found = Verified { lake: lake.root().to_string(), files: 0, bytes: 0, damage: Vec::new() };
    // Nobody publishes or prunes while files are compared with what the ledger said.
    let _publishing = lake.lock_publishing()?;
    for what in ledger.damage()? {
        let path = lake.below(&lake.ledger_path());
        found.damage.push(Damage { path, what, remedy: "restore .fhirvest from a copy".into() });
    }
    for run in ledger.archived()? {
        for file in ledger.archive(&run.run)? {
            let path = lake.archive_dir(&run.source, &run.run).join(format!("{}.ndjson.zst", file.resource_type));
            let remedy = "restore it from a copy; without it the run cannot be flattened again".to_owned();
            found.file(lake, &path, file.bytes, &file.blake3, remedy);
        }
    }
    for snapshot in ledger.all_snapshots()? {
        let folder = lake.snapshot_dir(&snapshot.table, &snapshot.source, &snapshot.snapshot);
        for (name, bytes, blake3) in files_of(&snapshot)? {
            let remedy = if views_sql::is_table(&snapshot.table) {
                format!("fhirvest rerun {}, or restore it from a copy", snapshot.run)
            } else {
                // What happened cannot be made again.
                "restore it from a copy".to_owned()
            };
            found.file(lake, &folder.join(name), bytes, &blake3, remedy);
        }
    }
    let path = lake.views_sql_path();
    if std::fs::read_to_string(&path).ok().as_deref() != Some(views_sql_text(lake, &ledger)?.as_str()) {
        let what = "it is not what the ledger says".to_owned();
        let remedy = "the next run, or fhirvest prune, writes it again".to_owned();
        found.damage.push(Damage { path: lake.below(&path), what, remedy });
    }
    Ok(found)
}

impl Verified {
    fn file(&mut self, lake: &Lake, path: &Utf8Path, bytes: u64, blake3: &str, remedy: String) {
        let what = match durable::hash_file(path) {
            Err(_) if !path.exists() => "it is missing".to_owned(),
            Err(error) => format!("it cannot be read: {error}"),
            Ok((found, hash)) => {
                (self.files, self.bytes) = (self.files + 1, self.bytes + found);
                if found != bytes {
                    format!("it has {found} bytes, and {bytes} were written")
                } else if hash != blake3 {
                    "its content is not what was written".to_owned()
                } else {
                    return;
                }
            }
        };
        self.damage.push(Damage { path: lake.below(path), what, remedy });
    }
}
