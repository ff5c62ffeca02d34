//! Every strategy gets everything that it can, killed at any write or not, and says so when it can't.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a real server tells real times")]

mod mortal;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use chrono::{DateTime, Utc};
use fhirvest_crawler::{
    client,
    ending::Status,
    engine::{Crawl, CrawlOutcome, ResourceOutcome, ResourcePlan},
    event::Silent,
    memory::MemoryStore,
    source::{Limits, Pace, Source},
    store::Store,
    strategy::{Export, Offset, OffsetUnit, Paging, Strategy},
};
use fhirvest_fhir::resource::head;
use fhirvest_sandbox::{Fault, Options, Platform, Traffic, World, serve};
use mortal::Mortal;
use tokio::{net::TcpListener, sync::watch};
use url::Url;

const MOUNT: &str = "/highmark/provider-directory";
static WORLD: LazyLock<Arc<World>> = LazyLock::new(|| Arc::new(World::synthetic(11, 30)));

fn everything(resource_type: &str) -> BTreeSet<String> {
    let heads = WORLD.resources(MOUNT, resource_type).filter_map(|text| head(text).unwrap().id);
    heads.map(|id| id.to_string()).collect()
}

struct Server {
    base: Url,
    traffic: Arc<Traffic>,
}

/// A server for the strategy of this name: only some platforms page by such parameters.
async fn server_for(name: &str) -> Server {
    let platform = match name {
        "offset by count" => Some(Platform::Abacus),
        "pages" => Some(Platform::Aidbox),
        _ => None,
    };
    serving(&[], platform).await
}

async fn server(faults: &[&str]) -> Server {
    serving(faults, None).await
}

async fn serving(faults: &[&str], platform: Option<Platform>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}{MOUNT}", listener.local_addr().unwrap())).unwrap();
    let traffic = Arc::new(Traffic::new());
    let faults = faults.iter().map(|name| name.parse::<Fault>().unwrap()).collect();
    let options = Options { faults, platform, traffic: Some(Arc::clone(&traffic)), ..Options::default() };
    tokio::spawn(serve(listener, Arc::clone(&WORLD), options, std::future::pending()));
    Server { base, traffic }
}

async fn crawl<S: Store>(server: &Server, plans: &[ResourcePlan], store: Arc<S>) -> Result<CrawlOutcome, S::Error> {
    let source = Source::new(server.base.clone());
    let (_keep, cancel) = watch::channel(false);
    let limits = Limits { max_retries: 1, ..Limits::default() };
    let pace = Pace { requests_per_second: 0.0, burst: 1, concurrency: 3 };
    let fetcher = client(&source, pace, &limits, Arc::default(), Utc::now, Arc::new(Silent), cancel).unwrap();
    Crawl::new(fetcher, store, source, limits, 3, Arc::new(Silent)).run(plans).await
}

fn plan(resource_type: &str, strategy: Strategy) -> ResourcePlan {
    ResourcePlan { page_size: Some(7), strategy, ..ResourcePlan::new(resource_type) }
}

fn daterange() -> Strategy {
    let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let (start, end) = (time("2015-01-01T00:00:00Z"), time("2026-11-24T00:00:00Z"));
    Strategy::DateRange { param: "_lastUpdated".into(), start, end, max_bucket: 9 }
}

fn chain(from: &str, batch: usize) -> Strategy {
    let param = from.to_lowercase();
    Strategy::IdChain { param, from: from.into(), batch, as_reference: batch == 1 }
}

fn prefix(param: &str) -> Strategy {
    let alphabet = "abcdefghijklmnopqrstuvwxyz0123456789".into();
    Strategy::Prefix { param: param.into(), alphabet, max_bucket: 10 }
}

fn offset(param: &str, unit: OffsetUnit) -> Paging {
    let first = u64::from(unit == OffsetUnit::Pages);
    Paging::Offset(Offset { param: param.into(), first, unit, limit: None })
}

fn bulk() -> Strategy {
    Strategy::Bulk(Export::default())
}

fn sorted(mut plan: ResourcePlan, paging: Paging) -> ResourcePlan {
    plan.params.push(("_sort".into(), "_id".into()));
    ResourcePlan { paging, ..plan }
}

