//! Stopped at any write and taken up again, a crawl ends with what an undisturbed one has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod mortal;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use fhirvest_crawler::{
    ending::Status,
    engine::{Crawl, CrawlOutcome, ResourcePlan},
    event::Silent,
    memory::MemoryStore,
    retry::Retrying,
    source::{Limits, Source},
    store::Store,
    transport::{Reply, Request, Transport, TransportError},
};
use mortal::Mortal;
use proptest::prelude::*;
use reqwest::header::HeaderMap;
use tokio::sync::watch;
use url::Url;

/// A server whose pages are lists of ids, whose search may be lost once, and that tells no count.
#[derive(Clone)]
struct Pages {
    pages: Arc<Vec<Vec<usize>>>,
    lost_at: Option<usize>,
    lost: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Pages {
    fn new(pages: Vec<Vec<usize>>, lost_at: Option<usize>) -> Self {
        Self { pages: Arc::new(pages), lost_at, lost: Arc::default(), asked: Arc::default() }
    }

    fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.pages.iter().flatten().map(|id| format!("r{id:04}")).collect();
        ids.sort();
        ids.dedup();
        ids
    }
}

impl Transport for Pages {
    async fn send(&self, request: &Request) -> Result<Reply, TransportError> {
        let query: BTreeMap<String, String> = request.url.query_pairs().into_owned().collect();
        self.asked.lock().unwrap().push(request.url.to_string());
        let number: usize = query.get("p").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut status = 200;
        let mut body = String::new();
        if self.lost_at == Some(number) && self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            status = 410;
        } else if let Some(sort) = query.get("_sort") {
            let mut ids = self.ids();
            if sort.starts_with('-') {
                ids.reverse();
            }
            body = bundle(ids.into_iter().take(20), None);
        } else {
            let next = (number + 1 < self.pages.len()).then(|| format!("X?p={}", number + 1));
            let ids = self.pages[number].iter().map(|id| format!("r{id:04}"));
            body = bundle(ids, next);
        }
        Ok(Reply { status, headers: HeaderMap::new(), body: Bytes::from(body), url: request.url.clone() })
    }
}

fn bundle(ids: impl Iterator<Item = String>, next: Option<String>) -> String {
    let mut text = r#"{"resourceType":"Bundle","entry":["#.to_owned();
    for (place, id) in ids.enumerate() {
        let comma = if place > 0 { "," } else { "" };
        write!(text, r#"{comma}{{"resource":{{"resourceType":"X","id":"{id}"}}}}"#).unwrap();
    }
    let link = next.map(|url| format!(r#","link":[{{"relation":"next","url":"{url}"}}]"#)).unwrap_or_default();
    text + "]" + &link + "}"
}

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

async fn crawl<S: Store>(server: &Pages, store: Arc<S>) -> Result<CrawlOutcome, S::Error> {
    let source = Source::new(Url::parse("http://a.example/fhir").unwrap());
    let (_keep, cancel) = watch::channel(false);
    let limits = Limits::default();
    let fetcher = Retrying::new(server.clone(), limits, 0.0, now, Arc::new(Silent), cancel);
    let plan = ResourcePlan { page_size: Some(5), ..ResourcePlan::new("X") };
    Crawl::new(fetcher, store, source, limits, 2, Arc::new(Silent)).run(&[plan]).await
}

/// Kills the crawl at write `dies_at`, takes it up again, and says whether it got that far.
async fn killed_at(server: &Pages, dies_at: usize, after_effect: bool) -> bool {
    let inner = Arc::new(MemoryStore::default());
    let mortal = Mortal::new(Arc::clone(&inner), dies_at, after_effect);
    let died = crawl(server, Arc::new(mortal)).await.is_err();
    let outcome = crawl(server, Arc::clone(&inner)).await.unwrap();
    let one = &outcome.resources[0];
    let ids = inner.ids("X", None, usize::MAX).await.unwrap();
    assert_eq!(ids, server.ids(), "killed at write {dies_at}, after its effect: {after_effect}");
    assert_eq!(one.counts.archived, ids.len() as u64, "each id once");
    assert_eq!(one.counts.received, one.counts.archived + one.counts.duplicates);
    assert_eq!(one.status, Status::Complete, "killed at write {dies_at}: {:?}", one.detail);
    died
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_write_a_crawl_ends_the_same() {
    let plain: Vec<Vec<usize>> = (0..9).map(|page| (page * 5..page * 5 + 5).collect()).collect();
    for lost_at in [None, Some(4), Some(7)] {
        for after_effect in [false, true] {
            let mut kills = 0;
            while killed_at(&Pages::new(plain.clone(), lost_at), kills, after_effect).await {
                kills += 1;
            }
            assert!(kills >= plain.len(), "only {kills} writes were reached");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumed_crawl_fetches_few_pages_again() {
    let pages: Vec<Vec<usize>> = (0..30).map(|page| (page * 5..page * 5 + 5).collect()).collect();
    let server = Pages::new(pages, None);
    assert!(killed_at(&server, 20, false).await);
    let asked = server.asked.lock().unwrap();
    let again = asked.len() - asked.iter().collect::<std::collections::HashSet<_>>().len();
    // Three on their way to the disk, one being fetched, and the one that the kept cursor names.
    assert!(again <= 5, "{again} pages were fetched again");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Pages that overlap in any way give each id once, whole or told to be partial.
    #[test]
    fn any_overlap_of_pages_gives_each_id_once(pages in prop::collection::vec(prop::collection::vec(0usize..60, 1..8), 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let server = Pages::new(pages, None);
            let store = Arc::new(MemoryStore::default());
            let outcome = crawl(&server, Arc::clone(&store)).await.unwrap();
            let (one, ids) = (&outcome.resources[0], store.ids("X", None, usize::MAX).await.unwrap());
            assert_eq!(usize::try_from(one.counts.archived).unwrap(), ids.len());
            assert!(one.status == Status::Partial || ids == server.ids(), "{one:?}");
        });
    }
}
