//! The lake: archive files, sorted Parquet tables, snapshots that appear in one step, and the SQL that shows them.
//!
//! The lake knows files, Arrow, Parquet and DuckDB's SQL, and nothing of FHIR or of payers. Its promise: what was
//! committed is there after a power cut and what was not never was; a snapshot is seen whole or not at all; memory does
//! not grow with the size of a table.
//!
//! ```
//! use camino::Utf8Path;
//! use fhirvest_lake::{Lake, archive::{ArchiveReader, ArchiveWriter}};
//!
//! let dir = tempfile::tempdir()?;
//! let path = Utf8Path::from_path(dir.path()).ok_or("not UTF-8")?.join("Location.ndjson.zst");
//! let mut writer = ArchiveWriter::open(&path, 0)?;
//! writer.append(br#"{"resourceType":"Location","id":"1"}"#)?;
//! let committed = writer.sync()?.len;
//! // Killed here, the file is opened again at what was committed.
//! drop(ArchiveWriter::open(&path, committed)?);
//! let mut block = Vec::new();
//! assert!(ArchiveReader::open(&path)?.next_block(&mut block)?);
//! assert_eq!(block, b"{\"resourceType\":\"Location\",\"id\":\"1\"}\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod archive;
pub mod changes;
mod document;
pub mod durable;
pub mod encryption;
pub mod error;
pub mod history;
pub mod input;
pub mod layout;
pub mod publish;
pub mod read;
pub mod remote;
pub mod stream;
pub mod table;
pub mod template;
pub mod views_sql;

pub use error::LakeError;
pub use layout::{Lake, Lock, Sensitivity};
