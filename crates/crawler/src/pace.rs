//! Never faster than allowed: one limiter a host, shared by every job of the process, that each attempt passes, retries
//! included; and never more requests in flight than allowed.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use tokio::sync::Semaphore;
use url::Url;

use crate::{
    source::Pace,
    transport::{Incoming, Reply, Request, Transport, TransportError},
};

/// Tokio's clock, so that a test can pause it; but while a turn is taken that was waited for, the time at which it was
/// due. Timers fire up to some milliseconds late, and a limiter that counted from then would lose them with every
/// request: 5 % of the time at 40 requests a second.
#[derive(Debug, Clone, Default)]
struct TurnClock(Arc<Mutex<Option<Instant>>>);

impl TurnClock {
    fn due(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `check` as if it were `due`.
    fn at<T>(&self, due: Instant, check: impl FnOnce() -> T) -> T {
        *self.due() = Some(due);
        let checked = check();
        *self.due() = None;
        checked
    }
}

impl Clock for TurnClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        let due = *self.due();
        due.unwrap_or_else(|| tokio::time::Instant::now().into_std())
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TurnClock, NoOpMiddleware<Instant>>;

/// A limiter with the time between two requests, and the clock that it looks at.
#[derive(Debug)]
struct Turns {
    limiter: Limiter,
    period: Duration,
    clock: TurnClock,
    /// First come, first served, and one at a time, since the clock tells one their time only.
    queue: tokio::sync::Mutex<()>,
}

impl Turns {
    fn new(quota: Quota) -> Self {
        let clock = TurnClock::default();
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        Self { limiter, period: quota.replenish_interval(), clock, queue: tokio::sync::Mutex::default() }
    }

    /// Waits until a request may go, unless `outdated` says meanwhile that these turns count no more; whether it may.
    ///
    /// A turn that comes late by less than a period counts as taken when it was due. Turns are due a period apart, so
    /// in a second, however late its first and early its last one, are at most one more than the rate.
    async fn next(&self, outdated: impl Fn() -> bool) -> bool {
        let _first = self.queue.lock().await;
        loop {
            if outdated() {
                return false;
            }
            let Err(not_yet) = self.limiter.check() else { return true };
            let due = not_yet.earliest_possible();
            tokio::time::sleep_until(due.into()).await;
            let late = tokio::time::Instant::now().into_std().saturating_duration_since(due);
            if late < self.period && !outdated() && self.clock.at(due, || self.limiter.check()).is_ok() {
                return true;
            }
        }
    }
}

/// The limiter of one host.
#[derive(Debug)]
struct HostPace {
    turns: Option<Turns>,
    pace: Pace,
}

/// The limiters of all hosts that this process talks to.
#[derive(Debug, Default)]
pub struct HostLimiters {
    hosts: Mutex<HashMap<String, Arc<HostPace>>>,
}

impl HostLimiters {
    /// The limiter of an address's host. Where several jobs share a host, the strictest of their paces holds for all
    /// requests from then on.
    fn of(&self, url: &Url, pace: Pace) -> Arc<HostPace> {
        let host =
            format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(&host).filter(|known| !is_stricter(&pace, &known.pace)) {
            return Arc::clone(known);
        }
        let made = Arc::new(HostPace { turns: quota(&pace).map(Turns::new), pace });
        hosts.insert(host, Arc::clone(&made));
        made
    }
}

fn is_stricter(new: &Pace, known: &Pace) -> bool {
    let rate = |pace: &Pace| if pace.requests_per_second > 0.0 { pace.requests_per_second } else { f64::INFINITY };
    (rate(new), new.burst) < (rate(known), known.burst)
}

/// How much longer than the rate demands the time between two requests is. A server counts when requests arrive, and not
/// each is on its way equally long.
const HEADROOM: f64 = 1.02;

fn quota(pace: &Pace) -> Option<Quota> {
    if pace.requests_per_second <= 0.0 {
        return None;
    }
    let period = Duration::try_from_secs_f64(HEADROOM / pace.requests_per_second).ok()?;
    Some(Quota::with_period(period)?.allow_burst(NonZeroU32::new(pace.burst).unwrap_or(NonZeroU32::MIN)))
}

/// Passes the host's limiter before each request.
#[derive(Debug)]
pub struct Paced<T> {
    inner: T,
    hosts: Arc<HostLimiters>,
    pace: Pace,
    in_flight: Semaphore,
}

impl<T> Paced<T> {
    /// Paces `inner`.
    pub fn new(inner: T, hosts: Arc<HostLimiters>, pace: Pace) -> Self {
        Self { inner, hosts, pace, in_flight: Semaphore::new(pace.concurrency.max(1)) }
    }
}

impl<T> Paced<T> {
    /// Waits until the host may be asked once more.
    async fn turn(&self, request: &Request) {
        loop {
            let host = self.hosts.of(&request.url, self.pace);
            let Some(turns) = &host.turns else { break };
            // Another job may make the host's pace stricter meanwhile.
            let outdated = || !Arc::ptr_eq(&host, &self.hosts.of(&request.url, self.pace));
            if turns.next(outdated).await {
                break;
            }
        }
    }
}

impl<T: Transport> Transport for Paced<T> {
    async fn send(&self, request: &Request) -> Result<Reply, TransportError> {
        // The semaphore is never closed; without a permit there is still the limiter.
        let _permit = self.in_flight.acquire().await.ok();
        self.turn(request).await;
        request.sent.now();
        self.inner.send(request).await
    }

