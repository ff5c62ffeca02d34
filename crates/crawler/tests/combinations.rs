//! Habits in company: pairs and triples of what the sandbox can play, on its platforms, by every strategy, with page
//! sizes small and large, drawn from a seed. What a crawl calls complete or empty is all
//! that there is; no crawl goes on for ever; nothing is asked of another origin.
//!
//! The sandbox answers in the process and the clock is paused, so that hours of waiting cost nothing.
//! `FHIRVEST_COMBINATIONS` is the number of cases, `FHIRVEST_COMBINATIONS_FROM` the first of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod draw;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use draw::Draw;
use fhirvest_crawler::{
    ending::Status,
    engine::{Crawl, ResourcePlan},
    event::Silent,
    memory::MemoryStore,
    retry::Retrying,
    source::{Limits, Source},
    store::Store,
    strategy::{Export, Offset, OffsetUnit, Paging, Strategy},
    transport::{Reply, Request, RequestKind, Transport, TransportError},
};
use fhirvest_fhir::{reference, resource::head};
use fhirvest_sandbox::{Fault, InProcess, Options, Platform, World};
use reqwest::header::{HeaderMap, HeaderValue};
use tokio::sync::watch;
use url::Url;

const MOUNT: &str = "/highmark/provider-directory";
const BASE: &str = "http://127.0.0.1:8080/highmark/provider-directory";
const CASES: u64 = 100;

/// More than any of these small worlds needs, whatever the strategy and the page size.
const MOST_REQUESTS: usize = 20_000;

/// Worlds of so many practitioners: fewer than a page, more than a ceiling of 100, and a round number.
static WORLDS: LazyLock<Vec<Arc<World>>> =
    LazyLock::new(|| [12, 100, 137].map(|size| Arc::new(World::synthetic(7, size))).into());

/// The server, in the process, with the network's own failures.
struct Local {
    server: InProcess,
    requests: Arc<AtomicUsize>,
    limits: Limits,
}

impl Local {
    async fn once(&self, request: &Request) -> Result<Reply, TransportError> {
        let mut url = request.url.clone();
        for _ in 0..5 {
            if self.requests.fetch_add(1, Ordering::Relaxed) >= MOST_REQUESTS {
                return Err(TransportError::Redirect { target: "nowhere any more".into() });
            }
            assert!(url.as_str().starts_with("http://127.0.0.1:8080/"), "{url} is asked");
            let mut headers = HeaderMap::new();
            headers.insert("accept", HeaderValue::from_static("application/fhir+json, application/json;q=0.9"));
            if request.kind == RequestKind::Export {
                headers.insert("prefer", HeaderValue::from_static("respond-async"));
            }
            let target = url[url::Position::BeforePath..].to_owned();
            let answer = self.server.get("127.0.0.1:8080", &target, headers).await;
            let Some(body) = answer.body else { return Err(TransportError::Broken("half a body".into())) };
            if (300..400).contains(&answer.status) {
                let target = answer.headers["location"].to_str().unwrap();
                url = url.join(target).unwrap();
                if url.origin() != request.url.origin() {
                    return Err(TransportError::Redirect { target: target.to_owned() });
                }
                continue;
            }
            if body.len() > self.limits.max_page_bytes {
                return Err(TransportError::TooLarge { limit: self.limits.max_page_bytes });
            }
            return Ok(Reply { status: answer.status, headers: answer.headers, body, url });
        }
        panic!("redirects without end");
    }
}

