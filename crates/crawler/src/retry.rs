//! Asks until there is an answer, within limits: judgement is [`crate::judgement`], the length of waits is
//! [`crate::backoff_delay`], and this is the loop. It stands outside of the limiter, so that every attempt pays.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use fhirvest_fhir::bundle::{Page, ScanError, scan};
use futures_util::StreamExt;
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use url::Url;

use crate::{
    backoff_delay::Delays,
    event::{Event, EventSink},
    judgement::{self, Refusal, RefusalKind, Verdict},
    source::{Limits, shown},
    transport::{Incoming, Reply, Request, Transport, TransportError},
};

/// A page with its body.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The scanned page; its entries are ranges of `body`.
    pub page: Page,
    /// The body.
    pub body: Bytes,
    /// Where it came from, after redirects.
    pub url: Url,
    /// Attempts that it took.
    pub attempts: u32,
    /// The server's own time (`Date`), where it tells it.
    pub date: Option<DateTime<Utc>>,
}

/// Why there is no page.
#[derive(Debug, Clone, PartialEq)]
pub enum FetchError {
    /// Asking again is no use.
    Refused(Refusal),
    /// All attempts failed.
    Unavailable {
        /// How many.
        attempts: u32,
        /// Why the last one failed.
        reason: String,
        /// Whether the server answered at all in the last one, be it with an error or too slowly: then it may manage
        /// a smaller question.
        answered: bool,
    },
    /// The server asks to come back later than the crawl may wait.
    Later {
        /// When.
        not_before: DateTime<Utc>,
        /// Why.
        reason: String,
    },
    /// The crawl was stopped, or a person's sign-in is over ([`crate::oauth::HeldTokens::has_ended`]): either way it can
    /// go on from here.
    Cancelled,
}

/// Who is told of a body, and of where it came from, before it is scanned.
pub(crate) type Announce = oneshot::Sender<(Bytes, Url)>;

/// Where the time comes from.
pub type Now = fn() -> DateTime<Utc>;

/// Gets pages, with retries.
pub struct Retrying<T> {
    inner: T,
    limits: Limits,
    jitter: f64,
    now: Now,
    events: Arc<dyn EventSink>,
    cancel: watch::Receiver<bool>,
    discreet: bool,
    /// Whether a page has come: then what is no FHIR may be a gateway's word, and the server's the next one.
    has_answered: AtomicBool,
}

impl<T: Transport> Retrying<T> {
    /// Retries around `inner`. Waits are moved at random by up to `jitter` of themselves.
    pub fn new(
        inner: T,
        limits: Limits,
        jitter: f64,
        now: Now,
        events: Arc<dyn EventSink>,
        cancel: watch::Receiver<bool>,
    ) -> Self {
        let has_answered = AtomicBool::new(false);
        Self { inner, limits, jitter, now, events, cancel, discreet: false, has_answered }
    }

    /// Repeats nothing that the server says in its own words where `discreet`: they may name a person.
    #[must_use]
    pub fn discreet(self, discreet: bool) -> Self {
        Self { discreet, ..self }
    }

    /// Scans a body: a large one on a thread of its own, so that others may ask and answer meanwhile.
    async fn scan(&self, body: &Bytes) -> Result<Page, ScanError> {
        let discreet = self.discreet;
        if body.len() < LARGE_BODY {
            return scanned(body, discreet);
        }
        let shared = body.clone();
        let page = tokio::task::spawn_blocking(move || scanned(&shared, discreet)).await;
        // Only a runtime that is shutting down takes no more work.
        page.unwrap_or_else(|_| scanned(body, discreet))
    }

