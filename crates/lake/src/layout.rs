//! Where things are in a lake.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
};

use camino::{Utf8Path, Utf8PathBuf};

use serde::{Deserialize, Serialize};

use crate::{durable, encryption::TableKey, error::LakeError};

/// A lake: a folder that analysts open.
///
/// ```text
/// archive/source=<source>/run=<run>/<Type>.ndjson.zst
/// tables/<table>/source=<source>/snapshot=<run>/part-00000.parquet
/// views.sql
/// .fhirvest/lake.json (which kind of data), .fhirvest/ledger.sqlite, .fhirvest/runs/<run>/ (staged files), .fhirvest/locks/
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lake {
    root: Utf8PathBuf,
    /// Where analysts find it, if that is not the folder itself.
    address: Option<String>,
    /// What its tables are encrypted with.
    key: Option<TableKey>,
}

impl Lake {
    /// The lake at a folder; touches nothing.
    #[must_use]
    pub fn at(root: &Utf8Path) -> Self {
        Self { root: root.to_owned(), address: None, key: None }
    }

    /// The working folder of a lake whose place is an object store; touches nothing.
    #[must_use]
    pub fn mirror(root: &Utf8Path, address: &str) -> Self {
        Self { root: root.to_owned(), address: Some(address.to_owned()), key: None }
    }

    /// The lake with the key of its tables.
    #[must_use]
    pub fn with_key(self, key: Option<TableKey>) -> Self {
        Self { key, ..self }
    }

    /// What its tables are encrypted with.
    #[must_use]
    pub fn key(&self) -> Option<&TableKey> {
        self.key.as_ref()
    }

    /// Makes the folders that every lake has, and notes what kind of data they are for. A sensitive lake is closed to
    /// everybody but its owner before anything is in it, whatever the umask, and so is all that is made in it.
    ///
    /// # Errors
    /// A folder cannot be made (the place is a file, or read-only), or the lake holds the other kind of data.
    pub fn create(&self, wanted: Sensitivity) -> Result<(), LakeError> {
        // Looked at first: a lake of the other kind, or with another key, stays as it is.
        let own =
            Description { version: FORMAT, sensitivity: wanted, key: self.key.as_ref().map(TableKey::fingerprint) };
        if let Some(found) = self.describe()? {
            self.same(&own, &found)?;
        }
        match wanted {
            Sensitivity::Sensitive => durable::create_private_dir(&self.root)?,
            // Not private, even where all around it is: its readers are to come.
            Sensitivity::Public => fs::create_dir_all(&self.root)
                .map_err(|source| LakeError::io("create the folder", &self.root, source))?,
        }
        for folder in [self.runs_dir(), self.locks_dir(), self.tables_dir(), self.archives_dir()] {
            durable::create_dir(&folder)?;
        }
        let text = serde_json::to_vec(&own).map_err(|_| LakeError::Format { path: self.description() })?;
        durable::write_once(&self.description(), &text)?;
        // Of two processes that begin a lake at once the first has decided.
        self.describe()?.map_or(Ok(()), |found| self.same(&own, &found))
    }

    /// Whether the key at hand, or none, is what the lake's tables are encrypted with.
    ///
    /// # Errors
    /// It is not.
    pub fn check_key(&self) -> Result<(), LakeError> {
        let Some(found) = self.describe()? else { return Ok(()) };
        self.same(&Description { key: self.key.as_ref().map(TableKey::fingerprint), ..found.clone() }, &found)
    }

    /// Whether another description of the same lake, that of its place in an object store, says the same.
    ///
    /// # Errors
    /// It does not, or one of them is not of a format that this version knows.
    pub fn check_description(&self, other: &[u8]) -> Result<(), LakeError> {
        let format = || LakeError::Format { path: self.description() };
        let other: Description = serde_json::from_slice(other).map_err(|_| format())?;
        self.describe()?.map_or(Ok(()), |own| self.same(&own, &other))
    }

    /// Whether the tables are encrypted.
    ///
    /// # Errors
    /// The file that says so cannot be read.
    pub fn encrypted(&self) -> Result<bool, LakeError> {
        Ok(self.describe()?.is_some_and(|found| found.key.is_some()))
    }

    fn same(&self, own: &Description, found: &Description) -> Result<(), LakeError> {
        let path = || self.shown();
        if own.sensitivity != found.sensitivity {
            return Err(LakeError::OtherKind { path: path(), holds: found.sensitivity, wanted: own.sensitivity });
        }
        match (&own.key, &found.key) {
            (None, Some(_)) => Err(LakeError::NoKey { path: path() }),
            (Some(_), None) => Err(LakeError::NotEncrypted { path: path() }),
            (Some(own), Some(found)) if own != found => Err(LakeError::OtherKey { path: path() }),
            _ => Ok(()),
        }
    }

    /// The lake as messages name it.
    fn shown(&self) -> Utf8PathBuf {
        self.address.as_ref().map_or_else(|| self.root.clone(), Utf8PathBuf::from)
    }

    /// Where analysts find `views.sql`, on this machine.
    #[must_use]
    pub fn shown_views_sql(&self, lake: &str) -> String {
        if self.address.is_some() { self.views_sql_path().into_string() } else { format!("{lake}/views.sql") }
    }

    /// What kind of data the lake holds; nothing where there is no lake yet.
    ///
    /// # Errors
    /// The file that says so cannot be read.
    pub fn sensitivity(&self) -> Result<Option<Sensitivity>, LakeError> {
        Ok(self.describe()?.map(|found| found.sensitivity))
    }

