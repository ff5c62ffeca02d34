//! Resources become record batches by SQL on FHIR v2 ViewDefinitions.
//!
//! Views of one resource type are compiled together into a [`Plan`]: one trie of all the elements that any of them needs.
//! A resource is read once, in a streaming pass that skips what no view needs and puts the rest into a flat arena; compiled
//! FHIRPath walks the arena of some resources, column by column, and fills typed Arrow builders. The promise: every resource
//! is in exactly one counter of each table, a value that does not fit its column becomes null and is counted, and decimals
//! never pass through floating point. Nothing here reads a clock, a file or the network.
//!
//! ```
//! use fhirvest_flattener::{Plan, parse_view};
//!
//! let view = parse_view(
//!     r#"{"resource": "Practitioner", "name": "practitioner_name", "select": [
//!         {"column": [{"name": "id", "path": "getResourceKey()"}]},
//!         {"forEach": "name", "column": [{"name": "family", "path": "family"}]}]}"#,
//!     "example.json",
//! )?;
//! let plan = Plan::compile(&[view])?;
//! let mut flattener = plan.flattener();
//! flattener.push(r#"{"resourceType":"Practitioner","id":"1","name":[{"family":"Curie"},{"family":"Skłodowska"}]}"#)?;
//! let batches = flattener.flush()?;
//! assert_eq!(batches[0].as_ref().map(|batch| batch.num_rows()), Some(2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arena;
mod automaton;
mod cells;
mod chain;
mod column;
pub mod conformance;
mod diagnostics;
mod evaluate;
mod expression;
mod flattener;
mod number;
mod operation;
mod plan;
mod rows;
mod scan;
mod template;
mod texts;
mod trie;
mod view;

pub use diagnostics::{Code, Diagnostic, Diagnostics, Region, Severity, sarif};
pub use flattener::{Failure, FlattenError, Flattener, PushError, TableCounts};
pub use plan::{Plan, Table, same_shape};
pub use view::{View, check_view, parse_view};
