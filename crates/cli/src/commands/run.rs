//! `fhirvest run` and `fhirvest harvest`.

use std::sync::Arc;

use fhirvest_crawler::event::Several;
use fhirvest_jobs::{
    clock::Clock,
    config::{Auth, ConfigError, Job, Loader, ResourceConfig, SecretRef, Source},
    ledger::Ledger,
    run::{self, Binding, Exit, RunOptions, RunReport},
    views::ViewSet,
};
use tokio::sync::watch;

use crate::{
    arguments::{Global, Harvest, Run},
    commands::sandbox::Embedded,
    failure::Failure,
    output,
    progress::Progress,
    telemetry,
};

/// The name of the environment of an ad-hoc crawl: `config/harvest.toml` may lay settings over the defaults.
const HARVEST: &str = "harvest";

/// The guides whose views `harvest` tries, in this order: the first that has a table of a name fills it.
const GUIDES: [&str; 3] = ["plan-net/*", "formulary/*", "patient-access/*"];

pub(crate) async fn run(global: &Global, arguments: &Run) -> Result<Exit, Failure> {
    let mut flags = super::lake_flag(global);
    flags.extend(arguments.environment.clone().map(|name| ("environment".to_owned(), name)));
    flags.extend(arguments.metrics_dir.as_ref().map(|path| ("metrics.textfile_dir".to_owned(), path.to_string())));
    let jobs = super::loader(global, flags).jobs(&arguments.names)?;
    if jobs.is_empty() {
        return Err(Failure::usage(format!("there are no jobs in {}", global.jobs)));
    }
    let plan = Plan {
        fresh: arguments.fresh,
        only: &arguments.only,
        max_pages: arguments.max_pages,
        json: arguments.json.json,
    };
    execute(global, &jobs, &plan).await
}

pub(crate) async fn harvest(global: &Global, arguments: &Harvest) -> Result<Exit, Failure> {
    let job = ad_hoc(global, arguments)?;
    let plan = Plan { fresh: arguments.fresh, only: &[], max_pages: arguments.max_pages, json: arguments.json.json };
    execute(global, &[job], &plan).await
}

struct Plan<'a> {
    fresh: bool,
    only: &'a [String],
    max_pages: Option<u64>,
    json: bool,
}

/// Checks everything that can be checked beforehand for every job, then runs them one after the other.
async fn execute(global: &Global, jobs: &[Job], plan: &Plan<'_>) -> Result<Exit, Failure> {
    for job in jobs {
        ViewSet::compile(&job.views).map_err(run::RunError::from)?;
    }
    let sandbox = Embedded::for_jobs(jobs).await?;
    let bindings = jobs.iter().map(|job| Binding::new(job, sandbox.of(job))).collect::<Result<Vec<_>, _>>()?;
    let (cancel, cancelled) = watch::channel(false);
    telemetry::cancel_on_signal(cancel);
    let progress = Arc::new(Progress::new(global));
    let options = RunOptions {
        fresh: plan.fresh,
        only: plan.only.to_vec(),
        max_pages: plan.max_pages,
        clock: Clock::System,
        cancel: cancelled.clone(),
        events: Arc::new(Several(vec![Arc::new(telemetry::LogEvents), Arc::clone(&progress) as _])),
        hosts: Arc::default(),
    };
    let mut exit = Exit::Done;
    let mut reports: Vec<RunReport> = Vec::new();
    for (job, binding) in jobs.iter().zip(bindings) {
        let ended = run::attended(job, Ok(binding), &options, None).await;
        progress.end();
        match ended {
            Ok(report) => {
                exit = exit.worst(report.exit_code);
                output::report(&report, plan.json)?;
                reports.push(report);
            }
            // With one job its error is the answer; with several the others go on.
            Err(error) if jobs.len() == 1 => return Err(error.into()),
            Err(error) => {
                let failure = Failure::from(error);
                exit = exit.worst(failure.exit);
                output::failure(Some(&job.name), &failure);
            }
        }
        if *cancelled.borrow() {
            break;
        }
    }
    if jobs.len() > 1 {
        output::summary(&reports);
    }
    Ok(exit)
}

