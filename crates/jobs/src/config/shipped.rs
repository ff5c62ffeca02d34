//! The configuration folder: the one on disk where there is one, else the copy inside the binary.

use camino::{Utf8Path, Utf8PathBuf};
use include_dir::{Dir, include_dir};

use super::ConfigError;

static SHIPPED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../config");

/// The defaults of every setting, with comments.
pub const DEFAULTS: &str = include_str!("../../../../config/default.toml");

/// The shipped SQL over tables that `views.sql` takes in, in the order of the files' names.
pub(crate) fn sql_templates() -> Vec<&'static str> {
    let mut files: Vec<_> = SHIPPED.get_dir("sql").into_iter().flat_map(Dir::files).collect();
    files.sort_by_key(|file| file.path());
    files.into_iter().filter_map(include_dir::File::contents_utf8).collect()
}

/// A text file of the configuration folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigText {
    /// The path to show: on disk, or `built-in:…`.
    pub origin: String,
    /// The path below the folder that was asked for, with `/`.
    pub path: String,
    /// The text.
    pub text: String,
}

/// The files below `folder` (for example `views`) whose names end with `extension`, in path order. The folder on disk
/// replaces the shipped one whole, so that a file deleted there is gone.
///
/// # Errors
/// A folder or file that is there and cannot be read.
pub(super) fn files(config: &Utf8Path, folder: &str, extension: &str) -> Result<Vec<ConfigText>, ConfigError> {
    let on_disk = config.join(folder);
    let mut found = Vec::new();
    if on_disk.is_dir() {
        walk(&on_disk, &on_disk, extension, &mut found)?;
    } else if let Some(dir) = SHIPPED.get_dir(folder) {
        shipped(dir, folder, extension, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// One file of the configuration folder, if it is there.
///
/// # Errors
/// A file that is there and cannot be read.
pub(super) fn file(config: &Utf8Path, path: &str) -> Result<Option<ConfigText>, ConfigError> {
    let on_disk = config.join(path);
    if on_disk.is_file() {
        return Ok(Some(ConfigText { text: read(&on_disk)?, origin: on_disk.into_string(), path: path.to_owned() }));
    }
    if config.is_dir() {
        return Ok(None);
    }
    let text = SHIPPED.get_file(path).and_then(include_dir::File::contents_utf8);
    Ok(text.map(|text| ConfigText { origin: format!("built-in:{path}"), path: path.to_owned(), text: text.to_owned() }))
}

pub(super) fn read(path: &Utf8Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

pub(super) fn entries(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in folder.read_dir_utf8().map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.into_path());
    }
    paths.sort();
    Ok(paths)
}

fn walk(root: &Utf8Path, folder: &Utf8Path, extension: &str, found: &mut Vec<ConfigText>) -> Result<(), ConfigError> {
    for path in entries(folder)? {
        if path.is_dir() {
            walk(root, &path, extension, found)?;
        } else if path.as_str().ends_with(extension) {
            let below = path.strip_prefix(root).unwrap_or(&path).as_str().replace('\\', "/");
            found.push(ConfigText { text: read(&path)?, path: below, origin: path.into_string() });
        }
    }
    Ok(())
}

fn shipped(dir: &Dir<'_>, folder: &str, extension: &str, found: &mut Vec<ConfigText>) {
    for file in dir.files() {
        let path = file.path().to_string_lossy().replace('\\', "/");
        if let (true, Some(text)) = (path.ends_with(extension), file.contents_utf8()) {
            let below = path.strip_prefix(folder).unwrap_or(&path).trim_start_matches('/').to_owned();
            found.push(ConfigText { origin: format!("built-in:{path}"), path: below, text: text.to_owned() });
        }
    }
    for inner in dir.dirs() {
        shipped(inner, folder, extension, found);
    }
}
