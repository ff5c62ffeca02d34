//! `fhirvest report` and `fhirvest support`.

use fhirvest_jobs::{
    config::Settings,
    ledger::Ledger,
    report,
    run::{Exit, RunError},
    views::ViewSet,
};
use fhirvest_lake::{Lake, durable};

use crate::{
    arguments::{Global, Report, Support},
    failure::Failure,
    output,
};

pub(crate) async fn report(global: &Global, arguments: &Report) -> Result<Exit, Failure> {
    let settings = super::settings_of(global, &arguments.run)?;
    let lake = fhirvest_jobs::mirror::lake_of_run(&settings, &arguments.run).await?;
    let ledger = ledger(&lake, &settings)?;
    let views = views_of(global, &arguments.run);
    let document = report::document(&lake, &ledger, &arguments.run, views.as_ref())?;
    if arguments.json.json {
        output::json(&document)?;
    }
    match arguments.output.as_deref() {
        Some(path) if path == "-" => output::data(&report::html(&document))?,
        Some(path) => {
            durable::write_atomically(path, report::html(&document).as_bytes()).map_err(RunError::from)?;
            output::say(&format!("next: open {path} in a browser"));
        }
        None => {}
    }
    Ok(Exit::Done)
}

pub(crate) async fn support(global: &Global, arguments: &Support) -> Result<Exit, Failure> {
    let settings = super::settings_of(global, &arguments.run)?;
    let ledger = ledger(&fhirvest_jobs::mirror::lake(&settings).await?, &settings)?;
    output::data(report::support(&report::of_run(&ledger, &arguments.run)?).trim_end())?;
    Ok(Exit::Done)
}

/// The ledger of a lake, which has to be there.
fn ledger(lake: &Lake, settings: &Settings) -> Result<Ledger, Failure> {
    if !lake.ledger_path().exists() {
        return Err(Failure::usage(format!("there is no lake at {}: `fhirvest run` makes one", settings.lake)));
    }
    Ok(Ledger::open(&lake.ledger_path()).map_err(RunError::from)?)
}

/// The views of the job of a run, as they are today; none where the job is gone or cannot be used, which is no reason not
/// to tell what happened.
fn views_of(global: &Global, run: &str) -> Option<ViewSet> {
    let (job, _) = super::again::job_of(global, run).ok()?;
    ViewSet::compile(&job.views).ok()
}
