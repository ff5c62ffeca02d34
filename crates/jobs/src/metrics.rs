//! Numbers for a monitoring system, in Prometheus' text form.
//!
//! One grammar for every name: `fhirvest_<thing>_<what>[_<unit>][_total]`. The thing is in the singular (`request`, `page`, `run`);
//! units are `seconds`, `bytes` and `ratio`, spelt out; a counter, and nothing else, ends with `_total`. Labels: `job`
//! on everything, `type` for a resource type, `table` for a table, `outcome` where one number is told apart by what came
//! of it. No label holds an address, an id or a person's data.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use fhirvest_crawler::{
    ending::Status,
    event::{Event, EventSink},
};
use fhirvest_lake::{LakeError, durable};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::{
    run::{Exit, RunReport},
    schedule::Board,
};

/// Upper bounds of durations, in seconds: from a cache's answer to a request's time-out.
const BOUNDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Measurements after which they are put into their buckets, so that they do not pile up while nobody asks.
const KEPT_LOOSE: u64 = 1_000;

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Every name there is.
const NAMES: [(Kind, &str, &str); 18] = [
    (Kind::Counter, REQUESTS, "Attempts of requests, retries included, by what came of them."),
    (Kind::Histogram, REQUEST_SECONDS, "From sending a request to the last byte of its answer."),
    (Kind::Counter, RESPONSE_BYTES, "Bytes of answers, decompressed."),
    (Kind::Histogram, WAIT_SECONDS, "Waits before another attempt: retries, and servers that asked for a pause."),
    (Kind::Counter, PAGES, "Pages archived."),
    (Kind::Counter, RESOURCES, "Resources received, by what became of them."),
    (Kind::Gauge, COVERAGE, "Ids archived by the last run as a share of the server's own count."),
    (Kind::Gauge, REMOVED, "Resources of a type that were there before the last run and did not come with it."),
    (Kind::Gauge, COMPLETE, "1 where the last run got the whole of a type that the server knows, 0 where not."),
    (Kind::Gauge, ROWS, "Rows of a table made by the last run."),
    (Kind::Gauge, RUN_START, "When the last run began."),
    (Kind::Gauge, RUN_END, "When the last run ended."),
    (Kind::Gauge, RUN_SECONDS, "How long the last run took."),
    (Kind::Gauge, RUN_EXIT, "The exit code of the last run: 0 is well."),
    (Kind::Gauge, RUN_SUCCESS, "When the last run ended that ended well."),
    (Kind::Gauge, RUNNING, "1 while the job is running."),
    (Kind::Gauge, NEXT, "When the job runs next."),
    (Kind::Counter, SKIPPED, "Times of the schedule that came while the job was still running."),
];

const REQUESTS: &str = "fhirvest_request_attempts_total";
const REQUEST_SECONDS: &str = "fhirvest_request_duration_seconds";
const RESPONSE_BYTES: &str = "fhirvest_response_bytes_total";
const WAIT_SECONDS: &str = "fhirvest_wait_duration_seconds";
const PAGES: &str = "fhirvest_page_archived_total";
const RESOURCES: &str = "fhirvest_resource_received_total";
const COVERAGE: &str = "fhirvest_type_coverage_ratio";
const COMPLETE: &str = "fhirvest_type_complete";
const REMOVED: &str = "fhirvest_type_removed_resources";
const ROWS: &str = "fhirvest_table_rows";
const RUN_START: &str = "fhirvest_run_start_timestamp_seconds";
const RUN_END: &str = "fhirvest_run_end_timestamp_seconds";
const RUN_SECONDS: &str = "fhirvest_run_duration_seconds";
const RUN_EXIT: &str = "fhirvest_run_exit_code";
const RUN_SUCCESS: &str = "fhirvest_run_success_timestamp_seconds";
const RUNNING: &str = "fhirvest_job_running";
const NEXT: &str = "fhirvest_job_next_timestamp_seconds";
const SKIPPED: &str = "fhirvest_job_skipped_total";