impl Transport for Local {
    async fn send(&self, request: &Request) -> Result<Reply, TransportError> {
        let limit = self.limits.request_timeout;
        match tokio::time::timeout(limit, self.once(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(TransportError::Timeout { limit }),
        }
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// What the transport of this test does not do (gzip), and what takes memory rather than thought.
fn is_of_the_wire(fault: Fault) -> bool {
    matches!(fault, Fault::GzipBomb | Fault::GzipUnannounced | Fault::HugePage)
}

/// Rows that may be missing from what is complete: of those that come and go while they are asked for, a few of each of
/// the searches and what `min_coverage` allows; of those that cannot be used, the latter.
fn tolerated(faults: &[Fault], rows: usize, searches: usize) -> usize {
    let least = |fault: &Fault| match fault {
        Fault::MissingId | Fault::InvalidUtf8 => rows / 50,
        Fault::Shrinks | Fault::Grows => 5 * searches + rows / 50,
        // The export itself says that it is deleted.
        Fault::BulkDeleted => 1,
        _ => 0,
    };
    faults.iter().map(least).sum()
}

#[derive(Debug)]
struct Case {
    faults: Vec<Fault>,
    platform: Option<Platform>,
    page_size: Option<u32>,
    /// Types with their strategies.
    plans: Vec<(&'static str, Strategy)>,
    paging: Paging,
    world: usize,
}

fn case(number: u64) -> Case {
    let mut draw = Draw(number);
    let faults: Vec<Fault> = Fault::all().iter().copied().filter(|fault| !is_of_the_wire(*fault)).collect();
    let faults = (0..=draw.below(3)).map(|_| draw.one(&faults)).collect();
    let platform = (draw.below(4) == 0).then(|| draw.one(Platform::all()));
    let page_size =
        draw.one(&[None, Some(7), Some(10), Some(25), Some(30), Some(50), Some(100), Some(137), Some(1_000)]);
    let offset = |param: &str, unit| {
        Paging::Offset(Offset { param: param.into(), first: u64::from(param == "page"), unit, limit: None })
    };
    let paging = match draw.below(8) {
        0 => offset("_getpagesoffset", OffsetUnit::Matches),
        1 => offset("_offset", OffsetUnit::Matches),
        2 => offset("_skip", OffsetUnit::Count),
        3 => offset("page", OffsetUnit::Pages),
        4 => Paging::FirstPageOnly,
        _ => Paging::Links,
    };
    let max_bucket = draw.one(&[5, 40, 1_000]);
    let plans = match draw.below(9) {
        0 => {
            let alphabet = "abcdefghijklmnopqrstuvwxyz".into();
            vec![("Practitioner", Strategy::Prefix { param: "family".into(), alphabet, max_bucket }), sweep(false)]
        }
        1 => {
            let start = DateTime::from_timestamp(1_400_000_000, 0).unwrap();
            let daterange = Strategy::DateRange { param: "_lastUpdated".into(), start, end: now(), max_bucket };
            vec![("Practitioner", daterange), bare("Organization")]
        }
        2 => {
            let list = ["male", "female"].map(Into::into).into();
            vec![("Practitioner", Strategy::Values { param: "gender".into(), list }), bare("Organization")]
        }
        3 => {
            let (batch, as_reference) = draw.one(&[(1, true), (8, false), (50, true)]);
            let (param, from) = ("practitioner".into(), "Practitioner".into());
            let chain = Strategy::IdChain { param, from, batch, as_reference };
            vec![("PractitionerRole", chain), bare("Practitioner")]
        }
        4 => {
            let reads = ["Practitioner", "Organization", "Location"].map(|name| (name, Strategy::IdRead));
            reads.into_iter().chain([bare("PractitionerRole")]).collect()
        }
        5 => {
            let along = |name| (name, Strategy::IncludedBy { from: "PractitionerRole".into() });
            vec![along("Practitioner"), sweep(true), along("Location")]
        }
        6 => ["PractitionerRole", "Location", "Endpoint"].map(|name| (name, Strategy::Bulk(Export::default()))).into(),
        _ => vec![bare("Practitioner"), bare("Organization")],
    };
    Case { faults, platform, page_size, plans, paging, world: draw.below(WORLDS.len()) }
}

fn bare(name: &'static str) -> (&'static str, Strategy) {
    (name, Strategy::Bare)
}

/// Roles, with practitioners and places along or alone.
fn sweep(along: bool) -> (&'static str, Strategy) {
    let include = ["PractitionerRole:practitioner", "PractitionerRole:location"].map(Into::into);
    let include = if along { include.into() } else { Vec::new() };
    ("PractitionerRole", Strategy::Include { include, rev_include: Vec::new() })
}

fn everything(world: &World, resource_type: &str) -> BTreeSet<String> {
    let heads = world.resources(MOUNT, resource_type).filter_map(|text| head(text).unwrap().id);
    heads.map(|id| id.to_string()).collect()
}

/// The ids that a type must have to be complete: all, or, where the strategy is bounded by other types, what hangs on those
/// that are held of them.
async fn wanted(world: &World, resource_type: &str, case: &Case, store: &MemoryStore) -> BTreeSet<String> {
    let all = everything(world, resource_type);
    let Some((_, strategy)) = case.plans.iter().find(|(name, _)| *name == resource_type) else { return all };
    match strategy {
        Strategy::IdChain { from, .. } => {
            let sources: BTreeSet<String> = store.ids(from, None, usize::MAX).await.unwrap().into_iter().collect();
            let hangs =
                |text: &&str| reference::targets(text).any(|(name, id)| name == *from && sources.contains(&*id));
            let found = world.resources(MOUNT, resource_type).filter(hangs);
            found.map(|text| head(text).unwrap().id.unwrap().to_string()).collect()
        }
        Strategy::IdRead | Strategy::IncludedBy { .. } => {
            let sweeps = case
                .plans
                .iter()
                .filter(|(_, other)| *strategy == Strategy::IdRead || matches!(other, Strategy::Include { .. }));
            let mut named = BTreeSet::new();
            for (name, _) in sweeps {
                let held: BTreeSet<String> = store.ids(name, None, usize::MAX).await.unwrap().into_iter().collect();
                let texts =
                    world.resources(MOUNT, name).filter(|text| held.contains(&*head(text).unwrap().id.unwrap()));
                let targets = texts.flat_map(|text| reference::targets(text).collect::<Vec<_>>());
                named.extend(targets.filter(|(to, _)| to == resource_type).map(|(_, id)| id.into_owned()));
            }
            named.intersection(&all).cloned().collect()
        }
        _ => all,
    }
}

/// What is wrong with how a case went, if anything.
async fn judged(case: &Case) -> Option<String> {
    let world = &WORLDS[case.world];
    let clock: fhirvest_sandbox::Clock = Arc::new(|| Duration::from_secs(1_800_000_000));
    let options =
        Options { faults: case.faults.clone(), platform: case.platform, clock: Some(clock), ..Options::default() };
    let limits = Limits { max_page_bytes: 8 << 20, max_retries: 3, max_pages: 2_000, ..Limits::default() };
    let server = InProcess::new(Arc::clone(world), options).unwrap();
    let (_keep, cancel) = watch::channel(false);
    let requests = Arc::new(AtomicUsize::new(0));
    let local = Local { server, requests: Arc::clone(&requests), limits };
    let fetcher = Retrying::new(local, limits, 0.5, now, Arc::new(Silent), cancel);
    let read: Vec<&str> =
        case.plans.iter().filter(|(_, strategy)| *strategy == Strategy::IdRead).map(|(name, _)| *name).collect();
    let store = Arc::new(MemoryStore::watching(&read));
    let plan = |(place, (name, strategy)): (usize, &(&str, Strategy))| ResourcePlan {
        page_size: case.page_size,
        strategy: strategy.clone(),
        paging: if place == 0 { case.paging.clone() } else { Paging::Links },
        ..ResourcePlan::new(name)
    };
    let plans: Vec<ResourcePlan> = case.plans.iter().enumerate().map(plan).collect();
    let source = Source::new(Url::parse(BASE).unwrap());
    let crawl = Crawl::new(fetcher, Arc::clone(&store), source, limits, 2, Arc::new(Silent));
    let longest = Duration::from_secs(30 * 24 * 60 * 60);
    let Ok(outcome) = tokio::time::timeout(longest, crawl.run(&plans)).await else { return Some("a hang".into()) };
    if requests.load(Ordering::Relaxed) >= MOST_REQUESTS {
        return Some("requests without end".into());
    }
    for one in outcome.unwrap().resources {
        let want = wanted(world, &one.resource_type, case, &store).await;
        let held = store.ids(&one.resource_type, None, usize::MAX).await.unwrap();
        let held: BTreeSet<String> = held.into_iter().collect();
        let counts = &one.counts;
        if counts.received != counts.archived + counts.duplicates + counts.variants + counts.quarantined {
            return Some(format!("{} does not add up: {counts:?}", one.resource_type));
        }
        let missing = want.difference(&held).count();
        let searches = usize::try_from(one.partitions).unwrap().clamp(1, 6);
        let sound = matches!(one.status, Status::Complete | Status::Empty);
        // What the server's count shows to be missing is reported as coverage, and allowed by `min_coverage`.
        let reported = if one.coverage.is_some_and(|share| share < 1.0) { want.len() / 50 } else { 0 };
        // Without a count nobody can know how many rows went away in the meantime.
        let unknowable = case.faults.contains(&Fault::Shrinks) && one.server_total.is_none_or(|total| total == 0);
        if sound && !unknowable && missing > tolerated(&case.faults, want.len(), searches) + reported {
            return Some(format!(
                "{} is {} with {} of {} ids, ended by {:?}, total {:?}",
                one.resource_type,
                one.status,
                held.len(),
                want.len(),
                one.ended_by,
                one.server_total
            ));
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn no_combination_leads_to_a_wrong_complete_a_hang_or_another_origin() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let from = number("FHIRVEST_COMBINATIONS_FROM").unwrap_or(0);
    let mut wrong = Vec::new();
    for one in from..from + number("FHIRVEST_COMBINATIONS").unwrap_or(CASES) {
        let case = case(one);
        if let Some(what) = judged(&case).await {
            wrong.push(format!("case {one}: {what}\n  {case:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Hardly more than a ceiling, and what lies beyond it at neither end: 103 roles of which a search shows 100.
#[tokio::test(start_paused = true)]
async fn a_share_that_ends_at_a_ceiling_is_divided_whatever_its_ends_show() {
    let chain =
        Strategy::IdChain { param: "practitioner".into(), from: "Practitioner".into(), batch: 50, as_reference: true };
    let offset = Offset { param: "_getpagesoffset".into(), first: 0, unit: OffsetUnit::Matches, limit: None };
    let case = Case {
        faults: vec![Fault::Cap100],
        platform: None,
        page_size: Some(50),
        plans: vec![("PractitionerRole", chain), bare("Practitioner")],
        paging: Paging::Offset(offset),
        world: 1,
    };
    assert_eq!(judged(&case).await, None);
}
