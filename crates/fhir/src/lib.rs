//! The words of FHIR that the rest of fhirvest speaks, on bytes: Bundle pages and resources scanned without building
//! a tree, references, National Provider Identifiers, dates with their precision, and the R4 element table.
//!
//! The promise: nothing here does I/O, nothing here knows Arrow, and nothing here loses a byte of what a server sent.

pub mod bundle;
pub mod elements;
pub mod npi;
pub mod outcome;
pub mod reference;
pub mod resource;
pub mod temporal;