/// The numbers of this process.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    loose: AtomicU64,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        // Bounds are refused only where there are none.
        let builder = PrometheusBuilder::new().set_buckets(&BOUNDS).unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        with_local_recorder(&recorder, || {
            for (kind, name, help) in NAMES {
                match kind {
                    Kind::Counter => describe_counter!(name, help),
                    Kind::Gauge => describe_gauge!(name, help),
                    Kind::Histogram => describe_histogram!(name, help),
                }
            }
        });
        Self { recorder, handle, loose: AtomicU64::new(0) }
    }
}

impl Metrics {
    /// The numbers as text.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Takes note of the end of a run.
    pub fn ended(&self, report: &RunReport) {
        let job = report.job.clone();
        with_local_recorder(&self.recorder, || {
            gauge!(RUN_START, "job" => job.clone()).set(seconds(report.started_at));
            gauge!(RUN_END, "job" => job.clone()).set(seconds(report.finished_at));
            gauge!(RUN_SECONDS, "job" => job.clone()).set(report.seconds);
            gauge!(RUN_EXIT, "job" => job.clone()).set(f64::from(report.exit_code.code()));
            if report.exit_code == Exit::Done {
                gauge!(RUN_SUCCESS, "job" => job.clone()).set(seconds(report.finished_at));
            }
            for one in &report.resources {
                covered(&job, &one.resource_type, one.status, one.coverage);
            }
            for one in &report.changes {
                gauge!(REMOVED, "job" => job.clone(), "type" => one.resource_type.clone()).set(float(one.removed));
            }
            for table in &report.tables {
                gauge!(ROWS, "job" => job.clone(), "table" => table.table.clone()).set(float(table.rows));
            }
        });
    }

    /// Takes note of the end of a run that came to no report.
    pub fn failed(&self, job: &str, exit: Exit, now: DateTime<Utc>) {
        with_local_recorder(&self.recorder, || {
            gauge!(RUN_END, "job" => job.to_owned()).set(seconds(now));
            gauge!(RUN_EXIT, "job" => job.to_owned()).set(f64::from(exit.code()));
        });
    }

    /// Takes note of when the last run ended that ended well, where that is known from the ledger.
    pub fn succeeded(&self, job: &str, at: DateTime<Utc>) {
        with_local_recorder(&self.recorder, || gauge!(RUN_SUCCESS, "job" => job.to_owned()).set(seconds(at)));
    }

    /// Takes note of what a scheduler shows.
    pub fn board(&self, board: &Board) {
        with_local_recorder(&self.recorder, || {
            for one in &board.jobs {
                gauge!(RUNNING, "job" => one.job.clone()).set(f64::from(u8::from(one.running_since.is_some())));
                counter!(SKIPPED, "job" => one.job.clone()).absolute(one.skipped);
                if let Some(next) = one.next {
                    gauge!(NEXT, "job" => one.job.clone()).set(seconds(next));
                }
                if let Some(success) = one.last_success {
                    gauge!(RUN_SUCCESS, "job" => one.job.clone()).set(seconds(success));
                }
                if let Some(last) = &one.last {
                    gauge!(RUN_START, "job" => one.job.clone()).set(seconds(last.started_at));
                    last.types.iter().for_each(|(name, status, share)| covered(&one.job, name, *status, *share));
                }
                let ended = one.last.as_ref().map(|last| (last.finished_at, last.exit));
                if let Some((at, exit)) = one.failed.or(ended) {
                    gauge!(RUN_END, "job" => one.job.clone()).set(seconds(at));
                    gauge!(RUN_EXIT, "job" => one.job.clone()).set(f64::from(exit.code()));
                }
            }
        });
    }

    /// Somebody who takes note of the events of a job's crawl.
    #[must_use]
    pub fn events(self: &Arc<Self>, job: &str) -> Arc<dyn EventSink> {
        Arc::new(JobMetrics { metrics: Arc::clone(self), job: job.to_owned() })
    }

