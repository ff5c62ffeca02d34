//! File operations that survive a power cut: data before names, names before the next step.

use std::{
    fs::{self, File},
    io::{self, Write},
};

use camino::{Utf8Path, Utf8PathBuf};

use crate::error::LakeError;

/// Forces a folder's entries to the disk.
///
/// # Errors
/// The folder cannot be opened or synced.
pub fn sync_dir(path: &Utf8Path) -> Result<(), LakeError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| LakeError::io("sync the folder", path, source))
}

/// Makes a folder and its parents.
///
/// # Errors
/// It cannot be made.
pub fn create_dir(path: &Utf8Path) -> Result<(), LakeError> {
    fs::create_dir_all(path).map_err(|source| LakeError::io("create the folder", path, source))
}

/// Moves a file or folder to its final place, whose parent is made where it is missing. After a crash it can be called
/// again: where the staged one is gone and the final one is there, it has been done. Both must be in one file system.
///
/// # Errors
/// Neither is there, or the system refuses.
pub fn move_into_place(staged: &Utf8Path, place: &Utf8Path) -> Result<(), LakeError> {
    if !staged.exists() {
        if place.exists() {
            return Ok(());
        }
        return Err(LakeError::Missing { staged: staged.to_owned(), published: place.to_owned() });
    }
    let parent = parent(place);
    create_dir(&parent)?;
    fs::rename(staged, place).map_err(|source| LakeError::io("move into place", place, source))?;
    sync_dir(&parent)
}

/// Replaces a file in one step: readers see the old text or the new one.
///
/// # Errors
/// The folder cannot be written.
pub fn write_atomically(path: &Utf8Path, bytes: &[u8]) -> Result<(), LakeError> {
    let parent = parent(path);
    create_dir(&parent)?;
    let write = || -> io::Result<()> {
        let mut staged = tempfile::NamedTempFile::new_in(&parent)?;
        staged.write_all(bytes)?;
        staged.as_file().sync_all()?;
        // Temporary files are made for their owner only; analysts are to read this one.
        #[cfg(unix)]
        fs::set_permissions(staged.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        staged.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|source| LakeError::io("write", path, source))?;
    sync_dir(&parent)
}

/// The hash of a file.
///
/// # Errors
/// It cannot be read.
pub fn hash_file(path: &Utf8Path) -> Result<(u64, String), LakeError> {
    let read = || -> io::Result<(u64, String)> {
        let mut hasher = blake3::Hasher::new();
        let bytes = io::copy(&mut File::open(path)?, &mut hasher)?;
        Ok((bytes, hasher.finalize().to_hex().to_string()))
    };
    read().map_err(|source| LakeError::io("read", path, source))
}

fn parent(path: &Utf8Path) -> Utf8PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_str().is_empty() => parent.to_owned(),
        _ => Utf8PathBuf::from("."),
    }
}
