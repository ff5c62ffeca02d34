//! What a run asked of a server, counted from the crawl's events: how much, how fast, how long answers took, what was
//! refused and when. Kept beside the run's cursors, so that a run that is gone on with goes on counting; what a process
//! asked that was killed is not in it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use camino::Utf8Path;
use chrono::{DateTime, TimeDelta, Utc};
use fhirvest_crawler::event::{Event, EventSink};
use serde::{Deserialize, Serialize};

use super::RunError;
use crate::{clock::Clock, config::Rate};

/// Upper bounds of the time that answers took, in milliseconds; the last bucket has none.
const BOUNDS: [u64; 10] = [25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

/// Seconds of which the number of requests is kept: no request takes longer, so nothing older can still grow.
const SECONDS_KEPT: usize = 600;

/// Kinds of answers that are told apart; a server with more has some left out.
const MOST_ANSWERS: usize = 200;

/// What a run asked of its server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Attempts, retries included.
    pub attempts: u64,
    /// Attempts after another one.
    pub retries: u64,
    /// Answers that asked for a pause: 429 and 503.
    pub throttled: u64,
    /// Bytes of answers, decompressed.
    pub bytes: u64,
    /// Time spent waiting before another attempt, in seconds, over all requests together.
    pub waited_seconds: f64,
    /// From the first request to the last answer, in seconds; of a run in several pieces, the sum of them.
    pub active_seconds: f64,
    /// The most requests that began in one second.
    pub busiest_second: u64,
    /// What the job allows: requests a second, 0 for no limit.
    pub limit_per_second: f64,
    /// What the job allows at once after a pause.
    pub burst: u32,
    /// How long answers took, in buckets.
    pub latency: Vec<LatencyBucket>,
    /// The longest time of an answer, in seconds.
    pub slowest_seconds: f64,
    /// The sum of the times of all answers, in seconds.
    pub latency_seconds: f64,
    /// By resource type and HTTP status, how often and when. No status: no answer.
    pub answers: Vec<Answer>,
}

/// Answers that took at most so long, and longer than the bucket before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatencyBucket {
    /// The upper bound in seconds; the last bucket has none.
    pub up_to_seconds: Option<f64>,
    /// The answers.
    pub count: u64,
}

/// What a server answered to requests of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The resource type that was asked for; none of requests for something else, such as a token.
    pub resource_type: Option<String>,
    /// The HTTP status; none where no answer came.
    pub status: Option<u16>,
    /// How often.
    pub count: u64,
    /// The first time.
    pub first_at: DateTime<Utc>,
    /// The last time.
    pub last_at: DateTime<Utc>,
}

impl Traffic {
    /// Requests a second, over the time in which there were any.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        if self.active_seconds > 0.0 { float(self.attempts) / self.active_seconds } else { 0.0 }
    }

    /// The mean time of an answer, in seconds.
    #[must_use]
    pub fn mean_latency(&self) -> f64 {
        let answers: u64 = self.latency.iter().map(|bucket| bucket.count).sum();
        if answers > 0 { self.latency_seconds / float(answers) } else { 0.0 }
    }

    fn answered(&mut self, took: Duration) {
        if self.latency.is_empty() {
            let bounds = BOUNDS.iter().map(|millis| Some(Duration::from_millis(*millis).as_secs_f64())).chain([None]);
            self.latency = bounds.map(|up_to_seconds| LatencyBucket { up_to_seconds, count: 0 }).collect();
        }
        let seconds = took.as_secs_f64();
        let bucket = self.latency.iter_mut().find(|bucket| bucket.up_to_seconds.is_none_or(|bound| seconds <= bound));
        if let Some(bucket) = bucket {
            bucket.count += 1;
        }
        self.latency_seconds += seconds;
        self.slowest_seconds = self.slowest_seconds.max(seconds);
    }

    fn note(&mut self, resource_type: Option<String>, status: Option<u16>, at: DateTime<Utc>) {
        let room = self.answers.len() < MOST_ANSWERS;
        let known = self.answers.iter_mut().find(|one| one.status == status && one.resource_type == resource_type);
        match known {
            Some(one) => (one.count, one.last_at) = (one.count + 1, at),
            None if room => {
                self.answers.push(Answer { resource_type, status, count: 1, first_at: at, last_at: at });
            }
            None => {}
        }
    }
}

/// Counts, and tells on.
pub(super) struct Counted {
    inner: Arc<dyn EventSink>,
    clock: Clock,
    tally: Mutex<Tally>,
}

struct Tally {
    traffic: Traffic,
    /// What earlier pieces of the run were active.
    before: f64,
    origin: Instant,
    first: Option<Duration>,
    /// Requests by the second in which they began.
    began: BTreeMap<u64, u64>,
}

impl Counted {
    pub(super) fn new(inner: Arc<dyn EventSink>, kept: Option<Traffic>, rate: &Rate, clock: Clock) -> Self {
        let mut traffic = kept.unwrap_or_default();
        (traffic.limit_per_second, traffic.burst) = (rate.requests_per_second, rate.burst);
        let before = traffic.active_seconds;
        let tally = Tally { traffic, before, origin: Instant::now(), first: None, began: BTreeMap::new() };
        Self { inner, clock, tally: Mutex::new(tally) }
    }

