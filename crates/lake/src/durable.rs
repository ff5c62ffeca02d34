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

/// Makes a folder and its parents. In a private folder they are private too. The names of new ones are forced to the
/// disk.
///
/// # Errors
/// It cannot be made.
pub fn create_dir(path: &Utf8Path) -> Result<(), LakeError> {
    if path.is_dir() {
        return Ok(());
    }
    let above = parent(path);
    if above != path {
        create_dir(&above)?;
    }
    create_one_dir(path, is_private(&above))?;
    sync_dir(&above)
}

/// Makes a folder and its parents; the folder itself is for its owner only, whatever the umask, and so is all that this
/// module makes in it. A folder that is there already is closed to others.
///
/// # Errors
/// It cannot be made, or belongs to somebody else.
pub fn create_private_dir(path: &Utf8Path) -> Result<(), LakeError> {
    let above = parent(path);
    if above != path {
        create_dir(&above)?;
    }
    create_one_dir(path, true)?;
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(PRIVATE_DIR))
        .map_err(|source| LakeError::io("close to others", path, source))?;
    Ok(())
}

fn create_one_dir(path: &Utf8Path, private: bool) -> Result<(), LakeError> {
    #[allow(unused_mut, reason = "changed on Unix only")]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    if private {
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, PRIVATE_DIR);
    }
    #[cfg(not(unix))]
    let _ = private;
    match builder.create(path) {
        // Another thread or process may have made it in between.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other.map_err(|source| LakeError::io("create the folder", path, source)),
    }
}

/// How a file of the lake is opened for writing: made where it is missing, and in a private folder for its owner only
/// from the first moment on.
#[must_use]
pub fn options(path: &Utf8Path) -> fs::OpenOptions {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    if is_private(&parent(path)) {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, PRIVATE_FILE);
    }
    options
}

/// Makes a file, empty; in a private folder for its owner only.
///
/// # Errors
/// The system refuses.
pub fn create_file(path: &Utf8Path) -> Result<File, LakeError> {
    options(path).truncate(true).open(path).map_err(|source| LakeError::io("create", path, source))
}

/// What lies in a private folder is private: so no file needs to be told whether its lake is sensitive.
#[cfg(unix)]
const PRIVATE_DIR: u32 = 0o700;
#[cfg(unix)]
const PRIVATE_FILE: u32 = 0o600;

/// Whether nobody but its owner may do anything with a folder. Where permissions are unknown, none is.
#[must_use]
pub fn is_private(folder: &Utf8Path) -> bool {
    #[cfg(unix)]
    return fs::metadata(folder).is_ok_and(|found| std::os::unix::fs::MetadataExt::mode(&found) & 0o077 == 0);
    #[cfg(not(unix))]
    {
        let _ = folder;
        false
    }
}

/// Removes a folder and everything in it; that it is not there is fine.
///
/// # Errors
/// The system refuses.
pub fn remove_dir(path: &Utf8Path) -> Result<(), LakeError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LakeError::io("remove", path, source)),
        _ => Ok(()),
    }
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
        staged(&parent, bytes)?.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|source| LakeError::io("write", path, source))?;
    sync_dir(&parent)
}

/// Makes a file with this text where there is none; one that is there stays as it is.
///
/// # Errors
/// The folder cannot be written.
pub fn write_once(path: &Utf8Path, bytes: &[u8]) -> Result<(), LakeError> {
    if path.exists() {
        return Ok(());
    }
    let parent = parent(path);
    let write = || -> io::Result<()> {
        match staged(&parent, bytes)?.persist_noclobber(path) {
            Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
            _ => Ok(()),
        }
    };
    write().map_err(|source| LakeError::io("write", path, source))?;
    sync_dir(&parent)
}

fn staged(folder: &Utf8Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut staged = tempfile::NamedTempFile::new_in(folder)?;
    staged.write_all(bytes)?;
    staged.as_file().sync_all()?;
    // Temporary files are made for their owner only; in a public lake everybody may read them.
    #[cfg(unix)]
    if !is_private(folder) {
        fs::set_permissions(staged.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    }
    Ok(staged)
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
