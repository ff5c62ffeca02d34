//! What can go wrong with files.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};

/// The lake cannot be read or written. Names the file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The operating system refuses.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried: `create`, `read`, …
        action: &'static str,
        /// The file or folder.
        path: Utf8PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is shorter than what the ledger says was committed, or does not decompress.
    #[error(
        "{path} is damaged: {what}; restore it from a copy, or make it anew (an archive: by its job, with --fresh)"
    )]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// How.
        what: String,
    },
    /// A line for the archive holds a line break.
    #[error("a resource for {path} holds a line break: a bug")]
    LineBreak {
        /// The archive file.
        path: Utf8PathBuf,
    },
    /// A line of NDJSON is longer than allowed.
    #[error("{path} has a line of more than {limit} bytes")]
    LongLine {
        /// The file.
        path: Utf8PathBuf,
        /// The limit.
        limit: usize,
    },
    /// A file that should hold JSON does not.
    #[error("{path} is neither NDJSON nor a JSON document")]
    NotJson {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Another process holds the lock.
    #[error("{name} is being run by another process (pid {holder}): wait for it, or stop it")]
    Locked {
        /// What is locked.
        name: String,
        /// The process, as it wrote itself into the lock file.
        holder: String,
    },
    /// A lake holds the other kind of data.
    #[error(
        "the lake {path} holds {holds} data, and the job's are {wanted}: each kind needs a lake of its own (`lake`, \
         `sensitive_lake` and `sensitive` of the configuration say which)"
    )]
    OtherKind {
        /// The lake.
        path: Utf8PathBuf,
        /// What it holds.
        holds: crate::layout::Sensitivity,
        /// What was to be put into it.
        wanted: crate::layout::Sensitivity,
    },
    /// The tables are encrypted, and there is no key.
    #[error(
        "the tables of the lake {path} are encrypted: `key` below [encryption] of the configuration says where their key is"
    )]
    NoKey {
        /// The lake.
        path: Utf8PathBuf,
    },
    /// The tables are encrypted with another key.
    #[error(
        "the key that [encryption] of the configuration leads to is not the one that the tables of the lake {path} are \
         encrypted with: bring that one back, or begin another lake (`sensitive_lake`)"
    )]
    OtherKey {
        /// The lake.
        path: Utf8PathBuf,
    },
    /// The lake was begun without encryption.
    #[error(
        "the lake {path} was begun without encryption: begin another one for [encryption] (`sensitive_lake`), or take the \
         key out of the configuration"
    )]
    NotEncrypted {
        /// The lake.
        path: Utf8PathBuf,
    },
    /// A lake was written by a newer version.
    #[error("{path} is not of a format that this version knows: was the lake written by a newer fhirvest?")]
    Format {
        /// The file that describes the lake.
        path: Utf8PathBuf,
    },
    /// Arrow refuses a batch.
    #[error("the rows of {path} cannot be sorted or merged")]
    Arrow {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        source: arrow::error::ArrowError,
    },
    /// Parquet refuses a batch or a file.
    #[error("cannot write {path} as Parquet")]
    Parquet {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        source: parquet::errors::ParquetError,
    },
    /// A snapshot is already there with other files.
    #[error("neither {staged} nor {published} is there: the staged table was removed by somebody else")]
    Missing {
        /// Where it was staged.
        staged: Utf8PathBuf,
        /// Where it should go.
        published: Utf8PathBuf,
    },
}

impl LakeError {
    /// An error of the operating system: `LakeError::io("create", path, error)`.
    pub fn io(action: &'static str, path: impl AsRef<Utf8Path>, source: io::Error) -> Self {
        Self::Io { action, path: path.as_ref().to_owned(), source }
    }
}
