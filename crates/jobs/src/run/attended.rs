//! A run with what goes with it when nobody watches: its numbers, and somebody who is told of its end.

use std::sync::Arc;

use fhirvest_crawler::event::Several;

use super::{Binding, RunError, RunOptions, RunReport, run};
use crate::{
    config::Job,
    metrics::{Metrics, write_textfile},
    notify::notify,
    schedule::Past,
};

/// Runs a job, counts what happens in `shared` too, writes the job's text file of metrics, and tells those whom the job
/// names. What goes wrong with any of these is logged, and changes nothing about the run.
///
/// # Errors
/// As [`run`], and those of making the binding.
pub async fn attended(
    job: &Job,
    binding: Result<Binding, RunError>,
    options: &RunOptions,
    shared: Option<&Arc<Metrics>>,
) -> Result<RunReport, RunError> {
    // The text file is about this job alone, whatever else the process does.
    let own = Arc::new(Metrics::default());
    let mut options = options.clone();
    let all: Vec<&Arc<Metrics>> = std::iter::once(&own).chain(shared).collect();
    let sinks = all.iter().map(|metrics| metrics.events(&job.name));
    options.events = Arc::new(Several(std::iter::once(options.events).chain(sinks).collect()));
    let ended = match binding {
        Ok(binding) => run(job, &binding, &options).await,
        Err(error) => Err(error),
    };
    for metrics in all {
        match &ended {
            Ok(report) => metrics.ended(report),
            Err(error) => metrics.failed(&job.name, error.exit(), options.clock.now()),
        }
    }
    if let Some(folder) = &job.settings.metrics.textfile_dir {
        // An alert on the last success needs it after a bad night, too.
        if let Some(at) = Past::of(job).ok().and_then(|past| past.last_success) {
            own.succeeded(&job.name, at);
        }
        if let Err(error) = write_textfile(folder.as_ref(), &job.name, &own.render()) {
            tracing::warn!(job = job.name, error = &error as &dyn std::error::Error, "the metrics were not written");
        }
    }
    for error in notify(job, &ended).await {
        let run = ended.as_ref().ok().map(|report| report.run.as_str());
        tracing::warn!(
            job = job.name,
            run,
            error = &error as &dyn std::error::Error,
            "the notification did not arrive"
        );
    }
    ended
}
