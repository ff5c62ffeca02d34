//! `fhirvest schedule`.

mod server;

use std::sync::Arc;

use camino::Utf8PathBuf;
use fhirvest_crawler::{event::Several, pace::HostLimiters};
use fhirvest_jobs::{
    clock::Clock,
    config::{ConfigError, Job, Loader},
    metrics::Metrics,
    run::{self, Binding, Exit, RunError, RunOptions},
    schedule::{Ended, Form, Place, Runner, ScheduleError, Scheduler, print},
    views::ViewSet,
};
use tokio::{runtime::Handle, sync::watch};

use crate::{
    arguments::{Global, Schedule, ScheduleForm},
    commands::sandbox::{self, Embedded},
    failure::Failure,
    output,
    progress::Progress,
    telemetry,
};

pub(crate) async fn schedule(global: &Global, arguments: &Schedule) -> Result<Exit, Failure> {
    let mut flags = super::lake_flag(global);
    flags.extend(arguments.environment.clone().map(|name| ("environment".to_owned(), name)));
    let loader = super::loader(global, flags);
    let jobs = checked(&loader)?;
    if let Some(form) = arguments.print {
        output::data(
            print(&jobs, form.into(), &place(global, arguments)?)
                .map_err(|e| Failure::new(Exit::Usage, &e))?
                .trim_end(),
        )?;
        return Ok(Exit::Done);
    }
    let clock = arguments.clock.map_or(Clock::System, |(from, speed)| Clock::set(from, speed));
    let metrics = Arc::new(Metrics::default());
    let progress = Arc::new(Progress::new(global));
    let runner = Jobs { hosts: Arc::default(), metrics: Arc::clone(&metrics), progress, clock };
    let scheduler = Scheduler::new(runner, clock, jobs).await.map_err(|error| failure(&error))?;
    let (stop, stopped) = watch::channel(false);
    let server = match arguments.listen {
        Some(address) => {
            let (listener, address) = sandbox::listen(address).await?;
            let shown = server::Shown { board: scheduler.board(), metrics, clock };
            output::data(&format!("http://{address}/"))?;
            Some(tokio::spawn(server::serve(listener, shown, stopped)))
        }
        None => None,
    };
    scheduler.run(telemetry::orders(), move || checked(&loader)).await;
    let _ = stop.send(true);
    if let Some(server) = server {
        // It has nothing to say but that it ended.
        let _ = server.await;
    }
    Ok(Exit::Done)
}

/// The jobs, with views that compile: a view that does not would only be found at night.
fn checked(loader: &Loader) -> Result<Vec<Job>, ConfigError> {
    let jobs = loader.jobs(&[])?;
    for job in &jobs {
        if let Err(error) = ViewSet::compile(&job.views) {
            let message = Failure::from(RunError::from(error)).text();
            return Err(ConfigError::Job { job: job.name.clone(), message });
        }
    }
    Ok(jobs)
}

fn failure(error: &ScheduleError) -> Failure {
    let exit = if matches!(error, ScheduleError::Ledger(_)) { Exit::Storage } else { Exit::Usage };
    Failure::new(exit, error)
}

/// Where this program is, and how it was called.
fn place(global: &Global, arguments: &Schedule) -> Result<Place, Failure> {
    let utf8 = |path: std::io::Result<std::path::PathBuf>, what: &str| {
        let path = path.map_err(|error| Failure::io(what, &error))?;
        Utf8PathBuf::from_path_buf(path).map_err(|path| Failure::usage(format!("{} is not UTF-8", path.display())))
    };
    let program = utf8(std::env::current_exe(), "this program's own path")?;
    let folder = utf8(std::env::current_dir(), "the current folder")?;
    let mut flags = Vec::new();
    for (flag, value, default) in [("--config", &global.config, "config"), ("--jobs", &global.jobs, "jobs")] {
        if value != default {
            flags.extend([flag.to_owned(), value.to_string()]);
        }
    }
    flags.extend(global.lake.iter().flat_map(|lake| ["--lake".to_owned(), lake.to_string()]));
    Ok(Place { program, folder, flags, environment: arguments.environment.clone() })
}

impl From<ScheduleForm> for Form {
    fn from(form: ScheduleForm) -> Self {
        match form {
            ScheduleForm::Cron => Self::Cron,
            ScheduleForm::Systemd => Self::Systemd,
            ScheduleForm::Kubernetes => Self::Kubernetes,
        }
    }
}

/// Runs jobs as `fhirvest run` does, on a thread of their own: flattening must not keep the scheduler from its clock.
struct Jobs {
    hosts: Arc<HostLimiters>,
    metrics: Arc<Metrics>,
    progress: Arc<Progress>,
    clock: Clock,
}

impl Runner for Jobs {
    async fn run(&self, job: Arc<Job>, cancel: watch::Receiver<bool>) -> Ended {
        let options = RunOptions {
            fresh: false,
            only: Vec::new(),
            max_pages: None,
            clock: self.clock,
            cancel,
            events: Arc::new(Several(vec![Arc::new(telemetry::LogEvents), Arc::clone(&self.progress) as _])),
            hosts: Arc::clone(&self.hosts),
        };
        let (metrics, handle) = (Arc::clone(&self.metrics), Handle::current());
        let name = job.name.clone();
        let run = tokio::task::spawn_blocking(move || handle.block_on(one(&job, &options, &metrics)));
        match run.await {
            Ok(Ok(report)) => Ended { exit: report.exit_code, report: Some(Box::new(report)) },
            Ok(Err(failure)) => {
                tracing::error!(job = name, "{}", failure.text());
                Ended { exit: failure.exit, report: None }
            }
            Err(error) => {
                tracing::error!(job = name, %error, "the run ended with a bug");
                Ended { exit: Exit::Bug, report: None }
            }
        }
    }
}

async fn one(job: &Job, options: &RunOptions, metrics: &Arc<Metrics>) -> Result<run::RunReport, Failure> {
    let sandbox = Embedded::for_jobs(std::slice::from_ref(job)).await?;
    Ok(run::attended(job, Binding::new(job, sandbox.of(job)), options, Some(metrics)).await?)
}
