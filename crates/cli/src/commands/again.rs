//! `fhirvest rerun` and `fhirvest publish`: no network, no secrets.

use fhirvest_jobs::{
    clock::Clock,
    config::Job,
    run::{self, AgainOptions, Exit, RunError},
};

use crate::{
    arguments::{Global, PublishRun, Rerun},
    failure::Failure,
    output,
};

pub(crate) async fn rerun(global: &Global, arguments: &Rerun) -> Result<Exit, Failure> {
    let options = AgainOptions { all: arguments.all, publish: false, clock: Clock::System };
    again(global, &arguments.name, options, arguments.json.json).await
}

pub(crate) async fn publish(global: &Global, arguments: &PublishRun) -> Result<Exit, Failure> {
    let options = AgainOptions { all: false, publish: true, clock: Clock::System };
    again(global, &arguments.run, options, arguments.json.json).await
}

async fn again(global: &Global, name: &str, options: AgainOptions, json: bool) -> Result<Exit, Failure> {
    let (job, run) = job_of(global, name)?;
    let report = run::again_shared(&job, run, options).await?;
    output::report(&report, json)?;
    Ok(report.exit_code)
}

/// The job that a run or a job's own name stands for.
pub(super) fn job_of<'a>(global: &Global, name: &'a str) -> Result<(Job, Option<&'a str>), Failure> {
    let loader = super::loader(global, super::lake_flag(global));
    let known = loader.job_names().unwrap_or_default();
    if known.iter().any(|one| one == name) {
        return one(loader.jobs(&[name.to_owned()])?).map(|job| (job, None));
    }
    // A run is named after its time and its job.
    let of_run = name.split_once('-').map_or("", |(_, job)| job);
    if known.iter().any(|one| one == of_run) {
        return one(loader.jobs(&[of_run.to_owned()])?).map(|job| (job, Some(name)));
    }
    match super::run::harvested(&loader, name)? {
        Some((job, is_run)) => Ok((job, is_run.then_some(name))),
        None => Err(RunError::NoRun { run: name.to_owned() }.into()),
    }
}

fn one(mut jobs: Vec<Job>) -> Result<Job, Failure> {
    jobs.pop().ok_or_else(|| Failure::usage("there is no such job"))
}
