//! `fhirvest runs`.

use fhirvest_jobs::{
    ledger::Ledger,
    run::{Exit, RunError, RunReport},
};

use crate::{
    arguments::{Global, Runs},
    failure::Failure,
    output,
};

pub(crate) async fn runs(global: &Global, arguments: &Runs) -> Result<Exit, Failure> {
    let settings = match &arguments.run {
        Some(run) => super::settings_of(global, run)?,
        None => super::loader(global, super::lake_flag(global)).settings("runs")?,
    };
    let lake = fhirvest_jobs::mirror::lake(&settings).await?;
    let path = lake.ledger_path();
    if !path.exists() {
        return Err(Failure::usage(format!("there is no lake at {}: `fhirvest run` makes one", settings.lake)));
    }
    let ledger = Ledger::open(&path).map_err(RunError::from)?;
    let Some(run) = &arguments.run else {
        let records = ledger.runs(None, arguments.limit).map_err(RunError::from)?;
        if arguments.json.json {
            output::json(&records)?;
            return Ok(Exit::Done);
        }
        let rows = records
            .into_iter()
            .map(|record| {
                let seconds = record.finished_at.map(|end| (end - record.started_at).num_seconds().to_string());
                let exit = record.exit_code.map(|code| code.to_string());
                vec![
                    record.run,
                    record.source,
                    record.environment,
                    output::word(&record.state),
                    exit.unwrap_or_default(),
                    seconds.unwrap_or_default(),
                ]
            })
            .collect();
        output::data(&output::table(&["run", "source", "environment", "state", "exit", "seconds"], rows))?;
        return Ok(Exit::Done);
    };
    let record = ledger.run(run).map_err(RunError::from)?.ok_or_else(|| RunError::NoRun { run: run.clone() })?;
    let report = record.report.as_deref().and_then(|text| serde_json::from_str::<RunReport>(text).ok());
    match report {
        Some(report) if arguments.json.json => output::json(&report)?,
        Some(report) => output::data(&output::render(&report))?,
        None if arguments.json.json => output::json(&record)?,
        None => output::data(&format!("{}: {}, begun {}", record.run, output::word(&record.state), record.started_at))?,
    }
    Ok(Exit::Done)
}
