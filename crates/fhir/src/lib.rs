//! The words of FHIR that the rest of fhirvest speaks, on bytes: Bundle pages and resources scanned without building
//! a tree, references, National Provider Identifiers, dates with their precision, and the R4 element table.
//!
//! The promise: nothing here does I/O, nothing here knows Arrow, and nothing here loses a byte of what a server sent.
//!
//! ```
//! use fhirvest_fhir::{bundle, npi, reference::Reference};
//!
//! let body = br#"{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Location","id":"1"}}]}"#;
//! let page = bundle::scan(body)?;
//! assert_eq!(&body[page.entries[0].range.clone()], br#"{"resourceType":"Location","id":"1"}"#);
//! assert_eq!(Reference::parse("Location/1/_history/2").key(Some("Location")), Some("1"));
//! assert!(npi::is_valid("1234567893"));
//! # Ok::<(), bundle::ScanError>(())
//! ```

pub mod bundle;
pub mod elements;
mod fingerprint;
mod members;
pub mod npi;
pub mod outcome;
pub mod patient;
pub mod quotes;
pub mod reference;
pub mod resource;
pub mod temporal;
pub mod walk;

pub use fingerprint::fingerprint;
