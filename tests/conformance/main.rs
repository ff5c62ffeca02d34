//! What `make conformance` runs: the real binary against data and servers that no one here wrote.
//!
//! Every test is ignored by `cargo test` and fails, never passes, when the data (`FHIRVEST_SHARED`, default
//! `../shared`) or a Python environment (`make venv`, `make conformance`) is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod azure;
mod derived;
mod harness;
mod harvest;
mod patient_access;
mod sign_in;
mod tables;
mod views;