    /// Writes what was counted beside the run's cursors.
    pub(super) fn keep(&self, folder: &Utf8Path) -> Result<(), RunError> {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_vec(&tally.traffic).map_err(RunError::report)?;
        let path = folder.join(FILE);
        Ok(fhirvest_lake::durable::write_atomically(&path, &text)?)
    }
}

/// The name of the file beside the run's cursors.
const FILE: &str = "traffic.json";

/// What was counted so far of a run; a file that a crash left half written counts as none.
pub(super) fn kept(folder: &Utf8Path) -> Result<Option<Traffic>, RunError> {
    let path = folder.join(FILE);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(serde_json::from_slice::<Traffic>(&bytes).ok().filter(|traffic| traffic.attempts > 0)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RunError::File { path, source }),
    }
}

impl EventSink for Counted {
    fn event(&self, event: &Event) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).count(event, self.clock);
        self.inner.event(event);
    }
}

impl Tally {
    fn count(&mut self, event: &Event, clock: Clock) {
        match event {
            Event::Attempt { url, status, took, bytes, .. } => {
                let ended = self.origin.elapsed();
                let began = ended.saturating_sub(*took);
                let first = *self.first.get_or_insert(began);
                let traffic = &mut self.traffic;
                traffic.attempts += 1;
                traffic.bytes += *bytes as u64;
                traffic.throttled += u64::from(matches!(status, Some(429 | 503)));
                traffic.active_seconds = self.before + ended.saturating_sub(first).as_secs_f64();
                if status.is_some() {
                    traffic.answered(*took);
                }
                let at = clock.now() - TimeDelta::from_std(*took).unwrap_or_default();
                traffic.note(type_of(url), *status, at);
                let in_second = self.began.entry(began.as_secs()).or_default();
                *in_second += 1;
                traffic.busiest_second = traffic.busiest_second.max(*in_second);
                while self.began.len() > SECONDS_KEPT {
                    self.began.pop_first();
                }
            }
            Event::Waiting { delay, retry, .. } => {
                self.traffic.retries += u64::from(*retry > 0);
                self.traffic.waited_seconds += delay.as_secs_f64();
            }
            _ => {}
        }
    }
}

/// The resource type that an address asks for: the last part of its path that is one.
fn type_of(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').find(|part| fhirvest_fhir::elements::is_resource(part)).map(ToOwned::to_owned)
}

#[allow(clippy::cast_precision_loss, reason = "a number of requests needs no more than 52 bits")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use fhirvest_crawler::event::Silent;

    use super::*;

    #[test]
    fn every_attempt_is_in_one_bucket_and_one_answer_and_survives_a_pause() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(dir.path()).unwrap();
        let rate = Rate { requests_per_second: 5.0, burst: 1, concurrency: 2 };
        let clock = Clock::Fixed("2026-05-01T12:00:00Z".parse().unwrap());
        assert_eq!(kept(folder).unwrap(), None);
        for piece in 1..=2_u64 {
            let counted = Counted::new(Arc::new(Silent), kept(folder).unwrap(), &rate, clock);
            for (url, status, millis) in [
                ("https://acme.example/r4/Location?_count=50", Some(200), 20),
                ("https://acme.example/r4/Location?_count=50&page=2", Some(429), 90),
                ("https://acme.example/r4/Location/4711", None, 60_000),
                ("https://acme.example/token", Some(200), 50_000),
            ] {
                let took = Duration::from_millis(millis);
                counted.event(&Event::Attempt { url: url.into(), status, took, bytes: 100, error: None });
            }
            let delay = Duration::from_secs(3);
            counted.event(&Event::Waiting { url: String::new(), delay, reason: "429".into(), retry: 1 });
            counted.keep(folder).unwrap();
            let traffic = kept(folder).unwrap().unwrap();
            assert_eq!((traffic.attempts, traffic.retries, traffic.throttled), (4 * piece, piece, piece));
            assert_eq!(traffic.latency.iter().map(|bucket| bucket.count).sum::<u64>(), 3 * piece);
            assert_eq!(traffic.latency.first().unwrap().count, piece, "20 ms");
            assert_eq!(traffic.latency.last().unwrap().count, piece, "50 s");
            assert_eq!(traffic.answers.iter().map(|answer| answer.count).sum::<u64>(), 4 * piece);
            let of = |name: Option<&str>, status| {
                traffic.answers.iter().find(|one| one.resource_type.as_deref() == name && one.status == status)
            };
            assert_eq!(of(Some("Location"), Some(429)).unwrap().count, piece);
            assert_eq!(of(Some("Location"), None).unwrap().count, piece);
            assert_eq!(of(None, Some(200)).unwrap().count, piece);
            assert!((traffic.waited_seconds - 3.0 * float(piece)).abs() < 1e-9);
            let text = serde_json::to_string(&traffic).unwrap();
            assert!(!text.contains("acme") && !text.contains("4711"), "{text}");
        }
    }
}
