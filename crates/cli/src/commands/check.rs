//! `fhirvest check`.

use std::sync::Arc;

use fhirvest_jobs::{
    check::{self, CheckReport, CheckedType},
    run::{self, Binding, Exit},
    views::ViewSet,
};
use tokio::sync::watch;

use crate::{
    arguments::{Check, Global},
    commands::sandbox::Embedded,
    failure::Failure,
    output, telemetry,
};

pub(crate) async fn check(global: &Global, arguments: &Check) -> Result<Exit, Failure> {
    let mut flags = super::lake_flag(global);
    flags.extend(arguments.environment.clone().map(|name| ("environment".to_owned(), name)));
    let jobs = super::loader(global, flags).jobs(&arguments.names)?;
    if jobs.is_empty() {
        return Err(Failure::usage(format!("there are no jobs in {}", global.jobs)));
    }
    for job in &jobs {
        ViewSet::compile(&job.views).map_err(run::RunError::from)?;
    }
    let sandbox = Embedded::for_jobs(&jobs).await?;
    let bindings = jobs.iter().map(|job| Binding::new(job, sandbox.of(job))).collect::<Result<Vec<_>, _>>()?;
    let (cancel, cancelled) = watch::channel(false);
    telemetry::cancel_on_signal(cancel);
    let hosts = Arc::default();
    let (mut exit, mut reports) = (Exit::Done, Vec::new());
    for (job, binding) in jobs.iter().zip(&bindings) {
        let events = Arc::new(telemetry::LogEvents);
        let report = check::check(job, binding, Arc::clone(&hosts), events, cancelled.clone()).await?;
        exit = exit.worst(report.exit_code);
        if !arguments.json.json {
            output::data(&render(&report))?;
        }
        reports.push(report);
        if *cancelled.borrow() {
            break;
        }
    }
    if arguments.json.json {
        output::json(&reports)?;
    }
    Ok(exit)
}

/// What was found of one job, as a person reads it.
fn render(report: &CheckReport) -> String {
    let mut text = format!("{}: {}\n", report.job, report.base_url);
    let server = &report.server;
    text.push_str(&format!(
        "server: {}, FHIR {}, {} resource types declared\n",
        server.software.as_deref().unwrap_or("does not say what it is"),
        server.fhir_version.as_deref().unwrap_or("version not said"),
        server.types.len()
    ));
    if let Some(problem) = &server.problem {
        text.push_str(&format!("no CapabilityStatement ({problem}): that does not matter to a crawl\n"));
    }
    if let Some(platform) = &server.platform {
        text.push_str(&format!("platform: looks like {platform}: set `platform = \"{platform}\"` in the source\n"));
    }
    if let Some(generation) = report.formulary_generation {
        text.push_str(&format!("formulary guide: {generation}\n"));
    }
    let rows = report.resources.iter().map(row).collect();
    let header = ["type", "search", "total", "count", "page ceiling", "next link", "_lastUpdated", "_sort", "cap"];
    text.push_str(&format!("\n{}\n", output::table(&header, rows)));
    for one in &report.resources {
        if let Some(problem) = &one.findings.problem {
            text.push_str(&format!("\n# {}: {problem}", one.findings.resource_type));
        }
        text.push_str(&format!("\n# {}\n{}\n", one.because, one.suggestion));
    }
    if let Some(problem) = &report.problem {
        text.push_str(&format!("\n{problem}\n"));
    }
    text
}

fn row(one: &CheckedType) -> Vec<String> {
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let found = &one.findings;
    let stamped = match (found.last_updated_honoured, found.all_stamped) {
        (true, Some(false)) => "not all stamped".to_owned(),
        (honoured, _) => yes(honoured),
    };
    let ceiling = if found.large_page_empty { "empty if large".to_owned() } else { number(found.page_ceiling) };
    vec![
        found.resource_type.clone(),
        yes(found.searchable),
        number(found.total),
        yes(found.count_supported),
        ceiling,
        if found.next_link.is_empty() { "-".to_owned() } else { found.next_link.clone() },
        stamped,
        yes(found.sort_honoured),
        if found.cap_suspected { "suspected" } else { "no" }.to_owned(),
    ]
}
