//! `fhirvest report` and `fhirvest support`.

use fhirvest_jobs::{
    ledger::Ledger,
    report,
    run::{Exit, RunError},
};
use fhirvest_lake::{Lake, durable};

use crate::{
    arguments::{Global, Report, Support},
    failure::Failure,
    output,
};

pub(crate) async fn report(global: &Global, arguments: &Report) -> Result<Exit, Failure> {
    let (lake, ledger) = open(global).await?;
    let document = report::document(&lake, &ledger, &arguments.run)?;
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
    let (_, ledger) = open(global).await?;
    output::data(report::support(&report::of_run(&ledger, &arguments.run)?).trim_end())?;
    Ok(Exit::Done)
}

/// The lake of the configuration, which has to be there.
async fn open(global: &Global) -> Result<(Lake, Ledger), Failure> {
    let settings = super::loader(global, super::lake_flag(global)).settings("report")?;
    let lake = fhirvest_jobs::mirror::lake(&settings).await?;
    if !lake.ledger_path().exists() {
        return Err(Failure::usage(format!("there is no lake at {}: `fhirvest run` makes one", settings.lake)));
    }
    let ledger = Ledger::open(&lake.ledger_path()).map_err(RunError::from)?;
    Ok((lake, ledger))
}