/// Plans whose crawls must bring everything of their types.
fn whole() -> BTreeMap<&'static str, Vec<ResourcePlan>> {
    let bare = |name| plan(name, Strategy::Bare);
    let states = ["PA", "WV", "DE", "NY", "OH", "MD", "NJ", "WY", "CO", "MT", "UT", "NE", "ID", "SD", "VA"];
    let by_state = Strategy::Values {
        param: "address-state".into(),
        list: states.iter().map(|state| (*state).to_owned()).collect(),
    };
    let sweep = Strategy::Include {
        include: vec!["PractitionerRole:practitioner".into(), "PractitionerRole:location".into()],
        rev_include: Vec::new(),
    };
    BTreeMap::from([
        ("offset", vec![sorted(bare("Practitioner"), offset("_offset", OffsetUnit::Matches))]),
        ("offset by count", vec![sorted(bare("Practitioner"), offset("_skip", OffsetUnit::Count))]),
        ("pages", vec![sorted(bare("Practitioner"), offset("page", OffsetUnit::Pages))]),
        ("values", vec![plan("Location", by_state)]),
        ("prefix", vec![plan("Practitioner", prefix("family"))]),
        (
            "first page only",
            vec![ResourcePlan {
                paging: Paging::FirstPageOnly,
                page_size: Some(10),
                ..plan("Practitioner", prefix("family"))
            }],
        ),
        ("daterange", vec![plan("PractitionerRole", daterange())]),
        ("include", vec![plan("PractitionerRole", sweep)]),
        ("bulk", vec![plan("PractitionerRole", bulk()), plan("Location", bulk()), plan("Endpoint", bulk())]),
    ])
}

fn of<'a>(outcome: &'a CrawlOutcome, name: &str) -> &'a ResourceOutcome {
    outcome.resources.iter().find(|one| one.resource_type == name).unwrap()
}

async fn ids(store: &MemoryStore, name: &str) -> BTreeSet<String> {
    store.ids(name, None, usize::MAX).await.unwrap().into_iter().collect()
}

#[tokio::test]
async fn each_strategy_brings_everything() {
    for (name, plans) in whole() {
        let server = server_for(name).await;
        let store = Arc::new(MemoryStore::default());
        let outcome = crawl(&server, &plans, Arc::clone(&store)).await.unwrap();
        let one = &outcome.resources[0];
        assert_eq!(ids(&store, &one.resource_type).await, everything(&one.resource_type), "{name}: {one:?}");
        assert_eq!(one.status, Status::Complete, "{name}: {:?}", one.detail);
    }
}

#[tokio::test]
async fn roles_come_by_their_practitioners_and_the_rest_is_told() {
    for batch in [1, 8] {
        let server = server(&[]).await;
        let store = Arc::new(MemoryStore::default());
        // The order of the plans does not matter: roles wait for practitioners.
        let plans = [plan("PractitionerRole", chain("Practitioner", batch)), plan("Practitioner", Strategy::Bare)];
        let outcome = crawl(&server, &plans, Arc::clone(&store)).await.unwrap();
        let held = ids(&store, "PractitionerRole").await;
        let practitioners = everything("Practitioner");
        let reachable: BTreeSet<String> = WORLD
            .resources(MOUNT, "PractitionerRole")
            .filter(|text| {
                let mut targets = fhirvest_fhir::reference::targets(text);
                targets.any(|(name, id)| name == "Practitioner" && practitioners.contains(&*id))
            })
            .map(|text| head(text).unwrap().id.unwrap().to_string())
            .collect();
        assert_eq!(held, reachable);
        let roles = of(&outcome, "PractitionerRole");
        assert!(!roles.partition_closed);
        let short = (held.len() as f64) < 0.98 * everything("PractitionerRole").len() as f64;
        assert_eq!(roles.status == Status::Partial, short, "{roles:?}");
    }
}

#[tokio::test]
async fn reads_run_to_closure() {
    let server = server(&[]).await;
    let store = Arc::new(MemoryStore::watching(&["Practitioner", "Organization", "Location"]));
    let read = |name| plan(name, Strategy::IdRead);
    let plans =
        [read("Organization"), read("Location"), read("Practitioner"), plan("PractitionerRole", Strategy::Bare)];
    let outcome = crawl(&server, &plans, Arc::clone(&store)).await.unwrap();
    for name in ["Practitioner", "Organization", "Location"] {
        let held = ids(&store, name).await;
        // Nothing that is held refers to anything that is on the server and not held.
        for other in ["PractitionerRole", "Practitioner", "Organization", "Location"] {
            let known = ids(&store, other).await;
            for text in WORLD.resources(MOUNT, other).filter(|text| known.contains(&*head(text).unwrap().id.unwrap())) {
                for (_, id) in fhirvest_fhir::reference::targets(text).filter(|(to, _)| to == name) {
                    assert!(held.contains(&*id) || !everything(name).contains(&*id), "{other} refers to {name}/{id}");
                }
            }
        }
        assert!(!held.is_empty());
        assert_eq!(of(&outcome, name).strategy, "id-read");
    }
}

#[tokio::test]
async fn a_sweep_brings_others_along() {
    let server = server(&[]).await;
    let store = Arc::new(MemoryStore::default());
    let sweep = whole().remove("include").unwrap().remove(0);
    let along = plan("Practitioner", Strategy::IncludedBy { from: "PractitionerRole".into() });
    let outcome = crawl(&server, &[along, sweep], Arc::clone(&store)).await.unwrap();
    assert_eq!(of(&outcome, "PractitionerRole").status, Status::Complete);
    let practitioners = of(&outcome, "Practitioner");
    assert!(practitioners.counts.archived > 0 && practitioners.server_total.is_some());
    let whole = ids(&store, "Practitioner").await == everything("Practitioner");
    assert_eq!(practitioners.status == Status::Complete, whole, "{practitioners:?}");
}

