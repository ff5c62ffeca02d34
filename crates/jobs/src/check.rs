//! What a job would find: its API probed with few requests, before anything is crawled or written.

use std::sync::Arc;

use fhirvest_crawler::{
    engine::ResourcePlan,
    event::EventSink,
    pace::HostLimiters,
    probe::{self, ServerFindings, TypeFindings},
    retry::FetchError,
    strategy::Strategy,
};
use serde::Serialize;
use tokio::sync::watch;

use crate::{
    config::{ConfigError, Job},
    run::{Binding, Exit, RunError, client},
};

/// What was found of one job's API.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// The job.
    pub job: String,
    /// Its source's name.
    pub source: String,
    /// Its base URL, without anything secret.
    pub base_url: String,
    /// What the server says of itself.
    pub server: ServerFindings,
    /// The generation of the formulary guide that it follows, where the job harvests one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formulary_generation: Option<&'static str>,
    /// What it does, by type.
    pub resources: Vec<CheckedType>,
    /// What this comes to.
    pub exit_code: Exit,
    /// Why the probing ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What was found of one type, and what to do with it.
#[derive(Debug, Clone, Serialize)]
pub struct CheckedType {
    /// What was found.
    #[serde(flatten)]
    pub findings: TypeFindings,
    /// Whether the server's CapabilityStatement names the type.
    pub declared: bool,
    /// The strategy of the job.
    pub strategy: String,
    /// The lines of a job that fit what was found.
    pub suggestion: String,
    /// Why.
    pub because: String,
}

/// Probes the API of a job: two requests for the server, about ten for each type, at the job's own pace.
///
/// # Errors
/// The job's settings do not fit together. What the server does is in the report.
pub async fn check(
    job: &Job,
    binding: &Binding,
    hosts: Arc<HostLimiters>,
    events: Arc<dyn EventSink>,
    cancel: watch::Receiver<bool>,
) -> Result<CheckReport, RunError> {
    let (fetcher, source) = client(job, binding, hosts, events, cancel, None)?;
    let mut report = CheckReport {
        job: job.name.clone(),
        source: job.source.name.clone(),
        base_url: binding.shown_base(),
        server: ServerFindings::default(),
        formulary_generation: None,
        resources: Vec::new(),
        exit_code: Exit::Done,
        problem: None,
    };
    match probe::server(&fetcher, &source).await {
        Ok(server) => report.server = server,
        Err(error) => return Ok(report.ended(&error)),
    }
    for (name, own) in &job.settings.resources {
        let first: Vec<String> = binding.members.iter().take(1).map(|member| member.id.clone()).collect();
        let (strategy, paging) = job.strategy(name, &first, chrono::DateTime::UNIX_EPOCH).map_err(|message| {
            ConfigError::Job { job: job.name.clone(), message: format!("[resources.{name}]: {message}") }
        })?;
        let mut params: Vec<_> = own.params.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        if let (Strategy::Patient { param, .. }, Some(member)) = (&strategy, first.into_iter().next()) {
            // Nobody else's data are looked at.
            params.push((param.clone(), member));
        }
        let plan = ResourcePlan { params, strategy, paging, ..ResourcePlan::new(name) };
        let findings = match probe::resource(&fetcher, &source, &plan).await {
            Ok(findings) => findings,
            Err(error) => return Ok(report.ended(&error)),
        };
        let (suggestion, because) = match &plan.strategy {
            Strategy::IdRead if job.settings.patients.is_some() => {
                (format!("[resources.{name}]"), "nobody's own: read where the members' data refer to it".to_owned())
            }
            _ => findings.suggestion(),
        };
        let declared = report.server.types.contains(name);
        let strategy = plan.strategy_name().to_owned();
        report.resources.push(CheckedType { findings, declared, strategy, suggestion, because });
    }
    if job.settings.resources.contains_key("MedicationKnowledge") {
        match probe::formulary_generation(&fetcher, &source).await {
            Ok(generation) => report.formulary_generation = generation,
            Err(error) => return Ok(report.ended(&error)),
        }
    }
    let hopeless = |one: &CheckedType| !one.findings.searchable && !one.findings.last_updated_honoured;
    if !report.resources.is_empty() && report.resources.iter().all(hopeless) {
        report.exit_code = Exit::Refused;
        report.problem = report.resources.first().and_then(|one| one.findings.problem.clone());
    }
    Ok(report)
}

impl CheckReport {
    fn ended(mut self, error: &FetchError) -> Self {
        (self.exit_code, self.problem) = match error {
            FetchError::Refused(refusal) => (Exit::Refused, Some(refusal.message.clone())),
            FetchError::Unavailable { attempts, reason, .. } => (
                Exit::Unavailable,
                Some(format!("no answer after {attempts} attempts ({reason}): check the base URL and the network")),
            ),
            FetchError::Later { not_before, reason } => {
                (Exit::Later, Some(format!("{reason}; the server asks to come back after {not_before}")))
            }
            FetchError::Cancelled => (Exit::Interrupted, None),
        };
        self
    }
}
