//! The pace of a whole crawl, under a paused clock: retries, tokens and probes pay like any request, and none of the
//! time that the pace allows is wasted while there are two types to ask for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use fhirvest_crawler::{
    authorized::Authorized,
    ending::Status,
    engine::{Crawl, ResourcePlan},
    event::{Event, EventSink, Silent},
    memory::MemoryStore,
    oauth::{ClientAuthentication, Endpoint, OAuthClient},
    pace::Paced,
    retry::Retrying,
    source::{Credentials, Limits, Pace, Source},
    transport::{Reply, Request, RequestKind, Transport, TransportError},
};
use reqwest::header::HeaderMap;
use tokio::{sync::watch, time::Instant};
use url::Url;

const PAGES: usize = 100;
const PER_PAGE: usize = 3;

/// Answers after a while, fails now and then, gives tokens that soon end, and notes when it was asked.
#[derive(Clone)]
struct Server {
    asked: Arc<Mutex<Vec<Instant>>>,
    fails_every: Option<usize>,
    answers_after: Duration,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn new(fails_every: Option<usize>, answers_after: Duration) -> Self {
        Self { asked: Arc::default(), fails_every, answers_after, requests: Arc::default() }
    }
}

impl Transport for Server {
    async fn send(&self, request: &Request) -> Result<Reply, TransportError> {
        self.asked.lock().unwrap().push(Instant::now());
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.answers_after).await;
        let reply = |status, body: String| Reply {
            status,
            headers: HeaderMap::new(),
            body: Bytes::from(body),
            url: request.url.clone(),
        };
        if request.kind == RequestKind::Token {
            return Ok(reply(200, r#"{"access_token":"t","token_type":"Bearer","expires_in":31}"#.into()));
        }
        if self.fails_every.is_some_and(|every| number % every == every - 1) {
            return Ok(reply(503, String::new()));
        }
        let query: BTreeMap<String, String> = request.url.query_pairs().into_owned().collect();
        let page: usize = query.get("p").and_then(|text| text.parse().ok()).unwrap_or(0);
        let name = request.url.path().rsplit('/').next().unwrap_or_default();
        let entries: Vec<String> = (page * PER_PAGE..(page + 1) * PER_PAGE)
            .map(|id| format!(r#"{{"resource":{{"resourceType":"{name}","id":"{id}"}}}}"#))
            .collect();
        let next = format!(r#"{{"relation":"next","url":"{name}?p={}"}}"#, page + 1);
        let link = if page + 1 < PAGES { next } else { String::new() };
        let (total, entries) = (PAGES * PER_PAGE, entries.join(","));
        Ok(reply(200, format!(r#"{{"resourceType":"Bundle","total":{total},"link":[{link}],"entry":[{entries}]}}"#)))
    }
}

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

/// Crawls two types at a pace; gives the times of all requests, and how long it took.
async fn crawl(server: &Server, pace: Pace, cancel: watch::Receiver<bool>) -> (Vec<Duration>, Duration, Vec<Status>) {
    let mut source = Source::new(Url::parse("https://a.example/fhir").unwrap());
    let token_url = Endpoint::At(Url::parse("https://a.example/token").unwrap());
    let client = OAuthClient { token_url, id: None, authentication: ClientAuthentication::Public };
    source.credentials = Credentials::Client { client, scopes: Vec::new() };
    let paced = Paced::new(server.clone(), Arc::default(), pace);
    let authorized = Authorized::new(paced, source.clone(), now);
    let fetcher = Retrying::new(authorized, Limits::default(), 0.5, now, Arc::new(Silent), cancel);
    let plans: Vec<_> = ["Location", "Organization"].map(ResourcePlan::new).into();
    let store = Arc::new(MemoryStore::default());
    let start = Instant::now();
    let crawl = Crawl::new(fetcher, store, source, Limits::default(), pace.concurrency, Arc::new(Silent));
    let outcome = crawl.run(&plans).await.unwrap();
    let took = start.elapsed();
    let times = server.asked.lock().unwrap().iter().map(|at| *at - start).collect();
    (times, took, outcome.resources.iter().map(|one| one.status).collect())
}

#[tokio::test(start_paused = true)]
async fn no_second_holds_more_than_rate_and_burst_and_no_time_is_wasted() {
    for (rate, burst, fails_every) in [(10, 1, None), (7, 3, None), (10, 1, Some(9)), (20, 5, Some(4))] {
        let server = Server::new(fails_every, Duration::from_millis(40));
        let pace = Pace { requests_per_second: f64::from(rate), burst, concurrency: 4 };
        let (_keep, cancel) = watch::channel(false);
        let (times, took, statuses) = crawl(&server, pace, cancel).await;
        assert_eq!(statuses, [Status::Complete; 2], "rate {rate}");
        assert!(times.len() >= 2 * PAGES, "{} requests", times.len());
        for (place, start) in times.iter().enumerate() {
            let within = times[place..].iter().filter(|at| **at < *start + Duration::from_secs(1)).count();
            assert!(within <= (rate + burst) as usize, "{within} requests in a second at {rate}/s and burst {burst}");
        }
        // Waits between retries are no waste: the other type goes on, but at its own speed only.
        if fails_every.is_none() {
            let ideal = times.len() as f64 / f64::from(rate);
            assert!(took.as_secs_f64() <= 1.05 * ideal, "{took:?} for {} requests at {rate}/s", times.len());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crawl_that_is_stopped_waits_for_no_answer() {
    let server = Server::new(None, Duration::from_secs(50));
    let pace = Pace { requests_per_second: 0.0, burst: 1, concurrency: 4 };
    let (stop, cancel) = watch::channel(false);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        stop.send(true).unwrap();
        std::future::pending::<()>().await;
    };
    let (_, took, _) = tokio::select! {
        done = crawl(&server, pace, cancel) => done,
        () = stopping => unreachable!(),
    };
    assert!(took < Duration::from_secs(61), "stopped after a minute, it took {took:?}");
}

/// Keeps how long each attempt took.
#[derive(Default)]
struct Took(Mutex<Vec<Duration>>);

impl EventSink for Took {
    fn event(&self, event: &Event) {
        if let Event::Attempt { took, .. } = event {
            self.0.lock().unwrap().push(*took);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_attempt_took_leaves_out_the_wait_for_its_turn() {
    let server = Server::new(Some(3), Duration::from_millis(40));
    let pace = Pace { requests_per_second: 2.0, burst: 1, concurrency: 4 };
    let (_keep, cancel) = watch::channel(false);
    let took = Arc::new(Took::default());
    let paced = Paced::new(server.clone(), Arc::default(), pace);
    let fetcher = Retrying::new(paced, Limits::default(), 0.5, now, took.clone(), cancel);
    for page in 0..9 {
        fetcher.page(&Url::parse(&format!("https://a.example/fhir/Location?p={page}")).unwrap()).await.unwrap();
    }
    let took = took.0.lock().unwrap();
    assert!(took.len() > 9, "some were asked twice");
    assert!(took.iter().all(|took| *took == Duration::from_millis(40)), "{took:?}");
}
