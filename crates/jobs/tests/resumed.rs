//! The ledger on the disk, under every strategy: a crawl that is dropped after any page and taken up again from the
//! files ends with what an undisturbed one has, each resource once in the archive.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a real server tells real times")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use fhirvest_crawler::{
    client,
    engine::{Crawl, CrawlOutcome, ResourcePlan},
    event::{Event, EventSink},
    source::{Limits, Pace, Source},
    store::Store,
    strategy::{Export, Strategy},
};
use fhirvest_jobs::ledger::CrawlStore;
use fhirvest_sandbox::{Options, World, serve};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
};
use url::Url;

static WORLD: LazyLock<Arc<World>> = LazyLock::new(|| Arc::new(World::synthetic(5, 40)));
const TYPES: [&str; 4] = ["Practitioner", "PractitionerRole", "Location", "Organization"];

async fn server() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/highmark/provider-directory", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, Arc::clone(&WORLD), Options::default(), std::future::pending()));
    Url::parse(&base).unwrap()
}

/// Tells when so many pages are committed.
struct After {
    pages: AtomicUsize,
    limit: usize,
    reached: Notify,
}

impl EventSink for After {
    fn event(&self, event: &Event) {
        if matches!(event, Event::PageCommitted { .. }) && self.pages.fetch_add(1, Ordering::Relaxed) + 1 == self.limit
        {
            self.reached.notify_one();
        }
    }
}

/// Crawls until so many pages are committed; nothing where the crawl was dropped then.
async fn crawl(base: &Url, folder: &Utf8Path, plans: &[ResourcePlan], pages: usize) -> Option<CrawlOutcome> {
    let types = TYPES.iter().map(|name| (*name).to_owned()).collect();
    let watched = BTreeSet::from(["Location".to_owned(), "Organization".to_owned()]);
    let store = Arc::new(CrawlStore::open(folder, &types, &watched).unwrap());
    let source = Source::new(base.clone());
    let (_keep, cancel) = watch::channel(false);
    let limits = Limits::default();
    let pace = Pace { requests_per_second: 0.0, burst: 1, concurrency: 3 };
    let sink = Arc::new(After { pages: AtomicUsize::new(0), limit: pages, reached: Notify::new() });
    let events: Arc<dyn EventSink> = Arc::<After>::clone(&sink);
    let fetcher = client(&source, pace, &limits, Arc::default(), Utc::now, Arc::clone(&events), cancel).unwrap();
    let crawl = Crawl::new(fetcher, store, source, limits, 3, events);
    tokio::select! {
        outcome = crawl.run(plans) => Some(outcome.unwrap()),
        () = sink.reached.notified() => None,
    }
}

fn plans() -> BTreeMap<&'static str, Vec<ResourcePlan>> {
    let plan = |name, strategy| ResourcePlan { page_size: Some(9), strategy, ..ResourcePlan::new(name) };
    let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let (start, end) = (time("2015-01-01T00:00:00Z"), time("2026-11-24T00:00:00Z"));
    let daterange = Strategy::DateRange { param: "_lastUpdated".into(), start, end, max_bucket: 12 };
    let alphabet = "abcdefghijklmnopqrstuvwxyz".to_owned();
    let prefix = Strategy::Prefix { param: "family".into(), alphabet, max_bucket: 12 };
    let (param, from) = ("practitioner".to_owned(), "Practitioner".to_owned());
    let chain = Strategy::IdChain { param, from, batch: 7, as_reference: false };
    let include = vec!["PractitionerRole:practitioner".into(), "PractitionerRole:location".into()];
    let sweep = Strategy::Include { include, rev_include: Vec::new() };
    let bulk = || Strategy::Bulk(Export::default());
    let roles = || plan("PractitionerRole", Strategy::Bare);
    BTreeMap::from([
        ("bare", vec![plan("Practitioner", Strategy::Bare), roles()]),
        ("daterange", vec![plan("PractitionerRole", daterange)]),
        ("prefix", vec![plan("Practitioner", prefix)]),
        ("chain", vec![plan("Practitioner", Strategy::Bare), plan("PractitionerRole", chain)]),
        ("reads", vec![roles(), plan("Location", Strategy::IdRead), plan("Organization", Strategy::IdRead)]),
        ("include", vec![plan("PractitionerRole", sweep)]),
        ("bulk", vec![plan("PractitionerRole", bulk()), plan("Location", bulk())]),
    ])
}

/// The ids held and the lines of the archive, by type.
async fn held(folder: &Utf8Path) -> BTreeMap<String, (Vec<String>, u64)> {
    let types = TYPES.iter().map(|name| (*name).to_owned()).collect();
    let store = CrawlStore::open(folder, &types, &BTreeSet::new()).unwrap();
    let totals = store.totals().await.unwrap();
    let mut held = BTreeMap::new();
    for name in TYPES {
        let lines = totals.get(name).map_or(0, |file| file.lines);
        held.insert(name.to_owned(), (store.ids(name, None, usize::MAX).await.unwrap(), lines));
    }
    held
}

fn folder(home: &tempfile::TempDir, name: &str) -> Utf8PathBuf {
    let folder = Utf8Path::from_path(home.path()).unwrap().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_after_any_page_the_ledger_goes_on() {
    let base = server().await;
    for (name, plans) in plans() {
        let home = tempfile::tempdir().unwrap();
        let whole = folder(&home, "whole");
        let outcome = crawl(&base, &whole, &plans, usize::MAX).await.unwrap();
        let wanted = held(&whole).await;
        let pages = usize::try_from(outcome.resources.iter().map(|one| one.pages).sum::<u64>()).unwrap();
        assert!(pages > 1, "{name}: {outcome:?}");
        for limit in (1..=pages).step_by(pages.div_ceil(12)) {
            let again = folder(&home, &format!("after-{limit}"));
            // Dropped twice, and taken up again each time.
            let mut last = crawl(&base, &again, &plans, limit).await;
            for more in [limit, usize::MAX] {
                if last.is_none() {
                    last = crawl(&base, &again, &plans, more).await;
                }
            }
            let last = last.unwrap();
            assert_eq!(held(&again).await, wanted, "{name} dropped after {limit} of {pages} pages");
            for (one, undisturbed) in last.resources.iter().zip(&outcome.resources) {
                assert_eq!(one.counts.archived, undisturbed.counts.archived, "{name}: {one:?}");
                assert_eq!(one.status, undisturbed.status, "{name} dropped after {limit}: {:?}", one.detail);
            }
        }
    }
}
