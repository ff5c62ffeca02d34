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

use fhirvest_jobs::config::{Loader, Settings};

use crate::{arguments::Global, failure::Failure};

/// The configuration that the global flags name, with values of flags laid over it.
pub(crate) fn loader(global: &Global, flags: Vec<(String, String)>) -> Loader {
    Loader { config: global.config.clone(), jobs: global.jobs.clone(), variables: None, flags }
}

/// `--lake`, as a setting.
pub(crate) fn lake_flag(global: &Global) -> Vec<(String, String)> {
    global.lake.iter().map(|path| ("lake".to_owned(), path.to_string())).collect()
}

/// The settings that say where a run is: those of its job, since data about persons have a lake of their own; where the job
/// is no longer there, those of all.
pub(crate) fn settings_of(global: &Global, run: &str) -> Result<Settings, Failure> {
    match again::job_of(global, run) {
        Ok((job, _)) => Ok(job.settings),
        Err(_) => Ok(loader(global, lake_flag(global)).settings(run)?),
    }
}