    fn measured(&self) {
        if self.loose.fetch_add(1, Ordering::Relaxed).is_multiple_of(KEPT_LOOSE) {
            self.handle.run_upkeep();
        }
    }
}

/// What a run came to with one type.
fn covered(job: &str, name: &str, status: Status, coverage: Option<f64>) {
    // A type that the server does not know is no gap, and nothing to be woken for.
    if status != Status::Unsupported {
        let whole = matches!(status, Status::Complete | Status::Empty);
        gauge!(COMPLETE, "job" => job.to_owned(), "type" => name.to_owned()).set(f64::from(u8::from(whole)));
    }
    if let Some(coverage) = coverage {
        gauge!(COVERAGE, "job" => job.to_owned(), "type" => name.to_owned()).set(coverage);
    }
}

/// Writes the numbers of a job's run where node-exporter's textfile collector finds them.
///
/// # Errors
/// The folder cannot be written.
pub fn write_textfile(folder: &Utf8Path, job: &str, text: &str) -> Result<Utf8PathBuf, LakeError> {
    let path = folder.join(format!("fhirvest-{job}.prom"));
    durable::write_atomically(&path, text.as_bytes())?;
    Ok(path)
}

struct JobMetrics {
    metrics: Arc<Metrics>,
    job: String,
}

impl EventSink for JobMetrics {
    fn event(&self, event: &Event) {
        let job = || self.job.clone();
        with_local_recorder(&self.metrics.recorder, || match event {
            Event::Attempt { status, took, bytes, .. } => {
                counter!(REQUESTS, "job" => job(), "outcome" => outcome(*status)).increment(1);
                histogram!(REQUEST_SECONDS, "job" => job()).record(took.as_secs_f64());
                counter!(RESPONSE_BYTES, "job" => job()).increment(*bytes as u64);
                self.metrics.measured();
            }
            Event::Waiting { delay, .. } => {
                histogram!(WAIT_SECONDS, "job" => job()).record(delay.as_secs_f64());
                self.metrics.measured();
            }
            Event::PageCommitted { resource_type, counts, .. } => {
                counter!(PAGES, "job" => job(), "type" => resource_type.clone()).increment(1);
                for (outcome, number) in [
                    ("archived", counts.archived),
                    ("duplicate", counts.duplicates),
                    ("variant", counts.variants),
                    ("quarantined", counts.quarantined),
                ] {
                    if number > 0 {
                        counter!(RESOURCES, "job" => job(), "type" => resource_type.clone(), "outcome" => outcome)
                            .increment(number);
                    }
                }
            }
            _ => {}
        });
    }
}

/// The class of an answer: no label for each of hundreds of codes, but one for those that an alert is about.
fn outcome(status: Option<u16>) -> &'static str {
    match status {
        None => "no-answer",
        Some(429) => "throttled",
        Some(401 | 403) => "denied",
        Some(200..=299) => "ok",
        Some(300..=399) => "redirect",
        Some(400..=499) => "refused",
        Some(_) => "server-error",
    }
}

#[allow(clippy::cast_precision_loss, reason = "seconds and rows need no more than 52 bits")]
fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}