    /// Whether the crawl was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.cancel.borrow()
    }

    /// Gets the page of an address.
    ///
    /// # Errors
    /// [`FetchError`] once asking again is no use, or no longer allowed.
    pub async fn page(&self, url: &Url) -> Result<Fetched, FetchError> {
        self.page_within(url, self.limits.max_retries).await
    }

    /// Gets the page of an address with at most so many retries, and never more than the limits allow.
    ///
    /// # Errors
    /// [`FetchError`] once asking again is no use, or no longer allowed.
    pub async fn page_within(&self, url: &Url, max_retries: u32) -> Result<Fetched, FetchError> {
        self.page_told(url, max_retries, None).await
    }

    /// Gets the page of an address, and tells of the first whole body that comes before it is scanned.
    ///
    /// # Errors
    /// [`FetchError`] once asking again is no use, or no longer allowed.
    pub(crate) async fn page_announced(&self, url: &Url, body: Announce) -> Result<Fetched, FetchError> {
        self.page_told(url, self.limits.max_retries, Some(body)).await
    }

    async fn page_told(
        &self,
        url: &Url,
        max_retries: u32,
        mut announce: Option<Announce>,
    ) -> Result<Fetched, FetchError> {
        let max_retries = max_retries.min(self.limits.max_retries);
        let request = Request::new(url.clone());
        let mut delays = Delays::new(self.jitter);
        let mut attempts = 0;
        loop {
            if self.is_cancelled() {
                return Err(FetchError::Cancelled);
            }
            attempts += 1;
            let (verdict, fetched, answered) =
                self.or_cancelled(self.attempt(&request, attempts, &mut announce)).await?;
            let (after, reason) = match (verdict, fetched) {
                (Verdict::Deliver, Some(fetched)) => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    return Ok(fetched);
                }
                (Verdict::Refuse(refusal), _) if attempts <= max_retries && self.may_be_another(&refusal, attempts) => {
                    (None, refusal.message)
                }
                (Verdict::Refuse(refusal), _) => return Err(FetchError::Refused(refusal)),
                (Verdict::Stop, _) => return Err(FetchError::Cancelled),
                (Verdict::Retry { after, reason }, _) => (after, reason),
                (Verdict::Deliver, None) => (None, "no page".to_owned()),
            };
            self.wait_to_retry(url, (after, reason, answered), attempts, max_retries, &mut delays).await?;
        }
    }

    /// Opens an answer that is no page: the export's state, or one of its files. Only its status and headers are judged.
    ///
    /// # Errors
    /// [`FetchError`] once asking again is no use, or no longer allowed.
    pub async fn open(&self, request: &Request) -> Result<Incoming, FetchError> {
        let mut delays = Delays::new(self.jitter);
        let mut attempts = 0;
        loop {
            if self.is_cancelled() {
                return Err(FetchError::Cancelled);
            }
            attempts += 1;
            let started = Instant::now();
            let answer = self.or_cancelled(self.inner.open(request)).await?;
            let took = request.sent.take().unwrap_or(started).elapsed();
            let url = shown(&request.url);
            let (after, reason, answered) = match answer {
                Ok(incoming) => {
                    let status = Some(incoming.status);
                    self.events.event(&Event::Attempt { url, status, took, bytes: 0, error: None });
                    if matches!(incoming.status, 200..=299) {
                        return Ok(incoming);
                    }
                    let (status, headers) = (incoming.status, incoming.headers.clone());
                    let page = scanned(&beginning(incoming, LONGEST_ERROR).await, self.discreet);
                    match judgement::judge(status, &headers, &page, (self.now)()) {
                        Verdict::Retry { after, reason } => (after, reason, true),
                        Verdict::Refuse(refusal) => return Err(FetchError::Refused(refusal)),
                        Verdict::Stop => return Err(FetchError::Cancelled),
                        Verdict::Deliver => (None, format!("HTTP {status}"), true),
                    }
                }
                Err(error) => {
                    let text = chain(&error);
                    self.events.event(&Event::Attempt { url, status: None, took, bytes: 0, error: Some(text.clone()) });
                    match judgement::judge_failure(&error) {
                        Verdict::Refuse(refusal) => return Err(FetchError::Refused(refusal)),
                        Verdict::Stop => return Err(FetchError::Cancelled),
                        Verdict::Retry { after, .. } => (after, text, !matches!(error, TransportError::Connect(_))),
                        Verdict::Deliver => (None, text, !matches!(error, TransportError::Connect(_))),
                    }
                }
            };
            let max_retries = self.limits.max_retries;
            self.wait_to_retry(&request.url, (after, reason, answered), attempts, max_retries, &mut delays).await?;
        }
    }

    /// Waits before another attempt, as long as the server asks or the backoff says: `failed` is what the server asks for,
    /// why, and whether anybody answered. An error where the wait is too long or the attempts are used up.
    async fn wait_to_retry(
        &self,
        url: &Url,
        failed: (Option<Duration>, String, bool),
        attempts: u32,
        max_retries: u32,
        delays: &mut Delays,
    ) -> Result<(), FetchError> {
        let (after, reason, answered) = failed;
        if let Some(after) = after.filter(|after| *after > self.limits.max_wait) {
            return Err(self.later(after, reason));
        }
        if attempts > max_retries {
            return Err(FetchError::Unavailable { attempts, reason, answered });
        }
        let delay = after.filter(|after| is_a_wait(*after, attempts)).or_else(|| delays.next()).unwrap_or_default();
        self.events.event(&Event::Waiting { url: shown(url), delay, reason, retry: attempts });
        self.wait(delay).await
    }

    /// Whether a refusal after so many attempts may come from somebody in between, who is gone in a moment: a gateway that
    /// says with a page of its own and status 200 that the server is being looked after.
    fn may_be_another(&self, refusal: &Refusal, attempts: u32) -> bool {
        refusal.kind == RefusalKind::NotFhir
            && self.has_answered.load(Ordering::Relaxed)
            && attempts <= MOST_WORDS_OF_OTHERS
    }

    /// What comes of a request, or that the crawl is asked to stop: a request in flight is not waited for then.
    async fn or_cancelled<R>(&self, request: impl Future<Output = R>) -> Result<R, FetchError> {
        let mut cancel = self.cancel.clone();
        tokio::select! {
            biased;
            answer = request => Ok(answer),
            Ok(_) = cancel.wait_for(|cancelled| *cancelled) => Err(FetchError::Cancelled),
        }
    }

    /// Waits, or not to the end if the crawl is asked to stop.
    ///
    /// # Errors
    /// [`FetchError::Cancelled`].
    pub async fn wait(&self, delay: Duration) -> Result<(), FetchError> {
        let mut cancel = self.cancel.clone();
        tokio::select! {
            () = tokio::time::sleep(delay) => Ok(()),
            // A sender that is gone will never cancel: wait for the sleep then.
            Ok(_) = cancel.wait_for(|cancelled| *cancelled) => Err(FetchError::Cancelled),
        }
    }

    /// The time now, as this crawl is told it.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        (self.now)()
    }

    /// That the server asks for a wait beyond the limit.
    pub(crate) fn later(&self, after: Duration, reason: String) -> FetchError {
        let wait = chrono::Duration::from_std(after.min(LONGEST_LATER)).unwrap_or_default();
        let now = (self.now)();
        FetchError::Later { not_before: now.checked_add_signed(wait).unwrap_or(now), reason }
    }

    async fn attempt(
        &self,
        request: &Request,
        attempts: u32,
        announce: &mut Option<Announce>,
    ) -> (Verdict, Option<Fetched>, bool) {
        let started = Instant::now();
        let answer = self.inner.send(request).await;
        let took = request.sent.take().unwrap_or(started).elapsed();
        match answer {
            Ok(reply) => {
                let bytes = reply.body.len();
                let url = shown(&request.url);
                self.events.event(&Event::Attempt { url, status: Some(reply.status), took, bytes, error: None });
                if is_whole(&reply)
                    && let Some(announce) = announce.take()
                {
                    // Nobody waits for it where nothing is begun early.
                    let _ = announce.send((reply.body.clone(), reply.url.clone()));
                }
                let page = self.scan(&reply.body).await;
                let verdict = judgement::judge(reply.status, &reply.headers, &page, (self.now)());
                let date = judgement::server_time(&reply.headers);
                let fetched = page.ok().map(|page| Fetched { page, body: reply.body, url: reply.url, attempts, date });
                (verdict, fetched, true)
            }
            Err(error) => {
                let (url, text) = (shown(&request.url), chain(&error));
                self.events.event(&Event::Attempt { url, status: None, took, bytes: 0, error: Some(text.clone()) });
                let verdict = match judgement::judge_failure(&error) {
                    Verdict::Retry { after, .. } => Verdict::Retry { after, reason: text },
                    other => other,
                };
                (verdict, None, !matches!(error, TransportError::Connect(_)))
            }
        }
    }
}