    fn describe(&self) -> Result<Option<Description>, LakeError> {
        let path = self.description();
        match fs::read(&path) {
            Ok(text) => {
                let found: Option<Description> = serde_json::from_slice(&text).ok();
                let known = found.filter(|found| found.version == FORMAT);
                known.map(Some).ok_or(LakeError::Format { path })
            }
            // The first lakes did not say so, and were all public folders.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let public = Description { version: FORMAT, sensitivity: Sensitivity::Public, key: None };
                Ok((self.address.is_none() && self.ledger_path().exists()).then_some(public))
            }
            Err(error) => Err(LakeError::io("read", &path, error)),
        }
    }

    /// The file that says what kind of data the lake holds.
    #[must_use]
    pub fn description(&self) -> Utf8PathBuf {
        self.root.join(".fhirvest/lake.json")
    }

    /// The lake's folder.
    #[must_use]
    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// The lake's folder as an absolute path, or its address in an object store, for `views.sql`.
    ///
    /// # Errors
    /// The folder is not there.
    pub fn absolute_root(&self) -> Result<Utf8PathBuf, LakeError> {
        if let Some(address) = &self.address {
            return Ok(Utf8PathBuf::from(address));
        }
        self.root.canonicalize_utf8().map_err(|source| LakeError::io("find", &self.root, source))
    }

    /// The lake's ledger.
    #[must_use]
    pub fn ledger_path(&self) -> Utf8PathBuf {
        self.root.join(".fhirvest/ledger.sqlite")
    }

    /// What a run has staged: its growing archive, its crawl's ledger, its tables.
    #[must_use]
    pub fn run_dir(&self, run: &str) -> Utf8PathBuf {
        self.runs_dir().join(run)
    }

    /// Where a run stages one table.
    #[must_use]
    pub fn staged_dir(&self, run: &str, table: &str) -> Utf8PathBuf {
        self.run_dir(run).join("tables").join(table)
    }

    /// The sealed archive of a run.
    #[must_use]
    pub fn archive_dir(&self, source: &str, run: &str) -> Utf8PathBuf {
        self.archives_dir().join(format!("source={source}")).join(format!("run={run}"))
    }

    /// One snapshot of one table.
    #[must_use]
    pub fn snapshot_dir(&self, table: &str, source: &str, snapshot: &str) -> Utf8PathBuf {
        self.tables_dir().join(table).join(format!("source={source}")).join(format!("snapshot={snapshot}"))
    }

    /// What analysts open.
    #[must_use]
    pub fn views_sql_path(&self) -> Utf8PathBuf {
        self.root.join("views.sql")
    }

    /// A path as it stands in `views.sql` and in messages: below the lake's folder.
    #[must_use]
    pub fn below(&self, path: &Utf8Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string()
    }

    /// Where the tables are.
    #[must_use]
    pub fn tables_dir(&self) -> Utf8PathBuf {
        self.root.join("tables")
    }

    /// Where the archives are.
    #[must_use]
    pub fn archives_dir(&self) -> Utf8PathBuf {
        self.root.join("archive")
    }

    /// Where runs stage what they make.
    #[must_use]
    pub fn runs_dir(&self) -> Utf8PathBuf {
        self.root.join(".fhirvest/runs")
    }

    fn locks_dir(&self) -> Utf8PathBuf {
        self.root.join(".fhirvest/locks")
    }

    /// Takes a lock by name, without waiting. It is free again when the process ends, however it ends.
    ///
    /// # Errors
    /// Another process holds it, or the lock file cannot be written.
    pub fn lock(&self, name: &str) -> Result<Lock, LakeError> {
        let (path, mut file) = self.lock_file(name)?;
        let failed = |source| LakeError::io("lock", &path, source);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // An empty file means that the holder has not written itself into it yet.
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() { "not known yet".into() } else { holder.trim().to_owned() };
                return Err(LakeError::Locked { name: name.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Lock { _file: file })
    }

    /// Waits for its turn to change what analysts see: one process of a lake publishes or prunes at a time, which takes
    /// moments. Readers need no lock.
    ///
    /// # Errors
    /// The lock file cannot be written.
    pub fn lock_publishing(&self) -> Result<Lock, LakeError> {
        let (path, file) = self.lock_file(PUBLISHING)?;
        file.lock().map_err(|source| LakeError::io("lock", &path, source))?;
        Ok(Lock { _file: file })
    }

    fn lock_file(&self, name: &str) -> Result<(Utf8PathBuf, File), LakeError> {
        let path = self.locks_dir().join(format!("{name}.lock"));
        match durable::options(&path).open(&path) {
            Ok(file) => Ok((path, file)),
            Err(source) => Err(LakeError::io("lock", &path, source)),
        }
    }
}

/// The format of the lake's folders that this version writes.
const FORMAT: u32 = 1;

/// What a lake says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Description {
    version: u32,
    sensitivity: Sensitivity,
    /// The fingerprint of the key of its tables, where they are encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// What kind of data a lake holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sensitivity {
    /// What is published for everybody: directories, formularies.
    Public,
    /// Data about persons.
    Sensitive,
}

impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Sensitive => "sensitive",
        })
    }
}

/// The lock of what analysts see: of the ledger's snapshots together with the tables' folders and `views.sql`.
const PUBLISHING: &str = ".publishing";

/// A lock; dropping it frees it.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::at(Utf8Path::from_path(dir.path()).unwrap());
        lake.create(Sensitivity::Public).unwrap();
        let held = lake.lock("job").unwrap();
        let refused = lake.lock("job").unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        assert!(lake.lock("other").is_ok());
        drop(held);
        assert!(lake.lock("job").is_ok());
    }

    #[test]
    fn a_file_in_the_place_of_a_lake_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().join("file")).unwrap();
        fs::write(&path, "").unwrap();
        assert!(Lake::at(&path).create(Sensitivity::Public).unwrap_err().to_string().contains("file"));
    }
}