#[allow(clippy::cast_precision_loss, reason = "as above")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_name_follows_the_grammar() {
        for (kind, name, help) in NAMES {
            let words: Vec<&str> = name.split('_').collect();
            assert_eq!(words[0], "fhirvest", "{name}");
            assert!(
                words.len() >= 3 && words.iter().all(|word| word.bytes().all(|b| b.is_ascii_lowercase())),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), matches!(kind, Kind::Counter), "{name}");
            assert!(!matches!(kind, Kind::Histogram) || name.ends_with("_seconds"), "{name}");
            assert!(help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn every_name_is_in_the_manual() {
        let manual = include_str!("../../../docs/operations.md");
        for (_, name, _) in NAMES {
            assert!(manual.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn the_end_of_a_run_tells_what_did_not_come_again() {
        let report = |removed: u64| -> RunReport {
            serde_json::from_value(serde_json::json!({
                "run": "r", "job": "nightly", "source": "acme", "environment": "production",
                "base_url": "https://a.example/", "lake": "lake", "resumed": false,
                "started_at": "2026-05-01T12:00:00Z", "finished_at": "2026-05-01T12:01:00Z", "seconds": 60.0,
                "exit_code": 0, "resources": [], "tables": [], "next_step": "",
                "changes": [{"resource_type": "Location", "added": 1, "changed": 2, "removed": removed}],
            }))
            .unwrap()
        };
        let metrics = Metrics::default();
        for removed in [7, 0] {
            metrics.ended(&report(removed));
            let line = format!("fhirvest_type_removed_resources{{job=\"nightly\",type=\"Location\"}} {removed}");
            let told = metrics.render();
            assert!(told.lines().any(|found| found == line), "{line} in {told}");
        }
    }

    #[test]
    fn a_scheduler_that_starts_knows_the_last_run_and_a_run_without_a_report_is_told() {
        use crate::schedule::{JobOnBoard, LastRun};
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let last = LastRun {
            run: "r".into(),
            started_at: at("2026-05-01T12:00:00Z"),
            finished_at: at("2026-05-01T13:00:00Z"),
            exit: Exit::Incomplete,
            types: vec![
                ("Location".into(), Status::Partial, Some(0.5)),
                ("Organization".into(), Status::Complete, None),
                ("Endpoint".into(), Status::Unsupported, None),
            ],
            next_step: String::new(),
        };
        let mut job = JobOnBoard { job: "nightly".into(), last: Some(last), ..JobOnBoard::default() };
        let metrics = Metrics::default();
        let lines = |job: &JobOnBoard| {
            metrics.board(&Board { jobs: vec![job.clone()], ..Board::default() });
            metrics.render().lines().map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        let told = lines(&job);
        for line in [
            "fhirvest_run_exit_code{job=\"nightly\"} 5",
            "fhirvest_run_start_timestamp_seconds{job=\"nightly\"} 1777636800",
            "fhirvest_type_complete{job=\"nightly\",type=\"Location\"} 0",
            "fhirvest_type_complete{job=\"nightly\",type=\"Organization\"} 1",
            "fhirvest_type_coverage_ratio{job=\"nightly\",type=\"Location\"} 0.5",
        ] {
            assert!(told.iter().any(|found| found == line), "{line} in {told:#?}");
        }
        assert!(!told.iter().any(|line| line.contains("Endpoint")), "{told:#?}");
        job.failed = Some((at("2026-05-02T12:00:00Z"), Exit::Storage));
        assert!(lines(&job).iter().any(|line| line == "fhirvest_run_exit_code{job=\"nightly\"} 6"));
    }

    #[test]
    fn events_become_numbers_with_the_job_and_nothing_of_the_address() {
        let metrics = Arc::new(Metrics::default());
        let sink = metrics.events("nightly");
        for (status, millis) in [(Some(200), 40), (Some(429), 20), (None, 2_000)] {
            sink.event(&Event::Attempt {
                url: "https://acme.example/Patient?_id=4711".into(),
                status,
                took: Duration::from_millis(millis),
                bytes: 10,
                error: None,
            });
        }
        let text = metrics.render();
        for line in [
            "fhirvest_request_attempts_total{job=\"nightly\",outcome=\"ok\"} 1",
            "fhirvest_request_attempts_total{job=\"nightly\",outcome=\"throttled\"} 1",
            "fhirvest_request_attempts_total{job=\"nightly\",outcome=\"no-answer\"} 1",
            "fhirvest_request_duration_seconds_bucket{job=\"nightly\",le=\"0.05\"} 2",
            "fhirvest_request_duration_seconds_count{job=\"nightly\"} 3",
            "fhirvest_response_bytes_total{job=\"nightly\"} 30",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(!text.contains("acme") && !text.contains("4711"), "{text}");
    }
}