/// Answers that are no FHIR, after some that were, until they are taken for the server's own.
const MOST_WORDS_OF_OTHERS: u32 = 2;

/// The longest time that is kept for later. A server that names a longer one means none, and some name one that no
/// calendar holds.
const LONGEST_LATER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A body of this size takes longer to scan than to hand over to another thread.
const LARGE_BODY: usize = 32 << 10;

fn scanned(body: &[u8], discreet: bool) -> Result<Page, ScanError> {
    let mut page = scan(body);
    if discreet {
        let outcomes = page.iter_mut().flat_map(|page| &mut page.outcomes);
        outcomes.flat_map(|outcome| &mut outcome.issues).for_each(|issue| issue.text.clear());
        if let Err(ScanError::NotFhir { excerpt }) = &mut page {
            "…".clone_into(excerpt);
        }
    }
    page
}

/// Whether an answer looks like a page to its last byte.
fn is_whole(reply: &Reply) -> bool {
    (200..300).contains(&reply.status) && reply.body.trim_ascii_end().ends_with(b"}")
}

/// Whether a wait that the server asks for is one: "at once" is believed once, then it is a server that does not know.
fn is_a_wait(after: Duration, attempts: u32) -> bool {
    attempts < 2 || !after.is_zero()
}

/// Of the body of an error: enough for an OperationOutcome.
const LONGEST_ERROR: usize = 64 << 10;

/// What a body begins with.
pub(crate) async fn beginning(mut incoming: Incoming, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(Ok(chunk)) = incoming.body.next().await {
        body.extend_from_slice(&chunk);
        if body.len() >= most {
            break;
        }
    }
    body
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
