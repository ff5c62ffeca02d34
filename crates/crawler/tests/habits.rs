//! Servers that the sandbox does not play, each a function from its address to its answer: none may lead to a wrong
//! `complete` or `empty`, nor keep the crawl for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use fhirvest_crawler::{
    ending::Status,
    engine::{Crawl, ResourceOutcome, ResourcePlan},
    event::Silent,
    memory::MemoryStore,
    retry::Retrying,
    source::{Limits, Source},
    transport::{Reply, Request, Transport, TransportError},
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::watch;
use url::Url;

type Query = BTreeMap<String, String>;
/// Status, headers, body.
type Answer = (u16, Vec<(&'static str, &'static str)>, String);

struct Server<F> {
    answer: F,
    requests: Arc<AtomicUsize>,
}

impl<F: Fn(&Query, usize) -> Answer + Send + Sync + 'static> Transport for Server<F> {
    async fn send(&self, request: &Request) -> Result<Reply, TransportError> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let query = request.url.query_pairs().into_owned().collect();
        let (status, headers, body) = (self.answer)(&query, number);
        let headers: HeaderMap = headers
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        Ok(Reply { status, headers, body: Bytes::from(body), url: request.url.clone() })
    }
}

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

/// Crawls the type X; gives what it came to and the number of requests.
async fn crawl(answer: impl Fn(&Query, usize) -> Answer + Send + Sync + 'static) -> (ResourceOutcome, usize) {
    let requests = Arc::new(AtomicUsize::new(0));
    let server = Server { answer, requests: Arc::clone(&requests) };
    let source = Source::new(Url::parse("https://a.example/fhir").unwrap());
    let (_keep, cancel) = watch::channel(false);
    let fetcher = Retrying::new(server, Limits::default(), 0.0, now, Arc::new(Silent), cancel);
    let plan = ResourcePlan { page_size: Some(5), ..ResourcePlan::new("X") };
    let store = Arc::new(MemoryStore::default());
    let crawl = Crawl::new(fetcher, store, source, Limits::default(), 2, Arc::new(Silent));
    let mut outcome = crawl.run(&[plan]).await.unwrap();
    (outcome.resources.remove(0), requests.load(Ordering::Relaxed))
}

fn ok(body: String) -> Answer {
    (200, Vec::new(), body)
}

fn resource(id: usize) -> String {
    format!(r#"{{"resource":{{"resourceType":"X","id":"r{id:03}"}}}}"#)
}

fn bundle(entries: &[String], next: Option<usize>) -> String {
    let link = next.map(|page| format!(r#"{{"relation":"next","url":"X?p={page}"}}"#)).unwrap_or_default();
    format!(r#"{{"resourceType":"Bundle","link":[{link}],"entry":[{}]}}"#, entries.join(","))
}

fn page(query: &Query) -> usize {
    query.get("p").and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn five(page: usize) -> Vec<String> {
    (page * 5..page * 5 + 5).map(resource).collect()
}

#[tokio::test(start_paused = true)]
async fn pages_that_bring_nothing_come_to_an_end() {
    for entry in ["{}", r#"{"resource":{"resourceType":"X"}}"#, r#"{"resource":{"resourceType":"OperationOutcome"}}"#] {
        let (one, requests) = crawl(move |query, _| ok(bundle(&[entry.to_owned()], Some(page(query) + 1)))).await;
        assert!(!matches!(one.status, Status::Complete | Status::Empty), "{entry}: {one:?}");
        assert!(requests < 200, "{entry}: {requests} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn variants_on_every_page_come_to_an_end() {
    let (one, requests) = crawl(|query, number| {
        let text = format!(r#"{{"resource":{{"resourceType":"X","id":"a","name":"{number}"}}}}"#);
        ok(bundle(&[text], Some(page(query) + 1)))
    })
    .await;
    assert_eq!(one.status, Status::Partial, "{one:?}");
    assert!(requests < 50, "{requests} requests");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_bundle_is_no_page() {
    for (body, status) in [
        (r#"{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1"}"#, Status::Refused),
        (r#"{"resourceType":"X","id":"a"}"#, Status::Refused),
        (r#"{"error":"no"}"#, Status::Refused),
        ("<html>Please log in</html>", Status::Refused),
        // Nothing is what is left of an answer that was cut off: it is asked for again.
        ("", Status::Failed),
    ] {
        let (one, _) = crawl(move |_, _| ok(body.to_owned())).await;
        assert_eq!(one.status, status, "{body}: {one:?}");
        // The same in the middle of a crawl.
        let (one, _) = crawl(move |query, _| match query.get("p") {
            None => ok(bundle(&five(0), Some(1))),
            Some(_) => ok(body.to_owned()),
        })
        .await;
        assert_eq!(one.status, Status::Partial, "{body}: {one:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn resources_without_a_type_are_missing_from_the_type_that_was_asked_for() {
    let (one, _) = crawl(|_, _| ok(bundle(&[r#"{"resource":{"id":"a"}}"#.to_owned()], None))).await;
    assert_eq!((one.status, one.counts.quarantined), (Status::Partial, 1), "{one:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_last_page_without_a_link_and_a_count_is_looked_into() {
    // Ids in no order whatever is asked for: the server cannot show that this is all.
    let (one, _) = crawl(|query, _| {
        let mut entries = five(page(query));
        entries.reverse();
        entries.swap(0, 2);
        ok(bundle(&entries, (page(query) < 2).then(|| page(query) + 1)))
    })
    .await;
    assert_eq!(one.status, Status::Partial, "{one:?}");
    // One that sorts, and has more.
    let sorted = |whole: usize| {
        move |query: &Query, _| match query.get("_sort").map(String::as_str) {
            Some("_id") => ok(bundle(&(0..20.min(whole)).map(resource).collect::<Vec<_>>(), None)),
            Some(_) => ok(bundle(&(0..whole).rev().take(20).map(resource).collect::<Vec<_>>(), None)),
            None => ok(bundle(&five(page(query)), (page(query) < 2).then(|| page(query) + 1))),
        }
    };
    assert_eq!(crawl(sorted(40)).await.0.status, Status::Partial);
    assert_eq!(crawl(sorted(15)).await.0.status, Status::Complete);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_at_once_is_not_asked_at_once_for_ever() {
    let start = tokio::time::Instant::now();
    let (one, requests) = crawl(|_, _| (429, vec![("retry-after", "0")], String::new())).await;
    assert_eq!(one.status, Status::Failed, "{one:?}");
    assert!(requests < 30 && start.elapsed().as_secs() > 10, "{requests} requests in {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_cycle_of_links_ends() {
    for cycle in [1, 2, 3] {
        let (one, requests) =
            crawl(move |query, _| ok(bundle(&five(page(query) % cycle), Some((page(query) + 1) % cycle)))).await;
        assert_eq!(one.status, Status::Partial, "{one:?}");
        assert!(requests < 30, "{requests} requests");
    }
}
