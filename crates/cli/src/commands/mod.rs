//! One module a command: arguments in, library calls, output out.

pub(crate) mod again;
pub(crate) mod apis;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod conformance;
pub(crate) mod flatten;
pub(crate) mod login;
pub(crate) mod report;
pub(crate) mod retention;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod sandbox;
pub(crate) mod schedule;
pub(crate) mod views;

use fhirvest_jobs::config::Loader;

use crate::arguments::Global;

/// The configuration that the global flags name, with values of flags laid over it.
pub(crate) fn loader(global: &Global, flags: Vec<(String, String)>) -> Loader {
    Loader { config: global.config.clone(), jobs: global.jobs.clone(), variables: None, flags }
}

/// `--lake`, as a setting.
pub(crate) fn lake_flag(global: &Global) -> Vec<(String, String)> {
    global.lake.iter().map(|path| ("lake".to_owned(), path.to_string())).collect()
}
