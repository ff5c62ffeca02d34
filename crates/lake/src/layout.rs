//! Where things are in a lake.

use std::{
    fs::{self, File, TryLockError},
    io::{Read, Seek, Write},
};

use camino::{Utf8Path, Utf8PathBuf};

use crate::error::LakeError;

/// A lake: a folder that analysts open.
///
/// ```text
/// archive/source=<source>/run=<run>/<Type>.ndjson.zst
/// tables/<table>/source=<source>/snapshot=<run>/part-00000.parquet
/// views.sql
/// .fhirvest/ledger.sqlite, .fhirvest/runs/<run>/ (staged files), .fhirvest/locks/
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lake {
    root: Utf8PathBuf,
}

impl Lake {
    /// The lake at a folder; touches nothing.
    #[must_use]
    pub fn at(root: &Utf8Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Makes the folders that every lake has.
    ///
    /// # Errors
    /// A folder cannot be made: the place is a file, or read-only.
    pub fn create(&self) -> Result<(), LakeError> {
        for folder in [self.runs_dir(), self.locks_dir(), self.root.join("tables"), self.root.join("archive")] {
            fs::create_dir_all(&folder).map_err(|source| LakeError::io("create the folder", &folder, source))?;
        }
        Ok(())
    }

    /// The lake's folder.
    #[must_use]
    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// The lake's folder as an absolute path, for `views.sql`.
    ///
    /// # Errors
    /// The folder is not there.
    pub fn absolute_root(&self) -> Result<Utf8PathBuf, LakeError> {
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

    /// The sealed archive of a run.
    #[must_use]
    pub fn archive_dir(&self, source: &str, run: &str) -> Utf8PathBuf {
        self.root.join("archive").join(format!("source={source}")).join(format!("run={run}"))
    }

    /// One snapshot of one table.
    #[must_use]
    pub fn snapshot_dir(&self, table: &str, source: &str, snapshot: &str) -> Utf8PathBuf {
        self.root.join("tables").join(table).join(format!("source={source}")).join(format!("snapshot={snapshot}"))
    }

    /// What analysts open.
    #[must_use]
    pub fn views_sql_path(&self) -> Utf8PathBuf {
        self.root.join("views.sql")
    }

    fn runs_dir(&self) -> Utf8PathBuf {
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
        let path = self.locks_dir().join(format!("{name}.lock"));
        let failed = |source| LakeError::io("lock", &path, source);
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
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
}

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
        lake.create().unwrap();
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
        assert!(Lake::at(&path).create().unwrap_err().to_string().contains("file"));
    }
}