    /// The place among the requests in flight is kept until the head of the answer is there; how many bodies come at
    /// once is the caller's to say.
    async fn open(&self, request: &Request) -> Result<Incoming, TransportError> {
        let _permit = self.in_flight.acquire().await.ok();
        self.turn(request).await;
        request.sent.now();
        self.inner.open(request).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use proptest::prelude::*;
    use reqwest::header::HeaderMap;

    use super::*;

    /// Answers at once and notes when it was asked.
    struct Noting(Arc<Mutex<Vec<tokio::time::Instant>>>);

    impl Transport for Noting {
        async fn send(&self, request: &Request) -> Result<Reply, TransportError> {
            self.0.lock().unwrap().push(tokio::time::Instant::now());
            Ok(Reply { status: 200, headers: HeaderMap::new(), body: Bytes::new(), url: request.url.clone() })
        }
    }

    fn times(rate: f64, burst: u32, requests: usize) -> Vec<Duration> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let noted = Arc::new(Mutex::new(Vec::new()));
            let pace = Pace { requests_per_second: rate, burst, concurrency: 4 };
            let paced = Paced::new(Noting(Arc::clone(&noted)), Arc::default(), pace);
            let start = tokio::time::Instant::now();
            let request = Request::new(Url::parse("http://a.example/").unwrap());
            let all = (0..requests).map(|_| paced.send(&request));
            futures_util::future::join_all(all).await;
            noted.lock().unwrap().iter().map(|at| *at - start).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn no_second_holds_more_than_rate_and_burst_and_none_is_wasted(rate in 1u32..40, burst in 1u32..5, requests in 2usize..80) {
            let times = times(f64::from(rate), burst, requests);
            for (place, start) in times.iter().enumerate() {
                let within = times[place..].iter().filter(|at| **at < *start + Duration::from_secs(1)).count();
                prop_assert!(within <= (rate + burst) as usize, "{within} requests in a second at {rate}/s and burst {burst}");
            }
            let ideal = requests as f64 / f64::from(rate);
            let took = times.last().unwrap().as_secs_f64();
            prop_assert!(took <= 1.05 * ideal + 0.01, "{took} s for {requests} at {rate}/s");
        }
    }

    #[test]
    fn a_late_turn_counts_as_taken_when_it_was_due() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            // 300 requests a second are due each 3.4 ms; Tokio's timers know whole milliseconds only.
            let turns = Turns::new(quota(&Pace { requests_per_second: 300.0, burst: 1, concurrency: 1 }).unwrap());
            let start = tokio::time::Instant::now();
            for _ in 0..301 {
                assert!(turns.next(|| false).await);
            }
            let took = start.elapsed().as_secs_f64();
            assert!((HEADROOM..HEADROOM + 0.002).contains(&took), "{took} s for 300 periods");
            assert!(!turns.next(|| true).await, "an outdated turn is none");
        });
    }

    #[test]
    fn the_strictest_job_of_a_host_sets_its_pace() {
        let hosts = HostLimiters::default();
        let url = Url::parse("http://a.example/fhir").unwrap();
        let pace = |rate| Pace { requests_per_second: rate, burst: 1, concurrency: 1 };
        hosts.of(&url, pace(0.0));
        assert!((hosts.of(&url, pace(2.0)).pace.requests_per_second - 2.0).abs() < f64::EPSILON);
        assert!((hosts.of(&url, pace(5.0)).pace.requests_per_second - 2.0).abs() < f64::EPSILON);
    }
}