/// A job made from flags.
fn ad_hoc(global: &Global, arguments: &Harvest) -> Result<Job, Failure> {
    let mut flags = super::lake_flag(global);
    flags.extend(arguments.output.as_ref().map(|path| ("lake".to_owned(), path.to_string())));
    flags.push(("environment".to_owned(), HARVEST.to_owned()));
    flags.extend(arguments.rate.map(|rate| ("rate.requests_per_second".to_owned(), rate.to_string())));
    flags.extend(arguments.concurrency.map(|number| ("rate.concurrency".to_owned(), number.to_string())));
    let loader = super::loader(global, flags);
    let mut settings = loader.settings(HARVEST)?;
    let name = arguments.source.clone().unwrap_or_else(|| slug(&arguments.base_url));
    let auth = match (&arguments.api_key_env, &arguments.bearer_env) {
        (Some(key), _) => {
            Auth::ApiKey { header: Some(arguments.api_key_header.clone()), key: SecretRef::Env(key.clone()) }
        }
        (None, Some(token)) => Auth::Bearer { token: SecretRef::Env(token.clone()) },
        (None, None) => Auth::None,
    };
    for resource in &arguments.resources {
        let resource_config = ResourceConfig { page_size: arguments.page_size, ..ResourceConfig::default() };
        settings.resources.insert(resource.trim().to_owned(), resource_config);
    }
    let views = if arguments.views.is_empty() {
        fitting_views(&loader, &arguments.resources)?
    } else {
        loader.views(HARVEST, &arguments.views)?
    };
    let mut source = Source {
        name,
        base_url: arguments.base_url.clone(),
        platform: arguments.platform.clone(),
        auth,
        trusted_origins: Vec::new(),
        rewrite_next: Vec::new(),
    };
    let job = format!("{HARVEST}-{}", source.name);
    loader.preset(&job, &mut source, &mut settings)?;
    Ok(Job::new(job, source, settings, views)?)
}

/// The job of an ad-hoc crawl that the lake knows, by one of its runs or by its own name, and whether it was a run.
pub(crate) fn harvested(loader: &Loader, name: &str) -> Result<Option<(Job, bool)>, Failure> {
    let mut settings = loader.settings(HARVEST)?;
    let path = fhirvest_jobs::mirror::folder(&settings).ledger_path();
    if !path.exists() {
        return Ok(None);
    }
    let ledger = Ledger::open(&path).map_err(run::RunError::from)?;
    let of_run = ledger.run(name).map_err(run::RunError::from)?;
    let is_run = of_run.is_some();
    let found = match of_run {
        Some(run) => Some(run),
        None => ledger.last_crawl(name).map_err(run::RunError::from)?,
    };
    let Some(record) = found.filter(|one| one.job.starts_with(HARVEST)) else { return Ok(None) };
    let report: Option<RunReport> = record.report.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let types: Vec<String> =
        report.iter().flat_map(|report| &report.resources).map(|one| one.resource_type.clone()).collect();
    for name in &types {
        settings.resources.insert(name.clone(), ResourceConfig::default());
    }
    let source = Source {
        name: record.source,
        base_url: report.map(|report| report.base_url).unwrap_or_default(),
        platform: None,
        auth: Auth::None,
        trusted_origins: Vec::new(),
        rewrite_next: Vec::new(),
    };
    let views = fitting_views(loader, &types)?;
    Ok(Some((Job::new(record.job, source, settings, views)?, is_run)))
}

/// The shipped views that read one of the types; of several tables of one name those of the first guide.
fn fitting_views(loader: &Loader, types: &[String]) -> Result<Vec<fhirvest_jobs::config::ConfigText>, ConfigError> {
    let mut chosen = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for guide in GUIDES {
        let mut of_guide = std::collections::BTreeSet::new();
        // A guide may be missing from a configuration folder that somebody trimmed.
        for file in loader.views(HARVEST, &[guide.to_owned()]).unwrap_or_default() {
            let Ok(view) = fhirvest_flattener::parse_view(&file.text, &file.origin) else { continue };
            if types.iter().any(|name| name.trim() == view.resource()) && !names.contains(view.name()) {
                of_guide.insert(view.name().to_owned());
                chosen.push(file);
            }
        }
        names.extend(of_guide);
    }
    Ok(chosen)
}

/// A name for a source from its address: host and port, and what tells apart several APIs on one host.
fn slug(base_url: &str) -> String {
    let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let words = rest.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn a_source_is_named_after_its_address_without_credentials() {
        for (url, name) in [
            ("http://127.0.0.1:8080/fhir", "127-0-0-1-8080-fhir"),
            ("https://user:secret@FHIR.Acme.example/r4/", "fhir-acme-example-r4"),
        ] {
            assert_eq!(slug(url), name);
        }
    }
}
