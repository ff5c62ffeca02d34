//! Jobs: configuration, the ledger, and the run that ties crawler, flattener and lake together.
//!
//! A [`config::Job`] is resolved from files in layers; [`run::run`] crawls its resource types, seals what came in the
//! archive, flattens it and publishes tables. The promise: each stage ends in a commit, so a run that was killed goes on
//! after the last of them with nothing lost and nothing twice; what is not complete replaces nothing.
//!
//! ```
//! use std::collections::BTreeMap;
//! use fhirvest_jobs::config::Loader;
//!
//! // Where there is no configuration folder, the one inside the program is used.
//! let loader = Loader {
//!     config: "no/such/folder".into(),
//!     jobs: "no/such/folder".into(),
//!     variables: Some(BTreeMap::from([("FHIRVEST__RATE__BURST".into(), "3".into())])),
//!     flags: vec![("lake".into(), "/data/lake".into())],
//! };
//! let settings = loader.settings("example")?;
//! assert_eq!((settings.rate.burst, settings.lake.as_str()), (3, "/data/lake"));
//! # Ok::<(), fhirvest_jobs::config::ConfigError>(())
//! ```

pub mod check;
pub mod clock;
pub mod config;
pub mod flatten;
pub mod ledger;
pub mod metrics;
pub mod mirror;
pub mod notify;
pub mod report;
pub mod retention;
pub mod run;
pub mod schedule;
pub mod sign_in;
pub mod verify;
pub mod views;