#[tokio::test]
async fn an_ignored_parameter_is_found_out_before_it_is_relied_on() {
    let server = server(&["ignores-filters"]).await;
    let store = Arc::new(MemoryStore::default());
    let values = Strategy::Values { param: "no-such-param".into(), list: vec!["a".into(), "b".into()] };
    let outcome = crawl(&server, &[plan("Location", values)], Arc::clone(&store)).await.unwrap();
    let one = &outcome.resources[0];
    assert_eq!((one.status, one.partition_closed), (Status::Complete, true), "{one:?}");
    assert_eq!(ids(&store, "Location").await, everything("Location"));
    assert!(one.detail.as_deref().unwrap().contains("ignores"), "{one:?}");
}

#[tokio::test]
async fn values_that_leave_rows_out_are_partial() {
    let server = server(&[]).await;
    let store = Arc::new(MemoryStore::default());
    let values = Strategy::Values { param: "address-state".into(), list: vec!["WV".into()] };
    let outcome = crawl(&server, &[plan("Location", values)], Arc::clone(&store)).await.unwrap();
    let one = &outcome.resources[0];
    assert!(one.counts.archived < everything("Location").len() as u64);
    assert_eq!(one.status, Status::Partial, "{one:?}");
}

#[tokio::test]
async fn exports_go_through_whatever_their_server_does_or_say_why_not() {
    for (faults, status) in [
        (vec!["bulk-slow"], Status::Complete),
        (vec!["bulk-429"], Status::Complete),
        (vec!["bulk-relative-urls"], Status::Complete),
        (vec!["bulk-odd-manifest"], Status::Complete),
        (vec!["bulk-expires"], Status::Complete),
        (vec!["bulk-expires", "bulk-429", "bulk-relative-urls"], Status::Complete),
        (vec!["bulk-fails"], Status::Failed),
        (vec!["bulk-unsupported"], Status::Unsupported),
        (vec!["bulk-other-host"], Status::Partial),
    ] {
        let server = server(&faults).await;
        let store = Arc::new(MemoryStore::default());
        let plans = [plan("PractitionerRole", bulk()), plan("Location", bulk())];
        let outcome = crawl(&server, &plans, Arc::clone(&store)).await.unwrap();
        for one in &outcome.resources {
            let name = &one.resource_type;
            assert_eq!(one.status, status, "{faults:?} {name}: {:?} {:?}", one.ended_by, one.detail);
            if status == Status::Complete {
                assert_eq!(ids(&store, name).await, everything(name), "{faults:?}");
            }
        }
    }
}

#[tokio::test]
async fn killed_at_every_write_any_strategy_ends_the_same() {
    let mut all = whole();
    all.insert("chain", vec![plan("PractitionerRole", chain("Practitioner", 8)), plan("Practitioner", Strategy::Bare)]);
    all.insert("reads", vec![plan("Location", Strategy::IdRead), plan("PractitionerRole", Strategy::Bare)]);
    for (name, plans) in all {
        let server = server_for(name).await;
        let undisturbed = Arc::new(MemoryStore::watching(&["Location"]));
        crawl(&server, &plans, Arc::clone(&undisturbed)).await.unwrap();
        let requests = server.traffic.exchanges().len();
        let (mut kills, mut dies_at) = (0, 0);
        loop {
            let inner = Arc::new(MemoryStore::watching(&["Location"]));
            let mortal = Mortal::new(Arc::clone(&inner), dies_at, dies_at % 2 == 0);
            let before = server.traffic.exchanges().len();
            let died = crawl(&server, &plans, Arc::new(mortal)).await.is_err();
            let outcome = crawl(&server, &plans, Arc::clone(&inner)).await.unwrap();
            for one in &outcome.resources {
                let name_of = &one.resource_type;
                let held = ids(&inner, name_of).await;
                assert_eq!(held, ids(&undisturbed, name_of).await, "{name} killed at {dies_at}: {name_of}");
                assert_eq!(one.counts.archived, held.len() as u64, "{name}: each id once");
            }
            let asked = server.traffic.exchanges().len() - before;
            // Two requests for each request in flight, and the questions before the first page.
            assert!(asked <= requests + 45, "{name} killed at {dies_at}: {asked} requests instead of {requests}");
            if !died {
                break;
            }
            kills += 1;
            // Every write of small crawls, a sample of the others.
            dies_at += 1 + kills / 12;
        }
        assert!(kills > 3, "{name}: only {kills} kills");
    }
}
